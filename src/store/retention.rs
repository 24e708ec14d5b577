//! Dropping events: by truncation and deletion, past the limits of an aggregate, past the budget of the store.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::budget::Cost;
use super::directory::PageCache;
use super::draft::{self, Author};
use super::gaps::{Gap, GapReason};
use super::lane::DroppedRun;
use super::shard::{Policy, Shard};
use super::{Engine, Store};
use crate::{
    Conflict, Error, EventRef, Expected, Name, NewEvent, Position, Result, StreamLimits, Timestamp, Version, WhenFull,
};

/// When streams with an age limit have something to drop.
pub(crate) type Aging = BinaryHeap<Reverse<(i64, Name)>>;

/// The least part of a budget that is dropped at once, so that not every append has to drop.
const DROP_PART: u64 = 64;

/// Events dropped under the locks at once, at most.
const DROP_BITE: u64 = 1024;

/// What [`Store::compact`] gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Compaction {
    /// Bytes held before.
    pub bytes_before: u64,
    /// Bytes held after.
    pub bytes_after: u64,
}

/// What becomes of a stream.
enum Change {
    TruncateTo(u64),
    Delete,
    Tombstone,
    Limit(StreamLimits),
}

impl Change {
    /// The system's event that tells of it.
    fn event(&self) -> NewEvent {
        let (event_type, data) = match self {
            Self::TruncateTo(version) => ("$truncated", format!("{{\"toVersion\":{version}}}")),
            Self::Delete => ("$deleted", String::from("{}")),
            Self::Tombstone => ("$tombstoned", String::from("{}")),
            Self::Limit(limits) => ("$limited", limits_json(limits)),
        };
        NewEvent::new(event_type).data(data)
    }

    fn reason(&self, id: &str) -> GapReason {
        match self {
            Self::TruncateTo(_) => GapReason::Truncated(id.into()),
            Self::Delete | Self::Tombstone => GapReason::Deleted(id.into()),
            Self::Limit(_) => GapReason::Limit(id.into()),
        }
    }
}

fn limits_json(limits: &StreamLimits) -> String {
    let count = limits.max_count.map(|count| format!("\"maxCount\":{count}"));
    let age = limits
        .max_age
        .map(|age| format!("\"maxAgeSeconds\":{}", age.as_secs_f64()));
    let parts: Vec<_> = [count, age].into_iter().flatten().collect();
    format!("{{{}}}", parts.join(","))
}

impl Store {
    /// Drops the events of an aggregate before `version`, at once and everywhere. Its version stays what it is.
    ///
    /// Answers the position of the system's event that tells of it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the aggregate is unknown; [`Error::Deleted`] when it was deleted for good; [`Error::Closed`].
    pub fn truncate(&self, aggregate_id: &str, version: Version) -> Result<Position> {
        let change = Change::TruncateTo(version.0.saturating_sub(1));
        self.engine().change(aggregate_id, Expected::Any, &change)
    }

    /// Deletes an aggregate softly: its events are dropped, and it may be appended to again, where its versions go on.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when the aggregate is not where `expected` says; otherwise as [`truncate`](Self::truncate).
    pub fn delete(&self, aggregate_id: &str, expected: Expected) -> Result<Position> {
        self.engine().change(aggregate_id, expected, &Change::Delete)
    }

