//! The metrics of a program that uses the toolkit.

#![expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers, by their format"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::middleware::{self, Dispatch, Middleware, Outcome};
use annals::cqrs::{Group, GroupStatus, Processor, ProcessorState, ProcessorStatus, Saga, Sagas};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Histograms, coarse};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Query {
    pub(super) query: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Command {
    command: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandName {
    command: &'static str,
}

/// The metrics of the buses, processors, sagas and groups of a program. [`Builder::toolkit`](crate::Builder::toolkit) exports them with those of
/// the server.
///
/// Labels are the names that the program gives to its messages, processors and groups. Cheap to clone; clones count together.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::{CommandBus, Processors};
/// use annals_server::{Server, ToolkitMetrics};
///
/// let store = Store::in_memory();
/// let metrics = ToolkitMetrics::new();
/// let bus = CommandBus::builder().layer(metrics.commands()).build()?;
/// let server = Server::builder(store).toolkit(&metrics).build()?;
/// # drop((bus, server));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ToolkitMetrics(Arc<Inner>);

struct Inner {
    commands: Family<Command, Counter>,
    command_seconds: Histograms<CommandName>,
    queries: Family<Query, Counter>,
    watched: Mutex<Watched>,
}

/// The processors, sagas and groups whose status is read with the metrics, by their names.
#[derive(Default)]
struct Watched {
    processors: BTreeMap<String, (Processor, bool)>,
    sagas: BTreeMap<String, Status<Active>>,
    groups: BTreeMap<String, Status<GroupStatus>>,
}

type Status<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Instances of a saga that have not ended, and those of them that are stuck.
#[derive(Clone, Copy)]
struct Active {
    all: u64,
    stuck: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            commands: Family::default(),
            command_seconds: Family::new_with_constructor(coarse),
            queries: Family::default(),
            watched: Mutex::default(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

fn named(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Replied(_) => "success",
        Outcome::Failed(_) => "failed",
        Outcome::Refused { .. } => "refused",
        Outcome::Panicked { .. } => "panicked",
        _ => "other",
    }
}

impl ToolkitMetrics {
    /// New metrics, all zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A middleware of a bus of commands: counts each dispatch by its name and outcome, and its time. Outside of
    /// [`retry`](middleware::retry) a dispatch counts once, inside once an attempt.
    pub fn commands(&self) -> impl Middleware {
        let inner = Arc::clone(&self.0);
        middleware::time(move |dispatch: &Dispatch<'_>, took: Duration, outcome: &Outcome| {
            let (command, outcome) = (dispatch.name(), named(outcome));
            inner.commands.get_or_create(&Command { command, outcome }).inc();
            let seconds = inner.command_seconds.get_or_create(&CommandName { command });
            seconds.observe(took.as_secs_f64());
        })
    }

    /// The same for a bus of queries, without the time.
    pub fn queries(&self) -> impl Middleware {
        let inner = Arc::clone(&self.0);
        middleware::time(move |dispatch: &Dispatch<'_>, _: Duration, outcome: &Outcome| {
            let (query, outcome) = (dispatch.name(), named(outcome));
            inner.queries.get_or_create(&Query { query, outcome }).inc();
        })
    }

    /// Exports the state, the lag and the failures of a processor. A later one of the same name replaces it.
    pub fn processor(&self, processor: &Processor) {
        self.watch(processor, false);
    }

    /// Exports a projection: what [`processor`](Self::processor) exports, and the events that it has handled as `projection_updates_total`.
    pub fn projection(&self, projection: &Processor) {
        self.watch(projection, true);
    }

    fn watch(&self, processor: &Processor, is_projection: bool) {
        let name = processor.status().name.to_string();
        let mut watched = self.0.watched.lock();
        watched.processors.insert(name, (processor.clone(), is_projection));
    }

    /// Exports a saga: what [`processor`](Self::processor) exports, and how many instances are active and stuck. Reading them copies the states of
    /// the active instances.
    pub fn saga<S: Saga>(&self, sagas: &Sagas<S>) {
        self.processor(sagas);
        let name = sagas.status().name.to_string();
        let sagas = sagas.clone();
        let active = move || {
            let active = sagas.active();
            let stuck = active.iter().filter(|saga| saga.stuck.is_some()).count();
            Active {
                all: active.len() as u64,
                stuck: stuck as u64,
            }
        };
        self.0.watched.lock().sagas.insert(name, Arc::new(active));
    }

    /// Exports the lag, the deliveries and the dead letters of a group of consumers.
    pub fn group<E: Send + Sync + 'static>(&self, group: &Group<E>) {
        let name = group.status().name.to_string();
        let group = group.clone();
        let status = move || group.status();
        self.0.watched.lock().groups.insert(name, Arc::new(status));
    }

    pub(super) fn counted_queries(&self) -> Family<Query, Counter> {
        self.0.queries.clone()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "command_executions",
            "Commands that a bus has dispatched",
            self.0.commands.clone(),
        );
        registry.register(
            "command_execution_duration_seconds",
            "Time of the dispatch of a command",
            self.0.command_seconds.clone(),
        );
        registry.register(
            "query_executions",
            "Queries that the server has answered, or a bus has dispatched",
            self.0.queries.clone(),
        );
    }
}

