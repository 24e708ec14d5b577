//! The record of a load: times by operation, counts, and acknowledgements.

use std::time::Duration;

use annals::{Expected, Version};
use serde::{Deserialize, Serialize};

use super::samples::Samples;
use crate::store::StoreError;
use crate::workload::Kind;

/// Parts of the measured time in the record over time.
pub(crate) const SLOTS: usize = 20;

/// The times of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it was to start.
    pub(crate) due: Duration,
    /// When its worker was free, or would have been if the harness had not been late.
    pub(crate) ready: Duration,
    /// When it started.
    pub(crate) started: Duration,
    /// When it ended.
    pub(crate) ended: Duration,
}

/// The result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A read is done.
    Read,
    /// An append is acknowledged; its first event has this version.
    Acknowledged(Version),
    /// An append was rejected, and nothing was written.
    Refused,
    /// A call failed: an append may be stored or not.
    Failed,
}

/// The known state of an append.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The number of its operation.
    pub(crate) number: u64,
    /// The condition that it was sent with.
    pub(crate) expected: Expected,
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

/// The times of one kind of operations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KindTimes {
    /// From the start to the end.
    pub service: Samples,
    /// From the time at which it was due to the end.
    pub response: Samples,
    /// Operations that failed.
    pub failed: u64,
}

/// A part of the measured time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Slot {
    /// Operations that ended.
    pub operations: u64,
    /// Events that were acknowledged.
    pub events: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Response times of operations that ended without a failure.
    pub response: Samples,
}

/// The records of the workers of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recording {
    kinds: Vec<KindTimes>,
    /// From the time at which an operation was due to its start.
    pub wait: Samples,
    /// The part of the wait for which a worker was free, or would have been in time: the harness was late.
    pub lag: Samples,
    /// The measured time in parts.
    pub slots: Vec<Slot>,
    /// Operations that ended without a failure within the measured time.
    pub accepted: u64,
    /// Operations that started within the measured time, and ended without a failure at any time: the load that was taken.
    pub taken: u64,
    /// Operations that ended, at any time.
    pub ended: u64,
    /// Events that were acknowledged within the measured time.
    pub events: u64,
    /// Bytes of these events.
    pub bytes: u64,
    /// Appends that were refused since their stream was not as expected.
    pub conflicts: u64,
    /// Operations that failed.
    pub failed: u64,
    /// The reason of the first failure.
    pub failure: Option<String>,
    /// When the last one ended.
    pub(crate) last_end: Duration,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            kinds: vec![KindTimes::default(); Kind::ALL.len()],
            wait: Samples::default(),
            lag: Samples::default(),
            slots: vec![Slot::default(); SLOTS],
            accepted: 0,
            taken: 0,
            ended: 0,
            events: 0,
            bytes: 0,
            conflicts: 0,
            failed: 0,
            failure: None,
            last_end: Duration::ZERO,
        }
    }
}

/// The measured time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl Window {
    pub(crate) fn length(self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    fn slot(self, time: Duration) -> Option<usize> {
        if time < self.start || time >= self.end {
            return None;
        }
        let part = time.saturating_sub(self.start).as_secs_f64() / self.length().as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a small number that is not negative"
        )]
        let slot = (part * SLOTS as f64) as usize;
        Some(slot.min(SLOTS - 1))
    }
}

impl Recording {
    /// The times of one kind.
    pub fn kind(&self, kind: Kind) -> &KindTimes {
        &self.kinds[kind as usize]
    }

    /// The times of all kinds together.
    pub fn all(&self) -> KindTimes {
        let mut all = KindTimes::default();
        for times in &self.kinds {
            all.service.add(&times.service);
            all.response.add(&times.response);
            all.failed += times.failed;
        }
        all
    }

