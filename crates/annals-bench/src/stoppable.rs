//! A store whose reads fail once the run is stopped, so that a long verification ends at the next page.

use std::time::Duration;

use annals::{Expected, Position, Version};
use parking_lot::Mutex;

use crate::clock::{Clock as _, MonotonicClock};
use crate::phase::{Phase, RunError, Watch};
use crate::store::{EventStore, Look, LookAtTrace, NewEvent, Question, Result, StoreError};

/// The shortest time between two questions: they are no part of what is measured.
const PAUSE: Duration = Duration::from_millis(20);

/// A store that asks `watch` before a call.
pub(crate) struct Stoppable<'a> {
    store: &'a dyn EventStore,
    phase: Phase,
    watch: Mutex<Asked<'a>>,
}

struct Asked<'a> {
    watch: Watch<'a>,
    clock: MonotonicClock,
    next: Duration,
    calls: u64,
    is_stopped: bool,
}

impl<'a> Stoppable<'a> {
    /// `store` in the phase `phase`.
    pub(crate) fn new(store: &'a dyn EventStore, phase: Phase, watch: Watch<'a>) -> Self {
        let watch = Mutex::new(Asked {
            watch,
            clock: MonotonicClock::start(),
            next: Duration::ZERO,
            calls: 0,
            is_stopped: false,
        });
        Self { store, phase, watch }
    }

    /// The error of a run one of whose calls failed with `error`.
    pub(crate) fn failure(&self, error: StoreError) -> RunError {
        if self.watch.lock().is_stopped {
            return RunError::Stopped;
        }
        let phase = self.phase;
        RunError::Store { phase, error }
    }

    fn ask(&self) -> Result<()> {
        let asked = &mut *self.watch.lock();
        asked.calls += 1;
        let now = asked.clock.now();
        if !asked.is_stopped && now >= asked.next {
            asked.next = now + PAUSE;
            asked.is_stopped = !(asked.watch)(self.phase, asked.calls);
        }
        if asked.is_stopped {
            return Err(StoreError::Failed("stopped".to_owned()));
        }
        Ok(())
    }
}

impl EventStore for Stoppable<'_> {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.ask()?;
        self.store.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.ask()?;
        self.store.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.ask()?;
        self.store.read_log(after, limit, look)
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        self.ask()?;
        self.store.query(question, look)
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        self.ask()?;
        self.store.read_traces(after, limit, look)
    }

    fn keeps_bytes(&self) -> bool {
        self.store.keeps_bytes()
    }

    fn expire(&self, age: Duration) -> Result<()> {
        self.store.expire(age)
    }

    fn drain(&self) -> Result<()> {
        self.store.drain()
    }
}
