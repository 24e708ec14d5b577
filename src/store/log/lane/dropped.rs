//! Which events of a chunk are dropped.

use crate::event::chunk::CHUNK_EVENTS;

/// Which events of a chunk are dropped.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    bits: [u64; CHUNK_EVENTS / 64],
    pub(super) count: usize,
}

impl Dropped {
    pub(super) fn none() -> Self {
        Self {
            bits: [0; CHUNK_EVENTS / 64],
            count: 0,
        }
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    /// Returns whether it was not dropped before.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        let new = !self.contains(index);
        self.bits[index / 64] |= 1 << (index % 64);
        self.count += usize::from(new);
        new
    }
}
