//! Compaction of journals: dropped events, and the parts of a journal that contain them.

use hashbrown::HashMap;

use crate::event::system;
use crate::{EventRef, Gap, GapReason, Name, Position};

/// A part of a journal that can be rewritten on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// The number of events, without changes of aggregates, which are retained, and without events that are gone.
    pub events: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Part {
    /// Creates a part with `events` between these positions.
    pub fn new(first: Position, last: Position, events: u64, bytes: u64) -> Self {
        Self {
            first,
            last,
            events,
            bytes,
        }
    }
}

/// The progress of [`rewrite`](super::Journal::rewrite).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewriting {
    /// More steps are needed.
    More,
    /// The part is rewritten.
    Done {
        /// The new size of the part in bytes.
        bytes: u64,
    },
}

/// The events of a part that the store has dropped, with the reasons.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    first: u64,
    last: u64,
    /// The positions in the range whose events are retained, ascending.
    there: Vec<u64>,
    /// Gaps of one aggregate, by its id, and all other gaps.
    of_aggregates: HashMap<Name, Vec<Gap>, foldhash::fast::RandomState>,
    of_all: Vec<Gap>,
}

impl Gone {
    /// The events from position `first` to `last`, except those at the ascending positions `there`. The gaps hold the reasons.
    pub fn new(
        (first, last): (Position, Position),
        there: impl IntoIterator<Item = Position>,
        gaps: impl IntoIterator<Item = Gap>,
    ) -> Self {
        let mut gone = Self {
            first: first.0,
            last: last.0,
            there: there.into_iter().map(|position| position.0).collect(),
            ..Self::default()
        };
        for gap in gaps {
            match gap.reason.aggregate().cloned() {
                Some(id) => gone.of_aggregates.entry(id).or_default().push(gap),
                None => gone.of_all.push(gap),
            }
        }
        gone
    }

    /// The reason why an event is gone; `None` when it is retained, as every change of an aggregate is.
    pub fn reason(&self, event: EventRef<'_>) -> Option<GapReason> {
        if event.is_change() {
            return None;
        }
        self.reason_of(event.raw_position(), event.aggregate_id())
    }

    /// The same for an event that is not a change, by its position and stream.
    pub(crate) fn reason_of(&self, position: u64, stream: &str) -> Option<GapReason> {
        if !self.contains(position) {
            return None;
        }
        if system::is_snapshot_stream(stream) {
            return Some(GapReason::Snapshot);
        }
        Some(self.reason_at(position, stream))
    }

    fn contains(&self, position: u64) -> bool {
        (self.first..=self.last).contains(&position) && self.there.binary_search(&position).is_err()
    }

    /// The reason of the last gap that covers the position; gaps of the aggregate take precedence.
    fn reason_at(&self, position: u64, aggregate_id: &str) -> GapReason {
        let covers = |gap: &&Gap| {
            let is_of_users = gap.reason != GapReason::Snapshot;
            is_of_users && gap.first.0 <= position && gap.last.0 >= position
        };
        let own = self.of_aggregates.get(aggregate_id);
        let found = own
            .and_then(|gaps| gaps.iter().rev().find(covers))
            .or_else(|| self.of_all.iter().rev().find(covers));
        found.map_or(GapReason::Several, |gap| gap.reason.clone())
    }
}
