//! Appending to one aggregate: check, reserve, write, publish, in this order.

use std::sync::atomic::Ordering;

use crate::event::system;
use crate::store::Engine;
use crate::store::append::own_ids::OwnIds;
use crate::store::append::prepare::{self, EventMeta, Hashes, PreparedAppend};
use crate::store::append::repetition::Known;
use crate::store::core::{OwnLane, ShardWrite};
use crate::store::index::IdIndex;
use crate::store::log::directory::{PageCache, PlaceRun};
use crate::store::log::lane::Lane;
use crate::store::retention::budget::Cost;
use crate::store::streams::shard::Shard;
use crate::store::streams::stream::Stream;
use crate::{Appended, Conflict, Durability, Error, Expected, NewEvent, Position, Result, StreamId, Version};

/// The result of checking a prepared append.
pub(crate) enum Admission {
    /// The append can be written, to the stream with this key or to a new one.
    New(Option<u32>),
    Repeated(Appended),
    /// Only the index of ids can tell whether it is a duplicate.
    Unclear,
}

/// What an append did, before it waits for the journal.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Outcome {
    /// It has no events.
    Nothing,
    /// Its events were there.
    Repeated,
    /// Its events were written. The version up to which the stream is dropped once readers see them, if there is one.
    New(Option<u32>),
}

/// An append that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct WrittenAppend {
    pub(in crate::store) appended: Appended,
    pub(in crate::store) outcome: Outcome,
}

