//! A load that several processes share: each does a part of the operations, all within the same time.
//!
//! The processes are children of this one. Their clocks have other origins: before the load, each is asked for its time, and the fastest answer bounds the difference. An
//! append is taken to have begun as early and ended as late as that allows, so that the oracle accuses no backend of an order that is not certain.

use std::io::{BufRead, BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Version};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use serde::{Deserialize, Serialize};

use crate::backends;
use crate::clock::{Clock, MonotonicClock};
use crate::crash::{Program, Started, UNKILLABLE};
use crate::expiring::Expiring;
use crate::generate::{Generator, WARMUP};
use crate::job::{ChildError, Job, Output, READY, Share, report_line, wrong};
use crate::load::recording::Outcome;
use crate::load::worker::HANG;
use crate::load::{self, Entry, LoadError, Loaded, Recording, Setup, Span};
use crate::phase::{Phase, RunError, Watch, report};
use crate::readers::Readers;
use crate::run::{Measured, Phases, Run, WARMUP_PART, conclude, is_steady, preload};
use crate::run::{open, settle, start_readers};
use crate::store::Backend;
use crate::workload::Workload;

/// Number of times that the clock of a process is read.
const ASKED: u32 = 20;
/// From the last answer to the start of the load: longer than it takes to tell all processes.
const AHEAD: Duration = Duration::from_millis(50);
/// The interval at which a process checks whether the run was stopped.
const TICK: Duration = Duration::from_millis(50);
/// The first word of a line, which is its kind.
const TIME: &str = "time";
const START: &str = "start";
const ENTRY: &str = "entry";
const DONE: &str = "done";

/// The result of a process, without its appends.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    recording: Recording,
    offered: u64,
    censored: u64,
    is_limited: bool,
    number: u64,
    time: Duration,
    /// Operations a second in each part of the warm-up.
    rates: Vec<f64>,
}

/// Appends the part of the load that `job` describes, started by a line of `input`, and reports to `output`.
///
/// # Errors
///
/// [`ChildError`] if the store cannot be opened, or the load fails.
pub(crate) fn append(
    job: Job,
    share: Share,
    input: impl BufRead + Send + 'static,
    output: &Output,
) -> Result<(), ChildError> {
    let backend = backends::named(&job.place.name, &job.place.data).map_err(|error| wrong(&error))?;
    let clock = Arc::new(MonotonicClock::start());
    let mut workload = job.workload;
    // Random arrivals of several sources are random arrivals of their rates together.
    workload.load.rate /= f64::from(share.of);
    let setup = Setup {
        store: backend.open_shared().map_err(|error| wrong(&error))?,
        generator: Arc::new(Generator::new(&workload, job.seed)),
        clock: Arc::<MonotonicClock>::clone(&clock),
    };
    let orders = orders(input)?;
    report_line(output, READY);
    let start = loop {
        let order = orders.recv().map_err(|error| wrong(&error))?;
        match order.split_once(' ') {
            Some((START, nanos)) => break nanos.parse().map(Duration::from_nanos).map_err(|error| wrong(&error))?,
            Some(_) | None => report_line(output, &format!("{TIME} {}", clock.now().as_nanos())),
        }
    };
    // No order comes any more: the input ends with the process that started this one.
    let goes_on = || orders.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Timeout);
    let (done, entries) = load_share(&setup, share, start, &goes_on).map_err(|error| wrong(&error))?;
    tell(output, &done, &entries).map_err(|error| wrong(&error))
}

/// The lines of `input`, until it ends.
fn orders(input: impl BufRead + Send + 'static) -> Result<Receiver<String>, ChildError> {
    let (send, receive) = unbounded();
    let read = move || {
        let lines = input.lines().map_while(Result::ok);
        lines.for_each(|line| drop(send.send(line)));
    };
    let thread = std::thread::Builder::new().name("orders".to_owned()).spawn(read);
    thread.map_err(|error| wrong(&error))?;
    Ok(receive)
}

