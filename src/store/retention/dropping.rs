//! Dropping events: by truncation and deletion, past the limits of an aggregate, past the budget of the store.

use std::time::Duration;

use serde::Serialize;

use crate::store::log::directory::PageCache;
use crate::store::retention::budget::Cost;
use crate::store::retention::type_budget::TypeBudget;
use crate::store::streams::shard::Shard;
use crate::store::streams::stream::Stream;
use crate::store::{Engine, Store};
use crate::{Durability, Event, EventRef, Field, Gap, GapReason, Name, Timestamp, WhenFull};

/// The smallest part of the events, as a divisor, that a budget drops at once, so that not every append has to drop.
const DROP_PART: u64 = 64;

/// Maximum events dropped per lock acquisition.
const DROP_BATCH: u64 = 1024;

/// The result of [`Store::compact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Compaction {
    /// Bytes held before.
    pub bytes_before: u64,
    /// Bytes held after.
    pub bytes_after: u64,
}

/// The version up to which a stream exceeds its maximum count, if it does.
pub(in crate::store) fn surplus(stream: &Stream) -> Option<u32> {
    let max = stream.limits().max_count?;
    let to = u64::from(stream.version).saturating_sub(max);
    u32::try_from(to).ok().filter(|to| *to > stream.dropped_to)
}

impl Store {
    /// Returns the gaps of all dropped events, in the order in which they were dropped.
    pub fn gaps(&self) -> Vec<Gap> {
        self.engine().visible();
        self.engine().retention.drops.between(0, u64::MAX)
    }

    /// Releases memory: the bytes of dropped events, terms without events, unused capacity.
    ///
    /// Appends wait for a shard or a lane while it is compacted, and queries wait for the index.
    pub fn compact(&self) -> Compaction {
        let engine = self.engine();
        let bytes_before = self.stats().memory_bytes;
        let epoch = engine.retention.drops.epoch();
        for shard in 0..engine.core.shard_count() {
            engine.core.write(shard).write().compact();
        }
        for lane in 0..engine.core.lane_count() {
            engine
                .core
                .write_lane(lane)
                .lane
                .write()
                .compact(engine.core.log.journaled());
        }
        engine.indexes.compact(&engine.core);
        engine.retention.drops.note_compacted(epoch);
        Compaction {
            bytes_before,
            bytes_after: self.stats().memory_bytes,
        }
    }
}

impl Engine {
    /// Drops the events of a stream beyond its maximum count, and notes when the next one exceeds its maximum age.
    pub(crate) fn apply_limits(&self, shard: &mut Shard, key: u32) {
        let to = surplus(shard.stream(key));
        self.limit_to(shard, key, to);
    }

    /// The same for a stream that was appended to. If readers do not see the new events yet, it drops nothing and returns the
    /// version up to which [`limit_to`](Self::limit_to) drops events later.
    pub(crate) fn limit_appended(&self, shard: &mut Shard, key: u32) -> Option<u32> {
        shard.stream(key).policy.as_ref()?;
        if self.core.log.visibility() == Durability::Volatile {
            self.apply_limits(shard, key);
            return None;
        }
        self.note_age(shard, key);
        surplus(shard.stream(key))
    }

    /// Drops the events of a stream up to version `to`, if there is one, because of its limits.
    pub(crate) fn limit_to(&self, shard: &mut Shard, key: u32, to: Option<u32>) {
        if let Some(to) = to {
            let reason = GapReason::Limit(shard.stream(key).id.clone());
            self.drop_stream_to(shard, key, to, reason);
        }
        self.note_age(shard, key);
    }

    /// The same for the stream of an aggregate, which it locks.
    pub(in crate::store) fn limit_stream(&self, hash: u64, id: &str, to: Option<u32>) {
        let mut shard = self.core.write(self.core.shard_of(hash));
        if let Some(key) = shard.find(hash, id) {
            self.limit_to(shard.write(), key, to);
        }
    }

    /// Drops the events of a stream up to version `to`, if there is one, when readers see the event at `position`.
    pub(in crate::store) fn limit_when_visible(&self, position: u64, id: &Name, to: Option<u32>) {
        if let Some(to) = to {
            self.retention.due.note_limit(position, id.clone(), to);
        }
    }

    /// Applies the limits that waited until readers see the events that displaced others.
    pub(in crate::store) fn limit_visible(&self) {
        for limit in self.retention.due.take_limits(self.core.log.visible()) {
            let id = &limit.aggregate;
            self.limit_stream(self.core.hash(id), id, Some(limit.to));
        }
    }

    /// Drops the events of a stream up to `version`.
    pub(crate) fn drop_stream_to(&self, shard: &mut Shard, key: u32, version: u32, reason: GapReason) {
        let stream = shard.stream_mut(key);
        let version = version.min(stream.version);
        let count = usize::try_from(version.saturating_sub(stream.dropped_to)).unwrap_or(usize::MAX);
        let positions: Vec<_> = stream.positions_from(0).take(count).collect();
        if let Some(last) = positions.last() {
            stream.drop_to(version, *last);
            self.drop_events(&positions, reason);
        }
    }

