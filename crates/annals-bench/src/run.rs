//! One row, once: all phases from an empty store to the verdict.

use std::sync::Arc;
use std::time::Duration;

use annals::Position;

use crate::clock::{Clock, MonotonicClock};
use crate::crash::{Acks, Program, Recovery, Started, UNKILLABLE};
use crate::expiring::Expiring;
use crate::generate::{Events, Generator, PRELOAD, WARMUP};
use crate::job::Job;
use crate::load::recording::{Outcome, Times, Window};
use crate::load::worker::append_one;
use crate::load::{self, Entry, LoadError, Loaded, Recording, Setup, Span};
use crate::oracle::{self, Expiry, Rule, Verdict};
use crate::phase::report;
pub use crate::phase::{Phase, RunError, Watch};
use crate::readers::{Readers, Seen};
use crate::stoppable::Stoppable;
use crate::store::{Backend, Description, DurabilityClass, EventStore, StoreError, Usage};
use crate::trace::{self, Traced};
use crate::workload::{Mode, Workload};

/// A part of the warm-up, after which it is decided whether it goes on.
pub(crate) const WARMUP_PART: Duration = Duration::from_millis(100);
/// A part of the settling, after which it is seen whether the run goes on.
const SETTLE_PART: Duration = Duration::from_millis(50);
/// Parts of the warm-up that must be alike.
const STEADY_PARTS: usize = 3;
/// The allowed difference between the slowest and the fastest of them.
const STEADY_WITHIN: f64 = 0.10;
/// The part of the offered load that must be accepted.
pub const ACCEPTED_MIN: f64 = 0.95;
/// Events of a page of the replay.
const REPLAY_PAGE: usize = 1_000;

/// The result of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The measurements.
    pub loaded: Loaded,
    /// The result of the oracle.
    pub verdict: Verdict,
    /// The duration of each phase, in order.
    pub phases: Vec<(Phase, Duration)>,
    /// Whether the warm-up ended since the load was steady.
    pub is_steady: bool,
    /// Bytes of the store after the measured time.
    pub usage: Usage,
    /// Events in the store then.
    pub stored: u64,
    /// The time to read the whole log once.
    pub replay: Option<Duration>,
    /// The results of the readers beside the load, if any.
    pub seen: Option<Seen>,
    /// Acknowledged events that had expired and were removed; `None` if events do not expire.
    pub expired: Option<u64>,
    /// The numbers of traced events, if a goal requires it and the backend returns traces.
    pub traced: Option<Traced>,
    /// The state of the store, if its process was killed.
    pub recovery: Option<Recovery>,
}

impl Run {
    /// Whether less was accepted than was offered: fewer operations started within the measured time than were due, or too many failed.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
    pub fn is_overloaded(&self, mode: Mode) -> bool {
        let (taken, offered) = (self.loaded.recording.taken as f64, self.loaded.offered as f64);
        mode == Mode::Open && taken < offered * ACCEPTED_MIN
    }
}

/// Runs `row` once on `backend`.
///
/// # Errors
///
/// [`RunError`] if the store fails outside of the measured time, or a call does not return.
pub fn run(backend: &dyn Backend, row: &Workload, seed: u64, watch: Watch<'_>) -> Result<Run, RunError> {
    let clock = Arc::new(MonotonicClock::start());
    let mut phases = Phases::new(clock.as_ref());
    let of = |phase| move |error| RunError::Store { phase, error };
    report(watch, Phase::Provision, 0)?;
    backend.wipe().map_err(of(Phase::Provision))?;
    let setup = Setup {
        store: open(backend, row).map_err(of(Phase::Provision))?,
        generator: Arc::new(Generator::new(row, seed)),
        clock: Arc::<MonotonicClock>::clone(&clock),
    };
    phases.end(Phase::Provision);
    let run = run_open(&setup, backend, &mut phases, watch);
    // The store closes its files before they are removed.
    drop(setup);
    let wiped = backend.wipe().map_err(of(Phase::Drain));
    let run = run?;
    wiped?;
    Ok(run)
}

/// Opens the store for `row`, so that its events expire if they are to and can.
pub(crate) fn open(backend: &dyn Backend, row: &Workload) -> Result<Arc<dyn EventStore>, StoreError> {
    match row.time_to_live() {
        Some(age) => backend.open_expiring(age),
        None => backend.open(),
    }
}

