//! Events of one chunk at consecutive positions.

use super::CHUNK;
use super::dropped::Dropped;
use crate::event::chunk::Chunk;

/// Events that are consecutive in one chunk and in the log, none of them dropped. Never empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch<'a> {
    pub(crate) chunk: &'a Chunk,
    /// The number of the chunk in its lane.
    pub(crate) number: u64,
    /// The index of the first event in `chunk`, and its position in the log.
    first: usize,
    position: u64,
    len: usize,
}

impl<'a> Stretch<'a> {
    /// The events of a chunk from `slot` on, at the positions from `position` to `to` at most.
    pub(super) fn new(
        chunk: &'a Chunk,
        slot: u64,
        (position, to): (u64, u64),
        dropped: Option<&Dropped>,
    ) -> Option<Self> {
        let belongs = |(place, there): &(usize, u64)| {
            chunk.position(*place) == *there && dropped.is_none_or(|dropped| !dropped.contains(*place))
        };
        let first = (slot % CHUNK) as usize;
        let len = (first..chunk.len()).zip(position..=to).take_while(belongs).count();
        (len > 0).then_some(Self {
            chunk,
            number: slot / CHUNK,
            first,
            position,
            len,
        })
    }

    /// The indexes of the events in the chunk, with their positions in the log.
    #[inline]
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        (self.first..self.first + self.len).zip(self.position..)
    }

    /// The position after the last event.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.len as u64
    }
}