impl Engine {
    pub(crate) fn append(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: &[NewEvent<'_>],
        acknowledge: Durability,
    ) -> Result<Appended> {
        if let Some(following) = &self.following {
            return self.append_elsewhere(following, stream, expected, events);
        }
        self.expire_due();
        let hashes = prepare::check(stream, events, &self.settings.limits)?;
        let prepared = self.prepare(stream, expected, events, hashes)?;
        let cost = self.reserve(std::slice::from_ref(&prepared))?;
        let result = self.append_prepared(&prepared, cost, acknowledge);
        self.release_reservation(cost, result.as_ref().is_ok_and(|appended| !appended.repeated));
        result
    }

    fn append_prepared(
        &self,
        prepared: &PreparedAppend<'_>,
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<Appended> {
        let WrittenAppend { mut appended, outcome } = self.write_append(prepared, cost)?;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Repeated => return self.repeat(appended, acknowledge),
            Outcome::New(surplus) => {
                appended.durability = self.acknowledge(appended.last_position.0, acknowledge)?;
                if surplus.is_some() {
                    self.limit_later(prepared, surplus);
                }
            }
        }
        Ok(appended)
    }

    /// Writes the events of a prepared append whose cost is reserved, and does not wait for the journal.
    pub(in crate::store) fn write_append(
        &self,
        prepared: &PreparedAppend<'_>,
        cost: Option<Cost>,
    ) -> Result<WrittenAppend> {
        if let Some(written) = self.append_prepared_with(prepared, None, cost)? {
            Ok(written)
        } else {
            let ids = self.ids_held();
            let written = self.append_prepared_with(prepared, Some(&ids), cost)?;
            // With the index held the check is never unclear.
            written.ok_or(Error::Closed)
        }
    }

    /// Returns `None` if the index of ids is needed and is not held.
    fn append_prepared_with(
        &self,
        prepared: &PreparedAppend<'_>,
        ids: Option<&IdIndex>,
        cost: Option<Cost>,
    ) -> Result<Option<WrittenAppend>> {
        let mut shard = self.core.write(self.core.shard_of(prepared.stream_hash));
        // Under the lock: closing the store takes every lock once, so it sees every earlier append.
        self.check_open()?;
        let key = match self.check_prepared(&shard, prepared, ids)? {
            Admission::New(key) => key,
            Admission::Repeated(appended) => {
                return Ok(Some(WrittenAppend {
                    appended,
                    outcome: Outcome::Repeated,
                }));
            }
            Admission::Unclear => return Ok(None),
        };
        if prepared.events.is_empty() {
            return Ok(Some(WrittenAppend {
                appended: self.nothing_appended(key.map_or(0, |key| shard.stream(key).version)),
                outcome: Outcome::Nothing,
            }));
        }
        let state = shard.write();
        let key = key.unwrap_or_else(|| state.create(prepared.stream_hash, prepared.stream));
        let version = state.stream(key).version;
        let first = self.write_prepared(state, key, prepared);
        self.count_written(cost);
        self.retention.types.add_written(std::slice::from_ref(prepared));
        let surplus = self.limit_appended(state, key);
        Ok(Some(WrittenAppend {
            appended: acknowledged(prepared, version, first),
            outcome: Outcome::New(surplus),
        }))
    }

    /// Drops the events of a stream up to a version, once readers see the events that displaced them.
    pub(crate) fn limit_later(&self, prepared: &PreparedAppend<'_>, to: Option<u32>) {
        self.limit_stream(prepared.stream_hash, &prepared.stream.aggregate_id, to);
    }

    /// Returns the first acknowledgement once its events have the durability requested now.
    pub(crate) fn repeat(&self, mut appended: Appended, acknowledge: Durability) -> Result<Appended> {
        appended.durability = self.await_durable(appended.last_position.0, acknowledge)?;
        Ok(appended)
    }

    /// Reserves positions for a prepared append, writes its events there and publishes them. Returns the first position.
    fn write_prepared(&self, shard: &mut Shard, key: u32, prepared: &PreparedAppend<'_>) -> u64 {
        let number = self.core.own_lane();
        let mut own = self.core.write_lane(number);
        let OwnLane { lane, pages } = &mut *own;
        let lane = lane.write();
        lane.make_room(prepared.events.len());
        let first = self.core.log.reserve(prepared.events.len() as u64);
        let slot = lane.next_slot();
        write_events(shard.stream_mut(key), lane, prepared, first);
        self.enter_written(first, prepared.events.len(), (number, slot), lane, pages);
        first
    }

    /// Publishes `count` events that were written to a lane, the first at position `first` in this lane and slot.
    #[inline]
    pub(in crate::store) fn enter_written(
        &self,
        first: u64,
        count: usize,
        (number, slot): (usize, u64),
        lane: &Lane,
        pages: &mut PageCache,
    ) {
        let log = &self.core.log;
        if lane.next_slot() == slot + count as u64 {
            log.enter(first, &[PlaceRun::new(number, slot, count as u64)], pages);
        } else {
            log.enter(first, &lane.runs_since(number, slot), pages);
        }
        log.publish(pages);
    }

    /// Waits until the append is visible and as durable as requested, and extends the index if it is behind. Returns
    /// the durability reached.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if the journal failed, [`Error::Closed`] if it stopped before it reached `last`.
    pub(crate) fn acknowledge(&self, last: u64, acknowledge: Durability) -> Result<Durability> {
        self.core.log.announce();
        let durability = self.await_durable(last, acknowledge)?;
        self.assist(last);
        self.note_log_age();
        Ok(durability)
    }

    /// Extends what follows the log if it is behind `last`.
    #[inline]
    pub(in crate::store) fn assist(&self, last: u64) {
        self.indexes.main.assist(&self.core, last);
        #[cfg(all(feature = "analytics", feature = "json"))]
        self.retention.rollups.assist(&self.core);
    }

    /// Notes when the events added now expire, if the budget has an age.
    pub(crate) fn note_log_age(&self) {
        if let Some(age) = self.settings.budget.age {
            self.retention.due.note(self.clock.now().after(age).as_micros());
        }
    }

    /// Waits until everything up to `position` is visible and as durable as requested.
    fn await_durable(&self, position: u64, acknowledge: Durability) -> Result<Durability> {
        let log = &self.core.log;
        log.await_published(position);
        let Some(flushing) = &self.flushing else {
            return Ok(Durability::Volatile);
        };
        let wanted = acknowledge.max(log.visibility());
        if wanted == Durability::Volatile {
            flushing.nudge(self, position);
        } else {
            flushing.wait(self, wanted, position)?;
        }
        Ok(log.durability_of(position))
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if let Some(following) = &self.following {
            following.check()?;
        }
        if let Some(flushing) = &self.flushing {
            flushing.check(self)?;
        }
        if self.core.log.is_closed() || self.closing.load(Ordering::Relaxed) {
            return Err(self
                .opened
                .read_only
                .map_or(Error::Closed, |reason| Error::ReadOnly { reason }));
        }
        Ok(())
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] if two events have the same id.
    pub(crate) fn prepare<'a>(
        &self,
        stream: &'a StreamId,
        expected: Expected,
        events: &'a [NewEvent<'a>],
        hashes: Hashes,
    ) -> Result<PreparedAppend<'a>> {
        Ok(self.prepare_with(stream, expected, events, hashes, OwnIds::of(events)?))
    }

    /// Prepares a system event, whose id the store assigns.
    pub(crate) fn prepare_system<'a>(&self, stream: &'a StreamId, event: &'a NewEvent<'a>) -> PreparedAppend<'a> {
        let hashes = prepare::hashes_unchecked(stream, event, &self.settings.limits);
        let events = std::slice::from_ref(event);
        self.prepare_with(stream, Expected::Any, events, hashes, OwnIds::default())
    }

    fn prepare_with<'a>(
        &self,
        stream: &'a StreamId,
        expected: Expected,
        events: &'a [NewEvent<'a>],
        hashes: Hashes,
        own_ids: OwnIds,
    ) -> PreparedAppend<'a> {
        PreparedAppend {
            stream,
            stream_hash: self.core.hash(&stream.aggregate_id),
            expected,
            events,
            meta: EventMeta::of(events, hashes, &*self.clock, &*self.ids),
            own_ids,
        }
    }

    pub(crate) fn nothing_appended(&self, version: u32) -> Appended {
        let visible = self.core.log.visible();
        Appended {
            first_version: Version(u64::from(version) + 1),
            last_version: Version(u64::from(version)),
            first_position: Position(visible + 1),
            last_position: Position(visible),
            durability: self.core.log.durability_of(visible),
            repeated: false,
        }
    }

    /// # Errors
    ///
    /// [`Error::Conflict`], [`Error::Deleted`], or [`Error::Invalid`] for another type or a full stream.
    pub(crate) fn check_prepared(
        &self,
        shard: &Shard,
        prepared: &PreparedAppend<'_>,
        ids: Option<&IdIndex>,
    ) -> Result<Admission> {
        let key = shard.find(prepared.stream_hash, &prepared.stream.aggregate_id);
        let Some(stream) = key.map(|key| shard.stream(key)) else {
            return check_unknown(prepared).map(|()| Admission::New(None));
        };
        if stream.tombstoned {
            return Err(Error::Deleted {
                aggregate_id: stream.id.clone(),
            });
        }
        shard.check_type(stream, prepared.stream)?;
        let holds = stream.meets(prepared.expected);
        match self.known(stream, prepared, ids) {
            Known::All(appended) => return Ok(Admission::Repeated(appended)),
            Known::Unclear => return Ok(Admission::Unclear),
            Known::Some(known) if holds => return Err(known.into()),
            Known::None | Known::Some(_) if !holds => return Err(conflict(stream, prepared).into()),
            Known::None | Known::Some(_) => {}
        }
        if prepared.events.len() as u64 > u64::from(u32::MAX - stream.version) {
            return Err(Error::invalid(format!(
                "aggregate '{}' is full: it has 2^32 versions",
                stream.id
            )));
        }
        Ok(Admission::New(key))
    }

    /// Appends a system event about `aggregate`, under the lock of its shard. The caller calls
    /// [`acknowledge`](Self::acknowledge) after it has released the lock.
    pub(crate) fn append_change(&self, guard: &mut ShardWrite<'_>, aggregate: &str, event: &NewEvent<'_>) -> u64 {
        let stream = StreamId::new("$aggregate", system::change_stream(aggregate));
        let prepared = self.prepare_system(&stream, event);
        if let Some(flushing) = &self.flushing {
            flushing.add(self, Cost::of(std::slice::from_ref(&prepared)));
        }
        self.append_system(guard, &prepared)
    }

    /// Appends a prepared system event without reserving room. Returns its position.
    pub(in crate::store) fn append_system(&self, guard: &mut ShardWrite<'_>, prepared: &PreparedAppend<'_>) -> u64 {
        let key = guard.find(prepared.stream_hash, &prepared.stream.aggregate_id);
        let shard = guard.write();
        let key = key.unwrap_or_else(|| shard.create(prepared.stream_hash, prepared.stream));
        self.write_prepared(shard, key, prepared)
    }

    /// Reserves room for the parts of an append in the budget and in the backlog, before any lock is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Backlog`], and the error of the journal if it has failed.
    pub(crate) fn reserve(&self, parts: &[PreparedAppend<'_>]) -> Result<Option<Cost>> {
        self.reserve_cost(|| Cost::of(parts))
    }

    /// The same for a cost that is computed only if needed.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub(in crate::store) fn reserve_cost(&self, cost: impl FnOnce() -> Cost) -> Result<Option<Cost>> {
        if self.retention.usage.is_none() && self.flushing.is_none() {
            return Ok(None);
        }
        let cost = cost();
        if let Some(flushing) = &self.flushing {
            flushing.reserve(self, cost)?;
        }
        if let Some(usage) = &self.retention.usage {
            usage
                .take(cost, &self.settings.budget)
                .inspect_err(|_| self.release(cost))?;
        }
        Ok(Some(cost))
    }

    /// Whether appends reserve room in the budget or the backlog.
    pub(in crate::store) fn counts_costs(&self) -> bool {
        self.retention.usage.is_some() || self.flushing.is_some()
    }

    /// Reserves room without waiting. Returns `false` if there is none in the backlog.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve), without that of a full backlog.
    pub(in crate::store) fn try_reserve(&self, cost: Option<Cost>) -> Result<bool> {
        let Some(cost) = cost else { return Ok(true) };
        if let Some(flushing) = &self.flushing
            && !flushing.try_admit(self, cost)?
        {
            return Ok(false);
        }
        if let Some(usage) = &self.retention.usage {
            usage
                .take(cost, &self.settings.budget)
                .inspect_err(|_| self.release(cost))?;
        }
        Ok(true)
    }

    /// Counts a written append at its reserved cost, for forks. The caller holds the lock of a shard that was written to.
    #[inline]
    pub(in crate::store) fn count_written(&self, cost: Option<Cost>) {
        if let Some((usage, cost)) = self.retention.usage.as_ref().zip(cost) {
            usage.add_written(cost);
        }
    }

    /// Releases the reservation if nothing was written; then drops the oldest events if the budget is exceeded and permits it.
    pub(crate) fn release_reservation(&self, cost: Option<Cost>, written: bool) {
        let Some(cost) = cost else { return };
        if !written {
            self.release(cost);
            if let Some(usage) = &self.retention.usage {
                usage.release(cost);
            }
        }
        self.make_room();
    }

    /// Releases room in the journal's backlog.
    fn release(&self, cost: Cost) {
        if let Some(flushing) = &self.flushing {
            flushing.release(self, cost);
        }
    }

    /// Releases chunks and drops events that waited for the journal.
    pub(crate) fn after_flush(&self) {
        self.core.release_journaled();
        self.make_room();
        self.limit_visible();
    }
}

