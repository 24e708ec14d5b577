//! The metrics of stores.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
#[cfg(feature = "cache")]
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use crate::{Durability, Store, StoreStats};

type Stores = dyn Fn() -> Vec<(String, Store)> + Send + Sync;

/// The metrics of stores: events, aggregates, memory, the journal's backlog and failures, the cache.
///
/// The names begin with `event_store_`, and the label `namespace` distinguishes the stores. The figures are those of [`Store::stats`], read when metrics
/// are collected. Cheap to clone. A store stays open while its metrics have a handle of it.
#[derive(Clone)]
pub struct StoreMetrics(Arc<Stores>);

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMetrics").finish_non_exhaustive()
    }
}

/// Name, help, and the figure of a store.
type Figure = (&'static str, &'static str, fn(&StoreStats) -> u64);

const GAUGES: [Figure; 11] = [
    ("event_store_event_count", "Visible events", |stats| stats.events),
    (
        "event_store_aggregate_count",
        "Aggregates, with deleted ones",
        |stats| stats.aggregates,
    ),
    (
        "event_store_system_event_count",
        "Events of the store itself, such as snapshots",
        |stats| stats.system_events,
    ),
    (
        "event_store_dropped_events",
        "Events that a budget, a limit, a truncation or a deletion has dropped",
        |stats| {
            stats
                .position
                .0
                .saturating_sub(stats.events)
                .saturating_sub(stats.system_events)
        },
    ),
    ("event_store_position", "The position of the last event", |stats| {
        stats.position.0
    }),
    (
        "event_store_size_bytes",
        "Memory of events, index and aggregates",
        |stats| stats.memory_bytes,
    ),
    ("event_store_payload_bytes", "Memory of data and metadata", |stats| {
        stats.payload_bytes
    }),
    (
        "event_store_aggregate_bytes",
        "Memory of the table of aggregates",
        |stats| stats.stream_bytes,
    ),
    ("event_store_index_bytes", "Memory of the index", |stats| {
        stats.index_bytes
    }),
    (
        "event_store_unflushed_events",
        "Events that would be lost if the machine stopped now",
        |stats| stats.events_at_risk,
    ),
    (
        "event_store_backlog_bytes",
        "Bytes of events that wait for the journal",
        |stats| stats.backlog_bytes,
    ),
];

#[cfg(feature = "cache")]
const CACHED_BYTES: Figure = ("event_store_cache_bytes", "Bytes of cached results", |stats| {
    stats.cache.bytes
});

#[cfg(feature = "cache")]
const COUNTERS: [Figure; 3] = [
    (
        "event_store_cache_hits",
        "Queries that the cache answered as a whole",
        |stats| stats.cache.hits,
    ),
    (
        "event_store_cache_extensions",
        "Queries that the cache answered but for new events",
        |stats| stats.cache.extensions,
    ),
    (
        "event_store_cache_misses",
        "Queries that the cache did not answer",
        |stats| stats.cache.misses,
    ),
];

/// A store with the value of its label.
struct Read {
    namespace: String,
    store: Store,
    stats: StoreStats,
}

impl Read {
    fn label(&self) -> [(&'static str, &str); 1] {
        [("namespace", &self.namespace)]
    }

    fn has_journal(&self) -> bool {
        self.store.with_durability(Durability::Written).is_ok()
    }
}

impl StoreMetrics {
    /// The metrics of one store, under this value of the label.
    pub fn named(namespace: impl Into<String>, store: &Store) -> Self {
        let (namespace, store) = (namespace.into(), store.clone());
        Self::of_each(move || vec![(namespace.clone(), store.clone())])
    }

    /// The metrics of several stores. `stores` is called when metrics are collected, and returns the stores with their values of the label, which must
    /// be different, and of a closed set.
    pub fn of_each(stores: impl Fn() -> Vec<(String, Store)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(stores))
    }

    fn read(&self) -> Vec<Read> {
        let read = |(namespace, store): (String, Store)| {
            let stats = store.stats();
            Read {
                namespace,
                store,
                stats,
            }
        };
        (self.0)().into_iter().map(read).collect()
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stores = self.read();
        for gauge in &GAUGES {
            encode_gauge(&mut encoder, gauge, &stores)?;
        }
        #[cfg(feature = "cache")]
        encode_cache(&mut encoder, &stores)?;
        encode_states(&mut encoder, &stores)?;
        encode_journals(&mut encoder, &stores)
    }
}

fn encode_gauge(encoder: &mut DescriptorEncoder<'_>, (name, help, figure): &Figure, stores: &[Read]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for read in stores {
        metric
            .encode_family(&read.label())?
            .encode_gauge(&figure(&read.stats))?;
    }
    Ok(())
}

#[cfg(feature = "cache")]
fn encode_cache(encoder: &mut DescriptorEncoder<'_>, stores: &[Read]) -> fmt::Result {
    encode_gauge(encoder, &CACHED_BYTES, stores)?;
    for (name, help, figure) in COUNTERS {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for read in stores {
            let label = read.label();
            let mut family = metric.encode_family(&label)?;
            family.encode_counter::<NoLabelSet, u64, u64>(&figure(&read.stats), None)?;
        }
    }
    Ok(())
}

fn encode_states(encoder: &mut DescriptorEncoder<'_>, stores: &[Read]) -> fmt::Result {
    let help = "Age of the oldest event that is not synced";
    let mut metric = encoder.encode_descriptor("event_store_unflushed_age_seconds", help, None, MetricType::Gauge)?;
    for read in stores {
        let age = read.stats.at_risk_for.as_secs_f64();
        metric.encode_family(&read.label())?.encode_gauge(&age)?;
    }
    let help = "1 if the journal has failed or cannot be reached";
    let mut metric = encoder.encode_descriptor("event_store_fault", help, None, MetricType::Gauge)?;
    for read in stores {
        let fault = u64::from(read.store.fault().is_some());
        metric.encode_family(&read.label())?.encode_gauge(&fault)?;
    }
    Ok(())
}

/// Only stores with a journal have these.
fn encode_journals(encoder: &mut DescriptorEncoder<'_>, stores: &[Read]) -> fmt::Result {
    let durable: Vec<_> = stores.iter().filter(|read| read.has_journal()).collect();
    if durable.is_empty() {
        return Ok(());
    }
    let help = "The position up to which every event is synced";
    let mut metric = encoder.encode_descriptor("event_store_synced_position", help, None, MetricType::Gauge)?;
    for read in durable {
        let synced = read.store.reached(Durability::Synced).0;
        metric.encode_family(&read.label())?.encode_gauge(&synced)?;
    }
    Ok(())
}
