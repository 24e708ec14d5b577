//! Compaction of journals: the trait that purges dropped events, and the parts of a journal that contain them.

use hashbrown::HashMap;

use super::{Batch, JournalError, Mark};
use crate::event::system;
use crate::{EventRef, Gap, GapReason, Name, Position};

/// Purges the events of a journal that the store has dropped.
///
/// [`Journal::compactor`](super::Journal::compactor) returns it. A journal that never purges has none: the store then rejects
/// [`compact_journal`](crate::Store::compact_journal) with [`Error::Unsupported`](crate::Error::Unsupported), and never compacts automatically.
///
/// # Contract
///
/// *Calls.* The thread that calls the journal calls its compactor, between two calls of the journal and after `recover`. The store compacts one part
/// at a time. It calls no compactor of a journal whose durability is lower than [`Synced`](crate::Durability::Synced), because the reasons of the
/// drops would never be durable.
///
/// *Parts.* Parts do not overlap and are in ascending order of positions. After [`seal`](Self::seal) they cover every written event. A part counts
/// the events that can be purged: those that were not purged before and are no changes of aggregates.
///
/// *Safety.* When `compact` is called, every change that dropped an event of the set is synced.
///
/// *Atomicity.* A step is atomic. After a crash, and after an error, recovery returns an event of the set, or skips it with its gap and mark; it
/// returns every other event. The store repeats the calls for a part that was interrupted, with a set that contains the earlier one.
///
/// *Recovery.* [`recover`](super::Journal::recover) skips the position of a purged event. It returns a [`Gap`] with the reason that
/// [`PurgeSet::reason`] gave, and a [`Mark`](super::Mark) with the version of an aggregate whose last event was purged.
///
/// *Errors.* The part is unchanged, and the journal remains usable.
pub trait Compactor {
    /// The parts that can be compacted, in ascending order. They cover every written event except those in the part that is still open.
    fn parts(&self) -> Vec<Part>;

    /// Seals the open part, so that it can be compacted. Syncs everything written so far. A journal without an open part does nothing.
    ///
    /// # Errors
    ///
    /// As [`Journal::write`](super::Journal::write).
    fn seal(&mut self) -> Result<(), JournalError>;

    /// Whether automatic compaction should compact `part`, of which `dropped` events can be purged; `dropped` is at least 1.
    fn should_compact(&self, part: &Part, dropped: u64) -> bool;

    /// Performs one step of compacting `part`: purges the events that `purge` names, and returns the progress. A step is
    /// short enough to run between two appends; the caller repeats the call until it is done.
    ///
    /// Changes of aggregates are retained: [`PurgeSet::reason`] returns `None` for them.
    ///
    /// # Errors
    ///
    /// Errors of the storage. [`Unsupported`](super::JournalErrorKind::Unsupported) when there is no such part.
    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError>;
}

/// A part of a journal that can be compacted on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// The number of events, without changes of aggregates, which are retained, and without purged events.
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

impl Part {
    /// The part that consists of `batch`, of this size in bytes.
    pub fn of(batch: &Batch, bytes: u64) -> Self {
        let events = batch.events().filter(|event| !event.is_change()).count() as u64;
        Self::new(batch.first_position(), batch.last_position(), events, bytes)
    }
}

/// The progress of [`Compactor::compact`].
///
/// Exhaustive: a part is compacted or not, and the caller must repeat the call until it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStep {
    /// More steps are needed.
    More,
    /// The part is compacted.
    Done {
        /// The new size of the part in bytes.
        bytes: u64,
    },
}

/// The events of a part that are purged, with the reasons: the store has dropped them.
#[derive(Clone, Debug, Default)]
pub struct PurgeSet {
    first: u64,
    last: u64,
    /// The positions in the range whose events are retained, ascending.
    there: Vec<u64>,
    /// Gaps of one aggregate, by its id, and all other gaps.
    of_aggregates: HashMap<Name, Vec<Gap>, foldhash::fast::RandomState>,
    of_all: Vec<Gap>,
}

