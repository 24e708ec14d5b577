//! Hash tables that grow one at a time (linear hashing), so that no insertion moves more than one small table.

use hashbrown::HashTable;

/// Average entries per table: with more, one table is divided. Twice as many, with random variation, fit into 1,024 buckets.
const TABLE_ENTRIES: usize = 400;

/// An entry that has half of its hash.
pub(crate) trait HalfHash {
    fn half(&self) -> u32;
}

/// Entries in tables, of which one is divided in two every [`TABLE_ENTRIES`] insertions. There is no table before the first entry.
#[derive(Clone, Debug)]
pub(crate) struct LinearTables<T> {
    tables: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Default for LinearTables<T> {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            len: 0,
        }
    }
}

/// Spreads half a hash over the bits that a table uses: the lowest and the highest.
#[inline]
pub(crate) fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn rehash<T: HalfHash>(entry: &T) -> u64 {
    spread(entry.half())
}

impl<T: HalfHash> LinearTables<T> {
    /// The number of a hash's table, by bits that no table uses.
    #[inline]
    fn number(&self, hash: u64) -> usize {
        let count = self.tables.len();
        let mask = count.next_power_of_two() - 1;
        let number = (hash >> 32) as usize & mask;
        if number < count { number } else { number & (mask >> 1) }
    }

    #[inline]
    pub(crate) fn find(&self, half: u32, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let hash = spread(half);
        self.tables.get(self.number(hash))?.find(hash, is_it)
    }

    /// The table and the bucket of an entry.
    #[inline]
    pub(crate) fn find_bucket(&self, half: u32, is_it: impl FnMut(&T) -> bool) -> Option<(usize, usize)> {
        let hash = spread(half);
        let number = self.number(hash);
        Some((number, self.tables.get(number)?.find_bucket_index(hash, is_it)?))
    }

    #[inline]
    pub(crate) fn bucket(&self, (number, bucket): (usize, usize)) -> Option<&T> {
        self.tables[number].get_bucket(bucket)
    }

    #[inline]
    pub(crate) fn bucket_mut(&mut self, (number, bucket): (usize, usize)) -> Option<&mut T> {
        self.tables[number].get_bucket_mut(bucket)
    }

    /// Adds an entry; returns its table and bucket. Those of other entries become invalid.
    pub(crate) fn insert(&mut self, entry: T) -> (usize, usize) {
        if self.len >= self.tables.len() * TABLE_ENTRIES {
            self.divide();
        }
        self.len += 1;
        self.insert_in_place(entry)
    }

    fn insert_in_place(&mut self, entry: T) -> (usize, usize) {
        let hash = rehash(&entry);
        let number = self.number(hash);
        renew(&mut self.tables[number]);
        let entry = self.tables[number].insert_unique(hash, entry, rehash);
        (number, entry.bucket_index())
    }

    /// Adds a table, and moves to it the entries that belong there, which are all in one table.
    fn divide(&mut self) {
        let count = self.tables.len();
        let divided = count - count.checked_ilog2().map_or(0, |bits| 1 << bits);
        let entries = self.tables.get_mut(divided).map(std::mem::take).unwrap_or_default();
        self.tables.push(HashTable::with_capacity(entries.len() / 2));
        self.tables[divided].reserve(entries.len() / 2, rehash);
        for entry in entries {
            self.insert_in_place(entry);
        }
    }

    /// Removes an entry; returns whether it was there.
    pub(crate) fn remove(&mut self, half: u32, is_it: impl FnMut(&T) -> bool) -> bool {
        let hash = spread(half);
        let number = self.number(hash);
        let entry = self
            .tables
            .get_mut(number)
            .and_then(|table| table.find_entry(hash, is_it).ok());
        let is_there = entry.map(|entry| entry.remove()).is_some();
        self.len -= usize::from(is_there);
        is_there
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.tables.iter_mut().flatten()
    }