    /// Deletes an aggregate for good: its events are dropped, and appending to it is an error from now on.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn tombstone(&self, aggregate_id: &str, expected: Expected) -> Result<Position> {
        self.engine().change(aggregate_id, expected, &Change::Tombstone)
    }

    /// Sets what an aggregate keeps, from now on and for what it holds already.
    ///
    /// An event is too old when its timestamp is; events are dropped from the first on, as far as they are too old.
    ///
    /// # Errors
    ///
    /// As [`truncate`](Self::truncate).
    pub fn set_limits(&self, aggregate_id: &str, limits: StreamLimits) -> Result<Position> {
        self.engine()
            .change(aggregate_id, Expected::Any, &Change::Limit(limits))
    }

    /// What was dropped, in the order it was.
    pub fn gaps(&self) -> Vec<Gap> {
        self.engine().visible();
        self.engine().gaps.lock().between(0, u64::MAX)
    }

    /// Gives memory back: the bytes of dropped events, terms that no event has any more, spare room.
    ///
    /// Appends wait for a shard while it is compacted, queries for the index.
    pub fn compact(&self) -> Compaction {
        let engine = self.engine();
        let bytes_before = self.stats().memory_bytes;
        let drops = engine.drops.load(Ordering::Acquire);
        for shard in 0..engine.core.shard_count() {
            engine.core.write(shard).write().compact();
        }
        for lane in 0..engine.core.lane_count() {
            engine.core.write_lane(lane).lane.write().compact();
        }
        engine.indexes.compact(&engine.core);
        engine.drops_compacted.fetch_max(drops, Ordering::AcqRel);
        Compaction {
            bytes_before,
            bytes_after: self.stats().memory_bytes,
        }
    }
}

impl Engine {
    fn change(&self, id: &str, expected: Expected, change: &Change) -> Result<Position> {
        self.check_open()?;
        self.expire_due();
        if id.starts_with('$') {
            return Err(Error::invalid(format!(
                "aggregate id '{id}' begins with '$': such names are the system's"
            )));
        }
        let event = change.event();
        let hash = self.core.hash(id);
        let mut guard = self.core.write(self.core.shard_of(hash));
        let key = Self::check_change(&guard, hash, id, expected)?;
        let event_stream = crate::StreamId::new("$aggregate", format!("${id}"));
        draft::check(
            &event_stream,
            std::slice::from_ref(&event),
            &self.settings.limits,
            Author::System,
        )?;
        let position = self.append_system(&mut guard, id, &event);
        let dropped = self.carry_out(guard.write(), key, change);
        drop(guard);
        self.report(dropped, change.reason(id));
        self.finish(position);
        Ok(Position(position))
    }

    fn check_change(shard: &Shard, hash: u64, id: &str, expected: Expected) -> Result<u32> {
        let Some(key) = shard.find(hash, id) else {
            return Err(Error::invalid(format!(
                "aggregate '{id}' is not known: it never had an event"
            )));
        };
        let stream = shard.stream(key);
        if stream.tombstoned {
            return Err(Error::Deleted(stream.id.clone()));
        }
        if stream.meets(expected) {
            return Ok(key);
        }
        let position = Position(stream.last_position().unwrap_or(0));
        let actual = Version(u64::from(stream.version));
        Err(Conflict::Version {
            stream: shard.stream_id(stream),
            expected,
            actual,
            position,
        }
        .into())
    }

    fn carry_out(&self, shard: &mut Shard, key: u32, change: &Change) -> Option<DroppedRun> {
        match change {
            Change::TruncateTo(version) => {
                let dropped = self.drop_stream_to(shard, key, u32::try_from(*version).unwrap_or(u32::MAX));
                self.note_age(shard, key);
                dropped
            }
            Change::Delete => {
                shard.stream_mut(key).deleted = true;
                self.drop_stream_to(shard, key, u32::MAX)
            }
            Change::Tombstone => {
                shard.stream_mut(key).tombstoned = true;
                self.drop_stream_to(shard, key, u32::MAX)
            }
            Change::Limit(limits) => {
                let any = limits.max_count.is_some() || limits.max_age.is_some();
                shard.stream_mut(key).policy = any.then(|| {
                    Box::new(Policy {
                        limits: *limits,
                        due: None,
                    })
                });
                self.apply_limits(shard, key)
            }
        }
    }

    /// Drops what a stream has beyond its count, and notes when it will have something beyond its age.
    pub(crate) fn apply_limits(&self, shard: &mut Shard, key: u32) -> Option<DroppedRun> {
        let limits = shard.stream(key).policy.as_ref()?.limits;
        let stream = shard.stream(key);
        let surplus = limits
            .max_count
            .map_or(0, |max| stream.live_events().saturating_sub(max));
        let to = u64::from(stream.dropped_to) + surplus;
        let dropped = if surplus > 0 {
            self.drop_stream_to(shard, key, u32::try_from(to).unwrap_or(u32::MAX))
        } else {
            None
        };
        if limits.max_age.is_some() {
            self.note_age(shard, key);
        }
        dropped
    }

