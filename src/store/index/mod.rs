//! The inverted index, which follows the log: appends extend it in batches, a query extends it to the position that it reads to.

mod ids;
mod keys;
mod source;
mod terms;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::core::Core;
use crate::store::reader::EventReader;
use crate::store::sync::{RwLock, RwLockReadGuard};
pub(crate) use ids::IdIndex;
use keys::KeyCache;
pub(crate) use source::IndexSource;
pub(crate) use terms::{FieldNumber, TermIndex};

use crate::{EventRef, Field, Name};

/// Adds the values of a registered index in an event to a list.
pub(crate) type Indexer = dyn Fn(EventRef<'_>, &mut Vec<Name>) + Send + Sync;

/// Positions indexed per batch; `complete_to` advances after each.
const BATCH: u64 = 1024;

/// Positions that may wait to be indexed before an append extends the index.
const BACKLOG_MAX: u64 = 1024;

/// Positions up to which a fork scans events rather than copying the index that it shares.
const SCAN_MAX: u64 = 1024;

/// Terms swept with every whole batch, and for every term that the batch added. More terms are swept than added,
/// so under a budget the terms without events do not accumulate.
const SWEEP_TERMS: u64 = 64;
const SWEEP_FACTOR: u32 = 4;

/// An index that follows the log.
#[derive(Debug)]
pub(crate) struct LiveIndex {
    index: RwLock<(Arc<TermIndex>, KeyCache)>,
    complete_to: AtomicU64,
    extract: IndexSource,
}

/// The terms, locked for reading.
pub(crate) struct Terms<'a>(RwLockReadGuard<'a, (Arc<TermIndex>, KeyCache)>);

impl std::ops::Deref for Terms<'_> {
    type Target = TermIndex;

    fn deref(&self) -> &TermIndex {
        &self.0.0
    }
}

impl LiveIndex {
    fn new(extract: IndexSource) -> Self {
        Self {
            index: RwLock::default(),
            complete_to: AtomicU64::new(0),
            extract,
        }
    }

    fn fork(&self) -> Self {
        let index = self.index.read();
        let complete_to = AtomicU64::new(index.0.complete_to());
        Self {
            index: RwLock::new((Arc::clone(&index.0), KeyCache::default())),
            complete_to,
            extract: self.extract.clone(),
        }
    }

    /// Whether the terms are complete up to `position`, and no thread is extending them, so that a read does not wait.
    pub(crate) fn is_ready(&self, position: u64) -> bool {
        self.complete_to.load(Ordering::Acquire) >= position && !self.index.is_locked_exclusive()
    }

    /// The terms, complete up to `position`. In a fork that shares them they may lack up to [`SCAN_MAX`] positions, which the caller scans.
    pub(crate) fn read(&self, core: &Core, position: u64) -> Terms<'_> {
        while self.complete_to.load(Ordering::Acquire) < position {
            let mut guard = self.index.write();
            let shared = Arc::get_mut(&mut guard.0).is_none();
            if shared && position.saturating_sub(guard.0.complete_to()) <= SCAN_MAX {
                break;
            }
            let (index, keys) = &mut *guard;
            self.extend(core, position, Arc::make_mut(index), keys);
        }
        Terms(self.index.read())
    }

    /// The terms, complete up to `position` even in a fork: for callers that cannot scan the rest.
    pub(crate) fn read_whole(&self, core: &Core, position: u64) -> Terms<'_> {
        if self.complete_to.load(Ordering::Acquire) < position {
            let mut guard = self.index.write();
            let (index, keys) = &mut *guard;
            self.extend(core, position, Arc::make_mut(index), keys);
        }
        Terms(self.index.read())
    }

    /// Extends the index if it is [`BACKLOG_MAX`] positions behind and no other thread uses it.
    pub(crate) fn assist(&self, core: &Core, published: u64) {
        if published.saturating_sub(self.complete_to.load(Ordering::Relaxed)) < BACKLOG_MAX {
            return;
        }
        if let Some(mut guard) = self.index.try_write() {
            let (index, keys) = &mut *guard;
            self.extend(core, published, Arc::make_mut(index), keys);
        }
    }

    fn extend(&self, core: &Core, to: u64, index: &mut TermIndex, keys: &mut KeyCache) {
        while index.complete_to() < to {
            let batch = to.min(index.complete_to() + BATCH);
            let terms_before = index.len();
            let part = (SWEEP_TERMS * (batch - index.complete_to())).div_ceil(BATCH) as u32;
            match &self.extract {
                IndexSource::Main => keys.extend(index, core, batch),
                IndexSource::Causation => source::extend_causation(index, core, batch),
                IndexSource::Custom(_, indexer) => {
                    source::extend_custom(index, &mut EventReader::new(core), batch, &**indexer);
                }
            }
            let added = u32::try_from(index.len().saturating_sub(terms_before)).unwrap_or(u32::MAX);
            if core.log.floor() > 0 && index.sweep(core.log.floor(), part + SWEEP_FACTOR * added) {
                // The key of a removed term may now belong to another term.
                *keys = KeyCache::default();
            }
            self.complete_to.store(index.complete_to(), Ordering::Release);
        }
    }

    /// Rebuilds the lists without the positions of dropped events.
    pub(crate) fn compact(&self, core: &Core) {
        let mut guard = self.index.write();
        let mut view = EventReader::new(core);
        let compacted = guard.0.compacted(|position| view.event(position).is_some());
        *guard = (Arc::new(compacted), KeyCache::default());
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let index = self.index.read();
        index.0.memory_bytes() + index.1.memory_bytes()
    }
}

