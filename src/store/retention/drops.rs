//! The record of what was dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::retention::budget::DroppedRun;
use crate::store::retention::gaps::Gaps;
use crate::store::sync::Mutex;
use crate::{Gap, GapReason, Position};

/// What was dropped, and since when no read shows it.
#[derive(Debug, Default)]
pub(in crate::store) struct Drops {
    gaps: Mutex<Gaps>,
    /// Number of drops: the epoch of the caches.
    epoch: AtomicU64,
    /// Number of dropped events.
    events: AtomicU64,
    /// The epoch in which dropped events were last removed from the index.
    compacted: AtomicU64,
    /// Whether the recovered journal had positions without an event; they never count as drops here.
    has_skipped: AtomicBool,
}

impl Drops {
    /// Drops events and records them as a gap. The gaps are locked meanwhile, so a reader that misses an event finds the gap, and a fork
    /// has both or neither.
    pub(super) fn record(&self, reason: GapReason, drop: impl FnOnce() -> Option<DroppedRun>) {
        let mut gaps = self.gaps.lock();
        let Some(run) = drop() else { return };
        gaps.add(Gap {
            first: Position(run.first),
            last: Position(run.last),
            count: run.count,
            reason,
        });
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.events.fetch_add(run.count, Ordering::AcqRel);
    }

    /// Adds the gaps of a batch from the journal.
    pub(in crate::store) fn recover(&self, gaps: Vec<Gap>, has_skipped: bool) {
        let mut known = self.gaps.lock();
        for gap in gaps {
            known.add(gap);
        }
        self.has_skipped.fetch_or(has_skipped, Ordering::AcqRel);
    }

    /// The gaps that overlap the positions above `after`, up to `until`.
    pub(in crate::store) fn between(&self, after: u64, until: u64) -> Vec<Gap> {
        self.gaps.lock().between(after, until)
    }

    /// Number of drops until now. A cached result of another epoch is not used.
    pub(in crate::store) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Number of events that were dropped in this process.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Whether positions without an event may exist.
    pub(in crate::store) fn has_gaps(&self) -> bool {
        self.epoch() > 0 || self.has_skipped.load(Ordering::Acquire)
    }

    /// Whether the index may name dropped events.
    pub(in crate::store) fn are_indexed(&self) -> bool {
        self.epoch() != self.compacted()
    }

    /// Notes that the index names no event that was dropped before `epoch`.
    pub(super) fn note_compacted(&self, epoch: u64) {
        self.compacted.fetch_max(epoch, Ordering::AcqRel);
    }

    /// The epoch in which dropped events were last removed from the index.
    pub(in crate::store) fn compacted(&self) -> u64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// The record of a copy of the store, whose index is of the epoch `compacted`. The caller blocks all drops.
    pub(in crate::store) fn fork(&self, compacted: u64) -> Self {
        Self {
            gaps: Mutex::new(self.gaps.lock().clone()),
            epoch: AtomicU64::new(self.epoch()),
            events: AtomicU64::new(0),
            compacted: AtomicU64::new(compacted),
            has_skipped: AtomicBool::new(self.has_skipped.load(Ordering::Acquire)),
        }
    }
}
