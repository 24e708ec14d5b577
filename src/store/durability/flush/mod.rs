//! State shared by appends and the journal's thread: the backlog, requested positions, and failure.

mod age;
mod collect;
mod flusher;
mod group_commit;
pub(crate) mod retrying;
mod room;
#[cfg(all(test, annals_loom))]
mod simulation;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::age::UnwrittenAge;
use self::flusher::Flusher;
use self::retrying::{Retry, Retrying};
pub(crate) use self::room::RoomWait;
use crate::journal::{Journal, JournalError, JournalErrorKind};
use crate::settings::{FlushSettings, WhenBehind};
use crate::store::Engine;
use crate::store::log::signal::Signal;
use crate::store::retention::budget::Cost;
use crate::store::retention::requests::Requests;
use crate::store::sync::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Mutex, Ordering, fence};
use crate::worker::Worker;
use crate::{Durability, Error, Result};

/// State shared by appends and the journal's thread.
#[derive(Debug)]
pub(crate) struct Flushing {
    settings: FlushSettings,
    /// The highest durability that the journal promises.
    pub(crate) durability: Durability,
    /// Bytes of events that the journal does not have yet, as the budget counts them.
    backlog: CachePadded<AtomicI64>,
    /// Tracked only if the settings hold appends back by it.
    unwritten_age: Option<UnwrittenAge>,
    /// The highest positions whose write and sync were requested.
    wanted_written: AtomicU64,
    wanted_synced: AtomicU64,
    /// Number of waits for a sync that were started.
    arrivals: AtomicUsize,
    /// Threads that wait for room in the backlog.
    waiting_for_room: AtomicUsize,
    stopping: AtomicBool,
    /// Notified when there is work for the journal.
    work: Signal,
    fault: Mutex<Option<JournalError>>,
    retry: Retry,
    /// The journal's thread.
    worker: Worker,
    /// The work of the journal, done by waiting threads instead of a thread of its own: for deterministic tests.
    #[cfg(feature = "testing")]
    by_hand: Mutex<Option<Box<Flusher>>>,
    /// Requests to compact the journal.
    pub(crate) requests: Requests,
}

impl Flushing {
    pub(crate) fn new(settings: FlushSettings, journal: &dyn Journal) -> Self {
        Self {
            unwritten_age: settings.enforce_write_within.then(UnwrittenAge::new),
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
            retry: Retry::default(),
            worker: Worker::default(),
            #[cfg(feature = "testing")]
            by_hand: Mutex::default(),
            requests: Requests::default(),
        }
    }

    /// Starts the journal's thread.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the system cannot start a thread.
    pub(crate) fn start(&self, engine: &Arc<Engine>, journal: Box<dyn Journal>) -> Result<()> {
        let engine = Arc::clone(engine);
        let mut flusher = Flusher::new(journal);
        let flush = move || {
            if let Some(flushing) = &engine.flushing {
                flusher.run(&engine, flushing);
            }
        };
        self.worker.start("annals-journal".to_owned(), flush).map_err(|error| {
            JournalError::new(JournalErrorKind::Retry, "cannot start the journal's thread").caused_by(error)
        })?;
        Ok(())
    }

    /// Makes waiting threads do the work.
    #[cfg(feature = "testing")]
    pub(crate) fn start_by_hand(&self, journal: Box<dyn Journal>) {
        *self.by_hand.lock() = Some(Box::new(Flusher::new(journal)));
    }

    /// Reserves room for `cost` in the backlog.
    ///
    /// # Errors
    ///
    /// [`Error::Backlog`] if there is no room and the settings are to refuse; the error of the journal if it has failed.
    pub(crate) fn reserve(&self, engine: &Engine, cost: Cost) -> Result<()> {
        self.admit_or(engine, cost, self.settings.when_behind)
    }

