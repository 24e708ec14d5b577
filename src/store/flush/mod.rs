//! The journal's thread: takes what is published, writes it, syncs it, and tells how far it has come.
//!
//! Group commit is what comes of it: while one sync runs, the next batch gathers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_utils::{Backoff, CachePadded};
use parking_lot::Mutex;

use super::Engine;
use super::budget::Cost;
use super::collect::Collector;
use super::patience::Patience;
use super::reclaim::{Reclaim, Requests};
use super::signal::Signal;
use crate::journal::{Journal, JournalError, JournalErrorKind};
use crate::settings::{FlushSettings, WhenBehind};
use crate::{Durability, Error, Result};

/// The first wait before a write is tried again; every wait is twice the one before, up to a second.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LONGEST: Duration = Duration::from_secs(1);
/// For so many bytes written, a step of rewriting is done where there is something to rewrite: half of what a step reads, so that
/// appends that wait for nothing do not outrun it.
const RECLAIM_EVERY: u64 = 128 << 10;

/// What appends and the journal's thread share.
#[derive(Debug)]
pub(crate) struct Flushing {
    settings: FlushSettings,
    /// The most that the journal can promise.
    pub(crate) durability: Durability,
    /// Bytes of events that the journal does not have yet, by the measure of the budget.
    backlog: CachePadded<AtomicI64>,
    /// The position up to which somebody waits for events to be written, and to be synced.
    wanted_written: AtomicU64,
    wanted_synced: AtomicU64,
    /// How often a thread began to wait for a sync.
    arrivals: AtomicUsize,
    /// Threads that wait for room in the backlog.
    waiting_for_room: AtomicUsize,
    stopping: AtomicBool,
    /// Raised when there is work for the journal.
    work: Signal,
    fault: Mutex<Option<JournalError>>,
    worker: Mutex<Worker>,
    /// The journal's thread.
    thread: OnceLock<ThreadId>,
    /// Who asks for the journal to be compacted.
    pub(crate) requests: Requests,
}

/// Who does the journal's work.
#[derive(Debug)]
enum Worker {
    /// A thread of its own.
    Thread(Option<JoinHandle<()>>),
    /// Whoever waits: for tests that must run the same way each time.
    #[cfg(feature = "testing")]
    Waiters(Box<Flusher>),
}

impl Flushing {
    pub(crate) fn new(settings: FlushSettings, journal: &dyn Journal) -> Self {
        Self {
            settings,
            durability: journal.durability(),
            backlog: CachePadded::new(AtomicI64::new(0)),
            wanted_written: AtomicU64::new(0),
            wanted_synced: AtomicU64::new(0),
            arrivals: AtomicUsize::new(0),
            waiting_for_room: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            work: Signal::default(),
            fault: Mutex::new(None),
            worker: Mutex::new(Worker::Thread(None)),
            thread: OnceLock::new(),
            requests: Requests::default(),
        }
    }

    /// Begins the work, on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the system has no thread left.
    pub(crate) fn start(&self, engine: &Arc<Engine>, journal: Box<dyn Journal>) -> Result<()> {
        let engine = Arc::clone(engine);
        let mut flusher = Flusher::new(journal);
        let thread = std::thread::Builder::new()
            .name("annals-journal".to_owned())
            .spawn(move || {
                if let Some(flushing) = &engine.flushing {
                    flushing.thread.get_or_init(|| std::thread::current().id());
                    flusher.run(&engine, flushing);
                }
            })
            .map_err(|error| {
                JournalError::new(JournalErrorKind::Retry, "no thread for the journal could be started")
                    .caused_by(error)
            })?;
        *self.worker.lock() = Worker::Thread(Some(thread));
        Ok(())
    }

    /// Has those who wait do the work.
    #[cfg(feature = "testing")]
    pub(crate) fn start_by_hand(&self, journal: Box<dyn Journal>) {
        *self.worker.lock() = Worker::Waiters(Box::new(Flusher::new(journal)));
    }

    /// Takes room for `cost` in the backlog.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when there is none and the settings say to refuse; the error of the journal if it has failed.
    pub(crate) fn admit(&self, engine: &Engine, cost: Cost) -> Result<()> {
        self.admit_or(engine, cost, self.settings.when_behind)
    }

