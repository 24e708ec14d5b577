//! Appending to several aggregates at once, and only if a condition on the whole store holds.

use super::Engine;
use super::append::{Admission, acknowledge, conflict, write_events};
use super::core::{OwnLane, ShardRead, ShardWrite, View};
use super::cow::Cow;
use super::directory::{PageCache, Place};
use super::draft::{self, Author, Draft};
use super::lane::DroppedRun;
use super::matcher::Matcher;
use super::select::{Bounds, Selection};
use super::shard::Shard;
use crate::query::Query;
use crate::{Append, Appended, Condition, Conflict, Error, EventRef, Field, Filter, Name, Position, Result};

/// What was dropped because of an append, by aggregate.
type Dropped = Vec<(Name, Option<DroppedRun>)>;

impl Engine {
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
        if events.max(appends.len()) > limits.batch_events_max {
            return Err(Error::invalid(format!(
                "{events} events for {} aggregates in one append: at most {} are allowed",
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
        let bytes = appends
            .iter()
            .flat_map(|part| &part.events)
            .map(|event| event.metadata.len() + event.data.len());
        draft::check_batch_bytes(bytes.sum(), limits)
    }

    fn append_drafts(&self, drafts: &[Draft<'_>], condition: Option<&Condition>) -> Result<Vec<Appended>> {
        let watch = condition.map(|condition| Watch::new(self, condition)).transpose()?;
        // The index comes before the shards in the order of locks: whoever extends it locks lanes too.
        let selection = watch.as_ref().and_then(|watch| watch.selection(self));
        let mut locks = Locks::take(self, drafts, watch.as_ref());
        let admissions = self.check_drafts(&locks, drafts)?;
        if let Some(repeated) = all_repeated(&admissions) {
            drop(locks);
            self.core.log.await_published(last_position(&repeated));
            return Ok(repeated);
        }
        if let Some(watch) = &watch {
            watch.check(self, &locks, selection.as_ref())?;
        }
        drop(selection);
        let (written, dropped) = self.write_drafts(&mut locks, drafts, admissions);
        drop(locks);
        for (id, run) in dropped {
            self.report_limited(&id, run);
        }
        self.finish(last_position(&written));
        Ok(written)
    }

    fn check_drafts(&self, locks: &Locks<'_>, drafts: &[Draft<'_>]) -> Result<Vec<Admission>> {
        let check = |draft: &Draft<'_>| self.check_draft(locks.shard(self.core.shard_of(draft.stream_hash)), draft);
        let admissions: Vec<_> = drafts.iter().map(check).collect::<Result<_>>()?;
        let is_repeated = |admission: &Admission| matches!(admission, Admission::Repeated(_));
        let repeated = admissions.iter().position(is_repeated);
        // Some parts stored before and others not: what is stored is another append than this one.
        match repeated.filter(|_| !admissions.iter().all(is_repeated)) {
            Some(part) => Err(self.conflict_with(locks, &drafts[part])),
            None => Ok(admissions),
        }
    }

    fn conflict_with(&self, locks: &Locks<'_>, draft: &Draft<'_>) -> Error {
        let shard = locks.shard(self.core.shard_of(draft.stream_hash));
        let stream = shard
            .find(draft.stream_hash, &draft.stream.aggregate_id)
            .map(|key| shard.stream(key));
        stream.map_or(Error::Closed, |stream| conflict(stream, draft).into())
    }

    fn write_drafts(
        &self,
        locks: &mut Locks<'_>,
        drafts: &[Draft<'_>],
        admissions: Vec<Admission>,
    ) -> (Vec<Appended>, Dropped) {
        let keys = self.make_streams(locks, drafts, admissions);
        let count: usize = drafts.iter().map(|draft| draft.events.len()).sum();
        if count == 0 {
            return (self.nothing_written(locks, drafts, &keys), Vec::new());
        }
        let number = self.core.own_lane();
        let mut own = self.core.write_lane(number);
        let OwnLane { lane, pages } = &mut *own;
        let lane = lane.write();
        lane.make_room(count);
        let first = self.core.log.reserve(count as u64);
        let mut places = Vec::with_capacity(count);
        let mut written = Vec::with_capacity(drafts.len());
        for (draft, key) in drafts.iter().zip(&keys) {
            let shard = locks.shard_mut(self.core.shard_of(draft.stream_hash));
            let Some(key) = key.filter(|_| !draft.events.is_empty()) else {
                written.push(self.nothing_appended(key.map_or(0, |key| shard.stream(key).version)));
                continue;
            };
            let stream = shard.write().stream_mut(key);
            let (version, next) = (stream.version, first + places.len() as u64);
            write_events(stream, lane, draft, next, |slot| {
                places.push(Place { lane: number, slot });
            });
            written.push(acknowledge(draft, version, next));
        }
        self.core.log.enter_all(first, &places, pages);
        self.core.log.publish(pages);
        drop(own);
        (written, self.limit_drafts(locks, drafts, &keys))
    }

    fn nothing_written(&self, locks: &Locks<'_>, drafts: &[Draft<'_>], keys: &[Option<u32>]) -> Vec<Appended> {
        let nothing = |(draft, key): (&Draft<'_>, &Option<u32>)| {
            let shard = locks.shard(self.core.shard_of(draft.stream_hash));
            self.nothing_appended(key.map_or(0, |key| shard.stream(key).version))
        };
        drafts.iter().zip(keys).map(nothing).collect()
    }

    /// The keys of the streams that the drafts are written to; new streams are made.
    fn make_streams(
        &self,
        locks: &mut Locks<'_>,
        drafts: &[Draft<'_>],
        admissions: Vec<Admission>,
    ) -> Vec<Option<u32>> {
        let make = |(draft, admission): (&Draft<'_>, Admission)| {
            let Admission::New(key) = admission else { return None };
            if draft.events.is_empty() {
                return key;
            }
            let shard = locks.shard_mut(self.core.shard_of(draft.stream_hash));
            Some(key.unwrap_or_else(|| shard.write().create(draft.stream_hash, draft.stream)))
        };
        drafts.iter().zip(admissions).map(make).collect()
    }

    fn limit_drafts(&self, locks: &mut Locks<'_>, drafts: &[Draft<'_>], keys: &[Option<u32>]) -> Dropped {
        let mut dropped = Vec::new();
        for (draft, key) in drafts.iter().zip(keys) {
            let Some(key) = key else { continue };
            let shard = locks.shard_mut(self.core.shard_of(draft.stream_hash)).write();
            dropped.push((draft.stream.aggregate_id.clone(), self.apply_limits(shard, *key)));
        }
        dropped
    }
}

fn last_position(appended: &[Appended]) -> u64 {
    appended.iter().map(|part| part.last_position.0).max().unwrap_or(0)
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

/// A lock on one shard, or none.
enum Lock<'a> {
    None,
    Read(ShardRead<'a>),
    Write(ShardWrite<'a>),
}

/// The locks of an append, taken in the order of the shards.
struct Locks<'a>(Vec<Lock<'a>>);

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
        Self(wanted.into_iter().enumerate().map(lock).collect())
    }

    fn get(&self, shard: usize) -> Option<&Cow<Shard>> {
        match self.0.get(shard)? {
            Lock::None => None,
            Lock::Read(guard) => Some(guard),
            Lock::Write(guard) => Some(guard),
        }
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard(&self, shard: usize) -> &Cow<Shard> {
        self.get(shard).unwrap_or_else(|| panic!("shard {shard} is not locked"))
    }

    #[expect(clippy::panic, reason = "a shard that an append writes to is locked by `take`")]
    fn shard_mut(&mut self, shard: usize) -> &mut Cow<Shard> {
        match &mut self.0[shard] {
            Lock::Write(guard) => guard,
            Lock::None | Lock::Read(_) => panic!("shard {shard} is not locked for writing"),
        }
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
        let aggregates = query.filters.iter().find_map(|filter| {
            if let Filter::Is(Field::Aggregate, ids) = filter {
                Some(ids.clone())
            } else {
                None
            }
        });
        let matcher = Matcher::new(&query, &engine.indexes)?;
        Ok(Self {
            query,
            matcher,
            after,
            aggregates,
        })
    }

    /// The part of the answer that the index knows, with the index held still; none is needed for named aggregates.
    fn selection<'a>(&'a self, engine: &'a Engine) -> Option<Selection<'a>> {
        self.aggregates
            .is_none()
            .then(|| Selection::for_condition(engine, &self.query, engine.core.log.published()))
    }

    fn until(&self) -> u64 {
        self.query.until.map_or(u64::MAX, |until| until.0)
    }

    /// # Errors
    ///
    /// [`Error::Conflict`] with the first event that matches.
    fn check(&self, engine: &Engine, locks: &Locks<'_>, selection: Option<&Selection<'_>>) -> Result<()> {
        let found = match (&self.aggregates, selection) {
            (Some(aggregates), _) => self.first_of_aggregates(engine, locks, aggregates),
            (None, Some(selection)) => {
                // All shards are locked: what is reserved is written.
                let bounds = Bounds {
                    after: self.after,
                    until: self.until().min(engine.core.log.reserved()),
                };
                selection.first_match(&self.matcher, bounds, &mut View::new(&engine.core))
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
        let mut pages = PageCache::default();
        let mut first_of = |id: &Name| {
            let hash = engine.core.hash(id);
            let shard = locks.get(engine.core.shard_of(hash))?;
            let stream = shard.stream(shard.find(hash, id)?);
            let mut positions = stream
                .positions_after(self.after)
                .take_while(|position| *position <= self.until());
            let matches = |event: EventRef<'_>| self.matcher.matches(event);
            positions.find(|position| engine.core.with_event(*position, &mut pages, matches) == Some(true))
        };
        aggregates.iter().filter_map(&mut first_of).min()
    }
}
