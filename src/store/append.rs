//! Appending: check, reserve, write, publish, in this order.

use std::sync::atomic::Ordering;

use super::Engine;
use super::core::{ShardRead, ShardWrite};
use super::directory::{PageCache, Place};
use super::draft::{self, Author, Draft, Stamper};
use super::matcher::Matcher;
use super::select::{Bounds, Lookup, Selection};
use super::shard::{Shard, Stream};
use crate::query::Query;
use crate::{
    Append, Appended, Condition, Conflict, Durability, Error, EventRef, Expected, Field, Filter, Name, NewEvent,
    Position, Result, StreamId, Version,
};

/// Events looked through for a repetition when nothing is expected of the stream.
const REPETITION_EVENTS: u64 = 16;

/// What the check of a draft found.
enum Admission {
    /// To be written: to the stream with this key, or a new one.
    New(Option<u32>),
    Repeated(Appended),
}

impl Engine {
    pub(crate) fn append(&self, stream: &StreamId, expected: Expected, events: &[NewEvent]) -> Result<Appended> {
        self.check_open()?;
        self.expire_due();
        draft::check(stream, events, &self.settings.limits, Author::User)?;
        let draft = self.draft(stream, expected, events);
        let cost = self.admit(std::slice::from_ref(&draft))?;
        let result = self.append_draft(&draft);
        self.settle(cost, result.as_ref().is_ok_and(|appended| !appended.repeated));
        result
    }

    fn append_draft(&self, draft: &Draft<'_>) -> Result<Appended> {
        let shard = self.core.shard_of(draft.stream_hash);
        let mut guard = self.core.write(shard);
        let key = match self.check_draft(&guard, draft)? {
            Admission::New(key) => key,
            Admission::Repeated(appended) => {
                drop(guard);
                self.core.log.await_published(appended.last_position.0);
                return Ok(appended);
            }
        };
        if draft.events.is_empty() {
            return Ok(self.nothing_appended(key.map_or(0, |key| guard.stream(key).version)));
        }
        let (state, pages) = guard.write();
        let key = prepare(state, draft, key);
        let first = self.core.log.reserve(draft.events.len() as u64);
        let (appended, slot) = write(state, draft, key, first);
        self.core
            .log
            .enter(first, Place { shard, slot }, draft.events.len() as u64, pages);
        self.core.log.publish(pages);
        let dropped = self.apply_limits(state, key);
        drop(guard);
        self.report_limited(&draft.stream.aggregate_id, dropped);
        self.finish(appended.last_position.0);
        Ok(appended)
    }