fn run_open(setup: &Setup, backend: &dyn Backend, phases: &mut Phases<'_>, watch: Watch<'_>) -> Result<Run, RunError> {
    let description = &backend.description();
    let limits = setup.generator.workload().phases.clone();
    let mut entries = preload(setup, watch)?;
    phases.end(Phase::Load);
    settle(setup.clock.as_ref(), setup.generator.workload(), phases, watch)?;
    let readers = start_readers(setup, description)?;
    let expiring = Expiring::start(setup, backend)?;
    let (is_steady, warmed) = warm_up(setup, &mut entries, watch)?;
    phases.end(Phase::WarmUp);
    let span = Span {
        // From 0 on, however long the warm-up was: the seed alone decides the operations and the schedule.
        numbers: 0..setup
            .generator
            .workload()
            .operations_max()
            .saturating_sub(warmed)
            .max(1),
        time: Duration::from_millis(limits.measure_ms),
        drain: Duration::from_millis(limits.drain_ms),
    };
    report(watch, Phase::Measure, 0)?;
    let mut loaded = load_watched(setup, &span, &mut |done| watch(Phase::Measure, done))?;
    phases.end(Phase::Measure);
    entries.append(&mut loaded.entries);
    let seen = readers
        .map(|readers| readers.finish(setup, &mut entries, watch))
        .transpose()?;
    let expires = expiring.map(Expiring::finish).transpose()?.is_some();
    let measured = Measured {
        loaded,
        entries,
        seen: seen.flatten(),
        is_steady,
        expires,
    };
    conclude(setup, description, measured, phases, watch)
}

/// Measurements that are not verified yet.
pub(crate) struct Measured {
    pub(crate) loaded: Loaded,
    pub(crate) entries: Vec<Entry>,
    pub(crate) seen: Option<(Seen, Verdict)>,
    pub(crate) is_steady: bool,
    pub(crate) expires: bool,
}

/// Verifies the events of the store, and makes them durable.
pub(crate) fn conclude(
    setup: &Setup,
    backend: &Description,
    measured: Measured,
    phases: &mut Phases<'_>,
    watch: Watch<'_>,
) -> Result<Run, RunError> {
    let of = |phase| move |error| RunError::Store { phase, error };
    let mut entries = measured.entries;
    report(watch, Phase::Verify, 0)?;
    let usage = setup.store.usage();
    let store = Stoppable::new(setup.store.as_ref(), Phase::Verify, watch);
    let (replay, stored) = replay(setup.clock.as_ref(), &store, backend).map_err(|error| store.failure(error))?;
    let mut verdict = check(setup, &store, backend, measured.expires, &mut entries)?;
    // The oracle has sorted them.
    let traced = trace::trace(&setup.generator, &store, backend, &entries).map_err(|error| store.failure(error))?;
    let seen = measured.seen.map(|(seen, broken)| {
        verdict.merge(broken);
        seen
    });
    phases.end(Phase::Verify);
    report(watch, Phase::Drain, 0)?;
    setup.store.drain().map_err(of(Phase::Drain))?;
    phases.end(Phase::Drain);
    Ok(Run {
        loaded: measured.loaded,
        expired: measured.expires.then_some(verdict.expired),
        traced,
        verdict,
        phases: std::mem::take(&mut phases.ended),
        is_steady: measured.is_steady,
        usage,
        stored,
        replay,
        seen,
        recovery: None,
    })
}

/// Waits between the events before the load and the load itself.
pub(crate) fn settle(
    clock: &dyn Clock,
    workload: &Workload,
    phases: &mut Phases<'_>,
    watch: Watch<'_>,
) -> Result<(), RunError> {
    let end = clock.now() + Duration::from_millis(workload.phases.settle_ms);
    loop {
        report(watch, Phase::Settle, 0)?;
        let now = clock.now();
        if now >= end {
            break;
        }
        clock.wait_until(end.min(now + SETTLE_PART));
    }
    phases.end(Phase::Settle);
    Ok(())
}

/// Readers, unless there is no event that they could see.
pub(crate) fn start_readers(setup: &Setup, backend: &Description) -> Result<Option<Readers>, LoadError> {
    let is_wanted = backend.keeps_events && setup.generator.workload().readers.tails > 0;
    is_wanted.then(|| Readers::start(setup)).transpose()
}

