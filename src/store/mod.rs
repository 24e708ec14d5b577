//! The engine: streams in shards, events in lanes, the log that orders them, the index that follows it, and the reads of both.

mod append;
mod append_all;
pub(crate) mod archive;
mod arena;
mod budget;
pub(crate) mod builder;
#[cfg(feature = "cache")]
pub(crate) mod cache;
mod change;
mod core;
mod directory;
pub(crate) mod durable;
mod flush;
mod follow;
mod fork_shared;
pub(crate) mod gaps;
mod index;
mod key_table;
mod lane;
mod log;
mod matcher;
mod posting_list;
mod prepare;
pub(crate) mod query_run;
pub(crate) mod read;
pub(crate) mod reclaim;
mod recover;
mod repetition;
pub(crate) mod retention;
mod select;
mod shard;
mod signal;
#[cfg(all(test, annals_loom))]
mod simulation;
mod snapshot;
pub(crate) mod stats;
mod streams;
#[cfg(feature = "analytics")]
pub(crate) mod summary;
mod sync;
pub(crate) mod tail;
pub(crate) mod transact;
mod type_table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use uuid::Uuid;

use self::budget::Usage;
use self::builder::Builder;
use self::core::Core;
use self::directory::PageCache;
use self::flush::Flushing;
use self::follow::Following;
use self::gaps::Gaps;
use self::index::Indexes;
use self::retention::Aging;
use self::sync::{Mutex, RwLock};
use crate::journal::RecoveryReport;
use crate::{
    Append, Appended, Clock, Condition, Durability, Event, Expected, Field, IdSource, Name, NewEvent, Position,
    RandomIds, Result, Settings, StreamId, StreamInfo, StreamLimits, SystemClock, Version,
};

/// An event store in memory.
///
/// A handle: clones share one store, from any number of threads. When the last handle is dropped the store is
/// [closed](Self::close), and its [tails](crate::Tail) end.
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
    /// What appends through this handle wait for.
    acknowledge: Durability,
}

/// What closes the store when the last of its handles is dropped.
#[derive(Debug)]
struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to hear of a journal that fails now; whoever wants to know calls `close`.
        drop(self.engine.close());
    }
}

/// Everything behind a store's handles.
pub(crate) struct Engine {
    pub(crate) core: Core,
    pub(crate) indexes: Indexes,
    #[cfg(feature = "cache")]
    pub(crate) cache: cache::Lazy<cache::QueryCache>,
    #[cfg(all(feature = "cache", feature = "analytics"))]
    pub(crate) summaries: cache::Lazy<summary::cached::SummaryCache>,
    /// What the journal's thread shares with appends, if there is a journal.
    pub(crate) flushing: Option<Flushing>,
    /// What the thread that reads what others write shares with appends, if the store follows.
    following: Option<Following>,
    recovery: RecoveryReport,
    /// No append is taken any more.
    closing: AtomicBool,
    /// Why none ever was.
    read_only: Option<&'static str>,
    /// Its journal was read with archives.
    has_archives: bool,
    /// Held for reading while an aggregate is changed, for writing while the store is forked.
    changing: RwLock<()>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    /// Counted only where the budget asks for it.
    usage: Option<Usage>,
    gaps: Mutex<Gaps>,
    /// When something will be too old, in microseconds since 1970; `i64::MAX` for never.
    expiry: AtomicI64,
    aging: Mutex<Aging>,
    /// Held while the oldest events are dropped.
    dropping: Mutex<()>,
    /// How often events were dropped: the epoch of the cache.
    drops: AtomicU64,
    /// How many events were dropped.
    dropped_events: AtomicU64,
    /// The same number as `drops` when the index was last rid of dropped events.
    drops_compacted: AtomicU64,
    /// Whether the journal had positions whose events were gone: there never was anything to drop here.
    has_skipped: AtomicBool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("visible", &self.core.log.visible())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Drops what is too old, and answers the position that a read beginning now may see.
    pub(crate) fn visible(&self) -> u64 {
        self.expire_due();
        self.core.log.visible()
    }

