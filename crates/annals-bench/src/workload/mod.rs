//! A workload is data: operations, streams, payloads, and arrivals.

mod builtin;
mod check;
mod set;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::builtin::{BUILT_IN, built_in};
pub use self::set::{Setting, with_settings};

/// The words for the threads of a row, for one and for several.
pub(crate) const THREADS: [&str; 2] = ["thread", "threads"];
/// The words for the processes of a row.
pub(crate) const PROCESSES: [&str; 2] = ["process", "processes"];

/// A number with its word.
pub(crate) fn counted(count: u32, [one, several]: [&str; 2]) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The fault of a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkloadError(pub(crate) String);

/// A workload, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Workload {
    /// Its name on the command line and in reports.
    pub name: String,
    /// Its purpose, in a sentence.
    #[serde(default)]
    pub about: String,
    /// The streams, and their events before the load.
    #[serde(default)]
    pub data: Data,
    /// Which streams are chosen the most often.
    #[serde(default)]
    pub skew: Skew,
    /// The payloads of events.
    #[serde(default)]
    pub payload: Payload,
    /// How operations arrive.
    #[serde(default)]
    pub load: Load,
    /// The operations, each with its weight.
    #[serde(default = "appends")]
    pub mix: BTreeMap<Kind, f64>,
    /// The reads.
    #[serde(default)]
    pub read: Read,
    /// Readers that follow the log beside the load.
    #[serde(default)]
    pub readers: Readers,
    /// The process that appends is killed; without it, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<Recover>,
    /// The length of each phase.
    #[serde(default)]
    pub phases: Phases,
    /// Variants of the workload, each with its own row; without any, the workload is one row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// The values that a backend must reach to pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Goal>,
    /// The log whose events are appended, instead of generated ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// The mix of a workload that names none.
fn appends() -> BTreeMap<Kind, f64> {
    [(Kind::Append, 1.0)].into()
}

/// A log whose events are appended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Its path. The file is read again for another run.
    pub path: String,
    /// Its events, in order; they are in no file of a workload.
    #[serde(skip)]
    pub events: std::sync::Arc<Vec<Logged>>,
}

/// An event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its stream.
    pub stream: String,
    /// The event type.
    pub event_type: String,
    /// The conversation that it belongs to; empty for none.
    pub correlation: String,
    /// When it happened, in microseconds since 1970.
    pub micros: i64,
    /// Its payload, which becomes a part of a JSON object.
    pub data: Vec<u8>,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Appends to a stream, without a check.
    Append,
    /// Appends the first events of a new stream.
    Create,
    /// Reads a stream and appends to the version that was read, as a command does.
    Cycle,
    /// Reads a stream from its beginning.
    Load,
    /// Reads the last events of a stream, as after a snapshot.
    LoadTail,
    /// Reads the next page of the whole log.
    CatchUp,
    /// Finds the last events of a type.
    ByType,
    /// Finds the events of a conversation.
    ByCorrelation,
    /// Finds the last events of a day.
    ByDay,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Append,
        Self::Create,
        Self::Cycle,
        Self::Load,
        Self::LoadTail,
        Self::CatchUp,
        Self::ByType,
        Self::ByCorrelation,
        Self::ByDay,
    ];

    /// Its name in workload files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Create => "create",
            Self::Cycle => "cycle",
            Self::Load => "load",
            Self::LoadTail => "load_tail",
            Self::CatchUp => "catch_up",
            Self::ByType => "by_type",
            Self::ByCorrelation => "by_correlation",
            Self::ByDay => "by_day",
        }
    }

    /// Whether it appends events.
    pub const fn appends(self) -> bool {
        matches!(self, Self::Append | Self::Create | Self::Cycle)
    }

    /// Whether it finds events by a field.
    pub const fn queries(self) -> bool {
        matches!(self, Self::ByType | Self::ByCorrelation | Self::ByDay)
    }
}

/// The streams, and their events before the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Data {
    /// The number of streams that operations choose from.
    pub streams: u64,
    /// Events of each stream before the load.
    pub events_per_stream: u64,
    /// Events of one append.
    pub batch: u32,
    /// Days that the events are spread over.
    pub days: u32,
    /// The time to live of an event in milliseconds; 0 for no limit.
    pub time_to_live_ms: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            streams: 1_000,
            events_per_stream: 0,
            batch: 1,
            days: 30,
            time_to_live_ms: 0,
        }
    }
}