/// Every index of a store.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) main: LiveIndex,
    causation: LiveIndex,
    custom: Vec<LiveIndex>,
    pub(crate) ids: parking_lot::RwLock<IdIndex>,
    /// The highest position that `ids` has been complete to, readable without its lock.
    pub(crate) ids_reached: AtomicU64,
}

impl Indexes {
    pub(crate) fn new(indexers: Vec<(Name, Arc<Indexer>)>) -> Self {
        let custom = |(name, indexer)| LiveIndex::new(IndexSource::Custom(name, indexer));
        Self {
            main: LiveIndex::new(IndexSource::Main),
            causation: LiveIndex::new(IndexSource::Causation),
            custom: indexers.into_iter().map(custom).collect(),
            ids: parking_lot::RwLock::default(),
            ids_reached: AtomicU64::default(),
        }
    }

    /// The indexes of a fork. Those that only some reads need are rebuilt at first use.
    pub(crate) fn fork(&self) -> Self {
        let empty = |index: &LiveIndex| LiveIndex::new(index.extract.clone());
        Self {
            main: self.main.fork(),
            causation: empty(&self.causation),
            custom: self.custom.iter().map(empty).collect(),
            ids: parking_lot::RwLock::default(),
            ids_reached: AtomicU64::default(),
        }
    }

    /// The index that has `field`, and the field's number in it. Aggregates are found through their streams instead.
    pub(crate) fn of(&self, field: &Field) -> Option<(&LiveIndex, FieldNumber)> {
        match field {
            Field::EventType => Some((&self.main, source::EVENT_TYPE)),
            Field::AggregateType => Some((&self.main, source::AGGREGATE_TYPE)),
            Field::Correlation => Some((&self.main, source::CORRELATION)),
            Field::User => Some((&self.main, source::USER)),
            Field::Organization => Some((&self.main, source::ORGANIZATION)),
            Field::Day => Some((&self.main, terms::DAY)),
            Field::Tag => Some((&self.main, source::TAG)),
            Field::Causation => Some((&self.causation, 0)),
            Field::Index(name) => self
                .custom
                .iter()
                .find(|index| index.extract.is_named(name))
                .map(|index| (index, 0)),
            Field::Aggregate => None,
        }
    }

    /// The function registered under `name`.
    pub(crate) fn indexer(&self, name: &str) -> Option<&Arc<Indexer>> {
        self.custom.iter().find_map(|index| index.extract.indexer(name))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &LiveIndex> {
        [&self.main, &self.causation].into_iter().chain(&self.custom)
    }

    pub(crate) fn compact(&self, core: &Core) {
        for index in self.all() {
            index.compact(core);
        }
        *self.ids.write() = IdIndex::default();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.all().map(LiveIndex::memory_bytes).sum::<usize>() + self.ids.read().memory_bytes()
    }
}

impl fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Terms").field(&self.complete_to()).finish()
    }
}
