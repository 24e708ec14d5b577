//! Reads a store in batches, and notices the events that it has dropped.

use std::ops::ControlFlow;

use super::walk::Walk;
use super::{ChainEntry, VerifyError};
use crate::{Gap, GapReason, Position, Store};

/// Events read between two reports of progress.
const BATCH: usize = 16 * 1_024;

/// Called with the last position that was read, and the last one to read.
pub(super) type Progress<'a> = dyn FnMut(Position, Position) -> ControlFlow<()> + 'a;

/// Feeds the visible events after the last one seen, up to `until`, to `walk`. With `must_see_all`, a dropped event that no anchor has is a fault.
pub(super) fn feed(
    store: &Store,
    walk: &mut Walk,
    until: Position,
    must_see_all: bool,
    progress: &mut Progress<'_>,
) -> Result<(), VerifyError> {
    if must_see_all {
        walk.forget_present(|position| store.event_at(position).is_some());
    }
    loop {
        let after = walk.seen;
        let mut batch = Batch::new(walk);
        let read = store
            .read_all()
            .include_system()
            .after(Position(after))
            .as_of(until)
            .limit(BATCH);
        let taken = read.fold(Ok(0), |taken: Result<usize, VerifyError>, event| {
            let taken = taken?;
            batch.take(&ChainEntry::from(event))?;
            Ok(taken + 1)
        })?;
        let is_end = taken < BATCH;
        if is_end {
            batch.note_hole(until.0);
        }
        let holes = batch.holes;
        if must_see_all && let Some(gap) = crossed(store, walk, &holes) {
            return Err(VerifyError::Crossed {
                after: Position(after),
                gap,
            });
        }
        if is_end {
            return Ok(());
        }
        if progress(Position(walk.seen), until).is_break() {
            return Err(VerifyError::Stopped {
                after: Position(walk.seen),
            });
        }
    }
}

/// Positions between two events: the first and the last one.
type Hole = (u64, u64);

struct Batch<'a> {
    walk: &'a mut Walk,
    holes: Vec<Hole>,
}

impl<'a> Batch<'a> {
    fn new(walk: &'a mut Walk) -> Self {
        Self {
            walk,
            holes: Vec::new(),
        }
    }

    #[inline]
    fn take(&mut self, entry: &ChainEntry<'_>) -> Result<(), VerifyError> {
        self.note_hole(entry.position.0 - 1);
        self.walk.take(entry)
    }

    #[inline]
    fn note_hole(&mut self, last: u64) {
        if self.walk.seen < last {
            self.holes.push((self.walk.seen + 1, last));
        }
    }
}

/// The first gap with events that were dropped where the log has holes, other than snapshots. Gaps of one reason are merged, so a hole within one
/// counts as dropped.
fn crossed(store: &Store, walk: &Walk, holes: &[Hole]) -> Option<Gap> {
    if holes.is_empty() {
        return None;
    }
    let is_crossed = |gap: &Gap| {
        let meets = |hole: &Hole| gap.first.0 <= hole.1 && hole.0 <= gap.last.0;
        gap.reason != GapReason::Snapshot && holes.iter().any(meets) && !walk.has_gap(gap)
    };
    store.gaps().into_iter().find(is_crossed)
}
