//! Events that expire while the load goes on.

#[cfg(feature = "redis")]
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::load::worker::HANG;
use crate::load::{LoadError, Setup};
use crate::phase::{Phase, RunError};
use crate::store::{Backend, EventStore, Result};

/// Number of expiries in the time to live of an event.
const ASKED: u32 = 20;
/// The shortest pause between two expiries.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// A thread that periodically removes expired events from a store. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Expiring {
    stop: Sender<()>,
    done: Receiver<Result<()>>,
}

impl Expiring {
    /// Starts it, if the events of the workload expire and those of the backend can.
    pub(crate) fn start(setup: &Setup, backend: &dyn Backend) -> Result<Option<Self>, LoadError> {
        let age = setup.generator.workload().time_to_live();
        let Some(age) = age.filter(|_| backend.expires()) else {
            return Ok(None);
        };
        let (stop, stopped) = bounded(0);
        let (send, done) = bounded(1);
        let store = Arc::clone(&setup.store);
        // A run that has given up does not listen any more.
        let work = move || drop(send.send(expire(store.as_ref(), age, &stopped)));
        let thread = std::thread::Builder::new().name("expiring".to_owned()).spawn(work);
        thread.map_err(|error| LoadError::Thread(error.to_string()))?;
        Ok(Some(Self { stop, done }))
    }

    /// Ends it, after the store was asked once more.
    pub(crate) fn finish(self) -> Result<(), RunError> {
        drop(self.stop);
        let done = self.done.recv_timeout(HANG).map_err(|error| match error {
            RecvTimeoutError::Timeout => LoadError::Hangs,
            RecvTimeoutError::Disconnected => LoadError::Panicked,
        })?;
        done.map_err(|error| RunError::Store {
            phase: Phase::Measure,
            error,
        })
    }
}

fn expire(store: &dyn EventStore, age: Duration, stopped: &Receiver<()>) -> Result<()> {
    let pause = (age / ASKED).max(PAUSE_MIN);
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        store.expire(age)?;
    }
    store.expire(age)
}

/// The end of a store's log at points in time, for positions that contain no time.
#[cfg(feature = "redis")]
pub(crate) struct Ends {
    clock: crate::clock::MonotonicClock,
    noted: parking_lot::Mutex<VecDeque<(Duration, u64)>>,
}

#[cfg(feature = "redis")]
impl Ends {
    pub(crate) fn new() -> Self {
        Self {
            clock: crate::clock::MonotonicClock::start(),
            noted: parking_lot::Mutex::default(),
        }
    }

    /// The last position that was appended longer than `age` ago, of those that were noted. Notes that the log ends at `end` now.
    pub(crate) fn expired(&self, age: Duration, end: u64) -> Option<u64> {
        let mut noted = self.noted.lock();
        let now = crate::clock::Clock::now(&self.clock);
        noted.push_back((now, end));
        let mut last = None;
        while noted.front().is_some_and(|(at, _)| *at + age <= now) {
            last = noted.pop_front().map(|(_, end)| end);
        }
        last
    }
}