    /// Drops the events at `positions` and records the drop as a gap and in the budget. The caller has locked their shard.
    fn drop_events(&self, positions: &[u64], reason: GapReason) {
        self.retention.drops.record(reason, || {
            self.count_dropped_types(positions);
            #[cfg(all(feature = "analytics", feature = "json"))]
            let run = self
                .retention
                .rollups
                .count_before(&self.core, positions, || self.core.drop_events(positions))?;
            #[cfg(not(all(feature = "analytics", feature = "json")))]
            let run = self.core.drop_events(positions)?;
            if let Some(usage) = &self.retention.usage {
                usage.drop_written(Cost::new(run.counted, run.bytes));
            }
            Some(run)
        });
    }

    /// Counts the events at `positions` as dropped in the budgets of their types.
    fn count_dropped_types(&self, positions: &[u64]) {
        let types = &self.retention.types;
        if types.are_none() {
            return;
        }
        let mut pages = PageCache::default();
        for position in positions {
            let subtract = |event: EventRef<'_>| types.subtract(event.aggregate_type());
            self.core.with_event(*position, &mut pages, subtract);
        }
    }

    /// Notes when the first event of a stream expires. This replaces the note about an earlier event.
    pub(in crate::store) fn note_age(&self, shard: &mut Shard, key: u32) {
        let stream = shard.stream(key);
        if stream.limits().max_age.is_none() {
            return;
        }
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
            self.retention.due.note_stream(due, id);
        }
    }

    /// Drops expired events, if there are any. Every read and append starts with this, so expired events are never seen.
    #[inline]
    pub(crate) fn expire_due(&self) {
        let due = self.retention.due.next();
        if due != i64::MAX && due <= self.clock.now().as_micros() {
            self.expire(self.clock.now());
        }
    }

    /// Whether any event may expire.
    #[inline]
    pub(crate) fn may_expire(&self) -> bool {
        self.settings.budget.age.is_some() || self.retention.due.next() != i64::MAX
    }

    /// Why `event` has expired, if it has. Drops nothing: until the store has dropped the events that are due, the event's
    /// own age decides; after that, the event must also be dropped.
    pub(crate) fn expired(&self, event: &Event) -> Option<GapReason> {
        let now = self.clock.now();
        let reason = self.past_age(event, now)?;
        let is_due = self.retention.due.next() <= now.as_micros();
        let is_there = || {
            let position = event.position().0;
            let seen = self.core.with_event(position, &mut PageCache::default(), |_| ());
            position > self.core.log.floor() && seen.is_some()
        };
        (is_due || !is_there()).then_some(reason)
    }

    /// The age limit that `event` exceeds at `now`.
    fn past_age(&self, event: &Event, now: Timestamp) -> Option<GapReason> {
        let is_past = |age: &Duration| event.recorded_at().is_past(*age, now);
        if self.settings.budget.age.as_ref().is_some_and(is_past) {
            return Some(GapReason::Age);
        }
        let id = event.aggregate_id();
        let hash = self.core.hash(id);
        let shard = self.core.read(self.core.shard_of(hash));
        let stream = shard.stream(shard.find(hash, id)?);
        let age = stream.limits().max_age?;
        let is_past = event.timestamp().is_past(age, now);
        is_past.then(|| GapReason::Limit(stream.id.clone()))
    }

    fn expire(&self, now: Timestamp) {
        let _one = self.retention.dropping.lock();
        // It stays due during the work, so that other readers wait for it.
        let seen = self.retention.due.next();
        if seen > now.as_micros() {
            return;
        }
        for (due, id) in self.retention.due.take_streams(now) {
            self.expire_stream(due, &id, now);
        }
        let age = self.settings.budget.age;
        let next_of_log = age.map_or(i64::MAX, |age| self.expire_log(now, age));
        self.retention.due.replace(seen, next_of_log);
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
        self.drop_expired(shard, key, now);
        self.note_age(shard, key);
    }

    /// Drops the events of a stream that exceed its maximum age at `now`.
    pub(crate) fn drop_expired(&self, shard: &mut Shard, key: u32, now: Timestamp) {
        let stream = shard.stream(key);
        let Some(age) = stream.limits().max_age else { return };
        let mut pages = PageCache::default();
        let is_old = |position: &u64| {
            let old = |event: EventRef<'_>| event.timestamp().is_past(age, now);
            self.core.with_event(*position, &mut pages, old) == Some(true)
        };
        let old = stream.positions_from(0).take_while(is_old).count();
        let version = stream.dropped_to + u32::try_from(old).unwrap_or(u32::MAX);
        let reason = GapReason::Limit(stream.id.clone());
        self.drop_stream_to(shard, key, version, reason);
    }

    /// Drops the oldest events that were recorded at least `age` ago. Returns when to check again.
    fn expire_log(&self, now: Timestamp, age: std::time::Duration) -> i64 {
        let mut pages = PageCache::default();
        loop {
            let floor = self.core.log.floor();
            let until = self.droppable_to().min(floor + DROP_BATCH);
            let recorded = |event: EventRef<'_>| event.recorded_at();
            let mut first_kept = None;
            for position in self.core.log.positions(floor + 1, until) {
                first_kept = self
                    .core
                    .with_event(position, &mut pages, recorded)
                    .filter(|recorded| !recorded.is_past(age, now));
                if first_kept.is_some() {
                    self.drop_oldest(position - floor - 1, &GapReason::Age);
                    break;
                }
            }
            if let Some(recorded) = first_kept {
                return recorded.after(age).min(now.after(age)).as_micros();
            }
            if self.drop_oldest(until - floor, &GapReason::Age) == 0 {
                return now.after(age).as_micros();
            }
        }
    }

    /// Drops the oldest events until the budget holds.
    pub(crate) fn make_room(&self) {
        for budget in self.retention.types.iter() {
            self.make_room_of(budget);
        }
        let budget = &self.settings.budget;
        let Some(usage) = self
            .retention
            .usage
            .as_ref()
            .filter(|_| budget.when_full == WhenFull::DropOldest)
        else {
            return;
        };
        while usage.is_over(budget) {
            let _one = self.retention.dropping.lock();
            let held = usage.held();
            let surplus = budget
                .events
                .map_or(0, |max| u64::try_from(held.events).unwrap_or(0).saturating_sub(max));
            let part = u64::try_from(held.events).unwrap_or(0) / DROP_PART;
            let count = surplus.max(part).clamp(1, DROP_BATCH);
            if !usage.is_over(budget) || self.drop_oldest(count, &GapReason::Budget) == 0 {
                return;
            }
        }
    }

    /// Drops the oldest events of an aggregate type until its budget holds.
    fn make_room_of(&self, budget: &TypeBudget) {
        while budget.surplus().is_some() {
            let _one = self.retention.dropping.lock();
            let Some((held, surplus)) = budget.surplus() else {
                return;
            };
            let count = surplus.max(held / DROP_PART).clamp(1, DROP_BATCH);
            let positions = self.oldest_of(budget, count);
            let Some(last) = positions.last().copied() else { return };
            self.drop_positions(positions.into_iter(), &GapReason::Budget);
            budget.note_dropped_to(last);
        }
    }

    /// The positions of the oldest events of a type that can be dropped.
    fn oldest_of(&self, budget: &TypeBudget, count: u64) -> Vec<u64> {
        let until = self.droppable_to();
        let Some((index, field)) = self.indexes.of(&Field::AggregateType) else {
            return Vec::new();
        };
        let terms = index.read_whole(&self.core, until);
        let Some(positions) = terms.positions(field, &budget.aggregate_type) else {
            return Vec::new();
        };
        let mut pages = PageCache::default();
        let is_held = |position: &u64| self.core.with_event(*position, &mut pages, |_| ()).is_some();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let after = budget.dropped_to().max(self.core.log.floor());
        positions.range(after, until).filter(is_held).take(count).collect()
    }

    /// The position up to which the oldest events can be dropped: events that the journal does not have are retained.
    fn droppable_to(&self) -> u64 {
        self.core.log.published().min(self.core.log.journaled())
    }

    /// Drops the first `count` positions above the floor. Returns by how many positions the floor rose.
    fn drop_oldest(&self, count: u64, reason: &GapReason) -> u64 {
        let (floor, last) = (self.core.log.floor(), self.droppable_to());
        // Positions that never had an event in memory are skipped at once.
        let first = self.core.log.positions(floor + 1, last).next().unwrap_or(last);
        let to = first.saturating_sub(1).saturating_add(count).min(last);
        if to <= floor {
            return 0;
        }
        self.drop_positions(self.core.log.positions(floor + 1, to), reason);
        self.core.log.raise_floor(to);
        to - floor
    }

    /// Drops events, each the oldest of its aggregate when its turn comes, from their streams and from their lanes.
    fn drop_positions(&self, positions: impl Iterator<Item = u64>, reason: &GapReason) {
        // A journal retains events that memory drops: an aggregate must not reuse a version in it.
        let forget = !self.core.log.has_journal();
        let mut pages = PageCache::default();
        let mut of_shard = vec![Vec::new(); self.core.shard_count()];
        for position in positions {
            let name = |event: EventRef<'_>| (Name::from(event.aggregate_id()), event.raw_version());
            if let Some((id, version)) = self.core.with_event(position, &mut pages, name) {
                let hash = self.core.hash(&id);
                of_shard[self.core.shard_of(hash)].push((hash, id, version, position));
            }
        }
        for (shard, events) in of_shard
            .into_iter()
            .enumerate()
            .filter(|(_, events)| !events.is_empty())
        {
            let mut guard = self.core.write(shard);
            let positions: Vec<_> = events.iter().map(|(_, _, _, position)| *position).collect();
            for (hash, id, version, position) in events {
                guard.write().drop_first(hash, &id, (version, position), forget);
            }
            self.drop_events(&positions, reason.clone());
        }
    }
}