/// Which streams are chosen the most often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Skew {
    /// All the same.
    #[default]
    Uniform,
    /// The first the most often, by Zipf's distribution.
    Zipf {
        /// The exponent of the distribution: 0 for uniform, 0.99 as in YCSB.
        theta: f64,
    },
    /// A few get a share of all operations.
    Hot {
        /// The number of hot streams.
        streams: u64,
        /// Their share of the operations, from 0 to 1.
        share: f64,
    },
}

/// The payloads of events: JSON whose length has a log-normal distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Payload {
    /// Half of the payloads have at most this many bytes.
    pub bytes_p50: u32,
    /// 99 of 100 payloads have at most this many bytes.
    pub bytes_p99: u32,
    /// The share of the filling that is random letters and does not compress; the rest is words.
    pub random_share: f64,
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            bytes_p50: 240,
            bytes_p99: 1_000,
            random_share: 0.35,
        }
    }
}

/// How operations arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Load {
    /// Open or closed loop.
    pub mode: Mode,
    /// Operations a second, in an open loop.
    pub rate: f64,
    /// The distances of operations, in an open loop.
    pub arrivals: Arrivals,
    /// The factor of the rate in bursts.
    pub burst_factor: f64,
    /// In bursts: the share of the time that has them.
    pub burst_share: f64,
    /// In bursts: from the beginning of one to that of the next.
    pub burst_period_ms: u64,
    /// Threads: the most operations at a time.
    pub workers: u32,
    /// Number of processes that share the load, each with `workers` threads; 0 runs the load in this process.
    pub processes: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            mode: Mode::Saturate,
            rate: 1_000.0,
            arrivals: Arrivals::Poisson,
            burst_factor: 5.0,
            burst_share: 0.1,
            burst_period_ms: 200,
            workers: 8,
            processes: 0,
        }
    }
}

/// Open or closed loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Closed: a worker starts an operation when its last one has ended. Shows capacity; its times are service times only.
    #[default]
    Saturate,
    /// Open: operations arrive by a schedule that does not wait for the store. Shows response times.
    Open,
}

impl Mode {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Saturate => "saturate",
            Self::Open => "open",
        }
    }
}

/// The distances of operations in an open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Random and independent, as of many users.
    #[default]
    Poisson,
    /// All the same.
    Constant,
    /// Random, with a higher rate from time to time.
    Bursts,
}

/// The reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Read {
    /// The most events that a query or a page of the log returns.
    pub limit: usize,
    /// The events that `load_tail` reads.
    pub tail: u64,
    /// Whether a query may be answered from a cache.
    pub cache: bool,
}

impl Default for Read {
    fn default() -> Self {
        Self {
            limit: 100,
            tail: 10,
            cache: true,
        }
    }
}

/// Readers that follow the log beside the load, each on a thread of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Readers {
    /// Their number.
    pub tails: u32,
    /// Whether each parses the events and folds them, as a projection does.
    pub fold: bool,
}

/// The process that appends is killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Recover {
    /// The time for which it appends first.
    pub kill_after_ms: u64,
}

impl Default for Recover {
    fn default() -> Self {
        Self { kill_after_ms: 500 }
    }
}

/// The length of each phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Phases {
    /// The pause after the load.
    pub settle_ms: u64,
    /// At most, until throughput and p99 are steady.
    pub warmup_ms: u64,
    /// Measured.
    pub measure_ms: u64,
    /// Afterwards, for operations that were due within the measured time.
    pub drain_ms: u64,
    /// The most operations of warm-up and measured time together; bounds the memory of the oracle.
    pub operations_max: u64,
    /// The number of repeats of each row.
    pub repeats: u32,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            settle_ms: 0,
            warmup_ms: 1_000,
            measure_ms: 2_000,
            drain_ms: 2_000,
            operations_max: 2_000_000,
            repeats: 5,
        }
    }
}

/// A version of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name, after that of the workload.
    pub name: String,
    /// The keys that differ, with dots: `"load.rate" = 5000`.
    pub set: BTreeMap<String, toml::Value>,
}

/// A value that a backend must reach to pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Its name.
    pub name: String,
    /// The metric.
    pub metric: Metric,
    /// The operations; all if absent.
    #[serde(default)]
    pub of: Option<Kind>,
    /// At most, in the metric's unit.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// At least, in the metric's unit.
    #[serde(default)]
    pub at_least: Option<f64>,
}

/// The metric of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The 95th percentile of the response time, in milliseconds.
    ResponseP95Ms,
    /// The 99th percentile of the response time, in milliseconds.
    ResponseP99Ms,
    /// The 95th percentile of the time from the start of an append until a reader has seen it, in milliseconds.
    SeenP95Ms,
    /// The 95th percentile of the time from the acknowledgement of an append until a reader has it, in milliseconds.
    PublishP95Ms,
    /// Events appended a second.
    EventsPerSecond,
    /// Failed operations of 100; conflicts are none.
    ErrorPercent,
    /// Events that were acknowledged and that a reader got, of 100.
    DeliveredPercent,
    /// Events whose correlation and cause come back as they were written and lead to the beginning of their conversation, of 100.
    TracedPercent,
    /// Reading the whole store once, in seconds.
    ReplaySeconds,
}