/// Writes the events of a prepared append at the positions from `first` on.
#[inline]
pub(crate) fn write_events(stream: &mut Stream, lane: &mut Lane, prepared: &PreparedAppend<'_>, first: u64) {
    for (place, position) in (0..prepared.events.len()).zip(first..) {
        stream.push(position);
        lane.push(prepared, place, position, stream.version);
    }
}

fn check_unknown(prepared: &PreparedAppend<'_>) -> Result<()> {
    if Stream::default().meets(prepared.expected) {
        return Ok(());
    }
    Err(conflict(&Stream::default(), prepared).into())
}

pub(crate) fn conflict(stream: &Stream, prepared: &PreparedAppend<'_>) -> Conflict {
    Conflict::Version {
        stream: prepared.stream.clone(),
        expected: prepared.expected,
        actual: Version(u64::from(stream.version)),
        position: Position(stream.last_position().unwrap_or(0)),
    }
}

/// The acknowledgement of events written from position `first` on, to a stream that was at `version`.
pub(crate) fn acknowledged(prepared: &PreparedAppend<'_>, version: u32, first: u64) -> Appended {
    let (version, count) = (u64::from(version), prepared.events.len() as u64);
    Appended {
        first_version: Version(version + 1),
        last_version: Version(version + count),
        first_position: Position(first),
        last_position: Position(first + count - 1),
        durability: Durability::Volatile,
        repeated: false,
    }
}