    /// Drops the events of a stream up to `version`.
    fn drop_stream_to(&self, shard: &mut Shard, key: u32, version: u32) -> Option<DroppedRun> {
        let stream = shard.stream_mut(key);
        let version = version.min(stream.version);
        let count = usize::try_from(version.saturating_sub(stream.dropped_to)).unwrap_or(usize::MAX);
        let positions: Vec<_> = stream.positions_from(0).take(count).collect();
        let last = *positions.last()?;
        stream.drop_to(version, last);
        self.core.drop_events(&positions)
    }

    /// Notes when the first event of a stream will be too old. What was noted before about another event means nothing then.
    fn note_age(&self, shard: &mut Shard, key: u32) {
        let stream = shard.stream(key);
        let first = stream.positions_from(0).next().filter(|_| stream.live_events() > 0);
        let time = first.and_then(|first| {
            self.core
                .with_event(first, &mut PageCache::default(), |event| event.timestamp())
        });
        let due = time
            .zip(stream.limits().max_age)
            .map(|(time, age)| time.after(age).as_micros());
        let id = stream.id.clone();
        let Some(policy) = shard.stream_mut(key).policy.as_mut() else {
            return;
        };
        let known = std::mem::replace(&mut policy.due, due);
        if let Some(due) = due.filter(|_| due != known) {
            self.aging.lock().push(Reverse((due, id)));
            self.expiry.fetch_min(due, Ordering::AcqRel);
        }
    }

    pub(crate) fn report_limited(&self, id: &Name, dropped: Option<DroppedRun>) {
        if dropped.is_some() {
            self.report(dropped, GapReason::Limit(id.clone()));
        }
    }

    /// Tells of dropped events: as a gap, to the budget, and to the cache.
    fn report(&self, dropped: Option<DroppedRun>, reason: GapReason) {
        let Some(run) = dropped else { return };
        let gap = Gap {
            first: Position(run.first),
            last: Position(run.last),
            count: run.count,
            reason,
        };
        self.gaps.lock().add(gap);
        if let Some(usage) = &self.usage {
            usage.give_back(Cost::new(run.counted, run.bytes));
        }
        self.drops.fetch_add(1, Ordering::AcqRel);
    }

    /// Drops what is too old, if anything is. Every read and append begins with this, so what is too old is never seen.
    #[inline]
    pub(crate) fn expire_due(&self) {
        let due = self.expiry.load(Ordering::Acquire);
        if due != i64::MAX && due <= self.clock.now().as_micros() {
            self.expire(self.clock.now());
        }
    }

    fn expire(&self, now: Timestamp) {
        let _one = self.dropping.lock();
        self.expiry.store(i64::MAX, Ordering::Release);
        for (due, id) in self.take_due(now) {
            self.expire_stream(due, &id, now);
        }
        if let Some(age) = self.settings.budget.age {
            self.expire_log(now.before(age));
        }
        let next = self.aging.lock().peek().map_or(i64::MAX, |Reverse((due, _))| *due);
        self.expiry.fetch_min(next, Ordering::AcqRel);
    }

    fn take_due(&self, now: Timestamp) -> Vec<(i64, Name)> {
        let mut aging = self.aging.lock();
        let mut due = Vec::new();
        while aging.peek().is_some_and(|Reverse((at, _))| *at <= now.as_micros()) {
            due.extend(aging.pop().map(|Reverse(entry)| entry));
        }
        due
    }

    fn expire_stream(&self, due: i64, id: &Name, now: Timestamp) {
        let hash = self.core.hash(id);
        let mut guard = self.core.write(self.core.shard_of(hash));
        let shard = guard.write();
        let Some(key) = shard.find(hash, id) else { return };
        let Some(policy) = shard
            .stream_mut(key)
            .policy
            .as_mut()
            .filter(|policy| policy.due == Some(due))
        else {
            return;
        };
        policy.due = None;
        let Some(age) = policy.limits.max_age else { return };
        let stream = shard.stream(key);
        let mut pages = PageCache::default();
        let is_old = |position: &u64| {
            let old = |event: EventRef<'_>| event.timestamp().after(age) <= now;
            self.core.with_event(*position, &mut pages, old) == Some(true)
        };
        let old = stream.positions_from(0).take_while(is_old).count();
        let version = stream.dropped_to + u32::try_from(old).unwrap_or(u32::MAX);
        let dropped = self.drop_stream_to(shard, key, version);
        self.note_age(shard, key);
        drop(guard);
        self.report(dropped, GapReason::Limit(id.clone()));
    }