    #[cfg(feature = "cache")]
    pub(crate) fn epoch(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Whether there may be positions without an event.
    pub(crate) fn has_gaps(&self) -> bool {
        self.drops.load(Ordering::Acquire) > 0 || self.has_skipped.load(Ordering::Acquire)
    }

    /// Whether the index may name events that are gone.
    pub(crate) fn has_dropped(&self) -> bool {
        self.drops.load(Ordering::Acquire) != self.drops_compacted.load(Ordering::Acquire)
    }
}

impl Store {
    /// A store with default settings: the machine's clock, random ids, nothing bounded.
    pub fn in_memory() -> Self {
        Self::builder().make()
    }

    /// A store to be set up.
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
            #[cfg(feature = "testing")]
            by_hand: false,
        }
    }

    fn of(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        Self {
            handle: Arc::new(Handle { engine }),
            acknowledge: Durability::Volatile,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    pub(crate) fn engine_arc(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    /// Appends `events` to `stream`, all or none, and returns when everyone can read them and they are as safe as the store, or this
    /// [handle](Self::with_durability), asks for.
    ///
    /// The events get consecutive versions and positions. An empty list is checked against `expected` and changes nothing; the
    /// first version and position of its acknowledgement are those that an event would have had.
    ///
    /// An append is idempotent by the [ids](NewEvent::id) that its events bring. Each id is looked for among the events that the aggregate
    /// retains, however old they are. When all of them are there, one after another, and where `expected` would have put them, the append is a
    /// repetition: it returns the first acknowledgement, and nothing is stored. When some are there and some are not, it fails with
    /// [`Conflict::EventKnown`](crate::Conflict::EventKnown). An id is forgotten with its event: what was truncated, deleted, archived or dropped by a
    /// limit is appended again. Ids of other aggregates are not looked at.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::Error::Conflict) when the stream is not where `expected` says: read it and decide again.
    /// [`Invalid`](crate::Error::Invalid) when a name or a payload is beyond the [`Limits`](crate::Limits), a name begins with
    /// `$`, or the aggregate is of another type. [`Deleted`](crate::Error::Deleted) when it was deleted for good.
    /// [`Full`](crate::Error::Full) when the budget is, or the journal is behind. [`Closed`](crate::Error::Closed) when the store
    /// is. Nothing was written, in each case. [`Unavailable`](crate::Error::Unavailable) where the store [follows](Self::follow) one that cannot
    /// be written now; it says so where the events are stored, or may be. [`Failed`](crate::Error::Failed) when the journal has: whether these events survive
    /// is not known until the store is opened anew.
    pub fn append<'e>(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: impl AsRef<[NewEvent<'e>]>,
    ) -> Result<Appended> {
        self.engine()
            .append(stream, expected, events.as_ref(), self.acknowledge)
    }

    /// Appends to several aggregates, all or none, at consecutive positions in the order given.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append), for any of them; [`Invalid`](crate::Error::Invalid) when one is named twice.
    pub fn append_all<'e>(&self, appends: impl AsRef<[Append<'e>]>) -> Result<Vec<Appended>> {
        self.engine().append_all(appends.as_ref(), None, self.acknowledge)
    }

    /// Appends if `condition` holds: nothing that matches its query was added after its position.
    ///
    /// The check and the append are atomic: no other append comes between them. A repetition, by the ids of the events, is recognised before
    /// the condition is looked at. [`transact`](Self::transact) reads, decides, appends, and tries again after a conflict.
    ///
    /// # Errors
    ///
    /// As [`append_all`](Self::append_all); [`Conflict`](crate::Error::Conflict) with the first event that matches when the
    /// condition does not hold.
    pub fn append_if<'e>(&self, condition: &Condition, appends: impl AsRef<[Append<'e>]>) -> Result<Vec<Appended>> {
        self.engine()
            .append_all(appends.as_ref(), Some(condition), self.acknowledge)
    }

    /// The event with this id, the first if several have it.
    ///
    /// The first call builds an index of ids, which is extended from the tail after that.
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

    /// The event at this position.
    pub fn event_at(&self, position: Position) -> Option<Event> {
        let engine = self.engine();
        let visible = engine.visible();
        let known = position.0 > 0 && position.0 <= visible;
        known
            .then(|| engine.core.event(position.0, &mut PageCache::default()))
            .flatten()
    }

    /// What is known of an aggregate without reading its events; `None` if it never had one.
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

    /// The position of the last event that reads see.
    pub fn visible(&self) -> Position {
        Position(self.engine().visible())
    }

    /// An independent copy: the same events, limits and gaps, and from here on its own.
    ///
    /// Nothing is copied until one of the two is written to; then each copies the shards it writes to. Clock and ids go on as
    /// their [`fork`](Clock::fork) says. The copy has no journal: it is as durable as its memory.
    #[must_use = "the copy is the result"]
    pub fn fork(&self) -> Self {
        Self::of(self.fork_engine(Arc::clone(&self.engine().clock).fork()))
    }

    fn fork_engine(&self, clock: Arc<dyn Clock>) -> Engine {
        let engine = self.engine();
        let _unchanged = engine.changing.write();
        // Nothing expires meanwhile, and no compaction is taken for one that came before the index was copied.
        let _one = engine.dropping.lock();
        let drops_compacted = engine.drops_compacted.load(Ordering::Acquire);
        // The index first: it must not know of events that the copy of the log has not.
        let indexes = engine.indexes.fork();
        let (core, (gaps, drops, usage)) = engine.core.fork(|| {
            let drops = engine.drops.load(Ordering::Acquire);
            (
                engine.gaps.lock().clone(),
                drops,
                engine.usage.as_ref().map(Usage::fork),
            )
        });
        Engine {
            core,
            indexes,
            #[cfg(feature = "cache")]
            cache: cache::Lazy::default(),
            #[cfg(all(feature = "cache", feature = "analytics"))]
            summaries: cache::Lazy::default(),
            flushing: None,
            following: None,
            recovery: RecoveryReport::default(),
            closing: AtomicBool::new(false),
            read_only: None,
            has_archives: false,
            changing: RwLock::default(),
            settings: Settings {
                durability: Durability::Volatile,
                ..engine.settings.clone()
            },
            clock,
            ids: engine.ids.fork(),
            usage,
            gaps: Mutex::new(gaps),
            expiry: AtomicI64::new(engine.expiry.load(Ordering::Acquire)),
            aging: Mutex::new(engine.aging.lock().clone()),
            dropping: Mutex::default(),
            drops: AtomicU64::new(drops),
            dropped_events: AtomicU64::new(0),
            drops_compacted: AtomicU64::new(drops_compacted),
            has_skipped: AtomicBool::new(engine.has_skipped.load(Ordering::Acquire)),
        }
    }

    /// A fork that reads this clock instead of the fork of its own.
    #[cfg(feature = "testing")]
    #[must_use = "the copy is the result"]
    pub fn fork_with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self::of(self.fork_engine(clock))
    }

    /// The limits set on an aggregate.
    pub fn limits(&self, aggregate_id: &str) -> StreamLimits {
        self.stream_info(aggregate_id)
            .map(|info| info.limits)
            .unwrap_or_default()
    }

    /// Every value of a field among the events that can be read, with how many have it, ordered by value.
    ///
    /// The system's events are not counted.
    pub fn terms(&self, field: &Field) -> Vec<(Name, u64)> {
        let engine = self.engine();
        let visible = engine.visible();
        let mut terms = engine.terms(field, visible);
        terms.sort_unstable();
        terms
    }
}