/// Runs `row` once on `backend` in another process, kills that, and opens the store again.
///
/// # Errors
///
/// [`RunError`] if the process cannot be started, or the store cannot be opened again.
pub fn run_and_kill(
    backend: &dyn Backend,
    row: &Workload,
    seed: u64,
    program: &Program,
    watch: Watch<'_>,
) -> Result<Run, RunError> {
    let of = |phase| move |error| RunError::Store { phase, error };
    report(watch, Phase::Provision, 0)?;
    backend.wipe().map_err(of(Phase::Provision))?;
    // The earlier events of a server belong to its place.
    let place = backend.place().ok_or(UNKILLABLE).map_err(of(Phase::Provision))?;
    let run = run_killed(
        backend,
        row,
        seed,
        &mut |row, watch| {
            let job = Job {
                place: place.clone(),
                workload: row.clone(),
                seed,
                share: None,
            };
            let mut started = Started::start(program, &job)?;
            let time = Duration::from_millis(row.recover.clone().unwrap_or_default().kill_after_ms);
            let phase = |is_ready| if is_ready { Phase::Measure } else { Phase::Load };
            let acks = started.watch(time, &mut |is_ready, done| watch(phase(is_ready), done))?;
            acks.ok_or(RunError::Stopped)
        },
        watch,
    );
    let wiped = backend.wipe().map_err(of(Phase::Drain));
    let run = run?;
    wiped?;
    Ok(run)
}

