//! The journal's thread: copies published events, writes and syncs them, and reports its progress.
//!
//! This results in group commit: while one sync runs, the next batch accumulates.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use super::Flushing;
use super::collect::Collector;
use super::group_commit::GroupCommitDelay;
use crate::journal::{Journal, JournalError, JournalErrorKind};
use crate::store::Engine;
use crate::store::retention::budget::Cost;
use crate::store::retention::journal::Reclaim;
use crate::store::sync::Ordering;
use crate::{Durability, Result, telemetry};

/// The first wait before a write is retried; each wait is twice the previous one, up to a second.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LONGEST: Duration = Duration::from_secs(1);
/// Bytes written per step of compaction, while there is something to compact: half of the bytes that a step reads, so that
/// appends that do not wait cannot outrun compaction.
const RECLAIM_EVERY: u64 = 128 << 10;

/// The journal, and the state of its work.
#[derive(Debug)]
pub(super) struct Flusher {
    journal: Option<Box<dyn Journal>>,
    collector: Collector,
    /// When the oldest written but unsynced event was written.
    written_at: Option<Instant>,
    /// Arrivals that previous syncs have served, and those that the next one will.
    served: usize,
    serving: usize,
    /// The number of arrivals at which all threads released by the last sync wait again.
    expected: usize,
    sync_took: Duration,
    reclaim: Reclaim,
}

impl Flusher {
    pub(super) fn new(journal: Box<dyn Journal>) -> Self {
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
    pub(super) fn run(&mut self, engine: &Engine, flushing: &Flushing) {
        // However this thread ends, even by a panic of the journal, no thread may wait for it afterwards.
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
        // A failed journal is dropped without closing it.
        let journal = self.journal.take().filter(|_| !engine.core.log.is_halted());
        if let Some(Err(error)) = journal.map(Journal::close) {
            fail(engine, flushing, error);
        }
    }

    /// Writes new events, and syncs if a thread waits for it or a sync is due.
    pub(super) fn turn(&mut self, engine: &Engine, flushing: &Flushing) {
        let log = &engine.core.log;
        self.gather(engine, flushing);
        let began = flushing.unwritten_age.as_ref().map(|age| (age, age.now()));
        let published = log.published();
        while log.journaled() < published && !log.is_halted() {
            let bytes = self.write(engine, flushing, published);
            if self.sync_is_due(engine, flushing) {
                self.sync(engine, flushing);
            }
            self.reclaim(engine, flushing, bytes / RECLAIM_EVERY);
        }
        if let Some((age, time)) = began.filter(|_| !log.is_halted()) {
            age.note(time);
            // Appends that wait because of the age check again.
            log.signal_of(Durability::Written).notify();
        }
        if !log.is_halted() && self.sync_is_due(engine, flushing) {
            self.sync(engine, flushing);
        }
        self.reclaim(engine, flushing, 1);
    }

    /// Compacts the journal in at most this many steps, if it has parts to compact.
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

    /// Waits for the threads released by the last sync to append again, so that they share the next sync, as long as that is worth it.
    fn gather(&mut self, engine: &Engine, flushing: &Flushing) {
        let arrivals = || flushing.arrivals.load(Ordering::Acquire);
        let synced = engine.core.log.reached(Durability::Synced);
        if flushing.wanted_synced.load(Ordering::Acquire) > synced {
            let mut patience = GroupCommitDelay::new(self.sync_took, Instant::now());
            // No time passes under loom.
            while !cfg!(annals_loom)
                && arrivals() < self.expected
                && patience.lasts(arrivals() - self.served, Instant::now())
            {
                std::thread::yield_now();
            }
        }
        // Their events are published: a thread waits only after its append.
        self.serving = arrivals();
    }

    /// Writes the next batch. Returns its bytes, as the budget counts them.
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
            // Before the signal: threads that wait for room must find it when they wake.
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
            engine.limit_visible();
        }
    }

    /// Calls the journal until it succeeds, fails permanently, or the time to retry is over. Returns whether it succeeded.
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
                Ok(()) => {
                    if pause > RETRY_FIRST {
                        flushing.retry.end();
                    }
                    return true;
                }
                Err(error) => error,
            };
            let stopping = flushing.stopping.load(Ordering::SeqCst);
            let may_retry = error.kind() == JournalErrorKind::Retry && !stopping;
            if !may_retry || began.elapsed() + pause > flushing.settings.retry_for {
                fail(engine, flushing, error);
                return false;
            }
            flushing.retry.note(error, began, flushing.settings.retry_for);
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
        // A thread that waits only for a write appends again sooner than this thread sleeps and wakes.
        let backoff = Backoff::new();
        while !backoff.is_completed() && !cfg!(annals_loom) {
            if self.is_due(engine, flushing) {
                return;
            }
            backoff.snooze();
        }
        let settings = &flushing.settings;
        let stopping = || flushing.stopping.load(Ordering::SeqCst);
        let unwritten = || log.published() > log.journaled();
        // A deadline beyond the range of the clock means never.
        let sync_at = self.written_at.and_then(|at| at.checked_add(settings.sync_within));
        if !unwritten() {
            // There is nothing to write; the time starts with the next append.
            let reclaims = || self.reclaim.is_due(engine, &flushing.requests);
            log.signal_of(Durability::Volatile).wait_while(sync_at, || {
                !unwritten() && !self.sync_is_due(engine, flushing) && !reclaims() && !stopping()
            });
        }
        // If `write_within` is enforced, events are written before their age holds appends back.
        let divisor = if settings.enforce_write_within { 2 } else { 1 };
        let write_at = Instant::now()
            .checked_add(settings.write_within / divisor)
            .filter(|_| unwritten());
        let deadline = [write_at, sync_at].into_iter().flatten().min();
        flushing
            .work
            .wait_while(deadline, || !self.is_due(engine, flushing) && !stopping());
    }

    /// Whether a thread waits, or enough events are unwritten.
    pub(super) fn is_due(&self, engine: &Engine, flushing: &Flushing) -> bool {
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

/// Halts the log when the journal's thread ends, also by a panic.
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
        // The thread that stopped it may not be waiting for it.
        if self.0.closing.load(Ordering::SeqCst) {
            self.0.core.log.close();
        }
    }
}

fn fail(engine: &Engine, flushing: &Flushing, error: JournalError) {
    telemetry::journal_failed(&error);
    flushing.fault.lock().get_or_insert(error);
    flushing.retry.end();
    engine.core.log.halt();
}
