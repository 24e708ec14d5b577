//! What readers hold of a lane instead of its lock.

use super::CHUNK;
use super::list::SealedList;
use crate::EventRef;
use crate::event::chunk::Chunk;

/// A snapshot of a lane's sealed chunks, read without its lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(super) sealed: SealedList,
    pub(super) first_chunk: u64,
}

impl Snapshot {
    /// The first slot that is not sealed.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        (self.first_chunk + self.sealed.len() as u64) * CHUNK
    }

    /// The chunk and index of a sealed slot's event, dropped or not.
    pub(crate) fn raw(&self, slot: u64) -> Option<(&Chunk, usize)> {
        let place = (slot / CHUNK).checked_sub(self.first_chunk)?;
        let chunk = self.sealed.get(place as usize)?.chunk.as_deref()?;
        let index = (slot % CHUNK) as usize;
        (index < chunk.len()).then_some((chunk, index))
    }

    /// The event of a sealed slot, unless it was dropped.
    #[inline]
    pub(crate) fn sealed_event(&self, slot: u64) -> Option<EventRef<'_>> {
        let place = (slot / CHUNK).checked_sub(self.first_chunk)?;
        self.sealed.get(place as usize)?.event((slot % CHUNK) as usize)
    }
}