    /// The same, where the answer is `when_behind` if there is no room.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub(crate) fn admit_or(&self, engine: &Engine, cost: Cost, when_behind: WhenBehind) -> Result<()> {
        let max = i64::try_from(self.settings.backlog_bytes).unwrap_or(i64::MAX);
        // What is longer than the whole backlog passes when it is alone.
        let fits = |held: i64| held <= 0 || held.saturating_add(cost.bytes) <= max;
        loop {
            let held = self.backlog.fetch_add(cost.bytes, Ordering::AcqRel);
            if fits(held) {
                return Ok(());
            }
            self.give_back(engine, cost);
            if when_behind == WhenBehind::Refuse {
                // Whoever tries again later is to find room.
                self.work_on(engine, Durability::Written, engine.core.log.published());
                return Err(Error::Full(
                    format!(
                        "{held} bytes wait for the journal, of {max} allowed; try later, or raise `flush.backlog_bytes`"
                    )
                    .into(),
                ));
            }
            self.wait_for_room(engine, fits);
            self.check(engine)?;
        }
    }

    fn wait_for_room(&self, engine: &Engine, fits: impl Fn(i64) -> bool) {
        let log = &engine.core.log;
        // Whoever publishes after this looks whether somebody waits; what was published before is asked for here.
        self.waiting_for_room.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.work_on(engine, Durability::Written, log.published());
        let has_room = || fits(self.backlog.load(Ordering::Acquire));
        log.signal_of(Durability::Written)
            .wait_while(None, || !has_room() && !log.is_halted());
        self.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts what was not asked for: an event of the system.
    pub(crate) fn add(&self, cost: Cost) {
        self.backlog.fetch_add(cost.bytes, Ordering::AcqRel);
    }

    /// Gives room back that was not used, and tells those who wait for some.
    pub(crate) fn give_back(&self, engine: &Engine, cost: Cost) {
        self.backlog.fetch_sub(cost.bytes, Ordering::AcqRel);
        engine.core.log.signal_of(Durability::Written).notify();
    }

    /// Bytes that wait for the journal.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        u64::try_from(self.backlog.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// # Errors
    ///
    /// [`Error::Failed`] when the journal has; [`Error::Closed`] when it ended as it should.
    pub(crate) fn check(&self, engine: &Engine) -> Result<()> {
        if !engine.core.log.is_halted() {
            return Ok(());
        }
        Err(self.fault().map_or(Error::Closed, Error::Failed))
    }

    /// What the journal failed with.
    pub(crate) fn fault(&self) -> Option<JournalError> {
        self.fault.lock().clone()
    }

    /// Waits until everything up to `position` is as safe as `durability`.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub(crate) fn wait(&self, engine: &Engine, durability: Durability, position: u64) -> Result<()> {
        let log = &engine.core.log;
        if log.reached(durability) >= position {
            return Ok(());
        }
        if durability == Durability::Synced {
            self.arrivals.fetch_add(1, Ordering::AcqRel);
        }
        self.work_on(engine, durability, position);
        let reached = log.await_reached(durability, position);
        if reached { Ok(()) } else { self.check(engine) }
    }

    /// Has the journal come to `position`, without waiting for it.
    pub(crate) fn demand(&self, engine: &Engine, durability: Durability, position: u64) {
        self.wanted_written.fetch_max(position, Ordering::AcqRel);
        if durability == Durability::Synced {
            self.wanted_synced.fetch_max(position, Ordering::AcqRel);
        }
        self.wake(engine);
    }

    /// Wakes the journal's thread, whichever of two things it sleeps for: something to write, or the time to do it.
    fn wake(&self, engine: &Engine) {
        self.work.notify();
        engine.core.log.signal_of(Durability::Volatile).notify();
    }

    pub(crate) fn work_on(&self, engine: &Engine, durability: Durability, position: u64) {
        self.demand(engine, durability, position);
        #[cfg(feature = "testing")]
        self.turn_by_hand(engine);
    }

    #[cfg(feature = "testing")]
    fn turn_by_hand(&self, engine: &Engine) {
        if let Worker::Waiters(flusher) = &mut *self.worker.lock() {
            engine.core.log.await_published(engine.core.log.reserved());
            while !engine.core.log.is_halted() && flusher.is_due(engine, self) {
                flusher.turn(engine, self);
            }
        }
    }

    /// An append that waits for nothing has come: wakes the journal if enough has gathered.
    pub(crate) fn nudge(&self, engine: &Engine, last: u64) {
        let unwritten = last.saturating_sub(engine.core.log.journaled());
        let is_enough = unwritten >= self.settings.events as u64 || self.backlog_bytes() >= self.settings.bytes as u64;
        if is_enough || self.waiting_for_room.load(Ordering::SeqCst) > 0 {
            self.work.notify();
        }
    }

    /// Ends the work: writes and syncs what there is. Answers whether that was waited for: the journal's own thread, in a waker that
    /// it calls, cannot.
    pub(crate) fn stop(&self, engine: &Engine) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake(engine);
        if self.thread.get() == Some(&std::thread::current().id()) {
            return false;
        }
        let mut worker = self.worker.lock();
        match &mut *worker {
            Worker::Thread(thread) => {
                if let Some(thread) = thread.take() {
                    // A journal that panicked has halted the log, and whoever waits has been told.
                    drop(thread.join());
                }
            }
            #[cfg(feature = "testing")]
            Worker::Waiters(flusher) => flusher.run(engine, self),
        }
        true
    }
}