    /// The same, with `when_behind` instead of the settings.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub(crate) fn admit_or(&self, engine: &Engine, cost: Cost, when_behind: WhenBehind) -> Result<()> {
        loop {
            let held = self.hold(engine, cost);
            if self.fits(engine, cost, held) {
                return Ok(());
            }
            self.release(engine, cost);
            if when_behind == WhenBehind::Refuse {
                return Err(Error::Backlog {
                    reason: self.refusal(engine, held).into(),
                });
            }
            self.wait_for_room(engine, |held| self.fits(engine, cost, held));
            self.check(engine)?;
        }
    }

    /// Reserves room for `cost`. Returns `false` if there is none.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub(crate) fn try_admit(&self, engine: &Engine, cost: Cost) -> Result<bool> {
        // Looks before it reserves: releasing a reservation wakes every task that waits for room, and tasks would wake each other for ever.
        if self.fits(engine, cost, self.backlog.load(Ordering::Acquire)) {
            if self.fits(engine, cost, self.hold(engine, cost)) {
                return Ok(true);
            }
            self.release(engine, cost);
        }
        self.check(engine)?;
        Ok(false)
    }

    /// Whether there is room for `cost` beside `held` bytes. An append larger than the whole backlog is admitted when the backlog is empty.
    #[inline]
    fn fits(&self, engine: &Engine, cost: Cost, held: i64) -> bool {
        let max = i64::try_from(self.settings.backlog_bytes).unwrap_or(i64::MAX);
        held <= 0 || held.saturating_add(cost.bytes) <= max && !self.is_overdue(engine)
    }

    /// The error of a call that does not wait for room: [`Error::Backlog`] if the settings are to refuse; `None` if they are to wait.
    pub(crate) fn full_error(&self, engine: &Engine) -> Option<Error> {
        let refuses = self.settings.when_behind == WhenBehind::Refuse;
        refuses.then(|| self.backlog_error(engine))
    }

    /// The error of a call that never waits for room.
    pub(crate) fn backlog_error(&self, engine: &Engine) -> Error {
        let reason = self.refusal(engine, self.backlog.load(Ordering::Acquire)).into();
        Error::Backlog { reason }
    }

    /// Adds to the backlog. Returns its previous size.
    fn hold(&self, engine: &Engine, cost: Cost) -> i64 {
        let held = self.backlog.fetch_add(cost.bytes, Ordering::AcqRel);
        if let Some(age) = &self.unwritten_age {
            // Before the check for unwritten events, so that it is no later than any event added after.
            let now = age.now();
            if held <= 0 || !has_unwritten(engine) {
                // The first unwritten event. Duplicate or rejected appends may hold room, but they add no event.
                age.note(now);
            }
        }
        held
    }

    pub(crate) fn retrying(&self) -> Option<Retrying> {
        self.retry.get()
    }

    /// Whether the oldest unwritten event is older than `write_within`.
    fn is_overdue(&self, engine: &Engine) -> bool {
        let is_old = |age: &UnwrittenAge| age.get() > self.settings.write_within;
        self.unwritten_age.as_ref().is_some_and(is_old) && has_unwritten(engine)
    }

    /// Why there is no room for an append. Requests a write, so that a retry finds room.
    fn refusal(&self, engine: &Engine, held: i64) -> String {
        self.work_on(engine, Durability::Written, engine.core.log.published());
        if let Some(retrying) = self.retrying() {
            let (error, left) = (retrying.error, retrying.left.as_secs());
            return format!("the journal cannot write, and is tried for {left} s more: {error}");
        }
        let max = self.settings.backlog_bytes;
        if self.is_overdue(engine) {
            let within = self.settings.write_within;
            return format!(
                "the journal has not written the oldest event within {within:?}; try later, or raise `flush.write_within`"
            );
        }
        format!("{held} bytes wait for the journal, of {max} allowed; try later, or raise `flush.backlog_bytes`")
    }

    fn wait_for_room(&self, engine: &Engine, fits: impl Fn(i64) -> bool) {
        let log = &engine.core.log;
        // Later appends see the waiter and wake the journal; a write of earlier events is requested here.
        self.waiting_for_room.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.work_on(engine, Durability::Written, log.published());
        let has_room = || fits(self.backlog.load(Ordering::Acquire));
        log.signal_of(Durability::Written)
            .wait_while(None, || !has_room() && !log.is_halted());
        self.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts an event without a reservation: a system event.
    pub(crate) fn add(&self, engine: &Engine, cost: Cost) {
        self.hold(engine, cost);
    }

    /// Releases unused room, and wakes the threads that wait for room.
    pub(crate) fn release(&self, engine: &Engine, cost: Cost) {
        self.backlog.fetch_sub(cost.bytes, Ordering::AcqRel);
        engine.core.log.signal_of(Durability::Written).notify();
    }

    /// Bytes that wait for the journal.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        u64::try_from(self.backlog.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// # Errors
    ///
    /// [`Error::Failed`] if the journal failed; [`Error::Closed`] if it stopped regularly.
    pub(crate) fn check(&self, engine: &Engine) -> Result<()> {
        if !engine.core.log.is_halted() {
            return Ok(());
        }
        Err(self.fault().map_or(Error::Closed, |cause| Error::Failed { cause }))
    }

    /// The error of the failed journal.
    pub(crate) fn fault(&self) -> Option<JournalError> {
        self.fault.lock().clone()
    }

    /// Waits until everything up to `position` has reached `durability`.
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

    /// Begins a wait of a task: requests `durability` up to `position`; with `Volatile`, wakes the journal if enough events are unwritten.
    pub(crate) fn request(&self, engine: &Engine, durability: Durability, position: u64) {
        match durability {
            Durability::Volatile => return self.nudge(engine, position),
            Durability::Written => {}
            Durability::Synced => drop(self.arrivals.fetch_add(1, Ordering::AcqRel)),
        }
        self.work_on(engine, durability, position);
    }

    /// Requests `durability` up to `position`, without waiting.
    pub(crate) fn demand(&self, engine: &Engine, durability: Durability, position: u64) {
        self.wanted_written.fetch_max(position, Ordering::AcqRel);
        if durability == Durability::Synced {
            self.wanted_synced.fetch_max(position, Ordering::AcqRel);
        }
        self.wake(engine);
    }

    /// Wakes the journal's thread, whether it sleeps until there are events or until it is time to write them.
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
        if let Some(flusher) = &mut *self.by_hand.lock() {
            engine.core.log.await_published(engine.core.log.reserved());
            while !engine.core.log.is_halted() && flusher.is_due(engine, self) {
                flusher.turn(engine, self);
            }
        }
    }

    /// Called by an append that does not wait for the journal: wakes the journal if enough events are unwritten.
    pub(crate) fn nudge(&self, engine: &Engine, last: u64) {
        let unwritten = last.saturating_sub(engine.core.log.journaled());
        let is_enough = unwritten >= self.settings.events as u64 || self.backlog_bytes() >= self.settings.bytes as u64;
        if is_enough || self.waiting_for_room.load(Ordering::SeqCst) > 0 {
            self.work.notify();
        }
    }

    /// Stops the journal, which writes and syncs all events first. Returns whether the call waited for it: the journal's own thread, in a
    /// waker that it calls, cannot wait.
    pub(crate) fn stop(&self, engine: &Engine) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake(engine);
        if self.worker.is_current() {
            return false;
        }
        // A journal that panicked has halted the log and woken all waiters.
        self.worker.join();
        #[cfg(feature = "testing")]
        if let Some(flusher) = &mut *self.by_hand.lock() {
            flusher.run(engine, self);
        }
        true
    }
}

/// Whether there are events that the journal does not have.
fn has_unwritten(engine: &Engine) -> bool {
    // The lower number first: it only grows.
    let journaled = engine.core.log.journaled();
    engine.core.log.reserved() > journaled
}