/// Runs the part `share` of the load, whose warm-up starts at `start`.
fn load_share(
    setup: &Setup,
    share: Share,
    start: Duration,
    goes_on: &dyn Fn() -> bool,
) -> Result<(Done, Vec<Entry>), LoadError> {
    let workload = setup.generator.workload();
    let size = (workload.operations_max() / u64::from(share.of)).max(2);
    let first = size * u64::from(share.index);
    let measured_from = start + workload.warmup();
    // Half of the operations are left to the measured time.
    let (mut number, end) = (first, first + size / 2);
    let (mut at, mut rates, mut entries) = (start, Vec::new(), Vec::new());
    setup.clock.wait_until(start);
    while at < measured_from && number < end && goes_on() {
        let span = Span {
            numbers: WARMUP | number..WARMUP | end,
            time: WARMUP_PART.min(measured_from.saturating_sub(at)),
            drain: Duration::ZERO,
        };
        let mut loaded = load::run_at(setup, &span, at, &mut |_| goes_on())?;
        number = loaded.number & !WARMUP;
        entries.append(&mut loaded.entries);
        rates.push(loaded.rate());
        at += span.time;
    }
    setup.clock.wait_until(measured_from);
    let span = Span {
        numbers: first..first + size - (number - first),
        time: Duration::from_millis(workload.phases.measure_ms),
        drain: Duration::from_millis(workload.phases.drain_ms),
    };
    let mut loaded = load::run_at(setup, &span, measured_from, &mut |_| goes_on())?;
    entries.append(&mut loaded.entries);
    let done = Done {
        recording: loaded.recording,
        offered: loaded.offered,
        censored: loaded.censored,
        is_limited: loaded.is_limited,
        number: loaded.number,
        time: loaded.time,
        rates,
    };
    Ok((done, entries))
}

/// Writes a line for each append, and one for the rest.
fn tell(output: &Output, done: &Done, entries: &[Entry]) -> std::io::Result<()> {
    let output = &mut *output.lock();
    let mut output = BufWriter::new(output);
    for entry in entries {
        writeln!(output, "{}", line_of(entry))?;
    }
    writeln!(output, "{DONE} {}", serde_json::to_string(done)?)?;
    output.flush()
}

