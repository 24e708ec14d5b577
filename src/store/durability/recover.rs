//! Recovering a store from its journal: the same events, in the same order, with the same effects.

use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::time::Instant;

use crate::event::chunk::Chunk;
use crate::event::system::{self, SystemEvent};
use crate::journal::replay;
use crate::journal::{Batch, Journal, JournalError, JournalErrorKind, Mark, Recover, Recovered, RecoveryReport};
use crate::store::Engine;
use crate::store::log::directory::{PageCache, PlaceRun};
use crate::store::retention::budget::Cost;
use crate::store::streams::shard::Shard;
use crate::{EventRef, GapReason, Position, Result, StreamId, telemetry};

impl Engine {
    /// Recovers the events of `journal`. The store is not shared yet.
    ///
    /// # Errors
    ///
    /// The errors of the journal.
    pub(crate) fn recover(&mut self, journal: &mut dyn Journal, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.fill(progress, |into| journal.recover(into))
    }

    /// Recovers the events that `read` passes on.
    ///
    /// # Errors
    ///
    /// The errors of `read`.
    pub(in crate::store) fn fill(
        &mut self,
        progress: &mut dyn FnMut(u64, u64),
        read: impl FnOnce(&mut dyn Recover) -> Result<Recovered, JournalError>,
    ) -> Result<()> {
        let began = Instant::now();
        let (recovered, events) = self.indexing_meanwhile(|grown| {
            let mut recovery = Recovery::new(self, progress);
            recovery.grown = Some(grown);
            Ok::<_, JournalError>((read(&mut recovery)?, recovery.events))
        })?;
        self.indexes.main.read_whole(&self.core, self.core.log.published());
        if self.settings.budget.age.is_some() {
            // The first read drops expired events.
            self.retention.due.note(i64::MIN);
        }
        let live: u64 = (0..self.core.lane_count())
            .map(|lane| self.core.read_lane(lane).lane.usage().events)
            .sum();
        self.opened.recovery = RecoveryReport {
            events,
            dropped: events - live,
            position: Position(self.core.log.published()),
            bytes: recovered.bytes,
            torn_tail_bytes: recovered.torn_tail_bytes,
            elapsed: began.elapsed(),
        };
        telemetry::recovered(&self.opened.recovery);
        Ok(())
    }

    /// Runs `work` with a thread that extends the index when notified that the log has grown. If the thread cannot start, the index is extended later.
    fn indexing_meanwhile<T>(&self, work: impl FnOnce(SyncSender<()>) -> T) -> T {
        // One pending message is enough: it covers everything published before it is received.
        let (grown, growth) = mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            let follow = move || {
                for () in growth {
                    self.indexes.main.read_whole(&self.core, self.core.log.published());
                }
            };
            let thread = std::thread::Builder::new().name("annals-index".to_owned());
            drop(thread.spawn_scoped(scope, follow));
            work(grown)
        })
    }
}

/// Adds recovered batches to a store, one after another.
pub(in crate::store) struct Recovery<'a> {
    engine: &'a Engine,
    pages: PageCache,
    events: u64,
    /// The last position that was entered.
    position: u64,
    /// Marks of purged events that are not replayed yet.
    marks: VecDeque<Mark>,
    /// Notified when the log has grown.
    grown: Option<SyncSender<()>>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Recover for Recovery<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.take(batch)?;
        self.engine.core.log.recovered_to(self.position);
        self.engine.make_room();
        if let Some(grown) = &self.grown {
            // If it is full, the pending message covers this batch too.
            grown.try_send(()).ok();
        }
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}

impl<'a> Recovery<'a> {
    /// Continues after the last position of `engine`.
    pub(in crate::store) fn new(engine: &'a Engine, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self {
            engine,
            pages: PageCache::default(),
            events: 0,
            position: engine.core.log.published(),
            marks: VecDeque::new(),
            grown: None,
            progress,
        }
    }

    /// The last position that was entered.
    pub(in crate::store) fn position(&self) -> u64 {
        self.position
    }
}

