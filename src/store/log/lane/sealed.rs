//! Chunks that are full, and which of their events are dropped.

use std::sync::Arc;

use super::dropped::Dropped;
use super::stretch::Stretch;
use crate::EventRef;
use crate::event::chunk::{Bytes, Chunk};

/// A sealed chunk. Its events never change.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// `None` when all its events are dropped.
    pub(super) chunk: Option<Arc<Chunk>>,
    pub(super) dropped: Option<Arc<Dropped>>,
    /// Number of dropped events when the chunk was last rewritten.
    pub(super) purged: usize,
}

impl Sealed {
    /// Number of events of the chunk, including dropped ones; 0 if it is released.
    pub(super) fn len(&self) -> usize {
        self.chunk.as_deref().map_or(0, Chunk::len)
    }

    /// The position of the last event; 0 if the chunk is released.
    pub(super) fn last_position(&self) -> u64 {
        let chunk = self.chunk.as_deref().filter(|chunk| chunk.len() > 0);
        chunk.map_or(0, |chunk| chunk.position(chunk.len() - 1))
    }

    #[inline]
    pub(super) fn event(&self, index: usize) -> Option<EventRef<'_>> {
        if self.dropped.as_ref().is_some_and(|dropped| dropped.contains(index)) {
            return None;
        }
        Some(EventRef::new(self.chunk.as_deref()?, index))
    }

    /// The consecutive events from `slot` on, at the positions from the first to the last of `positions`.
    pub(super) fn stretch(&self, slot: u64, positions: (u64, u64)) -> Option<Stretch<'_>> {
        Stretch::new(self.chunk.as_deref()?, slot, positions, self.dropped.as_deref())
    }

    /// Purges the names and bytes of events that were dropped since the last rewrite, even if that saves no memory: they may have been
    /// dropped to erase them.
    pub(super) fn compact(&mut self) {
        let Some((chunk, dropped)) = self.chunk.as_ref().zip(self.dropped.as_ref()) else {
            return;
        };
        if dropped.count == self.purged {
            return;
        }
        let mut copy = Chunk::next_revision(chunk);
        for index in 0..chunk.len() {
            let bytes = if dropped.contains(index) {
                Bytes::Drop
            } else {
                Bytes::Keep
            };
            copy.push_copy(chunk, index, bytes);
        }
        copy.shrink();
        self.purged = dropped.count;
        self.chunk = Some(Arc::new(copy));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expected, NewEvent, Store, StreamId};

    fn append(store: &Store, id: &str, user: &str) {
        let event = NewEvent::new("Noted").user(user);
        let stream = StreamId::new("Note", id);
        store.append(&stream, Expected::Any, event).expect("anything goes");
    }

    /// Whether a chunk has an event with this user, dropped or not.
    fn holds(store: &Store, user: &str) -> bool {
        let core = &store.engine().core;
        (0..core.lane_count()).any(|lane| {
            let own = core.read_lane(lane);
            let snapshot = own.lane.snapshot();
            let chunks = snapshot.sealed.iter().filter_map(|sealed| sealed.chunk.as_deref());
            chunks
                .flat_map(|chunk| (0..chunk.len()).flat_map(|index| chunk.names(index)))
                .any(|name| name == Some(user))
        })
    }

    #[test]
    fn erased_names_stayed_in_a_chunk_that_became_no_smaller() {
        for kept_bytes in [1, 200] {
            let store = Store::in_memory();
            // The first eight names are found by comparison: names that are kept move among them and get other codes.
            (0..8).for_each(|number| append(&store, "gone", &format!("erased-{number}")));
            for _ in 0..3 {
                (0..8).for_each(|number| append(&store, "kept", &number.to_string().repeat(kept_bytes)));
            }
            store.delete("gone", Expected::Any).expect("it exists");
            store.compact();
            for number in 0..8 {
                let user = format!("erased-{number}");
                assert!(!holds(&store, &user), "{user}, beside names of {kept_bytes} bytes");
                assert!(holds(&store, &number.to_string().repeat(kept_bytes)));
            }
        }
    }
}