/// The journal, and what is known of its work.
#[derive(Debug)]
struct Flusher {
    journal: Option<Box<dyn Journal>>,
    collector: Collector,
    /// When the oldest event that is written but not synced was written.
    written_at: Option<Instant>,
    /// Arrivals that the syncs so far have served, and those that the next will.
    served: usize,
    serving: usize,
    /// Arrivals by which everyone whom the last sync set free waits again.
    expected: usize,
    sync_took: Duration,
    reclaim: Reclaim,
}

impl Flusher {
    fn new(journal: Box<dyn Journal>) -> Self {
        Self {
            journal: Some(journal),
            collector: Collector::default(),
            written_at: None,
            served: 0,
            serving: 0,
            expected: 0,
            sync_took: Duration::ZERO,
            reclaim: Reclaim::default(),
        }
    }

    /// Works until the store is closed or the journal fails.
    fn run(&mut self, engine: &Engine, flushing: &Flushing) {
        // Whatever ends this thread, a panic of the journal too, nobody must wait for it any longer.
        let _end = Halt(engine);
        while !engine.core.log.is_halted() {
            let stopping = flushing.stopping.load(Ordering::SeqCst);
            self.turn(engine, flushing);
            if stopping && engine.core.log.journaled() == engine.core.log.reserved() {
                break;
            }
            if !stopping {
                self.sleep(engine, flushing);
            }
        }
        self.end(engine, flushing);
    }

    fn end(&mut self, engine: &Engine, flushing: &Flushing) {
        if !engine.core.log.is_halted() {
            self.sync(engine, flushing);
        }
        // A journal that has failed is dropped as it is.
        let journal = self.journal.take().filter(|_| !engine.core.log.is_halted());
        if let Some(Err(error)) = journal.map(Journal::close) {
            fail(engine, flushing, error);
        }
    }

    /// Writes what has come, and syncs if somebody waits for it or it is time.
    fn turn(&mut self, engine: &Engine, flushing: &Flushing) {
        let log = &engine.core.log;
        self.gather(engine, flushing);
        let published = log.published();
        while log.journaled() < published && !log.is_halted() {
            let bytes = self.write(engine, flushing, published);
            if self.sync_is_due(engine, flushing) {
                self.sync(engine, flushing);
            }
            self.reclaim(engine, flushing, bytes / RECLAIM_EVERY);
        }
        if !log.is_halted() && self.sync_is_due(engine, flushing) {
            self.sync(engine, flushing);
        }
        self.reclaim(engine, flushing, 1);
    }

    /// Gives some of the journal's room back, in so many steps, where it has parts that can be rewritten once they are safe.
    fn reclaim(&mut self, engine: &Engine, flushing: &Flushing, steps: u64) {
        for _ in 0..steps {
            let ends = engine.core.log.is_halted() || flushing.stopping.load(Ordering::SeqCst);
            if ends || !self.reclaim.is_due(engine, &flushing.requests) {
                return;
            }
            let journal = self.journal.as_deref_mut();
            let stepped = journal.map(|journal| self.reclaim.step(engine, flushing, journal));
            if let Some(Err(error)) = stepped {
                fail(engine, flushing, error);
            }
        }
    }

    /// Lets those whom the last sync set free append again, so that they share the next one too, as long as that pays.
    fn gather(&mut self, engine: &Engine, flushing: &Flushing) {
        let arrivals = || flushing.arrivals.load(Ordering::Acquire);
        let synced = engine.core.log.reached(Durability::Synced);
        if flushing.wanted_synced.load(Ordering::Acquire) > synced {
            let mut patience = Patience::new(self.sync_took, Instant::now());
            while arrivals() < self.expected && patience.lasts(arrivals() - self.served, Instant::now()) {
                std::thread::yield_now();
            }
        }
        // Their events are published: whoever waits has appended.
        self.serving = arrivals();
    }

    /// Writes the next batch. Answers how many bytes it has, by the measure of the budget.
    fn write(&mut self, engine: &Engine, flushing: &Flushing, published: u64) -> u64 {
        let log = &engine.core.log;
        let from = log.journaled() + 1;
        let settings = &flushing.settings;
        let batch = self.collector.collect(&engine.core, from, published, settings);
        let bytes = Cost::of_batch(&batch).bytes;
        if self.attempt(engine, flushing, |journal| journal.write(&batch)) {
            if flushing.durability == Durability::Synced {
                self.written_at.get_or_insert_with(Instant::now);
            }
            // Before the signal: whoever waits for room must find it when it wakes.
            flushing.backlog.fetch_sub(bytes, Ordering::AcqRel);
            log.raise(Durability::Written, batch.last_position().0);
            engine.after_flush();
        }
        self.collector.take_back(batch);
        bytes.unsigned_abs()
    }

