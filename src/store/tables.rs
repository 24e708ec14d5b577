//! A hash table in many small ones, so that growing takes no time: keys of entries that are kept elsewhere, by their hashes.

use hashbrown::HashTable;

/// Half of an entry's hash, and the entry's key.
type Known = (u32, u32);

/// `COUNT` small tables, one for each value of some bits of the hash; none before the first entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables<const COUNT: usize>(Vec<HashTable<Known>>);

/// Spreads half a hash over the bits that a table looks at.
pub(crate) fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the table asks for it so")]
fn rehash(known: &Known) -> u64 {
    spread(known.0)
}

impl<const COUNT: usize> Tables<COUNT> {
    /// The key of the entry with this hash that `is_it` says yes to.
    #[inline]
    pub(crate) fn find(&self, half: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = self.0.get(half as usize % COUNT)?;
        table
            .find(spread(half), |known| known.0 == half && is_it(known.1))
            .map(|known| known.1)
    }

    pub(crate) fn insert(&mut self, half: u32, key: u32) {
        if self.0.is_empty() {
            self.0.resize_with(COUNT, HashTable::new);
        }
        self.0[half as usize % COUNT].insert_unique(spread(half), (half, key), rehash);
    }

    /// Forgets a key; answers whether it was there.
    pub(crate) fn remove(&mut self, half: u32, key: u32) -> bool {
        let Some(table) = self.0.get_mut(half as usize % COUNT) else {
            return false;
        };
        let entry = table.find_entry(spread(half), |known| known.1 == key);
        entry.map(|entry| entry.remove()).is_ok()
    }

    /// Gives back spare room.
    pub(crate) fn shrink(&mut self) {
        self.0.iter_mut().for_each(|table| table.shrink_to_fit(rehash));
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let entries: usize = self.0.iter().map(HashTable::capacity).sum();
        entries * (size_of::<Known>() + 1) + self.0.capacity() * size_of::<HashTable<Known>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let mut tables = Tables::<16>::default();
        assert!(!tables.remove(7, 7));
        (0..5_000).for_each(|key| tables.insert(key % 1_000, key));
        assert!((0..5_000).all(|key| tables.find(key % 1_000, |found| found == key) == Some(key)));
        assert!(tables.remove(7, 1_007));
        assert_eq!(tables.find(7, |found| found == 1_007), None);
        assert_eq!(tables.find(7, |found| found == 2_007), Some(2_007));
    }
}
