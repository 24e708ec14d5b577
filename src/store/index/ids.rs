//! Events by their ids: built at first use.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use uuid::Uuid;

use crate::store::collections::linear_tables::spread;
use crate::store::core::Core;

/// The positions of events by the hash of their ids. Callers compare the id of the event itself.
#[derive(Debug, Default)]
pub(crate) struct IdIndex {
    hasher: foldhash::fast::RandomState,
    positions: HashTable<(u32, u64)>,
    complete_to: u64,
}

impl IdIndex {
    pub(crate) fn complete_to(&self) -> u64 {
        self.complete_to
    }

    pub(crate) fn extend(&mut self, core: &Core, to: u64) {
        core.each_stretch(self.complete_to, to, |_, stretch| {
            for (place, position) in stretch.places() {
                let half = self.hasher.hash_one(stretch.chunk.id(place)) as u32;
                self.positions
                    .insert_unique(spread(half), (half, position), |known| spread(known.0));
            }
        });
        self.complete_to = self.complete_to.max(to);
        self.forget_to(core.log.floor());
    }

    /// Releases the entries of events up to `floor`, once they are half of all.
    fn forget_to(&mut self, floor: u64) {
        if self.positions.len() as u64 > 2 * self.complete_to.saturating_sub(floor).max(1024) {
            self.positions.retain(|known| known.1 > floor);
            self.positions.shrink_to_fit(|known| spread(known.0));
        }
    }

    /// The positions of events that may have this id, ascending.
    pub(crate) fn candidates(&self, id: Uuid) -> Vec<u64> {
        let half = self.hasher.hash_one(id) as u32;
        let found = self.positions.iter_hash(spread(half)).filter(|known| known.0 == half);
        let mut positions: Vec<_> = found.map(|known| known.1).collect();
        positions.sort_unstable();
        positions
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.positions.capacity() * 17
    }
}
