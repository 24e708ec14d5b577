//! A hash table split into small tables, so that growing is incremental. It maps hashes to keys of entries stored elsewhere.

use hashbrown::HashTable;

/// Half of an entry's hash, and the entry's key.
type Known = (u32, u32);

/// Average entries per table: with more, one table is divided. Twice as many, with random variation, fit into 1,024 buckets.
const TABLE_ENTRIES: usize = 400;

/// Tables of keys. Every [`TABLE_ENTRIES`] entries one table is divided in two, in turn (linear hashing): no insertion moves more than
/// one table. There is no table before the first entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTable {
    tables: Vec<HashTable<Known>>,
    len: usize,
}

/// Spreads half a hash over the bits that a table uses: the lowest and the highest.
pub(crate) fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the table asks for it so")]
fn rehash(known: &Known) -> u64 {
    spread(known.0)
}

/// The table of a hash, out of `count`, by bits that no table uses.
#[inline]
pub(crate) fn place(hash: u64, count: usize) -> usize {
    let mask = count.next_power_of_two() - 1;
    let place = (hash >> 32) as usize & mask;
    if place < count { place } else { place & (mask >> 1) }
}

/// Rebuilds a full table if removed entries take at least an eighth of it: they leave marks, and a table that is more than half
/// full would double instead of removing its marks.
pub(crate) fn renew<T>(table: &mut HashTable<T>, rehash: impl Fn(&T) -> u64) {
    let full = table.num_buckets() / 8 * 7;
    if table.len() == table.capacity() && table.len() < full / 8 * 7 {
        for entry in std::mem::replace(table, HashTable::with_capacity(full)) {
            table.insert_unique(rehash(&entry), entry, &rehash);
        }
    }
}

impl KeyTable {
    /// The key of the entry with this hash for which `is_it` returns true.
    #[inline]
    pub(crate) fn find(&self, half: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = spread(half);
        let table = self.tables.get(place(hash, self.tables.len()))?;
        table
            .find(hash, |known| known.0 == half && is_it(known.1))
            .map(|known| known.1)
    }

    pub(crate) fn insert(&mut self, half: u32, key: u32) {
        if self.len >= self.tables.len() * TABLE_ENTRIES {
            self.divide();
        }
        self.len += 1;
        self.insert_known((half, key));
    }

    fn insert_known(&mut self, known: Known) {
        let hash = rehash(&known);
        let place = place(hash, self.tables.len());
        renew(&mut self.tables[place], rehash);
        self.tables[place].insert_unique(hash, known, rehash);
    }

    /// Adds a table, and moves to it the entries that belong there, which are all in one table.
    fn divide(&mut self) {
        let count = self.tables.len();
        let divided = count - count.checked_ilog2().map_or(0, |bits| 1 << bits);
        let entries = self.tables.get_mut(divided).map(std::mem::take).unwrap_or_default();
        self.tables.push(HashTable::with_capacity(entries.len() / 2));
        self.tables[divided].reserve(entries.len() / 2, rehash);
        for known in entries {
            self.insert_known(known);
        }
    }

    /// Removes a key; returns whether it was there.
    pub(crate) fn remove(&mut self, half: u32, key: u32) -> bool {
        let hash = spread(half);
        let place = place(hash, self.tables.len());
        let Some(table) = self.tables.get_mut(place) else {
            return false;
        };
        let is_known = table
            .find_entry(hash, |known| known.1 == key)
            .map(|entry| entry.remove())
            .is_ok();
        self.len -= usize::from(is_known);
        is_known
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.tables.iter_mut().for_each(|table| table.shrink_to_fit(rehash));
        self.tables.shrink_to_fit();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let entries: usize = self.tables.iter().map(HashTable::capacity).sum();
        entries * (size_of::<Known>() + 1) + self.tables.capacity() * size_of::<HashTable<Known>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    fn filled(entries: u32) -> KeyTable {
        let hasher = foldhash::fast::FixedState::default();
        let mut tables = KeyTable::default();
        (0..entries).for_each(|key| tables.insert(hasher.hash_one(key) as u32, key));
        tables
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let mut tables = KeyTable::default();
        assert!(!tables.remove(7, 7));
        assert_eq!(tables.find(7, |_| true), None);
        (0..5_000).for_each(|key| tables.insert(key % 1_000, key));
        assert!((0..5_000).all(|key| tables.find(key % 1_000, |found| found == key) == Some(key)));
        assert!(tables.remove(7, 1_007));
        assert!(!tables.remove(7, 1_007));
        assert_eq!(tables.find(7, |found| found == 1_007), None);
        assert_eq!(tables.find(7, |found| found == 2_007), Some(2_007));
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
        let hasher = foldhash::fast::FixedState::default();
        let half = |key: u32| hasher.hash_one(key) as u32;
        let buckets = |tables: &KeyTable| tables.tables.iter().map(HashTable::num_buckets).sum::<usize>();
        for entries in [5_000, 10_000, 19_000] {
            let mut tables = filled(entries);
            let before = buckets(&tables);
            for key in 0..entries * 20 {
                assert!(tables.remove(half(key), key));
                tables.insert(half(key + entries), key + entries);
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
            let distinct: HashSet<_> = table.iter().map(|known| rehash(known) & 0x7f).collect();
            assert!(distinct.len() > 64, "{} of 128", distinct.len());
        }
    }
}
