//! Metrics in the `OpenMetrics` text format. Labels have values of closed sets: namespaces, routes, operations, status codes, and the names that
//! a program gives to its messages and processors.

mod daily;
mod stores;
mod toolkit;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use self::daily::Daily;
pub use self::daily::DailyWork;
use self::stores::Stores;
pub use self::toolkit::ToolkitMetrics;
use self::toolkit::{Query, Toolkit};
use crate::namespaces::Namespaces;
use crate::openapi::{Operations, Parts};
use crate::problem::Kind;

/// The route of requests that no route answered.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

/// The label of namespaces that tests have made.
const OTHER: &str = "other";

/// Histograms of each value of a label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// From 16 microseconds to 8 seconds.
fn fine() -> Histogram {
    Histogram::new(exponential_buckets(16e-6, 2.0, 20))
}

/// From 100 microseconds to 100 seconds, for families with a histogram for each value of a label.
fn coarse() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 4.0, 11))
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) method: &'static str,
    pub(crate) route: Option<&'a str>,
    pub(crate) status: StatusCode,
    pub(crate) problem: Option<Kind>,
    pub(crate) took: Duration,
}

impl Answered<'_> {
    fn outcome(&self) -> &'static str {
        match self.status.as_u16() {
            0..400 => "success",
            409 | 412 => "conflict",
            429 | 500.. => "failed",
            400.. => "refused",
        }
    }
}

/// The metrics, and the registry that writes them.
#[derive(Debug)]
pub(crate) struct Metrics {
    namespaces: Arc<Namespaces>,
    pub(crate) operations: Operations,
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Histograms<Route>,
    problems: Family<Refusal, Counter>,
    executed: Family<Executed, Counter>,
    queries: Family<Query, Counter>,
    published: Family<Namespace, Counter>,
    publishing: Histogram,
    consumed: Family<Namespace, Counter>,
    missed: Family<Namespace, Counter>,
    consumption: Histogram,
    latency: Histogram,
}

/// Registers a metric, and returns it.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers the figures that are read with the metrics.
fn collect(registry: &mut Registry, toolkit: &ToolkitMetrics, daily: Option<DailyWork>, stores: Stores) {
    registry.register_collector(Box::new(Toolkit(toolkit.clone())));
    if let Some(daily) = daily {
        registry.register_collector(Box::new(Daily(daily)));
    }
    registry.register_collector(Box::new(stores));
}

impl Metrics {
    pub(crate) fn new(
        namespaces: Arc<Namespaces>,
        toolkit: &ToolkitMetrics,
        daily: Option<DailyWork>,
        places: Vec<stores::Places>,
        parts: Parts,
    ) -> Self {
        let mut all = Registry::default();
        let of = &mut all;
        let operations = Operations::new(parts);
        toolkit.register(of);
        collect(of, toolkit, daily, Stores::new(Arc::clone(&namespaces), places));
        let durations = Histograms::<Route>::new_with_constructor(coarse);
        Self {
            namespaces,
            operations,
            requests: add(of, "http_requests", "Requests that were answered", Family::default()),
            durations: add(
                of,
                "http_request_duration_seconds",
                "Time from the headers of a request to those of its answer",
                durations,
            ),
            problems: add(of, "http_problems", "Requests that were refused", Family::default()),
            executed: add(
                of,
                "event_store_operations",
                "Operations on stores that were requested",
                Family::default(),
            ),
            queries: toolkit.counted_queries(),
            published: add(
                of,
                "events_published",
                "Events that the server has appended",
                Family::default(),
            ),
            publishing: add(
                of,
                "event_publishing_duration_seconds",
                "Time from a request to append until its events were visible and durable",
                fine(),
            ),
            consumed: add(
                of,
                "events_consumed",
                "Events that were sent to live tails",
                Family::default(),
            ),
            missed: add(
                of,
                "events_missed",
                "Events that were dropped before a live tail came to them",
                Family::default(),
            ),
            consumption: add(
                of,
                "event_consumption_duration_seconds",
                "Time from the reading of a batch for a live tail until its connection took the batch",
                fine(),
            ),
            latency: add(
                of,
                "event_end_to_end_latency_seconds",
                "Time from the append of the first event of a batch until the batch was sent to a live tail",
                fine(),
            ),
            registry: all,
        }
    }

    pub(crate) fn answered(&self, answered: &Answered<'_>) {
        let route = answered.route.unwrap_or(NO_ROUTE);
        let code = answered.status.as_u16();
        let duration = Route {
            route: route.to_owned(),
        };
        self.durations
            .get_or_create(&duration)
            .observe(answered.took.as_secs_f64());
        let Route { route } = duration;
        self.requests.get_or_create(&Request { route, code }).inc();
        if let Some(problem) = answered.problem {
            let r#type = problem.name();
            self.problems.get_or_create(&Refusal { r#type }).inc();
        }
        if let Some(operation) = answered
            .route
            .and_then(|route| self.operations.of(answered.method, route))
        {
            let outcome = answered.outcome();
            let name = operation.id;
            let executed = Executed {
                operation: name,
                outcome,
            };
            self.executed.get_or_create(&executed).inc();
            if operation.is_query {
                self.queries.get_or_create(&Query { query: name, outcome }).inc();
            }
        }
    }

    fn label(&self, namespace: &str) -> Namespace {
        let is_configured = self.namespaces.is_configured(namespace);
        let namespace = if is_configured { namespace } else { OTHER }.to_owned();
        Namespace { namespace }
    }

    /// Counts the events of an append that took this long.
    pub(crate) fn appended(&self, namespace: &str, events: u64, seconds: f64) {
        self.published.get_or_create(&self.label(namespace)).inc_by(events);
        self.publishing.observe(seconds);
    }

    /// Counts the events sent to a live tail. `latency` is the time since the append of the first one, if the tail was open then.
    pub(crate) fn sent(&self, namespace: &str, events: u64, missed: u64, latency: Option<Duration>) {
        let label = self.label(namespace);
        self.consumed.get_or_create(&label).inc_by(events);
        if missed > 0 {
            self.missed.get_or_create(&label).inc_by(missed);
        }
        if let Some(latency) = latency {
            self.latency.observe(latency.as_secs_f64());
        }
    }

    /// Counts a batch whose connection took it after this time.
    pub(crate) fn taken(&self, after: Duration) {
        self.consumption.observe(after.as_secs_f64());
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
