//! Metrics in the `OpenMetrics` text format. Labels have values of closed sets: namespaces, routes, status codes.

use std::fmt;
use std::sync::Arc;

use annals::{Store, StoreStats};
use axum::http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::namespaces::Namespaces;

/// The route of requests that no route answered.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

/// The label of namespaces that tests have made.
const OTHER: &str = "other";

/// What is counted, and the registry that writes it.
#[derive(Debug)]
pub(crate) struct Metrics {
    namespaces: Arc<Namespaces>,
    registry: Registry,
    requests: Family<Request, Counter>,
    published: Family<Namespace, Counter>,
    publishing: Histogram,
}

impl Metrics {
    pub(crate) fn new(namespaces: Arc<Namespaces>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Request, Counter>::default();
        registry.register("http_requests", "Requests that were answered", requests.clone());
        let published = Family::<Namespace, Counter>::default();
        registry.register(
            "events_published",
            "Events that the server has appended",
            published.clone(),
        );
        // From 16 microseconds to 8 seconds.
        let publishing = Histogram::new(exponential_buckets(16e-6, 2.0, 20));
        registry.register(
            "event_publishing_duration_seconds",
            "Time from a request to append until its events were visible and durable",
            publishing.clone(),
        );
        registry.register_collector(Box::new(Stores(Arc::clone(&namespaces))));
        Self {
            namespaces,
            registry,
            requests,
            published,
            publishing,
        }
    }

    pub(crate) fn answered(&self, route: Option<&str>, status: StatusCode) {
        let route = route.unwrap_or(NO_ROUTE).to_owned();
        let code = status.as_u16();
        self.requests.get_or_create(&Request { route, code }).inc();
    }

    /// Counts the events of an append that took this long.
    pub(crate) fn appended(&self, namespace: &str, events: u64, seconds: f64) {
        let is_configured = self.namespaces.is_configured(namespace);
        let namespace = if is_configured { namespace } else { OTHER }.to_owned();
        self.published.get_or_create(&Namespace { namespace }).inc_by(events);
        self.publishing.observe(seconds);
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The stores: their figures are read when they are asked for.
#[derive(Debug)]
struct Stores(Arc<Namespaces>);

/// A figure of a store: name, help, and the figure.
type Gauge = (&'static str, &'static str, fn(&StoreStats) -> u64);

const GAUGES: [Gauge; 9] = [
    ("event_store_event_count", "Visible events", |stats| stats.events),
    (
        "event_store_aggregate_count",
        "Aggregates, with deleted ones",
        |stats| stats.aggregates,
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
        let stores = self.0.configured();
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
        encode_states(&mut encoder, &stores, &stats)
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
