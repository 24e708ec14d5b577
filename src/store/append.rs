//! Appending to one aggregate: check, reserve, write, publish, in this order.

use std::sync::atomic::Ordering;

use super::Engine;
use super::budget::Cost;
use super::core::{OwnLane, ShardWrite};
use super::directory::{PageCache, Place};
use super::draft::{self, Draft, Stamper};
use super::lane::Entry;
use super::shard::{Shard, Stream};
use crate::event::system;
use crate::{Appended, Conflict, Durability, Error, Expected, NewEvent, Position, Result, StreamId, Version};

/// Events looked through for a repetition when nothing is expected of the stream.
const REPETITION_EVENTS: u64 = 16;

/// What the check of a draft found.
pub(crate) enum Admission {
    /// To be written: to the stream with this key, or a new one.
    New(Option<u32>),
    Repeated(Appended),
}

impl Engine {
    pub(crate) fn append(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: &[NewEvent],
        acknowledge: Durability,
    ) -> Result<Appended> {
        if let Some(following) = &self.following {
            return self.append_elsewhere(following, stream, expected, events);
        }
        self.expire_due();
        draft::check(stream, events, &self.settings.limits)?;
        let draft = self.draft(stream, expected, events);
        let cost = self.admit(std::slice::from_ref(&draft))?;
        let result = self.append_draft(&draft, acknowledge);
        self.settle(cost, result.as_ref().is_ok_and(|appended| !appended.repeated));
        result
    }

    fn append_draft(&self, draft: &Draft<'_>, acknowledge: Durability) -> Result<Appended> {
        let mut shard = self.core.write(self.core.shard_of(draft.stream_hash));
        // Under the lock: whoever closes the store takes every lock once, and then knows of every append.
        self.check_open()?;
        let key = match self.check_draft(&shard, draft)? {
            Admission::New(key) => key,
            Admission::Repeated(appended) => {
                drop(shard);
                return self.repeat(appended, acknowledge);
            }
        };
        if draft.events.is_empty() {
            return Ok(self.nothing_appended(key.map_or(0, |key| shard.stream(key).version)));
        }
        let state = shard.write();
        let key = key.unwrap_or_else(|| state.create(draft.stream_hash, draft.stream));
        let version = state.stream(key).version;
        let first = self.write_draft(state, key, draft);
        let surplus = self.limit_appended(state, key);
        drop(shard);
        let mut appended = acknowledged(draft, version, first);
        appended.durability = self.finish(appended.last_position.0, acknowledge)?;
        if surplus.is_some() {
            let mut shard = self.core.write(self.core.shard_of(draft.stream_hash));
            self.limit_to(shard.write(), key, surplus);
        }
        Ok(appended)
    }

    /// The first acknowledgement again, when its events are as safe as this time is asked for.
    pub(crate) fn repeat(&self, mut appended: Appended, acknowledge: Durability) -> Result<Appended> {
        appended.durability = self.await_durable(appended.last_position.0, acknowledge)?;
        Ok(appended)
    }

    /// Reserves positions for a draft, writes its events there, and publishes them. Answers the first position.
    fn write_draft(&self, shard: &mut Shard, key: u32, draft: &Draft<'_>) -> u64 {
        let number = self.core.own_lane();
        let mut own = self.core.write_lane(number);
        let OwnLane { lane, pages } = &mut *own;
        let lane = lane.write();
        lane.make_room(draft.events.len());
        let first = self.core.log.reserve(draft.events.len() as u64);
        let mut place = Place {
            lane: number,
            slot: lane.next_slot(),
        };
        let stream = shard.stream_mut(key);
        if draft.events.len() == 1 {
            write_events(stream, lane, draft, first, |slot| place.slot = slot);
            self.core.log.enter(first, place, 1, pages);
        } else {
            let mut places = Vec::with_capacity(draft.events.len());
            write_events(stream, lane, draft, first, |slot| {
                places.push(Place { lane: number, slot });
            });
            self.core.log.enter_all(first, &places, pages);
        }
        self.core.log.publish(pages);
        first
    }

    /// Waits until the append is readable and as safe as asked for, and takes a turn at the work that follows appends. Answers
    /// how safe it is.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the journal has, [`Error::Closed`] when it ended before it came so far.
    pub(crate) fn finish(&self, last: u64, acknowledge: Durability) -> Result<Durability> {
        let durability = self.await_durable(last, acknowledge)?;
        self.indexes.main.assist(&self.core, last);
        self.note_log_age();
        Ok(durability)
    }

