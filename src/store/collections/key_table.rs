//! Hashes of entries that are stored elsewhere, with the keys of these entries.

use crate::store::collections::linear_tables::{HalfHash, LinearTables};

#[derive(Clone, Debug)]
struct Known {
    /// Half of the entry's hash.
    half: u32,
    key: u32,
}

impl HalfHash for Known {
    fn half(&self) -> u32 {
        self.half
    }
}

/// Keys by hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTable(LinearTables<Known>);

impl KeyTable {
    /// The key of the entry with this hash for which `is_it` returns true.
    #[inline]
    pub(crate) fn find(&self, half: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let known = self.0.find(half, |known| known.half == half && is_it(known.key))?;
        Some(known.key)
    }

    pub(crate) fn insert(&mut self, half: u32, key: u32) {
        self.0.insert(Known { half, key });
    }

    /// Removes a key; returns whether it was there.
    pub(crate) fn remove(&mut self, half: u32, key: u32) -> bool {
        self.0.remove(half, |known| known.key == key)
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.0.shrink();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