    /// Releases unused capacity. Buckets become invalid.
    pub(crate) fn shrink(&mut self) {
        self.tables.iter_mut().for_each(|table| table.shrink_to_fit(rehash));
        self.tables.shrink_to_fit();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let buckets: usize = self.tables.iter().map(HashTable::num_buckets).sum();
        buckets * (size_of::<T>() + 1) + self.tables.capacity() * size_of::<HashTable<T>>()
    }
}

/// Rebuilds a full table if removed entries take at least an eighth of it: they leave marks, and a table that is more than half
/// full would double instead of removing its marks.
fn renew<T: HalfHash>(table: &mut HashTable<T>) {
    let full = table.num_buckets() / 8 * 7;
    if table.len() == table.capacity() && table.len() < full / 8 * 7 {
        for entry in std::mem::replace(table, HashTable::with_capacity(full)) {
            table.insert_unique(rehash(&entry), entry, rehash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    /// Half of a hash, and a number.
    impl HalfHash for (u32, u32) {
        fn half(&self) -> u32 {
            self.0
        }
    }

    fn entry(number: u32) -> (u32, u32) {
        let hash = foldhash::fast::FixedState::default().hash_one(number);
        (hash as u32, number)
    }

    fn filled(entries: u32) -> LinearTables<(u32, u32)> {
        let mut tables = LinearTables::default();
        (0..entries).for_each(|number| _ = tables.insert(entry(number)));
        tables
    }

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let mut tables = LinearTables::default();
        assert!(!tables.remove(7, |_| true));
        assert_eq!(tables.find(7, |_| true), None);
        for number in 0..5_000 {
            let bucket = tables.insert((number % 1_000, number));
            assert_eq!(tables.bucket(bucket), Some(&(number % 1_000, number)));
        }
        for number in 0..5_000 {
            let found = tables.find(number % 1_000, |there| there.1 == number);
            assert_eq!(found, Some(&(number % 1_000, number)));
            let bucket = tables.find_bucket(number % 1_000, |there| there.1 == number);
            assert_eq!(bucket.and_then(|bucket| tables.bucket(bucket)), found);
        }
        assert!(tables.remove(7, |there| there.1 == 1_007));
        assert!(!tables.remove(7, |there| there.1 == 1_007));
        assert_eq!(tables.find(7, |there| there.1 == 1_007), None);
        assert_eq!(tables.find(7, |there| there.1 == 2_007), Some(&(7, 2_007)));
        assert_eq!(tables.iter().count(), 4_999);
    }

    #[test]
    fn an_insertion_into_many_moved_thousands_of_entries() {
        for entries in [1, 399, 401, 801, 1_201, 3_000, 100_000, 700_000] {
            let largest = filled(entries).tables.iter().map(HashTable::len).max();
            assert!(largest <= Some(1_100), "{largest:?} of {entries}");
        }
    }

    #[test]
    fn tables_that_gave_back_their_spare_room_took_more_than_a_copy() {
        for entries in [1, 300, 5_000] {
            let mut tables = filled(entries);
            let mut copy = tables.clone();
            copy.shrink();
            tables.shrink();
            assert_eq!(tables.memory_bytes(), copy.memory_bytes(), "{entries}");
        }
    }

    #[test]
    fn removed_entries_doubled_their_tables() {
        let buckets = |tables: &LinearTables<_>| tables.tables.iter().map(HashTable::num_buckets).sum::<usize>();
        for entries in [5_000, 10_000, 19_000] {
            let mut tables = filled(entries);
            let before = buckets(&tables);
            for number in 0..entries * 20 {
                assert!(tables.remove(entry(number).0, |there| there.1 == number));
                tables.insert(entry(number + entries));
            }
            let after = buckets(&tables);
            assert!(
                after <= before / 4 * 5,
                "{before} buckets became {after} for {entries} entries"
            );
        }
    }

    #[test]
    fn the_entries_of_one_table_had_the_lowest_bits_of_their_hashes_in_common() {
        for table in &filled(100_000).tables {
            let distinct: HashSet<_> = table.iter().map(|there| rehash(there) & 0x7f).collect();
            assert!(distinct.len() > 64, "{} of 128", distinct.len());
        }
    }
}
