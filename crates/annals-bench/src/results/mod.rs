//! Results: the figures of each row, and the files that hold them.

mod build;
mod files;
mod goals;
mod summary;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::build::Build;
pub(crate) use self::build::short;
pub use self::files::{Folder, ResultsError, read};
pub use self::goals::GoalResult;
use crate::machine::{Machine, SelfTest};
use crate::oracle::Violation;
use crate::statistics::Estimate;
use crate::store::{Description, Usage};
use crate::workload::{Kind, Mode, Workload};

/// The version of the files.
pub const FORMAT: u32 = 1;

/// Everything that a later run needs to repeat a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the files.
    pub format: u32,
    /// The version of the program.
    pub tool: String,
    /// The build of the program.
    #[serde(default)]
    pub build: Build,
    /// When it began, in microseconds since 1970.
    pub started_micros: i64,
    /// The command line.
    pub command: Vec<String>,
    /// Decides the operations and the order of runs.
    pub seed: u64,
    /// The names of the backends.
    pub backends: Vec<String>,
    /// The workloads, in full.
    pub workloads: Vec<Workload>,
    /// The hash of the work of each row, by the name of its workload.
    #[serde(default)]
    pub work: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// The results of the self-tests.
    pub self_test: SelfTest,
}

/// The hashes of the work of `rows`, by their names.
pub fn work_of(rows: &[Workload]) -> BTreeMap<String, String> {
    rows.iter().map(|row| (row.name.clone(), row.work_hash())).collect()
}

/// The figures of all rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The version of the files.
    pub format: u32,
    /// One for each workload and backend.
    pub rows: Vec<RowSummary>,
}

/// The figures of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RowSummary {
    /// The name of the workload, with its variant.
    pub workload: String,
    /// The backend.
    pub backend: Description,
    /// Open or closed loop.
    pub mode: Mode,
    /// Operations a second that were offered, in an open loop.
    pub rate: Option<f64>,
    /// Events of one append.
    pub batch: u32,
    /// Threads, of each process.
    pub workers: u32,
    /// Processes that shared the load; 0 if it was that of one alone.
    #[serde(default)]
    pub processes: u32,
    /// The number of repeats.
    pub repeats: usize,
    /// The reason why it has no figures.
    pub failure: Option<String>,
    /// Whether less was accepted than was offered, in half of the repeats or more.
    pub is_overloaded: bool,
    /// Whether a repeat began before the load was steady.
    pub is_unsteady: bool,
    /// Each figure that is known, with its interval.
    pub figures: Vec<(Figure, Estimate)>,
    /// The longest response or service, in milliseconds, exactly.
    pub max_ms: f64,
    /// Operations that ended.
    pub operations: u64,
    /// Appends that were refused since their stream was not as expected.
    pub conflicts: u64,
    /// Operations that failed.
    pub failed: u64,
    /// The reason of the first failure.
    pub first_failure: Option<String>,
    /// Operations that were due and never started.
    pub censored: u64,
    /// How late the harness was in 99 of 100 cases, in milliseconds; none if it is not known.
    pub lag_p99_ms: Option<f64>,
    /// The figures of each operation.
    pub kinds: Vec<KindSummary>,
    /// The median time of each phase, in milliseconds.
    pub phases: Vec<(String, f64)>,
    /// Bytes of the store after the last repeat.
    pub usage: Usage,
    /// Events in the store then.
    pub stored: u64,
    /// Whether the oracle had something to check.
    pub is_checked: bool,
    /// Events that were acknowledged, and of these those that were found.
    pub delivered: (u64, u64),
    /// The time to live of an event in milliseconds; 0 for no limit.
    #[serde(default)]
    pub time_to_live_ms: u64,
    /// Acknowledged events that had expired and were removed; `None` if events do not expire.
    #[serde(default)]
    pub expired: Option<u64>,
    /// The most events of other programs that a reader skipped in a repeat.
    #[serde(default)]
    pub foreign: u64,
    /// Broken rules.
    pub violations: Vec<Violation>,
    /// The goals of the workload, and whether they were reached.
    pub goals: Vec<GoalResult>,
    /// The measured time in parts.
    pub timeline: Vec<TimelinePart>,
}