    /// Adds an operation that appended `size` events and bytes, if it appended.
    pub(crate) fn add(&mut self, window: Window, kind: Kind, times: Times, outcome: Outcome, size: (u64, u64)) {
        // Times of a monotonic clock: a difference that is negative is none.
        let response = times.ended.saturating_sub(times.due);
        let free = times.due.max(times.ready);
        self.wait.record(times.started.saturating_sub(times.due));
        self.lag.record(times.started.saturating_sub(free));
        let has_failed = outcome == Outcome::Failed;
        let of_kind = &mut self.kinds[kind as usize];
        if has_failed {
            of_kind.failed += 1;
        } else {
            of_kind.service.record(times.ended.saturating_sub(times.started));
            of_kind.response.record(response);
        }
        self.ended += 1;
        self.failed += u64::from(has_failed);
        self.taken += u64::from(!has_failed && times.started < window.end);
        self.conflicts += u64::from(outcome == Outcome::Refused);
        self.last_end = self.last_end.max(times.ended);
        let Some(slot) = window.slot(times.ended).and_then(|slot| self.slots.get_mut(slot)) else {
            return;
        };
        let (events, bytes) = if matches!(outcome, Outcome::Acknowledged(_)) {
            size
        } else {
            (0, 0)
        };
        slot.operations += 1;
        slot.events += events;
        slot.failed += u64::from(has_failed);
        if !has_failed {
            slot.response.record(response);
        }
        self.accepted += u64::from(!has_failed);
        self.events += events;
        self.bytes += bytes;
    }

    /// Remembers why an operation failed, if it is the first.
    pub(crate) fn note(&mut self, error: &StoreError) {
        if self.failure.is_none() {
            self.failure = Some(error.to_string());
        }
    }

    /// Adds the record of another worker.
    pub(crate) fn merge(&mut self, other: Self) {
        for (own, others) in self.kinds.iter_mut().zip(&other.kinds) {
            own.service.add(&others.service);
            own.response.add(&others.response);
            own.failed += others.failed;
        }
        self.wait.add(&other.wait);
        self.lag.add(&other.lag);
        for (own, others) in self.slots.iter_mut().zip(&other.slots) {
            own.operations += others.operations;
            own.events += others.events;
            own.failed += others.failed;
            own.response.add(&others.response);
        }
        self.accepted += other.accepted;
        self.taken += other.taken;
        self.ended += other.ended;
        self.events += other.events;
        self.bytes += other.bytes;
        self.conflicts += other.conflicts;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.last_end = self.last_end.max(other.last_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn added(times: Times, outcome: Outcome) -> Recording {
        let mut recording = Recording::default();
        let window = Window {
            start: SECOND,
            end: 2 * SECOND,
        };
        recording.add(window, Kind::Append, times, outcome, (3, 300));
        recording
    }

    #[test]
    fn the_times_of_failed_operations_were_in_the_percentiles_over_time() {
        let times = Times {
            due: SECOND,
            ready: SECOND,
            started: SECOND,
            ended: SECOND + SECOND / 4,
        };
        let failed = added(times, Outcome::Failed);
        let slot = &failed.slots[SLOTS / 4];
        assert_eq!((slot.operations, slot.failed, slot.response.count()), (1, 1, 0));
        assert_eq!(added(times, Outcome::Read).slots[SLOTS / 4].response.count(), 1);
    }

    #[test]
    fn a_clock_that_went_back_made_a_time_of_584_years() {
        let times = Times {
            due: SECOND,
            ready: SECOND,
            started: SECOND,
            ended: SECOND / 2,
        };
        let recording = added(times, Outcome::Read);
        let all = recording.all();
        assert_eq!(
            (all.service.max(), all.response.max(), recording.wait.max()),
            Default::default()
        );
    }

    #[test]
    fn an_event_that_was_acknowledged_after_the_time_was_counted_in_its_rate() {
        let times = Times {
            due: SECOND,
            ready: SECOND,
            started: SECOND + SECOND / 2,
            ended: 3 * SECOND,
        };
        let late = added(times, Outcome::Acknowledged(Version(1)));
        assert_eq!((late.events, late.accepted, late.taken, late.ended), (0, 0, 1, 1));
        assert_eq!(late.all().response.max(), 2 * SECOND);
        let ended = SECOND + SECOND / 2;
        let in_time = added(Times { ended, ..times }, Outcome::Acknowledged(Version(1)));
        assert_eq!((in_time.events, in_time.bytes, in_time.accepted), (3, 300, 1));
        assert_eq!((in_time.wait.max(), in_time.lag.max()), (SECOND / 2, SECOND / 2));
        assert_eq!(in_time.slots[SLOTS / 2].events, 3);
    }
}
