//! Compacting the journal: purging events that were dropped from memory.
//!
//! The journal's thread does it between two batches: one part of the journal after another, each in small steps.

use std::collections::VecDeque;

use crate::journal::{CompactionStep, Compactor, Journal, JournalError, JournalErrorKind, Part, PurgeSet};
use crate::store::durability::flush::Flushing;
use crate::store::log::directory::PageCache;
use crate::store::retention::requests::{JournalCompaction, Requests};
use crate::store::sync::Ordering;
use crate::store::{Engine, Store};
use crate::{Durability, Error, Position, Result};

/// Minimum number of dropped events before compaction is considered, and minimum part of all events as a divisor.
const DROPPED_MIN: u64 = 1024;
const DROPPED_PART: u64 = 16;

impl Store {
    /// Purges dropped events from the journal: truncated, deleted, archived, or dropped by a limit or the budget.
    ///
    /// The store does this automatically when enough events are dropped: half of a segment of a journal in files, any row of
    /// one in PostgreSQL. This call compacts all parts and waits for the end.
    /// Reads and appends continue. Crash-safe: a part is replaced atomically.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) if the store has no journal; [`Unsupported`](Error::Unsupported) if its journal has no
    /// [compactor](crate::journal::Compactor); [`Unavailable`](Error::Unavailable) if the journal could not compact a part, which is unchanged; [`Failed`](Error::Failed) if the journal failed; [`Closed`](Error::Closed).
    pub fn compact_journal(&self) -> Result<JournalCompaction> {
        let engine = self.engine();
        let Some(flushing) = &engine.flushing else {
            return Err(Error::invalid("the store has no journal to compact: open it with one"));
        };
        engine.expire_due();
        let last = engine.core.log.published();
        flushing.requests.asked_at.fetch_max(last, Ordering::SeqCst);
        let ticket = flushing.requests.asked.fetch_add(1, Ordering::SeqCst) + 1;
        flushing.work_on(engine, Durability::Written, last);
        let is_answered = || flushing.requests.answered.load(Ordering::SeqCst) >= ticket;
        let log = &engine.core.log;
        log.signal_of(Durability::Written)
            .wait_while(None, || !is_answered() && !log.is_halted());
        if !is_answered() {
            return Err(flushing.check(engine).err().unwrap_or(Error::Closed));
        }
        let answer = flushing.requests.answer.lock().clone();
        answer.unwrap_or_else(|| Ok(JournalCompaction::default()))
    }
}

/// The state of a compaction.
#[derive(Debug, Default)]
pub(in crate::store) struct Reclaim {
    parts: VecDeque<Part>,
    current: Option<Current>,
    /// The request that is being answered.
    serving: Option<u64>,
    done: JournalCompaction,
    /// Number of dropped events at which compaction is considered next.
    look_at: u64,
}

#[derive(Debug)]
struct Current {
    part: Part,
    purge: PurgeSet,
    /// The position whose sync makes the reasons of all drops in this part durable.
    safe_at: u64,
}

impl Reclaim {
    /// Whether there is a step to do.
    pub(in crate::store) fn is_due(&self, engine: &Engine, requests: &Requests) -> bool {
        self.current.is_some()
            || !self.parts.is_empty()
            || self.serving.is_some()
            || requests.asked.load(Ordering::SeqCst) > requests.answered.load(Ordering::SeqCst)
            || engine.retention.drops.events() >= self.look_at.max(DROPPED_MIN)
    }

    /// Does one step.
    ///
    /// # Errors
    ///
    /// Errors after which the journal cannot continue. Other errors are returned to the callers and leave the journal unchanged.
    pub(in crate::store) fn step(
        &mut self,
        engine: &Engine,
        flushing: &Flushing,
        journal: &mut dyn Journal,
    ) -> std::result::Result<(), JournalError> {
        // A journal that never syncs is not compacted: the reasons of the drops would never be durable.
        let can_sync = flushing.durability == Durability::Synced;
        let Some(compactor) = journal.compactor().filter(|_| can_sync) else {
            self.refuse(engine, &flushing.requests, can_sync);
            return Ok(());
        };
        if self.begins() {
            return self.begin(engine, flushing, compactor);
        }
        let stepped = if self.current.is_some() {
            self.compact(engine, flushing, compactor)
        } else if let Some(part) = self.parts.pop_front() {
            self.current = Some(Current::of(engine, part));
            Ok(())
        } else {
            self.done.bytes_after = bytes_of(&compactor.parts());
            let done = self.done;
            self.answer(engine, &flushing.requests, Ok(done));
            Ok(())
        };
        if let Err(error) = stepped {
            self.parts.clear();
            self.current = None;
            self.answer(engine, &flushing.requests, Err(error.into()));
        }
        Ok(())
    }

