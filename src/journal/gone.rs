//! What a journal need not keep: events that are gone from the store, and the parts of the journal that have them.

use hashbrown::HashMap;

use crate::event::system;
use crate::{EventRef, Gap, GapReason, Name, Position};

/// A part of a journal that can be written anew by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// How many events it has, without the changes of aggregates, which stay, and without those that are gone.
    pub events: u64,
    /// Bytes that it takes.
    pub bytes: u64,
}

impl Part {
    /// A part with `events` between these positions.
    pub fn new(first: Position, last: Position, events: u64, bytes: u64) -> Self {
        Self {
            first,
            last,
            events,
            bytes,
        }
    }
}

/// How far [`rewrite`](super::Journal::rewrite) has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewriting {
    /// There is more to do.
    More,
    /// The part is written anew, and takes this many bytes.
    Done {
        /// Bytes that the part takes now.
        bytes: u64,
    },
}

/// Which events of a part are gone from the store, and why.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    first: u64,
    last: u64,
    /// The positions between whose events are still there, ascending.
    there: Vec<u64>,
    /// Gaps that are about one aggregate, by its id, and those that are not.
    of_aggregates: HashMap<Name, Vec<Gap>, foldhash::fast::RandomState>,
    of_all: Vec<Gap>,
}

impl Gone {
    /// The events from position `first` to `last`, but for those at the positions `there`, which ascend. The gaps tell why.
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

    /// Why an event is gone; `None` if it is not, or if it is a change of an aggregate: those stay.
    pub fn reason(&self, event: EventRef<'_>) -> Option<GapReason> {
        if event.is_change() {
            return None;
        }
        self.reason_of(event.raw_position(), event.aggregate_id())
    }

    /// The same for an event that is no change, at a position of a stream.
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

    /// The last gap that reaches over the position: of the aggregate, if there is one.
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
