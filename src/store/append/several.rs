//! Appending to several aggregates at once, optionally on a condition on the whole store.

use smallvec::SmallVec;

use crate::query::Query;
use crate::store::Engine;
use crate::store::append::one::{Admission, acknowledged, write_events};
use crate::store::append::prepare::{self, Hashes, PreparedAppend};
use crate::store::append::repetition::part_known;
use crate::store::collections::fork_shared::ForkShared;
use crate::store::core::{OwnLane, ShardRead, ShardWrite};
use crate::store::index::IdIndex;
use crate::store::query::matcher::Matcher;
use crate::store::query::select::{Bounds, Selection, first_matching, is_simple};
use crate::store::retention::budget::Cost;
use crate::store::streams::shard::Shard;
use crate::{Append, Appended, Condition, Conflict, Durability, Error, Field, Filter, Name, Position, Result};

/// Tries of a conditional append that do not block other appends.
const TRIES: usize = 3;

/// Most appends have one part.
type Admissions = SmallVec<[Admission; 1]>;
type Keys = SmallVec<[Option<u32>; 1]>;

impl Engine {
    pub(crate) fn append_all(
        &self,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
        acknowledge: Durability,
    ) -> Result<Vec<Appended>> {
        if let Some(following) = &self.following {
            return self.append_all_elsewhere(following, appends, condition);
        }
        self.expire_due();
        let hashes = self.check_appends(appends)?;
        let parts: SmallVec<[_; 1]> = appends
            .iter()
            .zip(hashes)
            .map(|(part, hashes)| self.prepare(&part.stream, part.expected, &part.events, hashes))
            .collect::<Result<_>>()?;
        let cost = self.reserve(&parts)?;
        let result = self.append_parts(&parts, condition, cost, acknowledge);
        self.release_reservation(
            cost,
            result
                .as_ref()
                .is_ok_and(|parts| parts.iter().all(|part| !part.repeated)),
        );
        result
    }

