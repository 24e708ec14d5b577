//! The command line of `annals bench`.

use std::path::PathBuf;
use std::time::Duration;

use annals_bench::search::Limit;
use annals_bench::workload::Setting;
use clap::{Args, Subcommand};

/// What is done about benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// List the backends and the workloads
    List,
    /// Measure workloads on backends, and write the result to a folder
    ///
    /// Without options: one event to a new stream, on memory and files, in under a minute. Every run ends with a check of what the backend has
    /// stored; a row that fails it is WRONG, and the command exits with 6. Response times are from when an operation was due, in an open
    /// loop; a closed loop (`saturate`) has service times alone. A percentile needs 100 samples beyond it.
    Run(Run),
    /// Compare two results: better, worse or the same within noise
    ///
    /// Exits with 5 if a figure is worse, by 3 % at least and beyond the 95 % intervals of both; with 7 if a figure is missing or implausibly
    /// better, or the results are unlike.
    Compare(Compare),
    /// Write the report of a result again
    Report {
        /// The folder of the result
        #[arg(value_name = "DIR")]
        result: PathBuf,
    },
    /// Measure once more what a result measured: the same workloads, seed and backends
    Rerun {
        /// The folder of the result
        #[arg(value_name = "DIR")]
        result: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Measure a workload at rising rates, up to the first at which the backends are overloaded, or with rising numbers of threads or processes
    Sweep(Sweep),
    /// Find the highest rate at which the response time stays below a limit
    FindMax(FindMax),
    /// Append as another process says: one that `recover` kills, or one of several that share a load
    #[command(hide = true)]
    Child,
    /// Derive a workload from a log: lengths of streams, skew, sizes, bursts and contention, no payloads
    Record {
        /// The log, the folder of a store, or the URL of one
        #[arg(value_name = "LOG")]
        log: PathBuf,
        /// The name of the workload
        #[arg(long, default_value = "recorded", value_name = "NAME")]
        name: String,
    },
}

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// A workload of `annals bench list`, or a file *.toml; may be repeated [default: quick]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) workload: Vec<String>,
    /// The backends, by the names of `annals bench list`, or the URLs of servers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "memory,file-volatile,file-written,file-synced",
        value_name = "NAME,…"
    )]
    pub(crate) backends: Vec<String>,
    /// Replace a key of the workload, such as `load.workers=16`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Setting>,
    /// How long is measured each time, such as 500ms or 10s
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) duration: Option<Duration>,
    /// How long the load runs before, at most
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) warmup: Option<Duration>,
    /// How often each row is measured
    #[arg(long, value_name = "N")]
    pub(crate) repeat: Option<u32>,
    /// The same seed gives the same operations
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub(crate) seed: u64,
}

/// What `run` measures.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) what: What,
    /// Operations a second, in an open loop
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Append the events of this log, a file, or the folder or URL of a store, as a workload
    #[arg(long, value_name = "LOG")]
    pub(crate) import: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) to: To,
}

/// Where results and data are.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The folder of the result: an empty one, or a new one in a folder that exists [default: annals-bench-TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where backends keep their files meanwhile: what is measured is this disk [default: in the folder of the result]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// What is compared.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The folder of the result before
    #[arg(value_name = "BEFORE")]
    pub(crate) before: PathBuf,
    /// The folder of the result after
    #[arg(value_name = "AFTER")]
    pub(crate) after: PathBuf,
    /// Compare results that differ in machine, durability, batch unit or workload all the same
    #[arg(long)]
    pub(crate) allow_unlike: bool,
}

/// What `sweep` measures.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    #[command(flatten)]
    pub(crate) what: What,
    /// The rates, in operations a second
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,2000,5000,10000,20000,50000,100000",
        value_name = "N,…"
    )]
    pub(crate) rates: Vec<f64>,
    /// In a closed loop with these numbers of threads, such as 1,2,4, instead of rates
    #[arg(long, value_delimiter = ',', conflicts_with = "rates", value_name = "N,…")]
    pub(crate) threads: Vec<u32>,
    /// In a closed loop with these numbers of processes that share a server, such as 1,2,4, each with the threads of the workload
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["rates", "threads"], value_name = "N,…")]
    pub(crate) processes: Vec<u32>,
    #[command(flatten)]
    pub(crate) to: To,
}

/// What `find-max` looks for.
#[derive(Debug, Args)]
pub(crate) struct FindMax {
    #[command(flatten)]
    pub(crate) what: What,
    /// The limit: `p50`, `p90`, `p99` or `p99.9`, `<`, and a time
    #[arg(long, default_value = "p99<10ms", value_name = "LIMIT")]
    pub(crate) limit: Limit,
    /// The first rate that is tried, in operations a second
    #[arg(long, default_value_t = 2_000.0, value_name = "N")]
    pub(crate) start: f64,
    /// Where backends keep their files meanwhile: what is measured is this disk [default: the current folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Reads `500ms`, `10s` or `2m`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1_u64), ("s", 1_000), ("m", 60_000)];
    let found = units
        .iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, *millis)));
    let millis = found.and_then(|(number, millis)| number.checked_mul(millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "write a time such as 500ms, 10s or 2m".to_owned())
}