    fn sync_is_due(&self, engine: &Engine, flushing: &Flushing) -> bool {
        let log = &engine.core.log;
        let synced = log.reached(Durability::Synced);
        if flushing.durability < Durability::Synced || synced >= log.journaled() {
            return false;
        }
        let waited = self
            .written_at
            .is_some_and(|at| at.elapsed() >= flushing.settings.sync_within);
        waited || flushing.wanted_synced.load(Ordering::Acquire) > synced
    }

    fn sync(&mut self, engine: &Engine, flushing: &Flushing) {
        let log = &engine.core.log;
        let written = log.journaled();
        if flushing.durability < Durability::Synced || log.reached(Durability::Synced) >= written {
            return;
        }
        let began = Instant::now();
        if self.attempt(engine, flushing, |journal| journal.sync()) {
            self.written_at = None;
            self.sync_took = began.elapsed();
            let freed = self.serving - self.served;
            self.served = self.serving;
            self.expected = flushing.arrivals.load(Ordering::Acquire) + freed;
            log.raise(Durability::Synced, written);
        }
    }

    /// Calls the journal until it succeeds, fails for good, or has been tried for long enough. Answers whether it succeeded.
    fn attempt(
        &mut self,
        engine: &Engine,
        flushing: &Flushing,
        mut call: impl FnMut(&mut dyn Journal) -> Result<(), JournalError>,
    ) -> bool {
        let Some(journal) = self.journal.as_deref_mut() else {
            return false;
        };
        let began = Instant::now();
        let mut pause = RETRY_FIRST;
        loop {
            let error = match call(journal) {
                Ok(()) => return true,
                Err(error) => error,
            };
            let stopping = flushing.stopping.load(Ordering::SeqCst);
            let may_retry = error.kind() == JournalErrorKind::Retry && !stopping;
            if !may_retry || began.elapsed() + pause > flushing.settings.retry_for {
                fail(engine, flushing, error);
                return false;
            }
            let deadline = Instant::now() + pause;
            flushing
                .work
                .wait_while(Some(deadline), || !flushing.stopping.load(Ordering::SeqCst));
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }

    /// Sleeps until there is work.
    fn sleep(&self, engine: &Engine, flushing: &Flushing) {
        let log = &engine.core.log;
        // Who waits for a write only has the next one ready sooner than this thread sleeps and wakes.
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if self.is_due(engine, flushing) {
                return;
            }
            backoff.snooze();
        }
        let settings = &flushing.settings;
        let stopping = || flushing.stopping.load(Ordering::SeqCst);
        let unwritten = || log.published() > log.journaled();
        // Too far for the clock is as good as never.
        let sync_at = self.written_at.and_then(|at| at.checked_add(settings.sync_within));
        if !unwritten() {
            // Nothing to write until something is appended: its time begins then.
            let reclaims = || self.reclaim.is_due(engine, &flushing.requests);
            log.signal_of(Durability::Volatile).wait_while(sync_at, || {
                !unwritten() && !self.sync_is_due(engine, flushing) && !reclaims() && !stopping()
            });
        }
        let write_at = Instant::now()
            .checked_add(settings.write_within)
            .filter(|_| unwritten());
        let deadline = [write_at, sync_at].into_iter().flatten().min();
        flushing
            .work
            .wait_while(deadline, || !self.is_due(engine, flushing) && !stopping());
    }

    /// Whether somebody waits, or enough has gathered.
    fn is_due(&self, engine: &Engine, flushing: &Flushing) -> bool {
        let log = &engine.core.log;
        let (published, written) = (log.published(), log.journaled());
        let wanted = flushing.wanted_written.load(Ordering::Acquire).min(published);
        wanted > written
            || published - written >= flushing.settings.events as u64
            || (published > written && flushing.backlog_bytes() >= flushing.settings.bytes as u64)
            || (published > written && flushing.waiting_for_room.load(Ordering::SeqCst) > 0)
            || self.sync_is_due(engine, flushing)
            || self.reclaim.is_due(engine, &flushing.requests)
    }
}

/// Halts the log when the journal's work ends, in whatever way.
struct Halt<'a>(&'a Engine);

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(flushing) = &self.0.flushing
        {
            let error = JournalError::failed("its thread panicked");
            flushing.fault.lock().get_or_insert(error);
        }
        self.0.core.log.halt();
        // Whoever stopped it may not wait for it.
        if self.0.closing.load(Ordering::SeqCst) {
            self.0.core.log.close();
        }
    }
}

fn fail(engine: &Engine, flushing: &Flushing, error: JournalError) {
    flushing.fault.lock().get_or_insert(error);
    engine.core.log.halt();
}