    /// Whether no compaction is in progress.
    fn begins(&self) -> bool {
        self.current.is_none() && self.parts.is_empty() && self.serving.is_none()
    }

    fn compact(
        &mut self,
        engine: &Engine,
        flushing: &Flushing,
        compactor: &mut dyn Compactor,
    ) -> std::result::Result<(), JournalError> {
        let Some(current) = &self.current else { return Ok(()) };
        if engine.core.log.reached(Durability::Synced) < current.safe_at {
            flushing.demand(engine, Durability::Synced, current.safe_at);
            return Ok(());
        }
        if let CompactionStep::Done { .. } = compactor.compact(&current.part, &current.purge)? {
            self.done.parts += 1;
            self.current = None;
        }
        Ok(())
    }

    /// Rejects a request for a journal that cannot be compacted, and considers compaction again only for the next request.
    fn refuse(&mut self, engine: &Engine, requests: &Requests, can_sync: bool) {
        self.look_at = u64::MAX;
        let asked = requests.asked.load(Ordering::SeqCst);
        self.serving = (asked > requests.answered.load(Ordering::SeqCst)).then_some(asked);
        let message = if can_sync {
            "compact its journal, which has no compactor and retains dropped events"
        } else {
            "compact its journal, which cannot sync the reasons of the drops"
        };
        self.answer(
            engine,
            requests,
            Err(Error::Unsupported {
                message: message.into(),
            }),
        );
    }

    /// Selects the parts to compact: all parts for a request, otherwise those with enough dropped events.
    fn begin(
        &mut self,
        engine: &Engine,
        flushing: &Flushing,
        compactor: &mut dyn Compactor,
    ) -> std::result::Result<(), JournalError> {
        let requests = &flushing.requests;
        let asked = requests.asked.load(Ordering::SeqCst);
        let is_asked = asked > requests.answered.load(Ordering::SeqCst);
        if is_asked && engine.core.log.journaled() < requests.asked_at.load(Ordering::SeqCst) {
            // The journal must have the events that it is to purge.
            return Ok(());
        }
        self.serving = is_asked.then_some(asked);
        match if is_asked { compactor.seal() } else { Ok(()) } {
            Err(error) if error.kind() == JournalErrorKind::Retry => {
                self.answer(engine, requests, Err(error.into()));
                return Ok(());
            }
            sealed => sealed?,
        }
        let parts = compactor.parts();
        let events: u64 = parts.iter().map(|part| part.events).sum();
        let dropped = engine.retention.drops.events();
        self.look_at = dropped + DROPPED_MIN.max(events / DROPPED_PART);
        self.done = JournalCompaction {
            bytes_before: bytes_of(&parts),
            ..JournalCompaction::default()
        };
        let is_worth_it = |part: &Part| {
            let gone = part.events.saturating_sub(engine.events_between(part));
            gone > 0 && (is_asked || compactor.should_compact(part, gone))
        };
        self.parts = parts.into_iter().filter(is_worth_it).collect();
        Ok(())
    }

    fn answer(&mut self, engine: &Engine, requests: &Requests, answer: Result<JournalCompaction>) {
        let Some(asked) = self.serving.take() else { return };
        *requests.answer.lock() = Some(answer);
        requests.answered.store(asked, Ordering::SeqCst);
        engine.core.log.signal_of(Durability::Written).notify();
    }
}

fn bytes_of(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

impl Current {
    fn of(engine: &Engine, part: Part) -> Self {
        let there = engine.positions_between(&part);
        // After reading the positions: every missing event has its gap by now.
        let gaps = engine.retention.drops.between(part.first.0 - 1, part.last.0);
        // Later drops belong to the next compaction; the system events of earlier drops have reserved their positions by now.
        let safe_at = engine.core.log.reserved();
        Self {
            purge: PurgeSet::new((part.first, part.last), there, gaps),
            part,
            safe_at,
        }
    }
}

impl Engine {
    /// The positions of the retained events of a part.
    fn positions_between(&self, part: &Part) -> Vec<Position> {
        let mut pages = PageCache::default();
        let positions = self.core.log.positions(part.first.0, part.last.0);
        positions
            .filter(|position| self.core.with_event(*position, &mut pages, |_| ()).is_some())
            .map(Position)
            .collect()
    }

    /// Number of retained events of a part, without changes of aggregates, which a journal always keeps.
    fn events_between(&self, part: &Part) -> u64 {
        let mut pages = PageCache::default();
        let positions = self.core.log.positions(part.first.0, part.last.0);
        let is_counted =
            |position: &u64| self.core.with_event(*position, &mut pages, |event| !event.is_change()) == Some(true);
        positions.filter(is_counted).count() as u64
    }
}
