//! What is dropped later: events that reach an age, and events past a limit that readers still see.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::store::sync::Mutex;
use crate::{Name, Timestamp};

/// Events of a stream that are dropped once readers see the event at a position.
#[derive(Debug)]
pub(in crate::store) struct LateLimit {
    position: u64,
    pub(in crate::store) aggregate: Name,
    /// The version up to which they are dropped.
    pub(in crate::store) to: u32,
}

/// When events are dropped next. Times are microseconds since 1970.
#[derive(Debug)]
pub(in crate::store) struct Due {
    /// When the next event expires; `i64::MAX` for never.
    next: AtomicI64,
    /// When streams with an age limit next have expired events.
    streams: Mutex<BinaryHeap<Reverse<(i64, Name)>>>,
    late_limits: Mutex<Vec<LateLimit>>,
}

impl Default for Due {
    fn default() -> Self {
        Self {
            next: AtomicI64::new(i64::MAX),
            streams: Mutex::default(),
            late_limits: Mutex::default(),
        }
    }
}

impl Due {
    /// When the next event expires; `i64::MAX` for never.
    #[inline]
    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Acquire)
    }

    /// Notes that an event expires at `at`.
    pub(in crate::store) fn note(&self, at: i64) {
        self.next.fetch_min(at, Ordering::AcqRel);
    }

    /// Notes that an event of a stream expires at `at`.
    pub(super) fn note_stream(&self, at: i64, aggregate: Name) {
        self.streams.lock().push(Reverse((at, aggregate)));
        self.note(at);
    }

    /// Takes the streams that have expired events at `now`, each with the time that was noted.
    pub(super) fn take_streams(&self, now: Timestamp) -> Vec<(i64, Name)> {
        let mut streams = self.streams.lock();
        let mut due = Vec::new();
        while streams.peek().is_some_and(|Reverse((at, _))| *at <= now.as_micros()) {
            due.extend(streams.pop().map(|Reverse(entry)| entry));
        }
        due
    }

    /// Replaces the time `seen`, after everything due then was dropped, by that of the next stream or `next_of_log`. An earlier time that
    /// another thread has noted meanwhile remains: the next reader checks again.
    pub(super) fn replace(&self, seen: i64, next_of_log: i64) {
        let streams = self.streams.lock();
        let next = streams.peek().map_or(i64::MAX, |Reverse((at, _))| *at).min(next_of_log);
        let _noted_meanwhile = self
            .next
            .compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Notes that the events of an aggregate up to version `to` are dropped when readers see the event at `position`.
    pub(super) fn note_limit(&self, position: u64, aggregate: Name, to: u32) {
        self.late_limits.lock().push(LateLimit {
            position,
            aggregate,
            to,
        });
    }

    /// Takes the limits that waited for positions up to `visible`.
    pub(super) fn take_limits(&self, visible: u64) -> Vec<LateLimit> {
        let mut late = self.late_limits.lock();
        late.extract_if(.., |limit| limit.position <= visible).collect()
    }

    /// What is due in a copy of the store, in which readers see every event.
    pub(in crate::store) fn fork(&self) -> Self {
        Self {
            next: AtomicI64::new(self.next()),
            streams: Mutex::new(self.streams.lock().clone()),
            late_limits: Mutex::default(),
        }
    }
}
