//! Caches of results: an entry is never stale, only incomplete, and is extended by the tail of the log.
//!
//! An entry is complete up to a position and is never invalidated. Dropping events raises the store's epoch, and an entry of
//! another epoch is not used. So no order of calls to the map can return a stale result: an entry that is stored
//! late is shorter, or of an earlier epoch.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::sync::Cache;
use serde::Serialize;

use crate::query::{Order, Query};
use crate::settings::CacheSettings;
use crate::store::Engine;
use crate::store::query::run::{CacheState, Found, Key, keep_first};
use crate::store::query::select::Bounds;
use crate::{Filter, Result, telemetry};

/// An entry larger than the cache's size divided by this is not stored.
const LARGEST_PART: u64 = 8;

/// The maximum lifetime of an entry: the map rejects more than a thousand years.
const TIME_TO_LIVE_MAX: Duration = Duration::from_secs(1_000 * 365 * 24 * 3600);

/// Statistics of the query cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CacheStats {
    /// Results that the cache had.
    pub hits: u64,
    /// Results that the cache had without their tail.
    pub extensions: u64,
    /// Results that the cache did not have.
    pub misses: u64,
    /// Approximate number of cached results.
    pub entries: u64,
    /// Approximate bytes of cached results.
    pub bytes: u64,
}

impl std::ops::Add for CacheStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            extensions: self.extensions + other.extensions,
            misses: self.misses + other.misses,
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// A value that is complete up to a position.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    epoch: u64,
    complete_to: AtomicU64,
    value: Arc<V>,
    bytes: u64,
}

/// Values by key, each complete up to a position.
#[derive(Debug)]
pub(crate) struct Prefixes<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> {
    entries: Cache<K, Arc<Entry<V>>, foldhash::fast::RandomState>,
    bytes_max: u64,
    hits: AtomicU64,
    extensions: AtomicU64,
    misses: AtomicU64,
}

/// A cache that is created at first use: a store without large queries has none.
#[derive(Debug)]
pub(crate) struct Lazy<C>(OnceLock<C>);

impl<C> Default for Lazy<C> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, V: Send + Sync + 'static> Lazy<Prefixes<K, V>> {
    /// The cache, unless the settings switch it off.
    pub(crate) fn get(&self, settings: &CacheSettings) -> Option<&Prefixes<K, V>> {
        (settings.bytes > 0).then(|| self.0.get_or_init(|| Prefixes::new(settings)))
    }

    pub(crate) fn stats(&self) -> CacheStats {
        self.0.get().map(Prefixes::stats).unwrap_or_default()
    }
}

/// Computes a value for a cache, or extends it by the tail of the log.
pub(crate) trait Source<V> {
    /// The value of all events up to `visible`.
    fn whole(&mut self, visible: u64) -> Result<V>;

    /// The value extended by the events above `complete_to`, up to `visible`; `None` if they add nothing.
    fn extended(&mut self, value: &V, complete_to: u64, visible: u64) -> Result<Option<V>>;

    /// Bytes of the value.
    fn bytes(&self, value: &V) -> u64;
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, V: Send + Sync + 'static> Prefixes<K, V> {
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let weigher = |_: &K, entry: &Arc<Entry<V>>| u32::try_from(entry.bytes).unwrap_or(u32::MAX);
        let entries = Cache::builder()
            .max_capacity(settings.bytes)
            .weigher(weigher)
            .time_to_live(settings.time_to_live.min(TIME_TO_LIVE_MAX))
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            entries,
            bytes_max: settings.bytes / LARGEST_PART,
            hits: AtomicU64::new(0),
            extensions: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Returns the value of `key`, the position that it is complete up to, and the cache outcome.
    pub(crate) fn get(
        &self,
        engine: &Engine,
        key: &K,
        visible: u64,
        source: &mut impl Source<V>,
    ) -> Result<(Arc<V>, u64, CacheState)> {
        let found = self.ask(engine, key, visible, source)?;
        telemetry::cache_asked(found.2);
        Ok(found)
    }

