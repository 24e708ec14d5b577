//! The streams of a shard, stored in the hash tables that find them, without a separate table of keys.

use hashbrown::HashTable;

use super::key_table::{place, renew, spread};
use super::shard::Stream;

/// Average streams per table: with more, one table is divided. Twice as many, with random variation, fit into [`BUCKETS_MAX`].
const TABLE_STREAMS: usize = 400;

/// An upper bound of the buckets of a table, so that a table and a bucket form a key.
const BUCKETS_MAX: usize = 1 << 14;

/// Tables of streams. Every [`TABLE_STREAMS`] insertions one table is divided in two, in turn (linear hashing): no insertion moves more than one
/// table. There is no table before the first stream.
///
/// A key is the location of a stream. It is valid until a stream is inserted, and is valid in a copy too.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamTable {
    tables: Vec<HashTable<Stream>>,
    len: usize,
}

fn rehash(stream: &Stream) -> u64 {
    spread(stream.half)
}

fn key(table: usize, bucket: usize) -> u32 {
    debug_assert!(bucket < BUCKETS_MAX, "{bucket}");
    u32::try_from(table * BUCKETS_MAX + bucket).unwrap_or(u32::MAX)
}

impl StreamTable {
    #[inline]
    pub(crate) fn find(&self, half: u32, id: &str) -> Option<u32> {
        let hash = spread(half);
        let number = place(hash, self.tables.len());
        let is_it = |stream: &Stream| stream.half == half && stream.id == *id;
        let bucket = self.tables.get(number)?.find_bucket_index(hash, is_it)?;
        Some(key(number, bucket))
    }

    /// Adds a new stream and returns its key. Other keys become invalid.
    pub(crate) fn insert(&mut self, stream: Stream) -> u32 {
        if self.len >= self.tables.len() * TABLE_STREAMS {
            self.divide();
        }
        self.len += 1;
        self.insert_in_place(stream)
    }

    fn insert_in_place(&mut self, stream: Stream) -> u32 {
        let hash = rehash(&stream);
        let number = place(hash, self.tables.len());
        renew(&mut self.tables[number], rehash);
        let entry = self.tables[number].insert_unique(hash, stream, rehash);
        key(number, entry.bucket_index())
    }

    /// Adds a table, and moves to it the streams that belong there, which are all in one table.
    fn divide(&mut self) {
        let count = self.tables.len();
        let divided = count - count.checked_ilog2().map_or(0, |bits| 1 << bits);
        let streams = self.tables.get_mut(divided).map(std::mem::take).unwrap_or_default();
        self.tables.push(HashTable::with_capacity(streams.len() / 2));
        self.tables[divided].reserve(streams.len() / 2, rehash);
        for stream in streams {
            self.insert_in_place(stream);
        }
    }

    pub(crate) fn remove(&mut self, key: u32) {
        let (table, bucket) = (key as usize / BUCKETS_MAX, key as usize % BUCKETS_MAX);
        if let Ok(entry) = self.tables[table].get_bucket_entry(bucket) {
            entry.remove();
            self.len -= 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.tables.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.tables.iter_mut().flatten()
    }

    /// Releases unused capacity. Keys become invalid.
    pub(crate) fn shrink(&mut self) {
        self.tables.iter_mut().for_each(|table| table.shrink_to_fit(rehash));
        self.tables.shrink_to_fit();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let streams: usize = self.tables.iter().map(HashTable::num_buckets).sum();
        streams * (size_of::<Stream>() + 1) + self.tables.capacity() * size_of::<HashTable<Stream>>()
    }
}

impl std::ops::Index<u32> for StreamTable {
    type Output = Stream;

    #[inline]
    #[expect(clippy::expect_used, reason = "a key that holds is of a stream")]
    fn index(&self, key: u32) -> &Stream {
        let (table, bucket) = (key as usize / BUCKETS_MAX, key as usize % BUCKETS_MAX);
        self.tables[table].get_bucket(bucket).expect("the key of a stream")
    }
}

impl std::ops::IndexMut<u32> for StreamTable {
    #[inline]
    #[expect(clippy::expect_used, reason = "a key that holds is of a stream")]
    fn index_mut(&mut self, key: u32) -> &mut Stream {
        let (table, bucket) = (key as usize / BUCKETS_MAX, key as usize % BUCKETS_MAX);
        self.tables[table].get_bucket_mut(bucket).expect("the key of a stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(number: u32) -> Stream {
        Stream {
            half: number.wrapping_mul(0x9e37_79b9),
            id: format!("stream-{number}").into(),
            version: number,
            ..Stream::default()
        }
    }

    fn find(table: &StreamTable, number: u32) -> Option<u32> {
        let stream = stream(number);
        table.find(stream.half, &stream.id).map(|key| table[key].version)
    }

    #[test]
    fn streams_are_found_until_they_are_removed() {
        let mut table = StreamTable::default();
        assert_eq!(find(&table, 1), None);
        for number in 0..5_000 {
            let key = table.insert(stream(number));
            assert_eq!(table[key].version, number);
        }
        for number in (0..5_000).step_by(2) {
            let key = table
                .find(stream(number).half, &stream(number).id)
                .expect("it is there");
            table.remove(key);
        }
        table.shrink();
        for number in 0..5_000 {
            assert_eq!(find(&table, number), (number % 2 == 1).then_some(number));
        }
        assert_eq!(table.iter().count(), 2_500);
    }

    #[test]
    fn streams_that_were_forgotten_doubled_their_tables() {
        let buckets = |table: &StreamTable| table.tables.iter().map(HashTable::num_buckets).sum::<usize>();
        for streams in [5_000, 10_000, 19_000] {
            let mut table = StreamTable::default();
            (0..streams).for_each(|number| _ = table.insert(stream(number)));
            let before = buckets(&table);
            for number in 0..streams * 20 {
                let key = table
                    .find(stream(number).half, &stream(number).id)
                    .expect("it is there");
                table.remove(key);
                table.insert(stream(number + streams));
            }
            let after = buckets(&table);
            assert!(
                after <= before / 4 * 5,
                "{before} buckets became {after} for {streams} streams"
            );
        }
    }

    #[test]
    fn a_copy_has_the_same_keys() {
        let mut table = StreamTable::default();
        (0..3_000).for_each(|number| _ = table.insert(stream(number)));
        let copy = table.clone();
        for number in 0..3_000 {
            let key = table
                .find(stream(number).half, &stream(number).id)
                .expect("it is there");
            assert_eq!(copy[key].version, number);
        }
    }

    #[test]
    fn an_insertion_moves_one_table_at_most() {
        let mut table = StreamTable::default();
        (0..100_000).for_each(|number| _ = table.insert(stream(number)));
        let largest = table.tables.iter().map(HashTable::len).max();
        assert!(largest <= Some(1_000), "{largest:?}");
    }
}