/// The status of the watched processors, sagas and groups.
#[derive(Debug)]
pub(super) struct Toolkit(pub(super) ToolkitMetrics);

/// A figure: name, help, counter or gauge, and the figure.
type Figure<T> = (&'static str, &'static str, MetricType, fn(&T) -> f64);

const OF_PROCESSORS: [Figure<ProcessorStatus>; 5] = [
    (
        "processor_lag_events",
        "Positions that a processor has yet to process",
        MetricType::Gauge,
        |status| status.lag_events as f64,
    ),
    (
        "processor_lag_seconds",
        "Age of the next event of a processor",
        MetricType::Gauge,
        |status| status.lag.as_secs_f64(),
    ),
    (
        "processor_handled_events",
        "Events that a processor has handled",
        MetricType::Counter,
        |status| status.handled as f64,
    ),
    (
        "processor_parked_events",
        "Events that a processor could not handle, and has parked",
        MetricType::Counter,
        |status| status.parked as f64,
    ),
    (
        "processor_up",
        "0 if a failure has stopped a processor, or it was paused or ended",
        MetricType::Gauge,
        |status| {
            f64::from(u8::from(matches!(
                status.state,
                ProcessorState::Running | ProcessorState::CaughtUp
            )))
        },
    ),
];

const OF_PROJECTIONS: [Figure<ProcessorStatus>; 1] = [(
    "projection_updates",
    "Events that a projection has handled",
    MetricType::Counter,
    |status| status.handled as f64,
)];

const OF_SAGAS: [Figure<Active>; 2] = [
    (
        "active_sagas",
        "Instances of a saga that have not ended",
        MetricType::Gauge,
        |active| active.all as f64,
    ),
    (
        "stuck_sagas",
        "Instances of a saga that wait for a person",
        MetricType::Gauge,
        |active| active.stuck as f64,
    ),
];

const OF_GROUPS: [Figure<GroupStatus>; 4] = [
    (
        "group_lag_events",
        "Positions that a group has yet to acknowledge",
        MetricType::Gauge,
        |status| status.lag_events as f64,
    ),
    (
        "group_in_flight_events",
        "Events that consumers of a group hold",
        MetricType::Gauge,
        |status| status.in_flight as f64,
    ),
    (
        "group_dead_letters",
        "Dead letters of a group",
        MetricType::Gauge,
        |status| status.letters as f64,
    ),
    (
        "group_up",
        "0 if a failure has stopped a group",
        MetricType::Gauge,
        |status| f64::from(u8::from(status.stopped.is_none())),
    ),
];

impl Collector for Toolkit {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The statuses are read without the lock: a program may register from a handler.
        let (processors, sagas, groups) = {
            let watched = self.0.0.watched.lock();
            (
                watched.processors.clone(),
                watched.sagas.clone(),
                watched.groups.clone(),
            )
        };
        let statuses = |only_projections: bool| {
            let chosen = processors.iter().filter(move |(_, (_, is))| *is || !only_projections);
            chosen.map(|(name, (processor, _))| (name.as_str(), processor.status()))
        };
        let processors: Vec<_> = statuses(false).collect();
        encode(&mut encoder, "processor", &OF_PROCESSORS, &processors)?;
        let projections: Vec<_> = statuses(true).collect();
        encode(&mut encoder, "projection", &OF_PROJECTIONS, &projections)?;
        let sagas: Vec<_> = sagas.iter().map(|(name, active)| (name.as_str(), active())).collect();
        encode(&mut encoder, "saga", &OF_SAGAS, &sagas)?;
        let groups: Vec<_> = groups.iter().map(|(name, status)| (name.as_str(), status())).collect();
        encode(&mut encoder, "group", &OF_GROUPS, &groups)
    }
}

/// Writes the figures of existing items. A metric without any is omitted.
fn encode<T>(
    encoder: &mut DescriptorEncoder<'_>,
    label: &'static str,
    figures: &[Figure<T>],
    all: &[(&str, T)],
) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    for (name, help, kind, figure) in figures {
        let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
        for (own, status) in all {
            let labels = [(label, *own)];
            let mut family = metric.encode_family(&labels)?;
            if matches!(kind, MetricType::Counter) {
                family.encode_counter::<NoLabelSet, f64, f64>(&figure(status), None)?;
            } else {
                family.encode_gauge(&figure(status))?;
            }
        }
    }
    Ok(())
}