    /// Drops the oldest events as far as they were recorded at `time` or before.
    fn expire_log(&self, time: Timestamp) {
        let mut pages = PageCache::default();
        let first_kept = loop {
            let floor = self.core.log.floor();
            let until = self.core.log.published().min(floor + DROP_BITE);
            let is_old = |position: &u64| {
                let event = self.core.event(*position, &mut pages);
                event.is_none_or(|event| event.recorded_at() <= time)
            };
            let old = (floor + 1..=until).take_while(is_old).count() as u64;
            self.drop_oldest(old, GapReason::Age);
            if floor + old < until || old == 0 {
                break self.core.event(floor + old + 1, &mut pages);
            }
        };
        let age = self.settings.budget.age.unwrap_or_default();
        if let Some(event) = first_kept {
            self.expiry
                .fetch_min(event.recorded_at().after(age).as_micros(), Ordering::AcqRel);
        }
    }

    /// Drops the oldest events until the budget holds.
    pub(crate) fn make_room(&self) {
        let budget = &self.settings.budget;
        let Some(usage) = self.usage.as_ref().filter(|_| budget.when_full == WhenFull::DropOldest) else {
            return;
        };
        while usage.is_over(budget) {
            let _one = self.dropping.lock();
            let held = usage.held();
            let surplus = budget
                .events
                .map_or(0, |max| u64::try_from(held.events).unwrap_or(0).saturating_sub(max));
            let part = u64::try_from(held.events).unwrap_or(0) / DROP_PART;
            let count = surplus.max(part).clamp(1, DROP_BITE);
            if !usage.is_over(budget) || self.drop_oldest(count, GapReason::Budget) == 0 {
                return;
            }
        }
    }

    /// Drops the first `count` positions above the floor. Answers how many positions the floor rose.
    fn drop_oldest(&self, count: u64, reason: GapReason) -> u64 {
        let floor = self.core.log.floor();
        let to = (floor + count).min(self.core.log.published());
        if to <= floor {
            return 0;
        }
        let dropped = self.drop_oldest_to(floor, to);
        self.core.log.raise_floor(to);
        self.report(dropped, reason);
        to - floor
    }

    /// Drops the events above `floor`, up to `to`, from their streams and from their lanes.
    fn drop_oldest_to(&self, floor: u64, to: u64) -> Option<DroppedRun> {
        let mut pages = PageCache::default();
        let mut of_shard = vec![Vec::new(); self.core.shard_count()];
        for position in floor + 1..=to {
            let name = |event: EventRef<'_>| (Name::from(event.aggregate_id()), event.raw_version());
            if let Some((id, version)) = self.core.with_event(position, &mut pages, name) {
                let hash = self.core.hash(&id);
                of_shard[self.core.shard_of(hash)].push((hash, id, version, position));
            }
        }
        let mut all: Option<DroppedRun> = None;
        for (shard, events) in of_shard
            .into_iter()
            .enumerate()
            .filter(|(_, events)| !events.is_empty())
        {
            let mut guard = self.core.write(shard);
            let positions: Vec<_> = events.iter().map(|(_, _, _, position)| *position).collect();
            for (hash, id, version, position) in events {
                guard.write().drop_first(hash, &id, version, position);
            }
            let dropped = self.core.drop_events(&positions);
            all = merge(all, dropped);
        }
        all
    }
}

fn merge(a: Option<DroppedRun>, b: Option<DroppedRun>) -> Option<DroppedRun> {
    let Some((a, b)) = a.zip(b) else { return a.or(b) };
    Some(DroppedRun {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
        count: a.count + b.count,
        counted: a.counted + b.counted,
        bytes: a.bytes + b.bytes,
    })
}