impl PurgeSet {
    /// The events from position `first` to `last`, except those at the ascending positions `there`. The gaps hold the reasons.
    pub fn new(
        (first, last): (Position, Position),
        there: impl IntoIterator<Item = Position>,
        gaps: impl IntoIterator<Item = Gap>,
    ) -> Self {
        let mut set = Self {
            first: first.0,
            last: last.0,
            there: there.into_iter().map(|position| position.0).collect(),
            ..Self::default()
        };
        for gap in gaps {
            match gap.reason.aggregate().cloned() {
                Some(id) => set.of_aggregates.entry(id).or_default().push(gap),
                None => set.of_all.push(gap),
            }
        }
        set
    }

    /// The reason why an event is purged; `None` when it is retained, as every change of an aggregate is.
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

    /// Returns `batch` without the purged events: their positions are skipped, with gaps, and with the marks that recovery needs. For a journal that
    /// compacts a part by writing it again.
    #[must_use]
    pub fn apply(&self, batch: &Batch) -> Batch {
        let mut purged = Purged::default();
        for gap in batch.gaps() {
            purged.add_gap(gap.clone());
        }
        let mut marks = batch.marks().iter().cloned().peekable();
        for event in batch.events() {
            while let Some(mark) = marks.next_if(|mark| mark.position < event.position()) {
                purged.latest.insert(mark.aggregate_id.clone(), mark);
            }
            purged.skip_to(batch, event.position());
            match self.reason(event) {
                Some(reason) => purged.leave_out(event, reason),
                None => purged.keep(event),
            }
        }
        purged
            .latest
            .extend(marks.map(|mark| (mark.aggregate_id.clone(), mark)));
        purged.finish(batch)
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

/// A batch without its purged events, while it is being made.
#[derive(Default)]
struct Purged {
    batch: Batch,
    gaps: HashMap<GapReason, Gap, foldhash::fast::RandomState>,
    /// The mark of the last dropped event of each aggregate, until an event needs it.
    latest: HashMap<Name, Mark, foldhash::fast::RandomState>,
    /// Marks that a later event needs: an event of the aggregate, or a system event about it.
    needed: Vec<Mark>,
}

impl Purged {
    fn add_gap(&mut self, gap: Gap) {
        match self.gaps.get_mut(&gap.reason) {
            Some(same) => same.merge(&gap),
            None => drop(self.gaps.insert(gap.reason.clone(), gap)),
        }
    }

    /// Skips the positions before `position` that have no event.
    fn skip_to(&mut self, of: &Batch, position: Position) {
        let next = match self.batch.last_position().0 {
            0 => of.first_position().0,
            last => last + 1,
        };
        if next < position.0 {
            self.batch.skip(Position(next), Position(position.0 - 1));
        }
    }

    fn leave_out(&mut self, event: EventRef<'_>, reason: GapReason) {
        let mark = Mark::new(event, reason.clone());
        self.batch.skip(event.position(), event.position());
        self.add_gap(Gap::at(event.position().0, reason));
        self.latest.insert(mark.aggregate_id.clone(), mark);
    }

    fn keep(&mut self, event: EventRef<'_>) {
        self.batch.push_ref(event);
        let id = event.aggregate_id();
        for stream in [id, system::target(id)] {
            self.needed.extend(self.latest.remove(stream));
        }
    }

    fn finish(mut self, of: &Batch) -> Batch {
        if !of.is_empty() {
            self.skip_to(of, Position(of.last_position().0 + 1));
        }
        self.needed.extend(self.latest.into_values());
        self.needed.sort_unstable_by_key(|mark| mark.position);
        for mark in self.needed {
            self.batch.push_mark(mark);
        }
        let mut gaps: Vec<_> = self.gaps.into_values().collect();
        gaps.sort_unstable_by_key(|gap| (gap.first, gap.last));
        for gap in gaps {
            self.batch.push_gap(gap);
        }
        self.batch
    }
}
