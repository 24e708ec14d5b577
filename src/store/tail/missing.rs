//! The gaps of a tail: events that were dropped before it reached them.

use crate::store::log::positions::Log;
use crate::store::query::select::Bounds;
use crate::store::reader::EventReader;
use crate::store::tail::Tail;
use crate::{Event, Gap, GapReason, Position};

impl Tail {
    /// The events within the bounds that were dropped before delivery, as one gap. Called after the events were taken.
    pub(super) fn missing(&self, bounds: Bounds, delivered: &[Event]) -> Option<Gap> {
        let mut gaps = self.engine.retention.drops.between(bounds.after, bounds.until);
        // A tail that leaves out system events does not report dropped snapshots.
        gaps.retain(|gap| self.query.system || gap.reason != GapReason::Snapshot);
        let reason = match gaps.as_slice() {
            [] => return None,
            [gap] => gap.reason.clone(),
            _ => GapReason::Several,
        };
        let mut missing = Missing {
            log: &self.engine.core.log,
            view: EventReader::new(&self.engine.core),
            found: None,
        };
        let mut delivered = delivered.iter().map(|event| event.position().0).peekable();
        for (first, last) in runs(&gaps, bounds) {
            let mut next = first;
            while delivered.next_if(|position| *position < first).is_some() {}
            while let Some(position) = delivered.next_if(|position| *position <= last) {
                missing.look(next, position - 1);
                next = position + 1;
            }
            missing.look(next, last);
        }
        let (first, last, count) = missing.found?;
        Some(Gap {
            first: Position(first),
            last: Position(last),
            count,
            reason,
        })
    }
}

/// Counts the dropped events that were not delivered.
struct Missing<'a> {
    log: &'a Log,
    view: EventReader<'a>,
    /// The first position, the last, and the number of dropped events.
    found: Option<(u64, u64, u64)>,
}

impl Missing<'_> {
    /// Counts the dropped events in a range of the gaps. Reads only positions that may have an event and are above the floor.
    fn look(&mut self, first: u64, last: u64) {
        let mut next = first;
        for position in self.log.positions(first.max(self.log.floor() + 1), last) {
            if self.view.event(position).is_some() {
                self.add(next, position - 1);
                next = position + 1;
            }
        }
        self.add(next, last);
    }

    fn add(&mut self, first: u64, last: u64) {
        if first <= last {
            let (from, _, before) = self.found.unwrap_or((first, last, 0));
            self.found = Some((from, last, before + (last - first + 1)));
        }
    }
}

/// The positions of the gaps within bounds: first and last of each run, ascending and disjoint.
fn runs(gaps: &[Gap], bounds: Bounds) -> Vec<(u64, u64)> {
    let within = |gap: &Gap| (gap.first.0.max(bounds.after + 1), gap.last.0.min(bounds.until));
    let mut all: Vec<_> = gaps.iter().map(within).filter(|(first, last)| first <= last).collect();
    all.sort_unstable();
    all.dedup_by(|next, run| {
        let meets = next.0 <= run.1.saturating_add(1);
        if meets {
            run.1 = run.1.max(next.1);
        }
        meets
    });
    all
}