    fn ask(
        &self,
        engine: &Engine,
        key: &K,
        visible: u64,
        source: &mut impl Source<V>,
    ) -> Result<(Arc<V>, u64, CacheState)> {
        // Read before any event: a drop meanwhile gives the entry a past epoch.
        let epoch = engine.retention.drops.epoch();
        let entry = self.entries.get(key).filter(|entry| entry.epoch == epoch);
        let Some(entry) = entry else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            let value = Arc::new(source.whole(visible)?);
            self.keep(key, epoch, visible, &value, source);
            return Ok((value, visible, CacheState::Miss));
        };
        let complete_to = entry.complete_to.load(Ordering::Acquire);
        if complete_to >= visible {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok((Arc::clone(&entry.value), complete_to, CacheState::Hit));
        }
        let Some(value) = source.extended(&entry.value, complete_to, visible)? else {
            self.hits.fetch_add(1, Ordering::Relaxed);
            entry.complete_to.fetch_max(visible, Ordering::AcqRel);
            return Ok((Arc::clone(&entry.value), visible, CacheState::Hit));
        };
        self.extensions.fetch_add(1, Ordering::Relaxed);
        let value = Arc::new(value);
        self.keep(key, epoch, visible, &value, source);
        Ok((value, visible, CacheState::Extended))
    }

    fn keep(&self, key: &K, epoch: u64, complete_to: u64, value: &Arc<V>, source: &impl Source<V>) {
        let bytes = source.bytes(value);
        if bytes <= self.bytes_max {
            let complete_to = AtomicU64::new(complete_to);
            self.entries.insert(
                key.clone(),
                Arc::new(Entry {
                    epoch,
                    complete_to,
                    value: Arc::clone(value),
                    bytes,
                }),
            );
        }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            extensions: self.extensions.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
        }
    }
}

/// Results by query and number of requested events.
pub(crate) type QueryCache = Prefixes<(Query, usize), Vec<Key>>;

impl QueryCache {
    pub(crate) fn find(
        &self,
        engine: &Engine,
        query: &Query,
        want: usize,
        visible: u64,
        bounds: impl Fn(u64) -> Result<Bounds>,
    ) -> Result<Found> {
        let mut source = AnswerSource {
            engine,
            query,
            want,
            bounds,
            work: crate::store::query::select::Work::default(),
        };
        let (keys, as_of, cache) = self.get(engine, &(query.clone(), want), visible, &mut source)?;
        Ok(Found {
            keys,
            as_of,
            cache,
            work: source.work,
        })
    }
}

/// Computes the keys of a result.
struct AnswerSource<'a, B> {
    engine: &'a Engine,
    query: &'a Query,
    want: usize,
    bounds: B,
    work: crate::store::query::select::Work,
}

impl<B: Fn(u64) -> Result<Bounds>> Source<Vec<Key>> for AnswerSource<'_, B> {
    fn whole(&mut self, visible: u64) -> Result<Vec<Key>> {
        let (keys, work) = self.engine.collect(self.query, (self.bounds)(visible)?, self.want)?;
        self.work = work;
        Ok(keys)
    }

    fn extended(&mut self, keys: &Vec<Key>, complete_to: u64, visible: u64) -> Result<Option<Vec<Key>>> {
        if self.query.order == Order::Position && keys.len() >= self.want {
            return Ok(None);
        }
        let bounds = (self.bounds)(visible)?;
        let tail = Bounds {
            after: bounds.after.max(complete_to),
            ..bounds
        };
        let (new, work) = self.engine.collect(self.query, tail, self.want)?;
        self.work = work;
        if new.is_empty() {
            return Ok(None);
        }
        let mut all = match self.query.order {
            Order::PositionDescending => [new, keys.clone()].concat(),
            Order::Position | Order::Time | Order::TimeDescending => [keys.as_slice(), &new].concat(),
        };
        if self.query.order.is_by_time() {
            keep_first(&mut all, self.query.order, self.want);
        }
        all.truncate(self.want);
        Ok(Some(all))
    }

    fn bytes(&self, keys: &Vec<Key>) -> u64 {
        (size_of_val(keys.as_slice()) + 128) as u64 + query_bytes(self.query)
    }
}

/// Approximate bytes of a query.
pub(crate) fn query_bytes(query: &Query) -> u64 {
    size_of::<Query>() as u64 + query.filters.iter().map(filter_bytes).sum::<u64>()
}

fn filter_bytes(filter: &Filter) -> u64 {
    let own: u64 = match filter {
        Filter::Is(_, values) => values.iter().map(|value| 24 + value.heap_bytes() as u64).sum(),
        #[cfg(feature = "json")]
        Filter::Metadata(pointer, value) | Filter::Data(pointer, value) => {
            (pointer.len() + value.as_str().len()) as u64
        }
        Filter::Text(text) => text.len() as u64,
        Filter::Prefix(_, prefix) => prefix.heap_bytes() as u64,
        Filter::All(_) | Filter::Any(_) | Filter::Not(_) => 0,
        Filter::Versions(_) | Filter::Positions(_) | Filter::Times(_) => 0,
    };
    let inner = filter.inner().iter().map(filter_bytes).sum::<u64>();
    size_of::<Filter>() as u64 + own + inner
}