    /// What was added now will be too old then, where the budget says so.
    pub(crate) fn note_log_age(&self) {
        if let Some(age) = self.settings.budget.age {
            self.expiry
                .fetch_min(self.clock.now().after(age).as_micros(), Ordering::AcqRel);
        }
    }

    /// Waits until everything up to `position` is readable, and as safe as asked for.
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
            return Err(self.read_only.map_or(Error::Closed, Error::ReadOnly));
        }
        Ok(())
    }

    pub(crate) fn draft<'a>(&self, stream: &'a StreamId, expected: Expected, events: &'a [NewEvent]) -> Draft<'a> {
        let stamper = Stamper {
            clock: &*self.clock,
            ids: &*self.ids,
            hasher: &self.core.hasher,
        };
        Draft {
            stream,
            stream_hash: self.core.hash(&stream.aggregate_id),
            expected,
            events,
            stamps: stamper.stamp(stream, events),
            own_ids: !events.is_empty() && events.iter().all(|event| event.id.is_some()),
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
    /// [`Error::Conflict`], [`Error::Deleted`], or [`Error::Invalid`] for the wrong type or a full stream.
    pub(crate) fn check_draft(&self, shard: &Shard, draft: &Draft<'_>) -> Result<Admission> {
        let key = shard.find(draft.stream_hash, &draft.stream.aggregate_id);
        let Some(stream) = key.map(|key| shard.stream(key)) else {
            return check_unknown(draft).map(|()| Admission::New(None));
        };
        if stream.tombstoned {
            return Err(Error::Deleted(stream.id.clone()));
        }
        shard.check_type(stream, draft.stream)?;
        let holds = stream.meets(draft.expected);
        if let Some(appended) = self.find_repetition(stream, draft, holds) {
            return Ok(Admission::Repeated(appended));
        }
        if !holds {
            return Err(conflict(stream, draft).into());
        }
        if draft.events.len() as u64 > u64::from(u32::MAX - stream.version) {
            return Err(Error::invalid(format!(
                "aggregate '{}' is full: it has 2^32 versions",
                stream.id
            )));
        }
        Ok(Admission::New(key))
    }

    /// The first acknowledgement of these very events, if they are stored already.
    fn find_repetition(&self, stream: &Stream, draft: &Draft<'_>, holds: bool) -> Option<Appended> {
        if !draft.own_ids {
            return None;
        }
        let from = match draft.expected {
            Expected::Exactly(_) | Expected::NoStream if holds => return None,
            Expected::Exactly(version) => version.0.saturating_add(1),
            Expected::NoStream => u64::from(stream.dropped_to) + 1,
            Expected::Any | Expected::StreamExists => self.find_latest(stream, draft)?,
        };
        if from <= u64::from(stream.dropped_to) {
            return None;
        }
        let stored: Vec<_> = stream.positions_from(from).take(draft.events.len()).collect();
        let mut pages = PageCache::default();
        let mut ids = stored
            .iter()
            .map(|position| self.core.with_event(*position, &mut pages, |event| event.id()));
        let same =
            stored.len() == draft.events.len() && draft.stamps.iter().all(|stamp| ids.next() == Some(Some(stamp.id)));
        let (first, last) = stored.first().zip(stored.last()).filter(|_| same)?;
        Some(Appended {
            first_version: Version(from),
            last_version: Version(from + stored.len() as u64 - 1),
            first_position: Position(*first),
            last_position: Position(*last),
            durability: Durability::Volatile,
            repeated: true,
        })
    }

    /// The version of the first event's id among the latest of the stream.
    fn find_latest(&self, stream: &Stream, draft: &Draft<'_>) -> Option<u64> {
        let window = REPETITION_EVENTS.max(2 * draft.events.len() as u64);
        let earliest = (u64::from(stream.version).saturating_sub(window) + 1).max(u64::from(stream.dropped_to) + 1);
        let first = draft.stamps.first()?.id;
        let mut pages = PageCache::default();
        let mut is_first =
            |position| self.core.with_event(position, &mut pages, |event| event.id() == first) == Some(true);
        let place = stream.positions_from(earliest).position(&mut is_first)?;
        Some(earliest + place as u64)
    }

    /// Appends an event of the system about `aggregate`, under the lock of its shard. The caller calls
    /// [`finish`](Self::finish) when it has let go of the lock.
    pub(crate) fn append_change(&self, guard: &mut ShardWrite<'_>, aggregate: &str, event: &NewEvent) -> u64 {
        let stream = StreamId::new("$aggregate", system::change_stream(aggregate));
        let draft = self.draft(&stream, Expected::Any, std::slice::from_ref(event));
        if let Some(flushing) = &self.flushing {
            flushing.add(Cost::of(std::slice::from_ref(&draft)));
        }
        self.append_system(guard, &draft)
    }

    /// The same for an event of the system for which there is room. Answers its position.
    pub(super) fn append_system(&self, guard: &mut ShardWrite<'_>, draft: &Draft<'_>) -> u64 {
        let key = guard.find(draft.stream_hash, &draft.stream.aggregate_id);
        let shard = guard.write();
        let key = key.unwrap_or_else(|| shard.create(draft.stream_hash, draft.stream));
        self.write_draft(shard, key, draft)
    }

    /// Takes room for the drafts in the budget and before the journal, before any lock.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], and the error of the journal if it has failed.
    pub(crate) fn admit(&self, drafts: &[Draft<'_>]) -> Result<Option<Cost>> {
        self.admit_cost(|| Cost::of(drafts))
    }

    /// The same for what costs `cost`.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub(super) fn admit_cost(&self, cost: impl FnOnce() -> Cost) -> Result<Option<Cost>> {
        if self.usage.is_none() && self.flushing.is_none() {
            return Ok(None);
        }
        let cost = cost();
        if let Some(flushing) = &self.flushing {
            flushing.admit(self, cost)?;
        }
        if let Some(usage) = &self.usage {
            usage
                .take(cost, &self.settings.budget)
                .inspect_err(|_| self.give_back(cost))?;
        }
        Ok(Some(cost))
    }

    /// Gives the room back if nothing was written; makes room by dropping if the budget says so.
    pub(crate) fn settle(&self, cost: Option<Cost>, written: bool) {
        let Some(cost) = cost else { return };
        if !written {
            self.give_back(cost);
            if let Some(usage) = &self.usage {
                usage.give_back(cost);
            }
        }
        self.make_room();
    }

    /// Gives back room before the journal.
    fn give_back(&self, cost: Cost) {
        if let Some(flushing) = &self.flushing {
            flushing.give_back(self, cost);
        }
    }

    /// What can be done once the journal has more events.
    pub(crate) fn after_flush(&self) {
        self.core.release_journaled();
        self.make_room();
    }
}

/// Writes the events of a draft at the positions from `first` on, and tells their slots.
pub(crate) fn write_events(
    stream: &mut Stream,
    lane: &mut super::lane::Lane,
    draft: &Draft<'_>,
    first: u64,
    mut tell: impl FnMut(u64),
) {
    for ((event, stamp), position) in draft.events.iter().zip(&draft.stamps).zip(first..) {
        stream.push(position);
        tell(lane.push(
            event,
            stamp,
            Entry {
                stream: draft.stream,
                position,
                version: stream.version,
            },
        ));
    }
}

fn check_unknown(draft: &Draft<'_>) -> Result<()> {
    if Stream::default().meets(draft.expected) {
        return Ok(());
    }
    Err(conflict(&Stream::default(), draft).into())
}

pub(crate) fn conflict(stream: &Stream, draft: &Draft<'_>) -> Conflict {
    Conflict::Version {
        stream: draft.stream.clone(),
        expected: draft.expected,
        actual: Version(u64::from(stream.version)),
        position: Position(stream.last_position().unwrap_or(0)),
    }
}

/// The acknowledgement of events written from position `first` on, to a stream that was at `version`.
pub(crate) fn acknowledged(draft: &Draft<'_>, version: u32, first: u64) -> Appended {
    let (version, count) = (u64::from(version), draft.events.len() as u64);
    Appended {
        first_version: Version(version + 1),
        last_version: Version(version + count),
        first_position: Position(first),
        last_position: Position(first + count - 1),
        durability: Durability::Volatile,
        repeated: false,
    }
}