    /// Waits until the append is readable, and takes a turn at the work that follows appends.
    fn finish(&self, last: u64) {
        self.core.log.await_published(last);
        self.indexes.main.assist(&self.core, last);
        if let Some(age) = self.settings.budget.age {
            self.expiry
                .fetch_min(self.clock.now().after(age).as_micros(), Ordering::AcqRel);
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.core.log.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn draft<'a>(&self, stream: &'a StreamId, expected: Expected, events: &'a [NewEvent]) -> Draft<'a> {
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

    fn nothing_appended(&self, version: u32) -> Appended {
        let visible = self.core.log.visible();
        Appended {
            first_version: Version(u64::from(version) + 1),
            last_version: Version(u64::from(version)),
            first_position: Position(visible + 1),
            last_position: Position(visible),
            durability: Durability::Volatile,
            repeated: false,
        }
    }

    /// # Errors
    ///
    /// [`Error::Conflict`], [`Error::Deleted`], or [`Error::Invalid`] for the wrong type or a full stream.
    fn check_draft(&self, shard: &Shard, draft: &Draft<'_>) -> Result<Admission> {
        let key = shard.find(draft.stream_hash, &draft.stream.aggregate_id);
        let Some(stream) = key.map(|key| shard.stream(key)) else {
            return check_unknown(draft).map(|()| Admission::New(None));
        };
        if stream.tombstoned {
            return Err(Error::Deleted(stream.id.clone()));
        }
        shard.check_type(stream, draft.stream)?;
        let holds = match draft.expected {
            Expected::Any => true,
            Expected::NoStream => !stream.exists(),
            Expected::StreamExists => stream.exists(),
            Expected::Exactly(version) => version.0 == u64::from(stream.version),
        };
        if let Some(appended) = find_repetition(shard, stream, draft, holds) {
            return Ok(Admission::Repeated(appended));
        }
        if !holds {
            return Err(conflict(shard, stream, draft).into());
        }
        if draft.events.len() as u64 > u64::from(u32::MAX - stream.version) {
            return Err(Error::invalid(format!(
                "aggregate '{}' is full: it has 2^32 versions",
                stream.id
            )));
        }
        Ok(Admission::New(key))
    }

    // Several aggregates, and conditions.

    pub(crate) fn append_all(&self, appends: &[Append], condition: Option<&Condition>) -> Result<Vec<Appended>> {
        self.check_open()?;
        self.expire_due();
        self.check_appends(appends)?;
        let drafts: Vec<_> = appends
            .iter()
            .map(|part| self.draft(&part.stream, part.expected, &part.events))
            .collect();
        let cost = self.admit(&drafts)?;
        let result = self.append_drafts(&drafts, condition);
        self.settle(
            cost,
            result
                .as_ref()
                .is_ok_and(|parts| parts.iter().all(|part| !part.repeated)),
        );
        result
    }

    fn check_appends(&self, appends: &[Append]) -> Result<()> {
        let limits = &self.settings.limits;
        let events: usize = appends.iter().map(|part| part.events.len()).sum();
        if events > limits.batch_events_max || appends.len() > limits.batch_events_max {
            return Err(Error::invalid(format!(
                "{} events for {} aggregates in one append: at most {} are allowed",
                events,
                appends.len(),
                limits.batch_events_max
            )));
        }
        let mut seen = hashbrown::HashSet::with_capacity_and_hasher(appends.len(), self.core.hasher.clone());
        for part in appends {
            draft::check(&part.stream, &part.events, limits, Author::User)?;
            if !seen.insert(&part.stream.aggregate_id) {
                let id = &part.stream.aggregate_id;
                return Err(Error::invalid(format!(
                    "aggregate '{id}' is named twice: put its events together"
                )));
            }
        }
        let bytes: usize = appends
            .iter()
            .flat_map(|part| &part.events)
            .map(|e| e.metadata.len() + e.data.len())
            .sum();
        if bytes > limits.batch_bytes_max {
            return Err(Error::invalid(format!(
                "{bytes} bytes in one append: at most {} are allowed",
                limits.batch_bytes_max
            )));
        }
        Ok(())
    }

    fn append_drafts(&self, drafts: &[Draft<'_>], condition: Option<&Condition>) -> Result<Vec<Appended>> {
        let condition = condition.map(|condition| Watch::new(self, condition)).transpose()?;
        // The index comes before the shards in the order of locks: whoever extends it locks shards too.
        let selection = condition.as_ref().and_then(|watch| watch.selection(self));
        let mut locks = Locks::take(self, drafts, condition.as_ref());
        let admissions = self.check_drafts(&locks, drafts)?;
        if let Some(repeated) = all_repeated(&admissions) {
            drop(locks);
            self.core
                .log
                .await_published(repeated.iter().map(|part| part.last_position.0).max().unwrap_or(0));
            return Ok(repeated);
        }
        if let Some(watch) = &condition {
            watch.check(self, &mut locks, selection.as_ref())?;
        }
        drop(selection);
        let (written, dropped) = self.write_drafts(&mut locks, drafts, admissions);
        drop(locks);
        for (id, run) in dropped {
            self.report_limited(&id, run);
        }
        self.finish(written.iter().map(|part| part.last_position.0).max().unwrap_or(0));
        Ok(written)
    }

    fn check_drafts(&self, locks: &Locks<'_>, drafts: &[Draft<'_>]) -> Result<Vec<Admission>> {
        let check = |draft: &Draft<'_>| self.check_draft(locks.shard(self.core.shard_of(draft.stream_hash)), draft);
        let admissions: Vec<_> = drafts.iter().map(check).collect::<Result<_>>()?;
        let repeated = admissions
            .iter()
            .position(|admission| matches!(admission, Admission::Repeated(_)));
        let new = admissions
            .iter()
            .position(|admission| matches!(admission, Admission::New(_)));
        let empty = drafts.iter().all(|draft| draft.events.is_empty());
        // Some parts stored before and others not: what is stored is another append than this one.
        match (repeated, new) {
            (Some(part), Some(_)) if !empty => {
                let draft = &drafts[part];
                let shard = locks.shard(self.core.shard_of(draft.stream_hash));
                let stream = shard
                    .find(draft.stream_hash, &draft.stream.aggregate_id)
                    .map(|key| shard.stream(key));
                Err(stream.map_or(Error::Closed, |stream| conflict(shard, stream, draft).into()))
            }
            _ => Ok(admissions),
        }
    }

    fn write_drafts(
        &self,
        locks: &mut Locks<'_>,
        drafts: &[Draft<'_>],
        admissions: Vec<Admission>,
    ) -> (Vec<Appended>, Vec<(Name, Option<super::shard::DroppedRun>)>) {
        let mut keys = Vec::with_capacity(drafts.len());
        for (draft, admission) in drafts.iter().zip(admissions) {
            let guard = locks.shard_mut(self.core.shard_of(draft.stream_hash));
            let Admission::New(key) = admission else {
                continue;
            };
            keys.push(if draft.events.is_empty() {
                key
            } else {
                Some(prepare(guard.write().0, draft, key))
            });
        }
        let count: usize = drafts.iter().map(|draft| draft.events.len()).sum();
        if count == 0 {
            let version = |(draft, key): (&Draft<'_>, &Option<u32>)| {
                let shard = locks.shard(self.core.shard_of(draft.stream_hash));
                self.nothing_appended(key.map_or(0, |key| shard.stream(key).version))
            };
            return (drafts.iter().zip(&keys).map(version).collect(), Vec::new());
        }
        let first = self.core.log.reserve(count as u64);
        let mut next = first;
        let mut places = Vec::with_capacity(count);
        let mut written = Vec::with_capacity(drafts.len());
        for (draft, key) in drafts.iter().zip(&keys) {
            let shard = self.core.shard_of(draft.stream_hash);
            let Some(key) = key.filter(|_| !draft.events.is_empty()) else {
                written.push(self.nothing_appended(key.map_or(0, |key| locks.shard(shard).stream(key).version)));
                continue;
            };
            let (appended, first_slot) = write(locks.shard_mut(shard).write().0, draft, key, next);
            next += draft.events.len() as u64;
            places.extend((first_slot..first_slot + draft.events.len() as u64).map(|slot| Place { shard, slot }));
            written.push(appended);
        }
        let mut pages = PageCache::default();
        self.core.log.enter_all(first, &places, &mut pages);
        self.core.log.publish(&mut pages);
        let dropped = self.limit_drafts(locks, drafts, &keys);
        (written, dropped)
    }

    fn limit_drafts(
        &self,
        locks: &mut Locks<'_>,
        drafts: &[Draft<'_>],
        keys: &[Option<u32>],
    ) -> Vec<(Name, Option<super::shard::DroppedRun>)> {
        let mut dropped = Vec::new();
        for (draft, key) in drafts.iter().zip(keys) {
            let Some(key) = key else { continue };
            let (shard, _) = locks.shard_mut(self.core.shard_of(draft.stream_hash)).write();
            dropped.push((draft.stream.aggregate_id.clone(), self.apply_limits(shard, *key)));
        }
        dropped
    }

    // The system's own events.

    /// Appends an event of the system about `aggregate`, under the lock of its shard; the caller publishes it by [`finish_system`](Self::finish_system).
    pub(crate) fn append_system(&self, guard: &mut ShardWrite<'_>, aggregate: &str, event: &NewEvent) -> u64 {
        let stream = StreamId::new("$aggregate", format!("${aggregate}"));
        let events = std::slice::from_ref(event);
        let draft = self.draft(&stream, Expected::Any, events);
        if let Some(usage) = &self.usage {
            usage.add(super::budget::Cost::of(std::slice::from_ref(&draft)));
        }
        let key = guard.find(draft.stream_hash, &stream.aggregate_id);
        let shard = self.core.shard_of(draft.stream_hash);
        let (state, pages) = guard.write();
        let key = prepare(state, &draft, key);
        let first = self.core.log.reserve(1);
        let (_, slot) = write(state, &draft, key, first);
        self.core.log.enter(first, Place { shard, slot }, 1, pages);
        self.core.log.publish(pages);
        first
    }

    pub(crate) fn finish_system(&self, position: u64) {
        self.finish(position);
    }
}

fn check_unknown(draft: &Draft<'_>) -> Result<()> {
    let holds = match draft.expected {
        Expected::Any | Expected::NoStream => true,
        Expected::StreamExists => false,
        Expected::Exactly(version) => version == Version(0),
    };
    if holds {
        return Ok(());
    }
    Err(Conflict::Version {
        stream: draft.stream.clone(),
        expected: draft.expected,
        actual: Version(0),
        position: Position(0),
    }
    .into())
}

fn conflict(shard: &Shard, stream: &Stream, draft: &Draft<'_>) -> Conflict {
    let last = shard.last_event(stream);
    Conflict::Version {
        stream: draft.stream.clone(),
        expected: draft.expected,
        actual: Version(u64::from(stream.version)),
        position: last.map_or(Position(0), EventRef::position),
    }
}

/// The first acknowledgement of these very events, if they are stored already.
fn find_repetition(shard: &Shard, stream: &Stream, draft: &Draft<'_>, holds: bool) -> Option<Appended> {
    if !draft.own_ids {
        return None;
    }
    let from = match draft.expected {
        Expected::Exactly(_) | Expected::NoStream if holds => return None,
        Expected::Exactly(version) => version.0 + 1,
        Expected::NoStream => 1,
        Expected::Any | Expected::StreamExists => {
            let window = REPETITION_EVENTS.max(2 * draft.events.len() as u64);
            let earliest = u64::from(stream.version).saturating_sub(window) + 1;
            let first = draft.stamps.first()?.id;
            shard
                .events_from(stream, earliest)
                .find(|event| event.id() == first)?
                .version()
                .0
        }
    };
    let stored: Vec<_> = shard.events_from(stream, from).take(draft.events.len()).collect();
    let same = stored.len() == draft.events.len()
        && stored
            .iter()
            .zip(&draft.stamps)
            .all(|(event, stamp)| event.id() == stamp.id);
    let (first, last) = stored.first().zip(stored.last())?;
    (same && first.version().0 == from).then(|| Appended {
        first_version: first.version(),
        last_version: last.version(),
        first_position: first.position(),
        last_position: last.position(),
        durability: Durability::Volatile,
        repeated: true,
    })
}

fn all_repeated(admissions: &[Admission]) -> Option<Vec<Appended>> {
    let repeated = |admission: &Admission| match admission {
        Admission::Repeated(appended) => Some(*appended),
        Admission::New(_) => None,
    };
    (!admissions.is_empty())
        .then(|| admissions.iter().map(repeated).collect())
        .flatten()
}

/// Does what may take long before positions are reserved. Answers the key of the stream.
fn prepare(shard: &mut Shard, draft: &Draft<'_>, key: Option<u32>) -> u32 {
    shard.make_room();
    key.unwrap_or_else(|| shard.create(draft.stream_hash, draft.stream))
}

/// Writes the events of a draft at the positions from `first` on. Answers the acknowledgement and the first slot.
fn write(shard: &mut Shard, draft: &Draft<'_>, key: u32, first: u64) -> (Appended, u64) {
    let version = u64::from(shard.stream(key).version);
    let slot = shard.next_slot();
    for ((event, stamp), position) in draft.events.iter().zip(&draft.stamps).zip(first..) {
        shard.push(key, event, stamp, position);
    }
    let count = draft.events.len() as u64;
    let appended = Appended {
        first_version: Version(version + 1),
        last_version: Version(version + count),
        first_position: Position(first),
        last_position: Position(first + count - 1),
        durability: Durability::Volatile,
        repeated: false,
    };
    (appended, slot)
}

/// A lock on one shard, or none.
enum Lock<'a> {
    None,
    Read(ShardRead<'a>),
    Write(ShardWrite<'a>),
}

/// The locks of an append, taken in the order of the shards.
struct Locks<'a> {
    locks: Vec<Lock<'a>>,
    engine: &'a Engine,
    pages: PageCache,
}

impl<'a> Locks<'a> {
    fn take(engine: &'a Engine, drafts: &[Draft<'_>], watch: Option<&Watch>) -> Self {
        let core = &engine.core;
        let mut wanted = vec![0_u8; core.shard_count()];
        match watch.map(|watch| &watch.aggregates) {
            Some(Some(aggregates)) => {
                for id in aggregates {
                    wanted[core.shard_of(core.hash(id))] = 1;
                }
            }
            Some(None) => wanted.fill(1),
            None => {}
        }
        for draft in drafts {
            wanted[core.shard_of(draft.stream_hash)] = 2;
        }
        let lock = |(shard, wanted): (usize, u8)| match wanted {
            0 => Lock::None,
            1 => Lock::Read(core.read(shard)),
            _ => Lock::Write(core.write(shard)),
        };
        Self {
            locks: wanted.into_iter().enumerate().map(lock).collect(),
            engine,
            pages: PageCache::default(),
        }
    }

    fn get(&self, shard: usize) -> Option<&super::shard::Guarded> {
        match self.locks.get(shard)? {
            Lock::None => None,
            Lock::Read(guard) => Some(guard),
            Lock::Write(guard) => Some(guard),
        }
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard(&self, shard: usize) -> &super::shard::Guarded {
        self.get(shard).unwrap_or_else(|| panic!("shard {shard} is not locked"))
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard_mut(&mut self, shard: usize) -> &mut super::shard::Guarded {
        match &mut self.locks[shard] {
            Lock::Write(guard) => guard,
            Lock::None | Lock::Read(_) => panic!("shard {shard} is not locked for writing"),
        }
    }
}

impl Lookup for Locks<'_> {
    fn event(&mut self, position: u64) -> Option<EventRef<'_>> {
        let place = self.engine.core.log.place(position, &mut self.pages)?;
        self.get(place.shard)?.event(place.slot)
    }
}

/// A condition, made ready to be checked under the locks.
struct Watch {
    query: Query,
    matcher: Matcher,
    after: u64,
    /// The aggregates that the query is limited to, if it names any.
    aggregates: Option<Vec<Name>>,
}

impl Watch {
    fn new(engine: &Engine, condition: &Condition) -> Result<Self> {
        let mut query = condition.query.clone();
        let after = condition.after.max(query.after).0;
        query.after = Position(after);
        query.cursor = None;
        let named = query.filters.iter().find_map(|filter| match filter {
            Filter::Is(Field::Aggregate, ids) => Some(ids.clone()),
            _ => None,
        });
        let matcher = Matcher::new(&query, &engine.indexes)?;
        Ok(Self {
            query,
            matcher,
            after,
            aggregates: named,
        })
    }

    /// The part of the answer that the index knows, with the index held still; none is needed for named aggregates.
    fn selection<'a>(&'a self, engine: &'a Engine) -> Option<Selection<'a>> {
        self.aggregates
            .is_none()
            .then(|| Selection::new(engine, &self.query, engine.core.log.published()))
    }

    fn until(&self) -> u64 {
        self.query.until.map_or(u64::MAX, |until| until.0)
    }

    /// # Errors
    ///
    /// [`Error::Conflict`] with the first event that matches.
    fn check(&self, engine: &Engine, locks: &mut Locks<'_>, selection: Option<&Selection<'_>>) -> Result<()> {
        let found = match (&self.aggregates, selection) {
            (Some(aggregates), _) => self.first_of_aggregates(engine, locks, aggregates),
            (None, Some(selection)) => {
                // All shards are locked: what is reserved is written.
                let bounds = Bounds {
                    after: self.after,
                    until: self.until().min(engine.core.log.reserved()),
                };
                selection.first_match(&self.matcher, bounds, locks)
            }
            (None, None) => None,
        };
        match found {
            Some(position) => Err(Conflict::Condition {
                position: Position(position),
            }
            .into()),
            None => Ok(()),
        }
    }

    fn first_of_aggregates(&self, engine: &Engine, locks: &Locks<'_>, aggregates: &[Name]) -> Option<u64> {
        let first_of = |id: &Name| {
            let hash = engine.core.hash(id);
            let shard = locks.get(engine.core.shard_of(hash))?;
            let stream = shard.stream(shard.find(hash, id)?);
            let events = shard
                .events_after(stream, self.after)
                .take_while(|event| event.position().0 <= self.until());
            events
                .into_iter()
                .find(|event| self.matcher.matches(*event))
                .map(|event| event.position().0)
        };
        aggregates.iter().filter_map(first_of).min()
    }
}

impl Engine {
    /// Takes room in the budget for the drafts, before any lock.
    ///
    /// # Errors
    ///
    /// [`Error::Full`].
    fn admit(&self, drafts: &[Draft<'_>]) -> Result<Option<super::budget::Cost>> {
        let Some(usage) = &self.usage else {
            return Ok(None);
        };
        let cost = super::budget::Cost::of(drafts);
        usage.take(cost, &self.settings.budget)?;
        Ok(Some(cost))
    }

    /// Gives the room back if nothing was written; makes room by dropping if the budget says so.
    fn settle(&self, cost: Option<super::budget::Cost>, written: bool) {
        let (Some(usage), Some(cost)) = (&self.usage, cost) else {
            return;
        };
        if !written {
            usage.give_back(cost);
        }
        self.make_room();
    }
}
