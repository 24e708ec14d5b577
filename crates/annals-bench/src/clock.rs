//! The time of the harness: a trait, so that tests can verify the measurements.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A wait that is longer than this gives the processor away for all but this.
const SPIN: Duration = Duration::from_micros(80);

/// Monotonic time since an origin.
pub trait Clock: Send + Sync {
    /// The time since the origin.
    fn now(&self) -> Duration;

    /// Returns at `due`, or at once if it is over.
    fn wait_until(&self, due: Duration);
}

/// The monotonic clock of the operating system.
///
/// Not the cycle counter of the processor: counters differ between the processors of some machines, and stand still in others.
#[derive(Debug)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait_until(&self, due: Duration) {
        loop {
            let left = due.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            // A timer is late by up to a tenth of a millisecond, so the last part is spent looking at the clock.
            if left > SPIN {
                std::thread::park_timeout(left.saturating_sub(SPIN));
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// A clock that only moves when it is told to, with a time for each worker.
///
/// A simulation steps the worker whose time is the earliest: see [`simulate`](crate::load::simulate).
#[derive(Debug)]
pub struct VirtualClock(Mutex<Workers>);

#[derive(Debug)]
struct Workers {
    times: Vec<Duration>,
    current: usize,
}

impl VirtualClock {
    /// A clock for `workers` workers, all at time zero.
    pub fn new(workers: usize) -> Self {
        Self(Mutex::new(Workers {
            times: vec![Duration::ZERO; workers.max(1)],
            current: 0,
        }))
    }

    /// Lets `duration` pass for the current worker.
    pub fn advance(&self, duration: Duration) {
        let workers = &mut *self.0.lock();
        if let Some(time) = workers.times.get_mut(workers.current) {
            *time += duration;
        }
    }

    /// Makes the earliest of the workers in `running` the current one, and returns its number.
    pub(crate) fn turn_to_earliest(&self, running: &[bool]) -> Option<usize> {
        let workers = &mut *self.0.lock();
        let runs = |index: &usize| running.get(*index).copied().unwrap_or(false);
        let earliest = (0..workers.times.len())
            .filter(runs)
            .min_by_key(|index| workers.times[*index])?;
        workers.current = earliest;
        Some(earliest)
    }

    /// Sets all workers to the time of the latest.
    pub(crate) fn meet(&self) {
        let workers = &mut *self.0.lock();
        let latest = workers.times.iter().max().copied().unwrap_or_default();
        workers.times.fill(latest);
        workers.current = 0;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        let workers = self.0.lock();
        workers.times.get(workers.current).copied().unwrap_or_default()
    }

    fn wait_until(&self, due: Duration) {
        let workers = &mut *self.0.lock();
        if let Some(time) = workers.times.get_mut(workers.current) {
            *time = (*time).max(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ended_early() {
        let clock = MonotonicClock::start();
        for micros in [0, 50, 200, 2_000] {
            let due = clock.now() + Duration::from_micros(micros);
            clock.wait_until(due);
            assert!(clock.now() >= due);
        }
    }

    #[test]
    fn each_virtual_worker_has_its_own_time() {
        let clock = VirtualClock::new(2);
        clock.advance(Duration::from_millis(3));
        assert_eq!(clock.turn_to_earliest(&[true, true]), Some(1));
        clock.wait_until(Duration::from_millis(5));
        clock.wait_until(Duration::from_millis(4));
        assert_eq!(clock.now(), Duration::from_millis(5));
        assert_eq!(clock.turn_to_earliest(&[true, true]), Some(0));
        assert_eq!(clock.now(), Duration::from_millis(3));
        assert_eq!(clock.turn_to_earliest(&[false, false]), None);
        clock.meet();
        assert_eq!(clock.now(), Duration::from_millis(5));
    }
}