fn line_of(entry: &Entry) -> String {
    let expected = match entry.expected {
        Expected::Any | Expected::StreamExists => -1,
        Expected::NoStream => 0,
        Expected::Exactly(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
    };
    let outcome = match entry.outcome {
        Outcome::Acknowledged(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
        Outcome::Refused => 0,
        Outcome::Failed | Outcome::Read => -1,
    };
    let (started, ended) = (entry.started.as_nanos(), entry.ended.as_nanos());
    format!("{ENTRY} {} {expected} {outcome} {started} {ended}", entry.number)
}

/// Bounds of the time by which the clock of another process is behind that of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    low: Duration,
    high: Duration,
}

impl Offset {
    /// Of a process that said `told` after `before` and before `after`. Its clock began later than this one's.
    fn new(before: Duration, told: Duration, after: Duration) -> Self {
        Self {
            low: before.saturating_sub(told),
            high: after.saturating_sub(told),
        }
    }

    fn error(self) -> Duration {
        self.high.saturating_sub(self.low)
    }

    /// The entry of a line, in the time of this process: begun as early, and ended as late as can be.
    fn entry(self, line: &str) -> Option<Entry> {
        let mut numbers = line.split(' ').map(|number| number.parse::<i128>().ok());
        let mut next = || numbers.next().flatten();
        let (number, expected, outcome) = (next()?, next()?, next()?);
        let time = |nanos: i128| u64::try_from(nanos).ok().map(Duration::from_nanos);
        Some(Entry {
            number: u64::try_from(number).ok()?,
            expected: u64::try_from(expected).map_or(Expected::Any, |version| Expected::Exactly(Version(version))),
            outcome: match u64::try_from(outcome) {
                Ok(0) => Outcome::Refused,
                Ok(version) => Outcome::Acknowledged(Version(version)),
                Err(_) => Outcome::Failed,
            },
            started: time(next()?)? + self.low,
            ended: time(next()?)? + self.high,
        })
    }
}

/// Runs `row` once on `backend`, in the number of processes that the row sets.
///
/// # Errors
///
/// [`RunError`] if the store fails outside of the measured time, or a process fails or does not end.
pub fn run_shared(
    backend: &dyn Backend,
    row: &Workload,
    seed: u64,
    program: &Program,
    watch: Watch<'_>,
) -> Result<Run, RunError> {
    report(watch, Phase::Provision, 0)?;
    let of = |phase| move |error| RunError::Store { phase, error };
    backend.wipe().map_err(of(Phase::Provision))?;
    let run = run_wiped(backend, row, seed, program, watch);
    let wiped = backend.wipe().map_err(of(Phase::Drain));
    let run = run?;
    wiped?;
    Ok(run)
}

fn run_wiped(
    backend: &dyn Backend,
    row: &Workload,
    seed: u64,
    program: &Program,
    watch: Watch<'_>,
) -> Result<Run, RunError> {
    let of = |phase| move |error| RunError::Store { phase, error };
    let clock = Arc::new(MonotonicClock::start());
    let mut phases = Phases::new(clock.as_ref());
    let generator = Arc::new(Generator::new(row, seed));
    let setup = |store| Setup {
        store,
        generator: Arc::clone(&generator),
        clock: Arc::<MonotonicClock>::clone(&clock),
    };
    let alone = setup(open(backend, row).map_err(of(Phase::Provision))?);
    phases.end(Phase::Provision);
    let mut entries = preload(&alone, watch)?;
    alone.store.drain().map_err(of(Phase::Load))?;
    // A store that one process alone may write to is free for the others.
    drop(alone);
    phases.end(Phase::Load);
    settle(clock.as_ref(), row, &mut phases, watch)?;
    let shared = setup(backend.open_shared().map_err(of(Phase::WarmUp))?);
    let mut processes = Processes::start(backend, row, seed, program, watch)?;
    let readers = start_readers(&shared, &backend.description())?;
    let expiring = Expiring::start(&shared, backend)?;
    let (loaded, is_steady) = processes.load(&shared, &mut entries, &mut phases, watch)?;
    drop(processes);
    let sights = readers
        .map(|readers: Readers| readers.finish(&shared, &mut entries, watch))
        .transpose()?;
    let expires = expiring.map(Expiring::finish).transpose()?.is_some();
    drop(shared);
    let judged = setup(open(backend, row).map_err(of(Phase::Verify))?);
    let measured = Measured {
        loaded,
        entries,
        seen: sights.flatten(),
        is_steady,
        expires,
    };
    conclude(&judged, &backend.description(), measured, &mut phases, watch)
}

/// The processes of a load. They are killed when this is dropped.
struct Processes(Vec<Started>);

impl Processes {
    /// Starts them, and waits until each has opened the store.
    fn start(
        backend: &dyn Backend,
        row: &Workload,
        seed: u64,
        program: &Program,
        watch: Watch<'_>,
    ) -> Result<Self, RunError> {
        let place = backend.place().ok_or(UNKILLABLE);
        let place = place.map_err(|error| RunError::Store {
            phase: Phase::WarmUp,
            error,
        })?;
        let start = |index| {
            let job = Job {
                place: place.clone(),
                workload: row.clone(),
                seed,
                share: Some(Share {
                    index,
                    of: row.load.processes,
                }),
            };
            Started::start(program, &job)
        };
        let started = (0..row.load.processes).map(start).collect::<Result<_, _>>();
        let mut processes = Self(started.map_err(of_process)?);
        for process in &mut processes.0 {
            while next_line(process, HANG, Phase::WarmUp, watch)? != READY {}
        }
        Ok(processes)
    }

    /// Lets them append at the same time, adds their appends to `entries`, and returns the rest, and whether the warm-up became steady.
    fn load(
        &mut self,
        setup: &Setup,
        entries: &mut Vec<Entry>,
        phases: &mut Phases<'_>,
        watch: Watch<'_>,
    ) -> Result<(Loaded, bool), RunError> {
        let (clock, limits) = (setup.clock.as_ref(), &setup.generator.workload().phases);
        let mut offsets = Vec::new();
        for process in &mut self.0 {
            offsets.push(offset(process, clock, watch)?);
        }
        let start = clock.now() + AHEAD;
        for (process, offset) in self.0.iter_mut().zip(&offsets) {
            let own = start.saturating_sub((offset.low + offset.high) / 2);
            process
                .tell(&format!("{START} {}", own.as_nanos()))
                .map_err(of_process)?;
        }
        let measured_from = start + setup.generator.workload().warmup();
        while clock.now() < measured_from {
            report(watch, Phase::WarmUp, 0)?;
            clock.wait_until(measured_from.min(clock.now() + TICK));
        }
        phases.end(Phase::WarmUp);
        report(watch, Phase::Measure, 0)?;
        let longest = Duration::from_millis(limits.measure_ms + limits.drain_ms) + HANG;
        let mut all = Vec::new();
        for (process, offset) in self.0.iter_mut().zip(offsets) {
            all.push(done(process, offset, longest, entries, watch)?);
        }
        phases.end(Phase::Measure);
        Ok(merge(all))
    }
}

fn of_process(error: LoadError) -> LoadError {
    match error {
        LoadError::Child(text) => LoadError::Process(text),
        LoadError::Thread(_)
        | LoadError::Hangs
        | LoadError::Behind
        | LoadError::Reader(_)
        | LoadError::Unread(_)
        | LoadError::Process(_)
        | LoadError::Panicked => error,
    }
}

/// The next line of a process, which has `longest` for it.
fn next_line(process: &mut Started, longest: Duration, phase: Phase, watch: Watch<'_>) -> Result<String, RunError> {
    let clock = MonotonicClock::start();
    loop {
        match process.line(TICK).map_err(of_process)? {
            Some(line) => return Ok(line),
            None if clock.now() > longest => return Err(LoadError::Hangs.into()),
            None => report(watch, phase, 0)?,
        }
    }
}

/// Asks a process for its time, and keeps the answer that took the shortest.
fn offset(process: &mut Started, clock: &dyn Clock, watch: Watch<'_>) -> Result<Offset, RunError> {
    let mut best: Option<Offset> = None;
    for _ in 0..ASKED {
        let before = clock.now();
        process.tell(TIME).map_err(of_process)?;
        let line = next_line(process, HANG, Phase::WarmUp, watch)?;
        let after = clock.now();
        let told = line.split_once(' ').filter(|(word, _)| *word == TIME);
        let told = told.and_then(|(_, nanos)| nanos.parse().ok()).map(Duration::from_nanos);
        let told = told.ok_or_else(|| LoadError::Process(format!("it does not tell its time, but '{line}'")))?;
        let found = Offset::new(before, told, after);
        if best.is_none_or(|best| found.error() < best.error()) {
            best = Some(found);
        }
    }
    best.ok_or_else(|| LoadError::Process("it does not tell its time".to_owned()).into())
}

/// The result of a process. Its last line is the end.
fn done(
    process: &mut Started,
    offset: Offset,
    longest: Duration,
    entries: &mut Vec<Entry>,
    watch: Watch<'_>,
) -> Result<Done, RunError> {
    loop {
        let line = next_line(process, longest, Phase::Measure, watch)?;
        let invalid = || LoadError::Process("what it did cannot be read".to_owned());
        match line.split_once(' ') {
            Some((ENTRY, rest)) => entries.push(offset.entry(rest).ok_or_else(invalid)?),
            Some((DONE, rest)) => return serde_json::from_str(rest).map_err(|_| invalid().into()),
            Some(_) | None => {}
        }
    }
}

/// One load of all, and whether its warm-up became steady.
fn merge(all: Vec<Done>) -> (Loaded, bool) {
    let mut rates: Vec<f64> = Vec::new();
    let mut loaded = Loaded::default();
    for done in all {
        rates.resize(rates.len().max(done.rates.len()), 0.0);
        rates.iter_mut().zip(&done.rates).for_each(|(sum, rate)| *sum += rate);
        loaded.recording.merge(done.recording);
        loaded.offered += done.offered;
        loaded.censored += done.censored;
        loaded.is_limited |= done.is_limited;
        loaded.number = loaded.number.max(done.number);
        loaded.time = loaded.time.max(done.time);
    }
    (loaded, is_steady(&rates))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn appends_of_two_processes_were_put_in_an_order_that_was_not_certain() {
        // This process asked at 100 and had the answer at 104; the other clock said 10.
        let offset = Offset::new(millis(100), millis(10), millis(104));
        let entry = Entry {
            number: 7,
            expected: Expected::Exactly(Version(3)),
            started: millis(20),
            ended: millis(30),
            outcome: Outcome::Acknowledged(Version(4)),
        };
        let line = line_of(&entry);
        let told = offset.entry(line.strip_prefix("entry ").unwrap()).unwrap();
        assert_eq!((told.started, told.ended), (millis(110), millis(124)));
        assert_eq!(
            (told.number, told.expected, told.outcome),
            (7, entry.expected, entry.outcome)
        );
        for outcome in [Outcome::Refused, Outcome::Failed] {
            let line = line_of(&Entry { outcome, ..entry });
            assert_eq!(
                offset.entry(line.strip_prefix("entry ").unwrap()).unwrap().outcome,
                outcome
            );
        }
        assert!(offset.entry("7 3 4 20").is_none() && offset.entry("").is_none());
    }

    #[test]
    fn the_loads_of_processes_are_one_load() {
        let recording = || {
            let mut recording = Recording::default();
            (recording.ended, recording.events) = (5, 3);
            recording
        };
        let done = |rate: f64| Done {
            recording: recording(),
            offered: 6,
            censored: 1,
            is_limited: false,
            number: 9,
            time: millis(50),
            rates: vec![rate, 100.0 - rate, rate],
        };
        let (loaded, is_steady) = merge(vec![done(20.0), done(80.0)]);
        assert_eq!((loaded.recording.ended, loaded.recording.events), (10, 6));
        assert_eq!((loaded.offered, loaded.censored, loaded.time), (12, 2, millis(50)));
        // Each alone is not steady, and both together are.
        assert!(is_steady && !super::is_steady(&done(20.0).rates));
    }
}
