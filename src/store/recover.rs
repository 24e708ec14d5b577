//! Filling a store with what its journal holds: the same events, in the same order, with the same consequences.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Engine;
use super::budget::Cost;
use super::directory::{PageCache, Place};
use super::gaps::GapReason;
use super::retention::Change;
use crate::event::chunk::Chunk;
use crate::journal::system::{self, SystemEvent};
use crate::journal::{Batch, Journal, JournalError, Recover, RecoveryReport};
use crate::{EventRef, Position, Result, StreamId};

impl Engine {
    /// Takes over what `journal` holds. The store is nobody else's yet.
    ///
    /// # Errors
    ///
    /// Those of the journal.
    pub(crate) fn recover(&mut self, journal: &mut dyn Journal, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let began = Instant::now();
        let mut recovery = Recovery {
            engine: self,
            pages: PageCache::default(),
            events: 0,
            progress,
        };
        let recovered = journal.recover(&mut recovery)?;
        let events = recovery.events;
        self.indexes.main.read_whole(&self.core, self.core.log.published());
        if self.settings.budget.age.is_some() {
            // The first read looks at what is too old.
            self.expiry.store(i64::MIN, Ordering::Release);
        }
        let live: u64 = (0..self.core.lane_count())
            .map(|lane| self.core.read_lane(lane).lane.usage().events)
            .sum();
        self.recovery = RecoveryReport {
            events,
            dropped: events - live,
            position: Position(self.core.log.published()),
            bytes: recovered.bytes,
            torn_tail_bytes: recovered.torn_tail_bytes,
            elapsed: began.elapsed(),
        };
        Ok(())
    }
}

struct Recovery<'a> {
    engine: &'a Engine,
    pages: PageCache,
    events: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Recover for Recovery<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        let (first, last) = (batch.first_position(), batch.last_position());
        let log = &self.engine.core.log;
        if batch.is_empty() {
            return Ok(());
        }
        if first.0 <= log.published() {
            return Err(JournalError::corrupt(format!(
                "the event at position {first} comes after the one at {}",
                log.published()
            )));
        }
        self.events += batch.len() as u64;
        if let Some(usage) = &self.engine.usage {
            usage.add(Cost::of_users(&batch));
        }
        for chunk in batch.into_chunks() {
            self.adopt(chunk)?;
        }
        log.recovered_to(last.0);
        self.engine.make_room();
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}

impl Recovery<'_> {
    fn adopt(&mut self, chunk: Chunk) -> Result<(), JournalError> {
        let lane = self.engine.core.own_lane();
        let (snapshot, slot) = {
            let mut own = self.engine.core.write_lane(lane);
            let slot = own.lane.write().adopt(chunk);
            (own.lane.snapshot(), slot)
        };
        self.enter(lane, slot, &snapshot);
        let mut next = slot;
        while let Some((chunk, index)) = snapshot.raw(next) {
            self.replay(EventRef::new(chunk, index))?;
            next += 1;
        }
        Ok(())
    }

    /// Says where the events of a chunk are, a run of consecutive positions at a time.
    fn enter(&mut self, lane: usize, first_slot: u64, snapshot: &super::lane::Snapshot) {
        let mut slot = first_slot;
        while let Some((chunk, index)) = snapshot.raw(slot) {
            let first = chunk.position(index);
            let run = (index + 1..chunk.len())
                .zip(first + 1..)
                .take_while(|(index, position)| chunk.position(*index) == *position)
                .count() as u64
                + 1;
            let log = &self.engine.core.log;
            log.enter(first, Place { lane, slot }, run, &mut self.pages);
            slot += run;
        }
    }

    /// Does to the streams what appending the event did.
    fn replay(&mut self, event: EventRef<'_>) -> Result<(), JournalError> {
        let engine = self.engine;
        let id = event.aggregate_id();
        let hash = engine.core.hash(id);
        let mut guard = engine.core.write(engine.core.shard_of(hash));
        let shard = guard.write();
        let key = match shard.find(hash, id) {
            Some(key) => key,
            None => shard.create(hash, &StreamId::new(event.aggregate_type(), id)),
        };
        let stream = shard.stream_mut(key);
        let (version, known) = (event.raw_version(), stream.version);
        if version <= known {
            return Err(JournalError::corrupt(system::passed(event, known)));
        }
        stream.recover(version, event.raw_position());
        if event.is_system() {
            let told = system::parse(event).ok_or_else(|| JournalError::corrupt(system::unknown(event)))?;
            let Some(change) = change_of(told) else {
                // What was at this position is gone, and so is what stands for it.
                engine.drop_stream_to(shard, key, version, GapReason::Lost);
                return Ok(());
            };
            let target = id.strip_prefix('$').unwrap_or(id);
            let hash = engine.core.hash(target);
            if let Some(key) = shard.find(hash, target) {
                // What was too old then is gone, whatever limits the aggregate has now.
                engine.drop_expired(shard, key, event.recorded_at());
                engine.carry_out(&mut guard, key, &change, target);
            }
        } else {
            engine.apply_limits(shard, key);
        }
        Ok(())
    }
}

fn change_of(event: SystemEvent) -> Option<Change> {
    match event {
        SystemEvent::Truncated { to_version } => Some(Change::TruncateTo(to_version)),
        SystemEvent::Deleted => Some(Change::Delete),
        SystemEvent::Tombstoned => Some(Change::Tombstone),
        SystemEvent::Limited(limits) => Some(Change::Limit(limits)),
        SystemEvent::Lost => None,
    }
}