/// Appends with `kill`, and checks the remaining events.
fn run_killed(
    backend: &dyn Backend,
    row: &Workload,
    seed: u64,
    kill: &mut dyn FnMut(&Workload, Watch<'_>) -> Result<Acks, RunError>,
    watch: Watch<'_>,
) -> Result<Run, RunError> {
    let of = |phase| move |error| RunError::Store { phase, error };
    // Before the other process begins: its times are earlier than those of the probe.
    let clock = Arc::new(MonotonicClock::start());
    let mut phases = Phases::new(clock.as_ref());
    let generator = Arc::new(Generator::new(row, seed));
    let mut entries = kill(row, watch)?.entries(&generator);
    phases.end(Phase::Measure);
    let loaded = loaded_of(&entries, &generator);
    let began = clock.now();
    let store = backend.open().map_err(of(Phase::Verify))?;
    let opened = clock.now().saturating_sub(began);
    let setup = Setup {
        store,
        generator,
        clock: Arc::<MonotonicClock>::clone(&clock),
    };
    report(watch, Phase::Verify, 0)?;
    let description = backend.description();
    let usage = setup.store.usage();
    let stoppable = Stoppable::new(setup.store.as_ref(), Phase::Verify, watch);
    let replayed = replay(setup.clock.as_ref(), &stoppable, &description);
    let (replay, stored) = replayed.map_err(|error| stoppable.failure(error))?;
    let mut verdict = check(&setup, &stoppable, &description, false, &mut entries)?;
    let lost = verdict.acknowledged.saturating_sub(verdict.found);
    if description.durability == DurabilityClass::Volatile {
        verdict.forgive(Rule::NothingLost);
    }
    phases.end(Phase::Verify);
    setup.store.drain().map_err(of(Phase::Drain))?;
    phases.end(Phase::Drain);
    Ok(Run {
        loaded,
        recovery: Some(Recovery {
            opened,
            acknowledged: verdict.acknowledged,
            lost,
        }),
        expired: None,
        traced: None,
        verdict,
        phases: std::mem::take(&mut phases.ended),
        is_steady: true,
        usage,
        stored,
        replay,
        seen: None,
    })
}

/// The load of a killed process, from its acknowledgements.
fn loaded_of(entries: &[Entry], generator: &Generator) -> Loaded {
    let acknowledged =
        |entry: &&Entry| entry.number & PRELOAD == 0 && matches!(entry.outcome, Outcome::Acknowledged(_));
    let of_load: Vec<&Entry> = entries.iter().filter(acknowledged).collect();
    let start = of_load.iter().map(|entry| entry.started).min().unwrap_or_default();
    let last = of_load.iter().map(|entry| entry.ended).max().unwrap_or_default();
    // The last one ended within the time.
    let window = Window {
        start,
        end: last + Duration::from_nanos(1),
    };
    let mut recording = Recording::default();
    for entry in &of_load {
        let times = Times {
            due: entry.started,
            ready: entry.started,
            started: entry.started,
            ended: entry.ended,
        };
        let operation = generator.operation(entry.number);
        let mut events = Events::default();
        events.fill(generator, &operation);
        recording.add(
            window,
            operation.kind,
            times,
            entry.outcome,
            (events.len() as u64, events.bytes()),
        );
    }
    Loaded {
        offered: recording.ended,
        censored: 0,
        is_limited: false,
        number: of_load.len() as u64,
        recording,
        entries: Vec::new(),
        time: window.length(),
    }
}

/// Probes and verifies.
fn check(
    setup: &Setup,
    store: &Stoppable<'_>,
    backend: &Description,
    expires: bool,
    entries: &mut Vec<Entry>,
) -> Result<Verdict, RunError> {
    if !backend.keeps_events {
        return Ok(Verdict::default());
    }
    let (probed, mut more) = oracle::probe(setup, backend)?;
    entries.append(&mut more);
    let age = setup.generator.workload().time_to_live().filter(|_| expires);
    let expiry = age.map(|age| Expiry {
        age: oracle::least_age(age),
        clock: setup.clock.as_ref(),
    });
    let verified = oracle::verify_expiring(store, backend, &setup.generator, entries, expiry);
    let mut verdict = verified.map_err(|error| store.failure(error))?;
    verdict.merge(probed);
    Ok(verdict)
}

/// Appends the events of the workload before the load.
pub(crate) fn preload(setup: &Setup, watch: Watch<'_>) -> Result<Vec<Entry>, RunError> {
    let mut entries = Vec::new();
    let mut events = Events::default();
    for index in 0..setup.generator.preloads() {
        if index.is_multiple_of(1_000) {
            report(watch, Phase::Load, index)?;
        }
        let (entry, error) = append_one(setup, &setup.generator.preload(index), &mut events);
        entries.push(entry);
        if let Some(error) = error {
            let phase = Phase::Load;
            return Err(RunError::Store { phase, error });
        }
    }
    Ok(entries)
}

/// Runs the load in parts until the last ones are alike, or the time is over. Returns whether they were, and the number of
/// operations.
fn warm_up(setup: &Setup, entries: &mut Vec<Entry>, watch: Watch<'_>) -> Result<(bool, u64), RunError> {
    let workload = setup.generator.workload();
    let mut left = workload.warmup();
    // Half of the operations are left to the measured time.
    let (mut number, end) = (0, workload.operations_max() / 2);
    let mut parts = Vec::new();
    while !left.is_zero() && number < end {
        report(watch, Phase::WarmUp, number)?;
        let time = left.min(WARMUP_PART);
        let span = Span {
            numbers: WARMUP | number..WARMUP | end,
            time,
            drain: Duration::ZERO,
        };
        let mut loaded = load_watched(setup, &span, &mut |done| watch(Phase::WarmUp, number + done))?;
        number = loaded.number & !WARMUP;
        entries.append(&mut loaded.entries);
        parts.push(loaded.rate());
        if is_steady(&parts) {
            return Ok((true, number));
        }
        left = left.saturating_sub(time);
    }
    Ok((false, number))
}

/// Runs a load. A run that was stopped is that first of all, even if a call hangs.
fn load_watched(setup: &Setup, span: &Span, watch: &mut dyn FnMut(u64) -> bool) -> Result<Loaded, RunError> {
    let mut goes_on = true;
    let loaded = load::run(setup, span, &mut |done| {
        goes_on &= watch(done);
        goes_on
    });
    if goes_on { Ok(loaded?) } else { Err(RunError::Stopped) }
}

/// Whether the last few of `rates` are alike.
pub(crate) fn is_steady(rates: &[f64]) -> bool {
    let Some(last) = rates.len().checked_sub(STEADY_PARTS).map(|start| &rates[start..]) else {
        return false;
    };
    let (min, max) = last
        .iter()
        .fold((f64::MAX, 0.0_f64), |(min, max), rate| (min.min(*rate), max.max(*rate)));
    max > 0.0 && min >= max * (1.0 - STEADY_WITHIN)
}

/// Reads the whole log once, and returns the duration and the number of events.
fn replay(
    clock: &dyn Clock,
    store: &dyn EventStore,
    backend: &Description,
) -> Result<(Option<Duration>, u64), StoreError> {
    if !backend.has_log || !backend.keeps_events {
        return Ok((None, 0));
    }
    let (started, mut after, mut events) = (clock.now(), Position(0), 0);
    loop {
        let (before, count) = (after, events);
        store.read_log(before, REPLAY_PAGE, &mut |event| {
            events += 1;
            after = event.position.unwrap_or(after).max(after);
        })?;
        if events == count || after <= before {
            return Ok((Some(clock.now().saturating_sub(started)), events));
        }
    }
}

/// The times of phases.
pub(crate) struct Phases<'a> {
    clock: &'a dyn Clock,
    began: Duration,
    ended: Vec<(Phase, Duration)>,
}

impl<'a> Phases<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self {
            began: clock.now(),
            clock,
            ended: Vec::new(),
        }
    }

    pub(crate) fn end(&mut self, phase: Phase) {
        let now = self.clock.now();
        self.ended.push((phase, now.saturating_sub(self.began)));
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_steady_when_three_parts_are_alike() {
        assert!(!is_steady(&[100.0, 100.0]));
        assert!(!is_steady(&[50.0, 100.0, 100.0]));
        assert!(is_steady(&[50.0, 100.0, 95.0, 91.0]));
        assert!(!is_steady(&[0.0, 0.0, 0.0]));
    }
}
