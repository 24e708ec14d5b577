//! The metrics of the stores, and of the limits of the server.

use std::fmt;
use std::sync::Arc;

use annals::{Durability, Store, StoreStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::sync::Semaphore;

use crate::namespaces::Namespaces;
use crate::shared::is_ephemeral;

/// Places of a limit, and the value of the label `of` that they have.
pub(crate) type Places = (&'static str, Arc<Semaphore>, usize);

/// The stores and the limits: their figures are read when they are asked for.
#[derive(Debug)]
pub(super) struct Stores {
    namespaces: Arc<Namespaces>,
    places: Vec<Places>,
}

impl Stores {
    pub(super) fn new(namespaces: Arc<Namespaces>, places: Vec<Places>) -> Self {
        Self { namespaces, places }
    }
}

/// A figure of a store: name, help, and the figure.
type Gauge = (&'static str, &'static str, fn(&StoreStats) -> u64);

const GAUGES: [Gauge; 12] = [
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
    ("event_store_cache_bytes", "Bytes of cached results", |stats| {
        stats.cache.bytes
    }),
];

const COUNTERS: [Gauge; 3] = [
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

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stores = self.namespaces.configured();
        let stats: Vec<(&str, StoreStats)> = stores
            .iter()
            .map(|(name, store)| (name.as_str(), store.stats()))
            .collect();
        for (name, help, figure) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (namespace, stats) in &stats {
                let label = [("namespace", *namespace)];
                metric.encode_family(&label)?.encode_gauge(&figure(stats))?;
            }
        }
        for (name, help, figure) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (namespace, stats) in &stats {
                let label = [("namespace", *namespace)];
                let mut family = metric.encode_family(&label)?;
                family.encode_counter::<NoLabelSet, u64, u64>(&figure(stats), None)?;
            }
        }
        encode_states(&mut encoder, &stores, &stats)?;
        encode_journals(&mut encoder, &stores)?;
        encode_places(&mut encoder, &self.places)
    }
}

fn encode_states(
    encoder: &mut DescriptorEncoder<'_>,
    stores: &[(String, Store)],
    stats: &[(&str, StoreStats)],
) -> fmt::Result {
    let help = "Age of the oldest event that is not synced";
    let mut metric = encoder.encode_descriptor("event_store_unflushed_age_seconds", help, None, MetricType::Gauge)?;
    for (namespace, stats) in stats {
        let label = [("namespace", *namespace)];
        metric
            .encode_family(&label)?
            .encode_gauge(&stats.at_risk_for.as_secs_f64())?;
    }
    let help = "1 if the journal has failed or cannot be reached";
    let mut metric = encoder.encode_descriptor("event_store_fault", help, None, MetricType::Gauge)?;
    for (namespace, store) in stores {
        let label = [("namespace", namespace.as_str())];
        metric
            .encode_family(&label)?
            .encode_gauge(&u64::from(store.fault().is_some()))?;
    }
    Ok(())
}

/// Only stores with a journal have these.
fn encode_journals(encoder: &mut DescriptorEncoder<'_>, stores: &[(String, Store)]) -> fmt::Result {
    let durable: Vec<_> = stores.iter().filter(|(_, store)| !is_ephemeral(store)).collect();
    if durable.is_empty() {
        return Ok(());
    }
    let help = "The position up to which every event is synced";
    let mut metric = encoder.encode_descriptor("event_store_synced_position", help, None, MetricType::Gauge)?;
    for (namespace, store) in durable {
        let label = [("namespace", namespace.as_str())];
        let synced = store.reached(Durability::Synced).0;
        metric.encode_family(&label)?.encode_gauge(&synced)?;
    }
    Ok(())
}

fn encode_places(encoder: &mut DescriptorEncoder<'_>, places: &[Places]) -> fmt::Result {
    let help = "Live tails, and threads for reads and writes, that are in use";
    let mut metric = encoder.encode_descriptor("server_places_in_use", help, None, MetricType::Gauge)?;
    for (of, free, all) in places {
        let used = all.saturating_sub(free.available_permits()) as u64;
        metric.encode_family(&[("of", *of)])?.encode_gauge(&used)?;
    }
    let help = "Live tails, and threads for reads and writes, that there may be";
    let mut metric = encoder.encode_descriptor("server_places", help, None, MetricType::Gauge)?;
    for (of, _, all) in places {
        metric.encode_family(&[("of", *of)])?.encode_gauge(&(*all as u64))?;
    }
    Ok(())
}
