//! The engine: streams in shards, events in lanes, the log that orders them, the index that follows it, and the reads of both.

pub(crate) mod append;
pub(crate) mod builder;
mod collections;
mod core;
pub(crate) mod durability;
mod index;
mod log;
pub(crate) mod query;
pub(crate) mod read;
mod reader;
pub(crate) mod retention;
#[cfg(all(feature = "analytics", feature = "json"))]
pub(crate) mod rollups;
#[cfg(all(test, annals_loom))]
mod simulation;
pub(crate) mod stats;
mod streams;
mod sync;
pub(crate) mod tail;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use uuid::Uuid;

use self::builder::Builder;
use self::core::Core;
use self::durability::flush::Flushing;
use self::durability::follow::Following;
use self::index::Indexes;
use self::log::directory::PageCache;
#[cfg(feature = "cache")]
use self::query::caches::Caches;
use self::retention::Retention;
use crate::journal::RecoveryReport;
use crate::telemetry;
use crate::{
    Append, Appended, Clock, Condition, Durability, Event, Expected, Field, IdSource, Name, NewEvent, Position,
    RandomIds, Result, Settings, StreamId, StreamInfo, StreamLimits, SystemClock, Timestamp, Version,
};

/// An event store in memory.
///
/// A handle: clones share one store and can be used from any number of threads. Dropping the last handle
/// [closes](Self::close) the store and ends its [tails](crate::Tail).
///
/// Nothing survives the process, unless the store was opened with a [journal](crate::journal); see [`Durability`].
///
/// ```
/// use annals::{Expected, NewEvent, Store, StreamId};
///
/// let store = Store::in_memory();
/// let order = StreamId::new("Order", "order-1");
/// store.append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")])?;
///
/// let conflict = store.append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")]);
/// assert_eq!(conflict.unwrap_err().to_string(), "aggregate 'order-1' is at version 1, expected no stream");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
    /// The durability that appends through this handle wait for.
    acknowledge: Durability,
    /// What goes wrong in the calls of this handle.
    #[cfg(feature = "testing")]
    pub(crate) faults: Option<crate::testing::faults::Faults>,
    /// What happens to the processors that are made of this handle.
    #[cfg(feature = "testing")]
    pub(crate) personality: Option<crate::testing::personality::Personality>,
}

/// Closes the store when its last handle is dropped.
#[derive(Debug)]
struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A failure of the journal cannot be reported here; a caller that needs it calls `close`.
        drop(self.engine.close());
    }
}

/// Everything behind a store's handles.
pub(crate) struct Engine {
    pub(crate) core: Core,
    pub(crate) indexes: Indexes,
    #[cfg(feature = "cache")]
    pub(crate) caches: Caches,
    pub(crate) retention: Retention,
    /// State shared by the journal's thread and appends, if there is a journal.
    pub(crate) flushing: Option<Flushing>,
    /// State shared by the following thread and appends, if the store follows.
    following: Option<Following>,
    opened: Opened,
    /// Appends fail: the store is closing.
    closing: AtomicBool,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// How a store was opened.
#[derive(Debug, Default)]
struct Opened {
    recovery: RecoveryReport,
    /// Why the store is read-only, if it is.
    read_only: Option<&'static str>,
    /// Whether the journal was read with archives.
    has_archives: bool,
}

/// What reads and appends of a store need.
struct Parts {
    core: Core,
    indexes: Indexes,
    retention: Retention,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("visible", &self.core.log.visible())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without a journal.
    fn new(parts: Parts) -> Self {
        Self {
            core: parts.core,
            indexes: parts.indexes,
            #[cfg(feature = "cache")]
            caches: Caches::default(),
            retention: parts.retention,
            flushing: None,
            following: None,
            opened: Opened::default(),
            closing: AtomicBool::new(false),
            settings: parts.settings,
            clock: parts.clock,
            ids: parts.ids,
        }
    }

    /// Drops expired events, and returns the position up to which a read that starts now may read.
    pub(crate) fn visible(&self) -> u64 {
        self.expire_due();
        self.core.log.visible()
    }
}

impl Store {
    /// Creates a store with default settings: the system clock, random ids, no budget.
    pub fn in_memory() -> Self {
        Self::builder().make()
    }