impl Workload {
    /// A workload that appends to existing streams, with the defaults.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: String::new(),
            data: Data::default(),
            skew: Skew::default(),
            payload: Payload::default(),
            load: Load::default(),
            mix: appends(),
            read: Read::default(),
            readers: Readers::default(),
            recover: None,
            phases: Phases::default(),
            variants: Vec::new(),
            goals: Vec::new(),
            log: None,
        }
    }

    /// The workload, if its keys are within their bounds.
    pub(crate) fn checked(self) -> Result<Self, WorkloadError> {
        check::check(&self)?;
        Ok(self)
    }

    /// A workload that appends the events of a log, in their order, as fast as it can.
    ///
    /// # Errors
    ///
    /// An error if the log has no events, or more than a run can do.
    pub fn import(log: Log) -> Result<Self, WorkloadError> {
        let events = log.events.len() as u64;
        if events == 0 {
            return Err(WorkloadError("the log has no events".to_owned()));
        }
        let workload = Self {
            about: format!("the {events} events of a log, in their order"),
            phases: Phases {
                warmup_ms: 0,
                measure_ms: 600_000,
                operations_max: events,
                ..Phases::default()
            },
            log: Some(log),
            ..Self::named("import")
        };
        workload.checked()
    }

    /// The most operations of warm-up and measured time: a log ends.
    pub(crate) fn operations_max(&self) -> u64 {
        let events = self.log.as_ref().map(|log| log.events.len() as u64);
        self.phases.operations_max.min(events.unwrap_or(u64::MAX))
    }

    /// The time to live of an event; `None` for no limit.
    pub(crate) fn time_to_live(&self) -> Option<Duration> {
        let millis = self.data.time_to_live_ms;
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// The length of the warm-up. A log is measured from its first event.
    pub(crate) fn warmup(&self) -> Duration {
        let millis = if self.log.is_some() { 0 } else { self.phases.warmup_ms };
        Duration::from_millis(millis)
    }

    /// The workload at `rate` operations a second, in an open loop.
    ///
    /// # Errors
    ///
    /// An error if the rate is out of its bounds.
    pub fn at_rate(&self, rate: f64) -> Result<Self, WorkloadError> {
        let mut row = self.clone();
        row.variants.clear();
        row.load.mode = Mode::Open;
        row.load.rate = rate;
        row.name = format!("{}/{rate:.0}", self.name);
        row.checked()
    }

    /// The workload with `threads` threads, in a closed loop.
    ///
    /// # Errors
    ///
    /// An error if the number is out of its bounds.
    pub fn with_threads(&self, threads: u32) -> Result<Self, WorkloadError> {
        let mut row = self.clone();
        row.variants.clear();
        row.load.mode = Mode::Saturate;
        row.load.workers = threads;
        row.name = format!("{}/{}", self.name, counted(threads, THREADS));
        row.checked()
    }

    /// The workload with `processes` processes, in a closed loop.
    ///
    /// # Errors
    ///
    /// An error if the number is out of its bounds, or the workload is one of a single process.
    pub fn with_processes(&self, processes: u32) -> Result<Self, WorkloadError> {
        let mut row = self.clone();
        row.variants.clear();
        row.load.mode = Mode::Saturate;
        row.load.processes = processes;
        row.name = format!("{}/{}", self.name, counted(processes, PROCESSES));
        check::check_processes(&row, 1)?;
        row.checked()
    }

    /// The file of the workload.
    ///
    /// # Errors
    ///
    /// An error if a value cannot be written.
    pub fn to_toml(&self) -> Result<String, WorkloadError> {
        toml::to_string(self).map_err(|error| WorkloadError(error.to_string()))
    }

    /// Reads a workload.
    ///
    /// # Errors
    ///
    /// The error names the key that is unknown, missing or out of bounds.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        with_settings(text, &[])
    }

    /// The rows: the workload with each variant applied, or the workload alone.
    ///
    /// # Errors
    ///
    /// The error names the key of a variant that is unknown or out of bounds.
    pub fn rows(&self) -> Result<Vec<Self>, WorkloadError> {
        if self.variants.is_empty() {
            return Ok(vec![self.clone()]);
        }
        self.variants.iter().map(|variant| set::apply(self, variant)).collect()
    }
}
