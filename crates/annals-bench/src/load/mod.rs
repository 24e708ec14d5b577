//! Load: workers that do the operations of a workload, on threads or in a simulation.

mod arrivals;
pub(crate) mod recording;
pub(crate) mod samples;
mod source;
pub(crate) mod worker;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use self::recording::Window;
pub use self::recording::{Entry, KindTimes, Recording, Slot};
pub use self::samples::{BEYOND_MIN, Quantile, Samples};
use self::source::Source;
use self::worker::{HANG, Worker};
use crate::clock::{Clock, VirtualClock};
use crate::generate::Generator;
use crate::store::EventStore;

/// The time limit for a reader to catch up after the load. It is shorter than the time after which a thread counts as hanging.
pub(crate) const CATCH_UP_MAX: Duration = Duration::from_secs(50);

/// The interval between reports of progress.
const TICK: Duration = Duration::from_millis(200);

/// How long a load that was stopped waits for calls that are under way.
const STOPPING: Duration = Duration::from_secs(2);

/// The inputs of a load.
#[derive(Clone)]
pub struct Setup {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The operations.
    pub generator: Arc<Generator>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("workload", &self.generator.workload().name)
            .finish_non_exhaustive()
    }
}

/// The length of a load.
#[derive(Clone, Debug)]
pub struct Span {
    /// The numbers of its operations: the first one, and the one after the last that may be done.
    pub numbers: Range<u64>,
    /// The time during which operations are due.
    pub time: Duration,
    /// The additional time in which overdue operations may start.
    pub drain: Duration,
}

/// The result of a load.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// Times and counts.
    pub recording: Recording,
    /// The known state of each append.
    pub entries: Vec<Entry>,
    /// Operations that were due.
    pub offered: u64,
    /// Operations that were due and never started.
    pub censored: u64,
    /// Whether it ended at the largest number of operations, before its time.
    pub is_limited: bool,
    /// The number after the last operation.
    pub number: u64,
    /// The time that was measured.
    pub time: Duration,
}

impl Loaded {
    /// Operations a second that ended without a failure.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
    pub(crate) fn rate(&self) -> f64 {
        self.recording.accepted as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// The reason why a load has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// A call did not return.
    #[error("a call to the backend has not returned for {} s after the load had ended", HANG.as_secs())]
    Hangs,
    /// A reader got events that were acknowledged long before, and more were to come.
    #[error(
        "a reader was still catching up {} s after the load had ended; lower load.rate, or phases.measure_ms",
        CATCH_UP_MAX.as_secs()
    )]
    Behind,
    /// A reader beside the load could not read on.
    #[error("a reader that followed the log: {0}")]
    Reader(String),
    /// An append cannot be read back.
    #[error("verify: reading what was just appended: {0}")]
    Unread(String),
    /// The process that was to be killed has ended, or cannot be started.
    #[error("the process that was to be killed: {0}")]
    Child(String),
    /// A process that shares the load has failed, or cannot be started.
    #[error("a process that shares the load: {0}")]
    Process(String),
    /// A call panicked.
    #[error("a call to the backend panicked")]
    Panicked,
}

/// Runs a load on the threads of the workload. `watch` is called a few times a second with the number of completed operations;
/// once it returns false, no more operations start, and those under way are waited for a short time only.
///
/// # Errors
///
/// [`LoadError`] if a thread cannot be started, or a call panics or does not return.
pub fn run(setup: &Setup, span: &Span, watch: &mut dyn FnMut(u64) -> bool) -> Result<Loaded, LoadError> {
    run_at(setup, span, setup.clock.now(), watch)
}

/// The same, for a time that begins at `start`.
pub(crate) fn run_at(
    setup: &Setup,
    span: &Span,
    start: Duration,
    watch: &mut dyn FnMut(u64) -> bool,
) -> Result<Loaded, LoadError> {
    let source = source(setup, span, start);
    let (send, receive) = unbounded();
    let mut counters = Vec::new();
    for _ in 0..setup.generator.workload().load.workers {
        let done = Arc::new(AtomicU64::new(0));
        let mut worker = Worker::new(setup, &source, Arc::clone(&done));
        counters.push(done);
        let send = send.clone();
        let work = move || {
            while worker.step() {}
            // A load that has given up does not listen any more.
            drop(send.send((worker.recording, worker.entries)));
        };
        let thread = std::thread::Builder::new().name("bench".to_owned()).spawn(work);
        thread.map_err(|error| LoadError::Thread(error.to_string()))?;
    }
    drop(send);
    let mut given_up = source.window.end + span.drain + HANG;
    let mut tick = || {
        let now = setup.clock.now();
        if !watch(counters.iter().map(|done| done.load(Ordering::Relaxed)).sum()) {
            source.stop();
            given_up = given_up.min(now + STOPPING);
        }
        now < given_up
    };
    let parts = gather(&receive, counters.len(), &mut tick)?;
    Ok(merge(&source, parts))
}

type Part = (Recording, Vec<Entry>);

/// Waits for all workers while `tick` returns true.
fn gather(receive: &Receiver<Part>, workers: usize, tick: &mut dyn FnMut() -> bool) -> Result<Vec<Part>, LoadError> {
    let mut parts = Vec::new();
    while parts.len() < workers {
        match receive.recv_timeout(TICK) {
            Ok(part) => parts.push(part),
            Err(RecvTimeoutError::Timeout) if tick() => {}
            Err(RecvTimeoutError::Timeout) => return Err(LoadError::Hangs),
            Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Panicked),
        }
    }
    Ok(parts)
}

/// Runs a load in virtual time, on this thread: the worker with the earliest time continues first. The store moves the time of the worker
/// that calls it by [`VirtualClock::advance`].
pub fn simulate(setup: &Setup, clock: &VirtualClock, span: &Span) -> Loaded {
    let source = source(setup, span, setup.clock.now());
    let new = |_| Worker::new(setup, &source, Arc::default());
    let mut workers: Vec<Worker> = (0..setup.generator.workload().load.workers).map(new).collect();
    let mut running = vec![true; workers.len()];
    while let Some(earliest) = clock.turn_to_earliest(&running) {
        running[earliest] = workers[earliest].step();
    }
    clock.meet();
    let parts = workers.into_iter().map(|worker| (worker.recording, worker.entries));
    merge(&source, parts.collect())
}

fn source(setup: &Setup, span: &Span, start: Duration) -> Arc<Source> {
    let window = Window {
        start,
        end: start + span.time,
    };
    let cutoff = window.end + span.drain;
    Arc::new(Source::new(&setup.generator, span.numbers.clone(), window, cutoff))
}

fn merge(source: &Source, parts: Vec<Part>) -> Loaded {
    let (mut recording, mut entries) = (Recording::default(), Vec::new());
    for (part, mut more) in parts {
        recording.merge(part);
        entries.append(&mut more);
    }
    let (ended, window) = (source.ended(), source.window);
    let time = if ended.is_limited {
        recording.last_end.min(window.end).saturating_sub(window.start)
    } else {
        window.length()
    };
    Loaded {
        offered: recording.ended + ended.censored,
        censored: ended.censored,
        is_limited: ended.is_limited,
        number: ended.number,
        recording,
        entries,
        time,
    }
}