    /// Returns a builder with default settings.
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            indexers: Vec::new(),
            journal: None,
            archives: Vec::new(),
            read_only: false,
            progress: Box::new(|_, _| {}),
            #[cfg(all(feature = "analytics", feature = "json"))]
            rollups: Vec::new(),
            #[cfg(feature = "testing")]
            by_hand: false,
        }
    }

    fn of(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        Self {
            handle: Arc::new(Handle { engine }),
            acknowledge: Durability::Volatile,
            #[cfg(feature = "testing")]
            faults: None,
            #[cfg(feature = "testing")]
            personality: None,
        }
    }

    /// Whether another handle is of the same store.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.engine_arc(), other.engine_arc())
    }

    /// Whether appends to several aggregates, and under a condition, can be made: a store that follows needs a remote that makes them.
    #[cfg(feature = "testing")]
    pub(crate) fn appends_to_several(&self) -> bool {
        let following = self.engine().following.as_ref();
        following.is_none_or(|following| following.remote.appends_to_several())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    /// A random number, for the pauses between attempts; the same for the same seed where ids are [seeded](crate::SeededIds).
    pub(crate) fn draw(&self) -> u32 {
        (self.engine().ids.draw() >> u32::BITS) as u32
    }

    pub(crate) fn engine_arc(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    /// Appends `events` to `stream`, all or none, and returns when they are visible to all readers and have the durability of the store and
    /// of this [handle](Self::with_durability).
    ///
    /// The events get consecutive versions and positions. An empty list is checked against `expected` and changes nothing; it
    /// returns the version and position that an event would have had as the first ones.
    ///
    /// An append is idempotent if its events have [ids](NewEvent::id). Each id is compared with all events that the aggregate
    /// retains. If all ids exist, consecutively, and where `expected` would have put them, the append is a
    /// duplicate: it returns the first acknowledgement and stores nothing. If only some ids exist, it fails with
    /// [`Conflict::EventKnown`](crate::Conflict::EventKnown). An id is forgotten with its event: events that were truncated, deleted, archived or dropped
    /// by a limit are appended again. Ids of other aggregates are not compared.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::Error::Conflict) if the stream's version does not match `expected`: read it and decide again.
    /// [`Invalid`](crate::Error::Invalid) if a name or a payload exceeds the [`Limits`](crate::Limits), a name begins with
    /// `$`, or the aggregate has another type. [`Deleted`](crate::Error::Deleted) if the aggregate has a tombstone.
    /// [`Full`](crate::Error::Full) if the budget, and [`Backlog`](crate::Error::Backlog) if the journal's backlog is full. [`Closed`](crate::Error::Closed) if the store
    /// is closed. In each of these cases nothing was written. [`Unavailable`](crate::Error::Unavailable) if the store [follows](Self::follow) one that is not
    /// writable now; the error says if the events are or may be stored. [`Failed`](crate::Error::Failed) if the journal failed: whether these events survive
    /// is unknown until the store is reopened.
    pub fn append<'e>(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: impl AsRef<[NewEvent<'e>]>,
    ) -> Result<Appended> {
        let (engine, events) = (self.engine(), events.as_ref());
        let span = telemetry::append(1, events.len());
        let append = || engine.append(stream, expected, events, self.acknowledge);
        #[cfg(feature = "testing")]
        let append = || {
            if self.faults.is_none() {
                return append();
            }
            let parts = [Append::new(stream, expected, events)];
            self.append_with_faults(&parts, None, append)
        };
        let result = append();
        span.end(result.as_ref().map(|appended| Some(appended.last_position)));
        result
    }

    /// Appends to several aggregates, all or none, at consecutive positions in the given order.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append), for any of them; [`Invalid`](crate::Error::Invalid) if an aggregate is named twice.
    pub fn append_all<'e>(&self, appends: impl AsRef<[Append<'e>]>) -> Result<Vec<Appended>> {
        self.append_several(appends.as_ref(), None)
    }

    /// Appends if `condition` holds: no event after its position matches its query.
    ///
    /// The check and the append are atomic: no other append comes between them. A duplicate, by the ids of the events, is detected before
    /// the condition is evaluated. [`transact`](Self::transact) reads, decides, appends, and retries after a conflict.
    ///
    /// # Errors
    ///
    /// As [`append_all`](Self::append_all); [`Conflict`](crate::Error::Conflict) with the first matching event if the
    /// condition does not hold.
    pub fn append_if<'e>(&self, condition: &Condition, appends: impl AsRef<[Append<'e>]>) -> Result<Vec<Appended>> {
        self.append_several(appends.as_ref(), Some(condition))
    }

    fn append_several(&self, appends: &[Append<'_>], condition: Option<&Condition>) -> Result<Vec<Appended>> {
        let events = appends.iter().map(|append| append.events.len()).sum();
        let span = telemetry::append(appends.len(), events);
        let append = || self.engine().append_all(appends, condition, self.acknowledge);
        #[cfg(feature = "testing")]
        let append = || {
            if self.faults.is_none() {
                return append();
            }
            self.append_with_faults(appends, condition, append)
        };
        let result = append();
        let last = |appended: &Vec<Appended>| appended.last().map(|last| last.last_position);
        span.end(result.as_ref().map(last));
        result
    }

    /// Returns the event with this id, the first if several have it.
    ///
    /// The first call builds an index of ids; later calls extend it by the new events.
    pub fn event(&self, id: Uuid) -> Option<Event> {
        let engine = self.engine();
        let visible = engine.visible();
        let candidates = engine.ids_to(visible).candidates(id);
        let mut pages = PageCache::default();
        let mut events = candidates
            .into_iter()
            .filter_map(|position| engine.core.event(position, &mut pages));
        events.find(|event| event.id() == id && event.position().0 <= visible)
    }

    /// Returns the event at this position.
    pub fn event_at(&self, position: Position) -> Option<Event> {
        let engine = self.engine();
        if position.0 == 0 || position.0 > engine.visible() {
            return None;
        }
        engine.core.single_event(position.0)
    }

    /// Returns the state of an aggregate without reading its events; `None` if it never had one.
    pub fn stream_info(&self, aggregate_id: &str) -> Option<StreamInfo> {
        let engine = self.engine();
        let visible = engine.visible();
        let hash = engine.core.hash(aggregate_id);
        let shard = engine.core.read(engine.core.shard_of(hash));
        let stream = shard.stream(shard.find(hash, aggregate_id)?);
        let unseen = stream.unseen_events(visible);
        let version = u64::from(stream.version) - unseen;
        if version == 0 {
            return None;
        }
        Some(StreamInfo {
            stream: shard.stream_id(stream),
            version: Version(version),
            events: stream.live_events() - unseen,
            dropped_to: Version(u64::from(stream.dropped_to)),
            deleted_to: Version(u64::from(stream.deleted_to)),
            tombstoned: stream.tombstoned,
            limits: stream.limits(),
        })
    }

    /// Returns the time of the store's clock.
    pub fn now(&self) -> Timestamp {
        self.engine().clock.now()
    }

    /// An id as the store assigns it to an event without one.
    #[cfg(feature = "cqrs")]
    pub(crate) fn new_event_id(&self) -> uuid::Uuid {
        self.engine().ids.next(self.now())
    }

    /// Returns the position up to which events are visible to reads.
    pub fn visible(&self) -> Position {
        Position(self.engine().visible())
    }

    /// Returns an independent copy with the same events, limits and gaps.
    ///
    /// The copy is lazy: the first write to a shard, in either store, copies that shard. [`Clock::fork`] and
    /// [`IdSource::fork`] make its clock and ids. The copy has no journal: its events are volatile.
    #[must_use = "the copy is the result"]
    pub fn fork(&self) -> Self {
        Self::of(self.fork_engine(Arc::clone(&self.engine().clock).fork()))
    }

    fn fork_engine(&self, clock: Arc<dyn Clock>) -> Engine {
        let engine = self.engine();
        let _unchanged = engine.retention.changing.write();
        // Blocks expiry, and keeps `compacted` no newer than the copy of the index.
        let _one = engine.retention.dropping.lock();
        let compacted = engine.retention.drops.compacted();
        // The index first: it must not name events that the copy of the log does not have.
        let indexes = engine.indexes.fork();
        let (core, retention) = engine.core.fork(|| engine.retention.fork(compacted));
        Engine::new(Parts {
            core,
            indexes,
            retention,
            settings: Settings {
                durability: Durability::Volatile,
                ..engine.settings.clone()
            },
            clock,
            ids: engine.ids.fork(),
        })
    }

    /// Forks the store with this clock instead of a fork of its clock.
    #[cfg(feature = "testing")]
    #[must_use = "the copy is the result"]
    pub fn fork_with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self::of(self.fork_engine(clock))
    }

    /// Returns the limits of an aggregate.
    pub fn limits(&self, aggregate_id: &str) -> StreamLimits {
        self.stream_info(aggregate_id)
            .map(|info| info.limits)
            .unwrap_or_default()
    }

    /// Returns every value of a field among the visible events with its number of events, ordered by value. An index that is not registered has
    /// no values.
    ///
    /// System events are not counted. [`list`](Self::list) returns a page at a time.
    pub fn terms(&self, field: &Field) -> Vec<(Name, u64)> {
        let engine = self.engine();
        let visible = engine.visible();
        let mut terms = engine.terms(field, visible);
        terms.sort_unstable();
        terms
    }
}