    pub(in crate::store) fn check_appends(&self, appends: &[Append<'_>]) -> Result<SmallVec<[Hashes; 1]>> {
        let limits = &self.settings.limits;
        let events: usize = appends.iter().map(|part| part.events.len()).sum();
        if events.max(appends.len()) > limits.batch_events_max {
            return Err(Error::invalid(format!(
                "{events} events for {} aggregates in one append: at most {} are allowed",
                appends.len(),
                limits.batch_events_max
            )));
        }
        let check = |part: &Append<'_>| prepare::check(&part.stream, &part.events, limits);
        let hashes = appends.iter().map(check).collect::<Result<_>>()?;
        self.check_named_once(appends)?;
        let bytes = appends
            .iter()
            .flat_map(|part| &part.events)
            .map(|event| event.metadata.len() + event.data.len());
        prepare::check_batch_bytes(bytes.sum(), limits)?;
        Ok(hashes)
    }

    fn check_named_once(&self, appends: &[Append<'_>]) -> Result<()> {
        if appends.len() < 2 {
            return Ok(());
        }
        let mut seen = hashbrown::HashSet::with_capacity_and_hasher(appends.len(), self.core.hasher.clone());
        for id in appends.iter().map(|part| &part.stream.aggregate_id) {
            if !seen.insert(id) {
                return Err(Error::invalid(format!(
                    "aggregate '{id}' is named twice: put its events together"
                )));
            }
        }
        Ok(())
    }

    fn append_parts(
        &self,
        parts: &[PreparedAppend<'_>],
        condition: Option<&Condition>,
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<Vec<Appended>> {
        let watch = condition.map(|condition| Watch::new(self, condition)).transpose()?;
        if let Some(watch) = &watch {
            let mut seen = watch.after;
            for _ in 0..TRIES {
                if let Some(written) = self.append_undisturbed(parts, watch, &mut seen, cost, acknowledge)? {
                    return Ok(written);
                }
            }
        }
        self.append_locked(parts, watch.as_ref(), cost, acknowledge)
    }

    /// Evaluates the condition without locks up to the last reserved position, and appends if that is still the last. Otherwise returns
    /// `None`; no event up to `seen` matches the condition then.
    fn append_undisturbed(
        &self,
        parts: &[PreparedAppend<'_>],
        watch: &Watch<'_>,
        seen: &mut u64,
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<Option<Vec<Appended>>> {
        let last = self.core.log.reserved();
        self.core.log.await_published(last);
        let found = watch.first_match(self, *seen, last)?;
        let locks = Locks::take(self, parts, None);
        self.check_open()?;
        let admissions = self.check_parts(&locks, parts, None)?;
        if is_unclear(&admissions) {
            return Ok(None);
        }
        if let Some(repeated) = self.all_repeated(&locks, parts, &admissions) {
            drop(locks);
            return self.repeat_all(repeated, acknowledge).map(Some);
        }
        if let Some(position) = found {
            return Err(unmet(position));
        }
        *seen = last.max(*seen);
        self.write_all(locks, parts, Some(last), cost, acknowledge)
    }

    /// Appends with every shard locked that the condition could read, so that no append comes between.
    fn append_locked(
        &self,
        parts: &[PreparedAppend<'_>],
        watch: Option<&Watch<'_>>,
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<Vec<Appended>> {
        // The index comes before the shards in the lock order: extending it locks lanes too.
        let selection = watch.and_then(|watch| watch.selection(self));
        let mut ids = None;
        let mut locks = Locks::take(self, parts, watch);
        self.check_open()?;
        let mut admissions = self.check_parts(&locks, parts, None)?;
        if is_unclear(&admissions) {
            // The index of ids comes before the shards, too.
            drop(locks);
            let held = &*ids.insert(self.ids_held());
            locks = Locks::take(self, parts, watch);
            self.check_open()?;
            admissions = self.check_parts(&locks, parts, Some(held))?;
        }
        if let Some(repeated) = self.all_repeated(&locks, parts, &admissions) {
            drop(locks);
            return self.repeat_all(repeated, acknowledge);
        }
        if let Some(watch) = watch {
            watch.check(self, &locks, selection.as_ref())?;
        }
        drop((selection, ids));
        let written = self.write_all(locks, parts, None, cost, acknowledge)?;
        Ok(written.unwrap_or_default())
    }

    fn repeat_all(&self, repeated: Vec<Appended>, acknowledge: Durability) -> Result<Vec<Appended>> {
        let repeat = |part| self.repeat(part, acknowledge);
        repeated.into_iter().map(repeat).collect()
    }

    /// Writes the events of checked parts. With `last`, returns `None` and writes nothing if that is no longer the last position.
    fn write_all(
        &self,
        mut locks: Locks<'_>,
        parts: &[PreparedAppend<'_>],
        last: Option<u64>,
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<Option<Vec<Appended>>> {
        let keys = self.make_streams(&mut locks, parts);
        let Some(mut written) = self.write_parts(&mut locks, parts, &keys, last) else {
            self.unmake_streams(&mut locks, parts);
            return Ok(None);
        };
        self.count_written(cost);
        self.retention.types.add_written(parts);
        let surplus = self.limit_parts(&mut locks, parts, &keys);
        drop(locks);
        let durability = self.acknowledge(last_position(&written), acknowledge)?;
        for (part, to) in surplus {
            self.limit_later(part, Some(to));
        }
        for part in &mut written {
            part.durability = durability;
        }
        Ok(Some(written))
    }

    fn check_parts(
        &self,
        locks: &Locks<'_>,
        parts: &[PreparedAppend<'_>],
        ids: Option<&IdIndex>,
    ) -> Result<Admissions> {
        let mut admissions = Admissions::new();
        for part in parts {
            let shard = locks.shard(self.core.shard_of(part.stream_hash));
            admissions.push(self.check_prepared(shard, part, ids)?);
            if is_unclear(&admissions) {
                // The first rejected part determines the error, so later parts are not checked before this one is clear.
                return Ok(admissions);
            }
        }
        let repeated = parts
            .iter()
            .zip(&admissions)
            .find_map(|(part, admission)| match admission {
                Admission::Repeated(appended) => Some((part, appended)),
                Admission::New(_) | Admission::Unclear => None,
            });
        let is_new = |(part, admission): (&PreparedAppend<'_>, &Admission)| {
            !part.events.is_empty() && matches!(admission, Admission::New(_))
        };
        // Some parts were stored before and others were not: the stored append is a different one.
        match repeated.filter(|_| parts.iter().zip(&admissions).any(is_new)) {
            Some((part, appended)) => Err(part_known(part, appended).into()),
            None => Ok(admissions),
        }
    }

    /// The first acknowledgements, if every part with events was stored before.
    fn all_repeated(
        &self,
        locks: &Locks<'_>,
        parts: &[PreparedAppend<'_>],
        admissions: &[Admission],
    ) -> Option<Vec<Appended>> {
        let any = admissions
            .iter()
            .any(|admission| matches!(admission, Admission::Repeated(_)));
        let repeated = |(part, admission): (&PreparedAppend<'_>, &Admission)| match admission {
            Admission::Repeated(appended) => Some(*appended),
            Admission::New(key) if part.events.is_empty() => {
                let shard = locks.shard(self.core.shard_of(part.stream_hash));
                Some(self.nothing_appended(key.map_or(0, |key| shard.stream(key).version)))
            }
            Admission::New(_) | Admission::Unclear => None,
        };
        any.then(|| parts.iter().zip(admissions).map(repeated).collect())
            .flatten()
    }

    fn write_parts(
        &self,
        locks: &mut Locks<'_>,
        parts: &[PreparedAppend<'_>],
        keys: &[Option<u32>],
        last: Option<u64>,
    ) -> Option<Vec<Appended>> {
        let count: usize = parts.iter().map(|part| part.events.len()).sum();
        if count == 0 {
            return Some(self.nothing_written(locks, parts, keys));
        }
        let number = self.core.own_lane();
        let mut own = self.core.write_lane(number);
        let OwnLane { lane, pages } = &mut *own;
        let lane = lane.write();
        lane.make_room(count);
        let first = match last {
            Some(last) => self.core.log.reserve_after(last, count as u64)?,
            None => self.core.log.reserve(count as u64),
        };
        let (slot, mut next) = (lane.next_slot(), first);
        let mut written = Vec::with_capacity(parts.len());
        for (part, key) in parts.iter().zip(keys) {
            let shard = locks.shard_mut(self.core.shard_of(part.stream_hash));
            let Some(key) = key.filter(|_| !part.events.is_empty()) else {
                written.push(self.nothing_appended(key.map_or(0, |key| shard.stream(key).version)));
                continue;
            };
            let stream = shard.write().stream_mut(key);
            let version = stream.version;
            write_events(stream, lane, part, next);
            written.push(acknowledged(part, version, next));
            next += part.events.len() as u64;
        }
        self.enter_written(first, count, (number, slot), lane, pages);
        Some(written)
    }

    /// Removes the streams that were created for events that were not written.
    fn unmake_streams(&self, locks: &mut Locks<'_>, parts: &[PreparedAppend<'_>]) {
        for part in parts {
            let shard = locks.shard_mut(self.core.shard_of(part.stream_hash)).write();
            shard.forget_unwritten(part.stream_hash, &part.stream.aggregate_id);
        }
    }

    fn nothing_written(&self, locks: &Locks<'_>, parts: &[PreparedAppend<'_>], keys: &[Option<u32>]) -> Vec<Appended> {
        let nothing = |(part, key): (&PreparedAppend<'_>, &Option<u32>)| {
            let shard = locks.shard(self.core.shard_of(part.stream_hash));
            self.nothing_appended(key.map_or(0, |key| shard.stream(key).version))
        };
        parts.iter().zip(keys).map(nothing).collect()
    }

    /// Creates missing streams, and returns the key of each part's stream.
    fn make_streams(&self, locks: &mut Locks<'_>, parts: &[PreparedAppend<'_>]) -> Keys {
        for part in parts.iter().filter(|part| !part.events.is_empty()) {
            // A shard that a fork shares is copied here, before positions are reserved.
            let shard = locks.shard_mut(self.core.shard_of(part.stream_hash)).write();
            if shard.find(part.stream_hash, &part.stream.aggregate_id).is_none() {
                shard.create(part.stream_hash, part.stream);
            }
        }
        // Creating a stream may move others, so keys are valid only after the last creation.
        let key = |part: &PreparedAppend<'_>| {
            let shard = locks.shard(self.core.shard_of(part.stream_hash));
            shard.find(part.stream_hash, &part.stream.aggregate_id)
        };
        parts.iter().map(key).collect()
    }

    /// Drops the events of the streams beyond their limits. Returns the drops that must wait: a part and the version up to which its stream is dropped.
    fn limit_parts<'d, 'a>(
        &self,
        locks: &mut Locks<'_>,
        parts: &'d [PreparedAppend<'a>],
        keys: &[Option<u32>],
    ) -> Vec<(&'d PreparedAppend<'a>, u32)> {
        let mut limit = |(part, key): (&'d PreparedAppend<'a>, &Option<u32>)| {
            let shard = locks.shard_mut(self.core.shard_of(part.stream_hash));
            let to = self.limit_appended(shard.write(), (*key)?)?;
            Some((part, to))
        };
        parts.iter().zip(keys).filter_map(&mut limit).collect()
    }
}

fn unmet(position: u64) -> Error {
    let position = Position(position);
    Conflict::Condition { position }.into()
}

fn is_unclear(admissions: &[Admission]) -> bool {
    matches!(admissions.last(), Some(Admission::Unclear))
}

fn last_position(appended: &[Appended]) -> u64 {
    appended.iter().map(|part| part.last_position.0).max().unwrap_or(0)
}

/// A lock on one shard.
enum Lock<'a> {
    Read(ShardRead<'a>),
    Write(ShardWrite<'a>),
}

/// The locks of an append with the numbers of their shards, taken in that order.
struct Locks<'a>(SmallVec<[(usize, Lock<'a>); 4]>);

impl<'a> Locks<'a> {
    fn take(engine: &'a Engine, parts: &[PreparedAppend<'_>], watch: Option<&Watch<'_>>) -> Self {
        let core = &engine.core;
        let mut written: SmallVec<[usize; 4]> = parts.iter().map(|part| core.shard_of(part.stream_hash)).collect();
        written.sort_unstable();
        let mut wanted = written.clone();
        match watch.map(|watch| watch.aggregates) {
            Some(Some(aggregates)) => wanted.extend(aggregates.iter().map(|id| core.shard_of(core.hash(id)))),
            Some(None) => wanted = (0..core.shard_count()).collect(),
            None => {}
        }
        wanted.sort_unstable();
        wanted.dedup();
        let lock = |shard: usize| {
            let writes = written.binary_search(&shard).is_ok();
            (
                shard,
                if writes {
                    Lock::Write(core.write(shard))
                } else {
                    Lock::Read(core.read(shard))
                },
            )
        };
        Self(wanted.into_iter().map(lock).collect())
    }

    fn place(&self, shard: usize) -> Option<usize> {
        self.0.binary_search_by_key(&shard, |(shard, _)| *shard).ok()
    }

    fn get(&self, shard: usize) -> Option<&ForkShared<Shard>> {
        match &self.0.get(self.place(shard)?)?.1 {
            Lock::Read(guard) => Some(guard),
            Lock::Write(guard) => Some(guard),
        }
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard(&self, shard: usize) -> &ForkShared<Shard> {
        self.get(shard).unwrap_or_else(|| panic!("shard {shard} is not locked"))
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard_mut(&mut self, shard: usize) -> &mut ForkShared<Shard> {
        let place = self.place(shard);
        match place.map(|place| &mut self.0[place].1) {
            Some(Lock::Write(guard)) => guard,
            Some(Lock::Read(_)) | None => panic!("shard {shard} is not locked for writing"),
        }
    }
}

/// A condition, prepared to be checked under the locks.
pub(in crate::store) struct Watch<'a> {
    query: &'a Query,
    /// Created early unless the query has only a few terms, which are always valid.
    matcher: Option<Matcher>,
    pub(in crate::store) after: u64,
    /// The aggregates that the query is limited to, if it names any.
    aggregates: Option<&'a [Name]>,
}

impl<'a> Watch<'a> {
    pub(in crate::store) fn new(engine: &Engine, condition: &'a Condition) -> Result<Self> {
        let query = &condition.query;
        let after = condition.after.max(query.after).0;
        let aggregates = query.filters.iter().find_map(|filter| {
            if let Filter::Is(Field::Aggregate, ids) = filter {
                Some(ids.as_slice())
            } else {
                None
            }
        });
        let matcher = if is_simple(query) {
            None
        } else {
            Some(Matcher::new(query, &engine.indexes)?)
        };
        Ok(Self {
            query,
            matcher,
            after,
            aggregates,
        })
    }

    /// The selection of the query with its indexes locked for reading; `None` for named aggregates, which need no index.
    fn selection(&self, engine: &'a Engine) -> Option<Selection<'a>> {
        self.aggregates
            .is_none()
            .then(|| Selection::for_condition(engine, self.query, engine.core.log.published()))
    }

    fn until(&self) -> u64 {
        self.query.until.map_or(u64::MAX, |until| until.0)
    }

    /// # Errors
    ///
    /// [`Error::Conflict`] with the first matching event.
    fn check(&self, engine: &Engine, locks: &Locks<'_>, selection: Option<&Selection<'_>>) -> Result<()> {
        let found = match (self.aggregates, selection) {
            (Some(aggregates), _) => self.first_of_aggregates(engine, locks, aggregates)?,
            (None, Some(selection)) => {
                // All shards are locked, so all reserved positions are written.
                let bounds = Bounds {
                    after: self.after,
                    until: self.until().min(engine.core.log.reserved()),
                };
                selection.first_match(self.matcher.as_ref(), bounds)?
            }
            (None, None) => None,
        };
        found.map_or(Ok(()), |position| Err(unmet(position)))
    }

    /// Finds the first match after position `after`, up to `last`, without a lock that blocks appends for long.
    pub(in crate::store) fn first_match(&self, engine: &Engine, after: u64, last: u64) -> Result<Option<u64>> {
        let bounds = Bounds {
            after,
            until: self.until().min(last),
        };
        let Some(aggregates) = self.aggregates else {
            let selection = Selection::for_condition(engine, self.query, last);
            return selection.first_match(self.matcher.as_ref(), bounds);
        };
        let mut positions = Vec::new();
        for id in aggregates {
            let hash = engine.core.hash(id);
            let shard = engine.core.read(engine.core.shard_of(hash));
            Self::positions_of(&shard, hash, id, bounds, &mut positions);
        }
        positions.sort_unstable();
        first_matching(engine, self.query, self.matcher.as_ref(), &positions)
    }

    /// Adds the positions of an aggregate's events within the bounds.
    fn positions_of(shard: &Shard, hash: u64, id: &str, bounds: Bounds, positions: &mut Vec<u64>) {
        if let Some(key) = shard.find(hash, id) {
            let after = shard.stream(key).positions_after(bounds.after);
            positions.extend(after.take_while(|position| *position <= bounds.until));
        }
    }

    fn first_of_aggregates(&self, engine: &Engine, locks: &Locks<'_>, aggregates: &[Name]) -> Result<Option<u64>> {
        let mut positions = Vec::new();
        for id in aggregates {
            let hash = engine.core.hash(id);
            let Some(shard) = locks.get(engine.core.shard_of(hash)) else {
                continue;
            };
            let bounds = Bounds {
                after: self.after,
                until: self.until(),
            };
            Self::positions_of(shard, hash, id, bounds, &mut positions);
        }
        positions.sort_unstable();
        first_matching(engine, self.query, self.matcher.as_ref(), &positions)
    }
}
