//! The streams of a shard, stored in the hash tables that find them, without a separate table of keys.

use crate::store::collections::linear_tables::{HalfHash, LinearTables};
use crate::store::streams::stream::Stream;

/// An upper bound of the buckets of a table, so that a table and a bucket form a key.
const BUCKETS_MAX: usize = 1 << 14;

/// Streams by the hashes of their ids.
///
/// A key is the location of a stream. It is valid until a stream is inserted, and is valid in a copy too.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamTable(LinearTables<Stream>);

impl HalfHash for Stream {
    #[inline]
    fn half(&self) -> u32 {
        self.half
    }
}

#[inline]
fn key((table, bucket): (usize, usize)) -> u32 {
    debug_assert!(bucket < BUCKETS_MAX, "{bucket}");
    u32::try_from(table * BUCKETS_MAX + bucket).unwrap_or(u32::MAX)
}

/// The table and the bucket of a key.
#[inline]
fn location(key: u32) -> (usize, usize) {
    (key as usize / BUCKETS_MAX, key as usize % BUCKETS_MAX)
}

impl StreamTable {
    #[inline]
    pub(crate) fn find(&self, half: u32, id: &str) -> Option<u32> {
        let is_it = |stream: &Stream| stream.half == half && stream.id == *id;
        self.0.find_bucket(half, is_it).map(key)
    }

    /// Adds a new stream and returns its key. Other keys become invalid.
    pub(crate) fn insert(&mut self, stream: Stream) -> u32 {
        key(self.0.insert(stream))
    }

    pub(crate) fn remove(&mut self, half: u32, id: &str) {
        self.0.remove(half, |stream| stream.half == half && stream.id == *id);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut()
    }

    /// Releases unused capacity. Keys become invalid.
    pub(crate) fn shrink(&mut self) {
        self.0.shrink();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

impl std::ops::Index<u32> for StreamTable {
    type Output = Stream;

    #[inline]
    #[expect(clippy::expect_used, reason = "a key that holds is of a stream")]
    fn index(&self, key: u32) -> &Stream {
        self.0.bucket(location(key)).expect("the key of a stream")
    }
}

impl std::ops::IndexMut<u32> for StreamTable {
    #[inline]
    #[expect(clippy::expect_used, reason = "a key that holds is of a stream")]
    fn index_mut(&mut self, key: u32) -> &mut Stream {
        self.0.bucket_mut(location(key)).expect("the key of a stream")
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
            table.remove(stream(number).half, &stream(number).id);
        }
        table.shrink();
        for number in 0..5_000 {
            assert_eq!(find(&table, number), (number % 2 == 1).then_some(number));
        }
        assert_eq!(table.iter().count(), 2_500);
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
}
