//! The metrics of a program's buses, processors, sagas and groups.

#![expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers, by their format"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cqrs::middleware::{self, Dispatch, Middleware, Outcome};
use crate::cqrs::{
    Group, GroupStatus, Processor, ProcessorState, ProcessorStatus, Saga, SagaCounts, Sagas, SendCounts,
};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::encode_metric;

/// Histograms of each value of a label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// From 100 microseconds to 100 seconds.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 4.0, 11))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Query {
    query: &'static str,
    outcome: &'static str,
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

/// The metrics of the buses, processors, sagas and groups of a program.
///
/// Labels are the names that the program gives to its messages, processors and groups. Cheap to clone; clones count together.
///
/// ```
/// use annals::cqrs::{CommandBus, Context, Message};
/// use annals::metrics::{Exporter, ToolkitMetrics};
///
/// struct PlaceOrder;
///
/// impl Message for PlaceOrder {
///     const NAME: &'static str = "PlaceOrder";
///     type Bus = CommandBus;
///     type Reply = ();
///     type Error = String;
/// }
///
/// let toolkit = ToolkitMetrics::new();
/// let bus = CommandBus::builder().layer(toolkit.commands());
/// let bus = bus.handle(|_: &PlaceOrder, _: &Context| Ok(())).build()?;
/// bus.dispatch(&PlaceOrder, &Context::new())?;
/// let text = Exporter::new().with(toolkit).text();
/// assert!(text.contains("command_executions_total{command=\"PlaceOrder\",outcome=\"success\"} 1\n"));
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
    sagas: BTreeMap<String, Status<SagaCounts>>,
    groups: BTreeMap<String, Status<GroupStatus>>,
}

type Status<T> = Arc<dyn Fn() -> T + Send + Sync>;

impl Default for Inner {
    fn default() -> Self {
        Self {
            commands: Family::default(),
            command_seconds: Family::new_with_constructor(histogram),
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

    /// Exports a saga: what [`processor`](Self::processor) exports, and its [counts](Sagas::counts).
    pub fn saga<S: Saga>(&self, sagas: &Sagas<S>) {
        self.processor(sagas);
        let name = sagas.status().name.to_string();
        let sagas = sagas.clone();
        let counts = move || sagas.counts();
        self.0.watched.lock().sagas.insert(name, Arc::new(counts));
    }

    /// Exports the lag, the deliveries and the dead letters of a group of consumers.
    pub fn group<E: Send + Sync + 'static>(&self, group: &Group<E>) {
        let name = group.status().name.to_string();
        let group = group.clone();
        let status = move || group.status();
        self.0.watched.lock().groups.insert(name, Arc::new(status));
    }

    /// Counts a query that no bus dispatches, with those of the buses. `query` and `outcome` must be of closed sets.
    pub fn count_query(&self, query: &'static str, outcome: &'static str) {
        self.0.queries.get_or_create(&Query { query, outcome }).inc();
    }

    fn encode_messages(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &*self.0;
        let help = "Commands that a bus has dispatched";
        encode_metric(encoder, "command_executions", help, &all.commands)?;
        let help = "Time of the dispatch of a command";
        encode_metric(
            encoder,
            "command_execution_duration_seconds",
            help,
            &all.command_seconds,
        )?;
        let help = "Queries that were executed";
        encode_metric(encoder, "query_executions", help, &all.queries)
    }
}

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

const OF_SAGAS: [Figure<SagaCounts>; 2] = [
    (
        "active_sagas",
        "Instances of a saga that have not ended",
        MetricType::Gauge,
        |counts| counts.active as f64,
    ),
    (
        "stuck_sagas",
        "Instances of a saga that wait for a person",
        MetricType::Gauge,
        |counts| counts.stuck as f64,
    ),
];

/// A counter by outcome: name, help, and the outcomes with their counts.
type Outcomes = (&'static str, &'static str, fn(&SagaCounts) -> [(&'static str, u64); 3]);

const ENDS_OF_SAGAS: [Outcomes; 3] = [
    ("saga_executions", "Runs of a saga that have ended", |counts| {
        [
            ("completed", counts.completed),
            ("failed", counts.failed),
            ("abandoned", counts.abandoned),
        ]
    }),
    ("saga_step_executions", "Attempts at commands of a saga", |counts| {
        outcomes(&counts.steps)
    }),
    ("saga_compensations", "Attempts at compensations of a saga", |counts| {
        outcomes(&counts.compensations)
    }),
];

fn outcomes(counts: &SendCounts) -> [(&'static str, u64); 3] {
    [
        ("success", counts.succeeded),
        ("rejected", counts.rejected),
        ("failed", counts.failed),
    ]
}

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

impl Collector for ToolkitMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_messages(&mut encoder)?;
        // The statuses are read without the lock: a program may register from a handler.
        let (processors, sagas, groups) = {
            let watched = self.0.watched.lock();
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
        encode_sagas(&mut encoder, &sagas)?;
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

/// Writes the counters of sagas, each with all of its outcomes.
fn encode_sagas(encoder: &mut DescriptorEncoder<'_>, sagas: &[(&str, SagaCounts)]) -> fmt::Result {
    for (name, help, read) in ENDS_OF_SAGAS.iter().filter(|_| !sagas.is_empty()) {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (saga, counts) in sagas {
            for (outcome, count) in read(counts) {
                let labels = [("saga", *saga), ("outcome", outcome)];
                let mut family = metric.encode_family(&labels)?;
                family.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}
