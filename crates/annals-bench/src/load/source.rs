//! Which operation is next, and when it is due: shared by all workers of a load.

use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::arrivals::Schedule;
use super::recording::Window;
use crate::generate::Generator;
use crate::workload::Mode;

/// The most operations that are counted after the load was given up.
const CENSORED_MAX: u64 = 1 << 32;

/// The part of a load that its workers share.
#[derive(Debug)]
pub(crate) struct Source {
    state: Mutex<State>,
    pub(crate) window: Window,
    /// An operation that has not started by now never does.
    cutoff: Duration,
    /// The number after the last one that may be done.
    number_end: u64,
    is_stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    number: u64,
    /// None in a closed loop.
    schedule: Option<Peekable<Schedule>>,
    censored: u64,
    is_limited: bool,
}

/// An operation that a worker has to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) number: u64,
    /// None in a closed loop: it is due when it starts.
    pub(crate) due: Option<Duration>,
}

/// The end of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The number after the last operation.
    pub(crate) number: u64,
    /// Operations that were due and never started.
    pub(crate) censored: u64,
    /// Whether the largest number of operations was reached.
    pub(crate) is_limited: bool,
}

impl Source {
    /// Operations from `numbers.start` on, at most up to `numbers.end`, that are due within `window`.
    pub(crate) fn new(generator: &Generator, numbers: std::ops::Range<u64>, window: Window, cutoff: Duration) -> Self {
        let load = &generator.workload().load;
        let schedule = Schedule::new(load, generator.seed() ^ numbers.start);
        Self {
            state: Mutex::new(State {
                number: numbers.start,
                schedule: (load.mode == Mode::Open).then(|| schedule.peekable()),
                censored: 0,
                is_limited: false,
            }),
            window,
            cutoff,
            number_end: numbers.end,
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Ends the load: no more operations start.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// The next operation for a worker that is free at `now`.
    pub(crate) fn claim(&self, now: Duration) -> Option<Claim> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return None;
        }
        let state = &mut *self.state.lock();
        let due = match &mut state.schedule {
            None if now >= self.window.end => return None,
            None => None,
            Some(schedule) => {
                let due = self.window.start.saturating_add(*schedule.peek()?);
                if due >= self.window.end {
                    return None;
                }
                if now > self.cutoff {
                    state.censor(self.window);
                    return None;
                }
                Some(due)
            }
        };
        if state.number >= self.number_end {
            state.is_limited = true;
            return None;
        }
        if let Some(schedule) = &mut state.schedule {
            schedule.next();
        }
        let number = state.number;
        state.number += 1;
        Some(Claim { number, due })
    }

    pub(crate) fn ended(&self) -> Ended {
        let state = self.state.lock();
        Ended {
            number: state.number,
            censored: state.censored,
            is_limited: state.is_limited,
        }
    }
}

impl State {
    /// Counts the operations that are still due within `window`, once.
    fn censor(&mut self, window: Window) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        while self.censored < CENSORED_MAX
            && schedule
                .next_if(|due| window.start.saturating_add(*due) < window.end)
                .is_some()
        {
            self.censored += 1;
        }
    }
}