impl Recovery<'_> {
    /// Adds a batch that is not visible yet.
    ///
    /// # Errors
    ///
    /// Corrupt if the batch does not continue the earlier ones.
    pub(in crate::store) fn take(&mut self, batch: Batch) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check(&batch)?;
        self.events += batch.len() as u64;
        if let Some(usage) = &self.engine.retention.usage {
            usage.add(Cost::of_users(&batch));
        }
        let has_skipped = batch.skipped() > 0;
        let last = batch.last_position();
        let (chunks, gaps, marks) = batch.into_parts();
        self.marks = marks.into();
        self.engine.retention.drops.recover(gaps, has_skipped);
        for chunk in chunks {
            self.adopt(chunk)?;
        }
        self.replay_marks(u64::MAX)?;
        self.skip_to(last.0 + 1)?;
        self.position = last.0;
        Ok(())
    }

    fn adopt(&mut self, chunk: Chunk) -> Result<(), JournalError> {
        let lane = self.engine.core.own_lane();
        if !chunk.is_full() && self.engine.following.is_some() {
            return self.copy(lane, &chunk);
        }
        let (snapshot, slot) = {
            let mut own = self.engine.core.write_lane(lane);
            let slot = own.lane.write().adopt(chunk);
            (own.lane.snapshot(), slot)
        };
        self.enter(lane, slot, &snapshot)?;
        let mut next = slot;
        while let Some((chunk, index)) = snapshot.raw(next) {
            let event = EventRef::new(chunk, index);
            self.replay_marks(event.raw_position())?;
            self.replay(event)?;
            next += 1;
        }
        Ok(())
    }

    /// Copies a chunk that is not full: a store that follows receives a few events at a time.
    fn copy(&mut self, lane: usize, chunk: &Chunk) -> Result<(), JournalError> {
        let mut slots = {
            let mut own = self.engine.core.write_lane(lane);
            let lane = own.lane.write();
            let slots = (0..chunk.len()).map(|index| lane.push_copy(chunk, index));
            slots.collect::<Vec<_>>().into_iter()
        };
        for index in 0..chunk.len() {
            let event = EventRef::new(chunk, index);
            let position = event.raw_position();
            self.skip_to(position)?;
            if let Some(slot) = slots.next() {
                let log = &self.engine.core.log;
                log.enter(position, &[PlaceRun::new(lane, slot, 1)], &mut self.pages);
                self.position = position;
            }
            self.replay_marks(position)?;
            self.replay(event)?;
        }
        Ok(())
    }

    /// Checks that a batch starts right after the previous one, and that its events and gaps cover all its positions.
    fn check(&self, batch: &Batch) -> Result<(), JournalError> {
        let (first, last) = (batch.first_position(), batch.last_position());
        let before = self.position;
        if first.0 != before + 1 {
            return Err(JournalError::corrupt(format!(
                "the event at position {first} comes after the one at {before}"
            )));
        }
        if !batch.is_whole() {
            return Err(JournalError::corrupt(format!(
                "events are missing between the positions {first} and {last}"
            )));
        }
        Ok(())
    }

    /// Skips the positions before `next` that have no event.
    fn skip_to(&self, next: u64) -> Result<(), JournalError> {
        let log = &self.engine.core.log;
        if !log.skip_to(next) {
            return Err(JournalError::new(
                JournalErrorKind::Unsupported,
                format!("too many positions before {next} have no event: the directory cannot skip them"),
            ));
        }
        if self.events == 0 {
            log.raise_floor(next - 1);
        }
        Ok(())
    }

    /// Raises aggregates to the versions of their purged events before position `next`.
    fn replay_marks(&mut self, next: u64) -> Result<(), JournalError> {
        while self.marks.front().is_some_and(|mark| mark.position.0 < next)
            && let Some(mark) = self.marks.pop_front()
        {
            self.replay_mark(&mark)?;
        }
        Ok(())
    }

    fn replay_mark(&self, mark: &Mark) -> Result<(), JournalError> {
        let engine = self.engine;
        let hash = engine.core.hash(&mark.aggregate_id);
        let mut guard = engine.core.write(engine.core.shard_of(hash));
        let shard = guard.write();
        let key = key_of(shard, hash, &mark.aggregate_type, &mark.aggregate_id);
        let known = shard.stream(key).version;
        let version = replay::check_mark(mark, known).map_err(JournalError::corrupt)?;
        // The events that the journal still had were dropped from memory before.
        engine.drop_stream_to(shard, key, known, mark.reason.clone());
        shard.stream_mut(key).pass(version);
        Ok(())
    }

    /// Enters the places of a chunk's events, a run of consecutive positions at a time.
    fn enter(
        &mut self,
        lane: usize,
        first_slot: u64,
        snapshot: &crate::store::log::lane::Snapshot,
    ) -> Result<(), JournalError> {
        let mut slot = first_slot;
        while let Some((chunk, index)) = snapshot.raw(slot) {
            let first = chunk.position(index);
            self.skip_to(first)?;
            let run = (index + 1..chunk.len())
                .zip(first + 1..)
                .take_while(|(index, position)| chunk.position(*index) == *position)
                .count() as u64
                + 1;
            let log = &self.engine.core.log;
            log.enter(first, &[PlaceRun::new(lane, slot, run)], &mut self.pages);
            self.position = first + run - 1;
            slot += run;
        }
        Ok(())
    }

    /// Applies the effects of an event to the streams, as appending it did.
    fn replay(&mut self, event: EventRef<'_>) -> Result<(), JournalError> {
        let engine = self.engine;
        let id = event.aggregate_id();
        let hash = engine.core.hash(id);
        let mut guard = engine.core.write(engine.core.shard_of(hash));
        let shard = guard.write();
        let key = key_of(shard, hash, event.aggregate_type(), id);
        let stream = shard.stream_mut(key);
        let version = event.raw_version();
        let told = replay::check(event, stream.version).map_err(JournalError::corrupt)?;
        stream.recover(version, event.raw_position());
        if let Some(told) = told {
            let (change, gone_to) = match told {
                SystemEvent::Changed { change, gone_to } => (change, gone_to),
                SystemEvent::Command => return Ok(()),
                SystemEvent::Lost => {
                    // The original event is lost; the `$lost` event in its place is dropped too.
                    engine.drop_stream_to(shard, key, version, GapReason::Lost);
                    return Ok(());
                }
                SystemEvent::Snapshot { keep } => {
                    engine.drop_stream_to(shard, key, version.saturating_sub(keep), GapReason::Snapshot);
                    return Ok(());
                }
            };
            let target = system::target(id);
            let hash = engine.core.hash(target);
            if let Some(key) = shard.find(hash, target) {
                // Events that had expired then are dropped, whatever limits the aggregate has now. With archives attached, events
                // that had been archived by then are included in `gone_to`, but are present here.
                if gone_to.is_some() && !engine.opened.has_archives {
                    engine.limit_to(shard, key, gone_to);
                }
                engine.carry_out(&mut guard, key, &change, target);
            }
        } else {
            engine.retention.types.add(event.aggregate_type(), 1);
            engine.apply_limits(shard, key);
        }
        Ok(())
    }
}

/// The key of a stream, which is created if it does not exist.
fn key_of(shard: &mut Shard, hash: u64, aggregate_type: &str, id: &str) -> u32 {
    shard
        .find(hash, id)
        .unwrap_or_else(|| shard.create(hash, &StreamId::new(aggregate_type, id)))
}