/// The figures of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindSummary {
    /// The operation.
    pub kind: Kind,
    /// The number of times that it succeeded.
    pub count: u64,
    /// The number of times that it failed.
    pub failed: u64,
    /// Half of them took at most this long, in milliseconds; in an open loop from when they were due.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took at most this long, in milliseconds.
    pub p99_ms: Option<f64>,
    /// The longest took this long, in milliseconds.
    pub max_ms: f64,
}

/// A part of the measured time of a repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelinePart {
    /// The repeat, from 1 on.
    pub repeat: usize,
    /// When it begins, in seconds from the start of the measured time.
    pub second: f64,
    /// Operations a second that ended.
    pub operations_per_second: f64,
    /// Events a second that were acknowledged.
    pub events_per_second: f64,
    /// Operations that failed.
    pub failed: u64,
    /// Half of the operations took at most this long, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 90 of 100 took at most this long, in milliseconds.
    pub p90_ms: Option<f64>,
}

/// A figure that rows are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Figure {
    /// Events that were acknowledged in a second.
    EventsPerSecond,
    /// Operations that ended in a second.
    OperationsPerSecond,
    /// Bytes of payloads that were acknowledged in a second.
    BytesPerSecond,
    /// The median of the service time, from the start of an operation, in milliseconds.
    ServiceP50,
    /// Its 99th percentile.
    ServiceP99,
    /// The median of the wait, from the time at which an operation was due to its start, in milliseconds.
    WaitP50,
    /// Its 99th percentile.
    WaitP99,
    /// The median of the response time, from the time at which an operation was due, in milliseconds.
    ResponseP50,
    /// Its 90th percentile.
    ResponseP90,
    /// Its 99th percentile.
    ResponseP99,
    /// 999 of 1,000.
    ResponseP999,
    /// The median of the time from the start of an append until a reader has seen it, in milliseconds.
    SeenP50,
    /// Its 99th percentile.
    SeenP99,
    /// The most events that a reader was behind.
    BehindMax,
    /// The time to open a store after its process was killed, in milliseconds.
    ReopenTime,
    /// Acknowledged events that were lost with that process.
    LostEvents,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::EventsPerSecond,
        Self::OperationsPerSecond,
        Self::BytesPerSecond,
        Self::ServiceP50,
        Self::ServiceP99,
        Self::WaitP50,
        Self::WaitP99,
        Self::ResponseP50,
        Self::ResponseP90,
        Self::ResponseP99,
        Self::ResponseP999,
        Self::SeenP50,
        Self::SeenP99,
        Self::BehindMax,
        Self::ReopenTime,
        Self::LostEvents,
    ];

    /// Its name in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events/s",
            Self::OperationsPerSecond => "operations/s",
            Self::BytesPerSecond => "bytes/s",
            Self::ServiceP50 => "service p50 ms",
            Self::ServiceP99 => "service p99 ms",
            Self::WaitP50 => "wait p50 ms",
            Self::WaitP99 => "wait p99 ms",
            Self::ResponseP50 => "response p50 ms",
            Self::ResponseP90 => "response p90 ms",
            Self::ResponseP99 => "response p99 ms",
            Self::ResponseP999 => "response p99.9 ms",
            Self::SeenP50 => "seen p50 ms",
            Self::SeenP99 => "seen p99 ms",
            Self::BehindMax => "behind max events",
            Self::ReopenTime => "reopen ms",
            Self::LostEvents => "lost events",
        }
    }

    /// Whether more of it is better.
    pub const fn is_rate(self) -> bool {
        matches!(
            self,
            Self::EventsPerSecond | Self::OperationsPerSecond | Self::BytesPerSecond
        )
    }
}

impl RowSummary {
    /// A figure, if it is known.
    pub fn figure(&self, figure: Figure) -> Option<Estimate> {
        let found = self.figures.iter().find(|(own, _)| *own == figure);
        found.map(|(_, estimate)| *estimate)
    }

    /// Whether the oracle found a broken rule.
    pub fn is_red(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Bytes in memory for each event.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
    pub fn memory_per_event(&self) -> Option<f64> {
        let bytes = self.usage.memory_bytes.filter(|_| self.stored > 0)?;
        Some(bytes as f64 / self.stored as f64)
    }

    /// Bytes on disk for each event.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
    pub fn disk_per_event(&self) -> Option<f64> {
        let bytes = self.usage.disk_bytes.filter(|_| self.stored > 0)?;
        Some(bytes as f64 / self.stored as f64)
    }
}
