//! A worker: claims an operation, waits until it is due, does it, and records it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{Expected, Position, Version};

use super::Setup;
use super::recording::{Entry, Outcome, Recording, Times};
use super::source::Source;
use crate::generate::{Events, Operation};
use crate::store::{Result, StoreError, StoredEvent};
use crate::workload::Kind;

/// One thread of a load, or its place in a simulation.
#[derive(Debug)]
pub(crate) struct Worker {
    setup: Setup,
    source: Arc<Source>,
    events: Events,
    /// The start of the next page of the log.
    cursor: Position,
    /// Operations so far, for the progress.
    done: Arc<AtomicU64>,
    /// How much earlier the worker would be free if its last wait had ended in time.
    late: Duration,
    pub(crate) recording: Recording,
    pub(crate) entries: Vec<Entry>,
}

impl Worker {
    pub(crate) fn new(setup: &Setup, source: &Arc<Source>, done: Arc<AtomicU64>) -> Self {
        Self {
            setup: setup.clone(),
            source: Arc::clone(source),
            events: Events::default(),
            cursor: Position(0),
            done,
            late: Duration::ZERO,
            recording: Recording::default(),
            entries: Vec::new(),
        }
    }

    /// Runs one operation; false after the last one.
    pub(crate) fn step(&mut self) -> bool {
        let clock = Arc::clone(&self.setup.clock);
        let ready = clock.now();
        let Some(claim) = self.source.claim(ready) else {
            return false;
        };
        // Made before it is due: making it is no part of its times.
        let operation = self.setup.generator.operation(claim.number);
        if operation.kind.appends() {
            self.events.fill(&self.setup.generator, &operation);
        }
        if let Some(due) = claim.due {
            clock.wait_until(due);
        }
        let started = clock.now();
        let due = claim.due.unwrap_or(started);
        self.late = lateness(self.late, due, ready, started);
        let (outcome, expected) = self.perform(&operation);
        let times = Times {
            due,
            ready: ready.saturating_sub(self.late),
            started,
            ended: clock.now(),
        };
        self.record(&operation, times, outcome, expected);
        true
    }

    fn record(&mut self, operation: &Operation, times: Times, outcome: Outcome, expected: Expected) {
        let events = if operation.kind.appends() {
            self.events.len() as u64
        } else {
            0
        };
        let size = (events, if events == 0 { 0 } else { self.events.bytes() });
        self.recording
            .add(self.source.window, operation.kind, times, outcome, size);
        self.done.store(self.recording.ended, Ordering::Relaxed);
        if operation.kind.appends() {
            self.entries.push(Entry {
                number: operation.number,
                expected,
                started: times.started,
                ended: times.ended,
                outcome,
            });
        }
    }

    /// Does it, and returns the condition of the append too.
    fn perform(&mut self, operation: &Operation) -> (Outcome, Expected) {
        if operation.kind.appends() {
            let expected = match operation.kind {
                Kind::Cycle => match self.version_of(&operation.stream) {
                    Ok(version) => Expected::Exactly(version),
                    Err(error) => return (self.failed(&error), Expected::Any),
                },
                Kind::Append
                | Kind::Create
                | Kind::Load
                | Kind::LoadTail
                | Kind::CatchUp
                | Kind::ByType
                | Kind::ByCorrelation
                | Kind::ByDay => operation.expected,
            };
            return (self.append(operation, expected), expected);
        }
        let outcome = match self.read(operation) {
            Ok(()) => Outcome::Read,
            Err(error) => self.failed(&error),
        };
        (outcome, Expected::Any)
    }

    fn append(&mut self, operation: &Operation, expected: Expected) -> Outcome {
        let appended = self
            .setup
            .store
            .append(&operation.stream, expected, &self.events.list());
        match appended {
            Ok(version) => Outcome::Acknowledged(version),
            Err(StoreError::Conflict) => Outcome::Refused,
            Err(error @ (StoreError::Unsupported(_) | StoreError::Failed(_))) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &StoreError) -> Outcome {
        self.recording.note(error);
        Outcome::Failed
    }

    /// Reads a stream as a command does, and returns its version.
    fn version_of(&self, stream: &str) -> Result<Version> {
        let mut version = Version(0);
        let mut look = |event: StoredEvent<'_>| version = read(&event).max(version);
        self.setup.store.read_stream(stream, Version(0), &mut look)?;
        Ok(version)
    }

    fn read(&mut self, operation: &Operation) -> Result<()> {
        let (store, generator) = (&self.setup.store, &self.setup.generator);
        let mut count = 0_usize;
        let mut last = None;
        let mut look = |event: StoredEvent<'_>| {
            read(&event);
            count += 1;
            last = event.position;
        };
        match operation.kind {
            Kind::LoadTail => store.read_stream(&operation.stream, generator.tail_after(), &mut look),
            Kind::CatchUp => {
                let limit = generator.workload().read.limit;
                store.read_log(self.cursor, limit, &mut look)?;
                // At the end, from the beginning again: a reader that waits would measure the writers.
                self.cursor = last.filter(|_| count == limit).unwrap_or(Position(0));
                Ok(())
            }
            Kind::ByType | Kind::ByCorrelation | Kind::ByDay => {
                store.query(&generator.question(operation.kind, operation.number), &mut look)
            }
            Kind::Load | Kind::Append | Kind::Create | Kind::Cycle => {
                store.read_stream(&operation.stream, Version(0), &mut look)
            }
        }
    }
}

/// How late a worker is, whose last wait ended `late` too late. A coarse timer, or a machine that was suspended, delays the operation that waits,
/// and all that are due meanwhile: they find a worker that is busy, but only since the harness was late.
fn lateness(late: Duration, due: Duration, ready: Duration, started: Duration) -> Duration {
    if due > ready {
        started.saturating_sub(due)
    } else {
        late.min(ready.saturating_sub(due))
    }
}

/// Looks at an event as far as a program does that folds it.
fn read(event: &StoredEvent<'_>) -> Version {
    std::hint::black_box(event.data.len());
    event.version
}

/// Appends the events of `operation`, and returns its entry of the ledger.
pub(crate) fn append_one(setup: &Setup, operation: &Operation, events: &mut Events) -> (Entry, Option<StoreError>) {
    events.fill(&setup.generator, operation);
    let started = setup.clock.now();
    let appended = setup
        .store
        .append(&operation.stream, operation.expected, &events.list());
    let (outcome, error) = match appended {
        Ok(version) => (Outcome::Acknowledged(version), None),
        Err(StoreError::Conflict) => (Outcome::Refused, Some(StoreError::Conflict)),
        Err(error @ (StoreError::Unsupported(_) | StoreError::Failed(_))) => (Outcome::Failed, Some(error)),
    };
    let entry = Entry {
        number: operation.number,
        expected: operation.expected,
        started,
        ended: setup.clock.now(),
        outcome,
    };
    (entry, error)
}

/// The time that a worker may take for one call after the load has ended.
pub(crate) const HANG: Duration = Duration::from_secs(60);
