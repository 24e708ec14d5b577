//! Metrics in the `OpenMetrics` text format: those of the library, and those of requests. Labels have values of closed sets: namespaces, routes, operations, status codes, and the names that
//! a program gives to its messages and processors.

mod daily;
mod places;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::metrics::{EventMetrics, StoreMetrics, ToolkitMetrics};
use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use self::daily::Daily;
pub use self::daily::DailyWork;
use self::places::Places;
pub(crate) use self::places::PlacesOf;
use crate::namespaces::Namespaces;
use crate::openapi::{Operations, Parts};
use crate::problem::Kind;

/// The route of requests that no route answered.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    r#type: &'static str,
}

/// The label of namespaces that tests have made.
const OTHER: &str = "other";

/// Histograms of each value of a label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// From 100 microseconds to 100 seconds.
fn coarse() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 4.0, 11))
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) method: &'static str,
    pub(crate) route: Option<&'static str>,
    pub(crate) status: StatusCode,
    pub(crate) problem: Option<Kind>,
    pub(crate) took: Duration,
}

impl Answered {
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
    events: EventMetrics,
    toolkit: ToolkitMetrics,
}

/// Registers a metric, and returns it.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers the figures that are read with the metrics.
fn collect(registry: &mut Registry, daily: Option<DailyWork>, stores: &Arc<Namespaces>, places: Vec<PlacesOf>) {
    if let Some(daily) = daily {
        registry.register_collector(Box::new(Daily(daily)));
    }
    let stores = Arc::clone(stores);
    registry.register_collector(Box::new(StoreMetrics::of_each(move || stores.configured())));
    registry.register_collector(Box::new(Places(places)));
}

impl Metrics {
    pub(crate) fn new(
        namespaces: Arc<Namespaces>,
        toolkit: &ToolkitMetrics,
        daily: Option<DailyWork>,
        places: Vec<PlacesOf>,
        parts: Parts,
    ) -> Self {
        let mut all = Registry::default();
        let of = &mut all;
        let events = EventMetrics::new();
        of.register_collector(Box::new(events.clone()));
        of.register_collector(Box::new(toolkit.clone()));
        collect(of, daily, &namespaces, places);
        let durations = Histograms::<Route>::new_with_constructor(coarse);
        let help = "Time from the headers of a request to those of its answer";
        Self {
            namespaces,
            operations: Operations::new(parts),
            requests: add(of, "http_requests", "Requests that were answered", Family::default()),
            durations: add(of, "http_request_duration_seconds", help, durations),
            problems: add(of, "http_problems", "Requests that were refused", Family::default()),
            events,
            toolkit: toolkit.clone(),
            registry: all,
        }
    }

    pub(crate) fn answered(&self, answered: &Answered) {
        let route = answered.route.unwrap_or(NO_ROUTE);
        let code = answered.status.as_u16();
        self.durations
            .get_or_create(&Route { route })
            .observe(answered.took.as_secs_f64());
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
            self.events.operation(name, outcome);
            if operation.is_query {
                self.toolkit.count_query(name, outcome);
            }
        }
    }

    fn label<'a>(&self, namespace: &'a str) -> &'a str {
        let is_configured = self.namespaces.is_configured(namespace);
        if is_configured { namespace } else { OTHER }
    }

    /// Counts the events of an append that took this long.
    pub(crate) fn appended(&self, namespace: &str, events: u64, took: Duration) {
        self.events.published(self.label(namespace), events, took);
    }

    /// Counts the events sent to a live tail. `latency` is the time since the append of the first one, if the tail was open then.
    pub(crate) fn sent(&self, namespace: &str, events: u64, missed: u64, latency: Option<Duration>) {
        self.events.consumed(self.label(namespace), events, missed, latency);
    }

    /// Counts a batch whose connection took it after this time.
    pub(crate) fn taken(&self, after: Duration) {
        self.events.handled(after);
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
