//! `bench sweep` and `bench find-max`: the load rises until a backend cannot follow.

use std::path::Path;
use std::time::Duration;

use annals_bench::backends;
use annals_bench::plan::{Row, unshared};
use annals_bench::results::{Folder, Manifest, Summary};
use annals_bench::search::{Found, Limit, highest};
use annals_bench::workload::Workload;
use serde_json::Value;

use super::measure::{Data, Session, check_names};
use super::table::whole;
use super::{asked_of, what};
use crate::args::bench::{FindMax, Sweep};
use crate::exit::{Failure, Outcome};
use crate::output::records::Records;
use crate::output::{Format, Out};

/// The most rates of a sweep.
const RATES_MAX: usize = 100;
/// No rate is measured for longer.
const TIME_MAX: Duration = Duration::from_secs(60);
/// The lowest rate is measured for less than the longest time.
const SPARE: f64 = 1.01;
/// The most operations of one rate of a search, unless the workload has more.
const OPERATIONS_MAX: u64 = 5_000_000;

/// Measures each workload at each rate, without the backends that were overloaded before.
pub(super) fn sweep(asked: &Sweep, out: &Out<'_>) -> Outcome<(Folder, Manifest, Summary)> {
    let mut rows = Vec::new();
    let mut steps = 1;
    for workload in what::workloads(&asked.what, None)? {
        let mut more = steps_of(asked, &workload)?;
        steps = more.len();
        rows.append(&mut more);
    }
    let backends = &asked.what.backends;
    if !asked.processes.is_empty() {
        check_shared(backends)?;
    }
    let session = Session::begin(
        &asked_of(rows.clone(), backends, asked.what.seed, &asked.to),
        &rows,
        out,
    )?;
    match rise(&session, backends, rows.chunks(steps)) {
        Ok(measured) => session.finish(&measured),
        Err(failure) => {
            session.discard();
            Err(failure)
        }
    }
}

/// Rejects backends that only one process can write.
fn check_shared(names: &[String]) -> Outcome {
    check_names(names)?;
    for name in names {
        let backend = backends::named(name, Path::new("")).map_err(|error| Failure::Runtime(error.to_string()))?;
        if let Some(why) = unshared(backend.as_ref()) {
            return Err(Failure::Usage(format!("{name}: {why}")));
        }
    }
    Ok(())
}

/// The rows of one workload, from the lowest load to the highest.
fn steps_of(asked: &Sweep, workload: &Workload) -> Outcome<Vec<Workload>> {
    let count = [asked.threads.len(), asked.processes.len()]
        .into_iter()
        .fold(asked.rates.len(), usize::max);
    if count == 0 || count > RATES_MAX {
        return Err(Failure::Usage(format!(
            "name 1 to {RATES_MAX} rates, or numbers of threads or processes"
        )));
    }
    let sorted = |numbers: &[u32]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers
    };
    let rows: Result<Vec<Workload>, _> = if !asked.processes.is_empty() {
        let processes = sorted(&asked.processes).into_iter();
        processes.map(|processes| workload.with_processes(processes)).collect()
    } else if asked.threads.is_empty() {
        let mut rates = asked.rates.clone();
        rates.sort_unstable_by(f64::total_cmp);
        rates.iter().map(|rate| workload.at_rate(*rate)).collect()
    } else {
        let threads = sorted(&asked.threads).into_iter();
        threads.map(|threads| workload.with_threads(threads)).collect()
    };
    rows.map_err(usage)
}

/// Measures groups of rows with rising rates, each without the backends that were overloaded before.
fn rise<'a>(session: &Session, backends: &[String], groups: impl Iterator<Item = &'a [Workload]>) -> Outcome<Vec<Row>> {
    let mut measured: Vec<Row> = Vec::new();
    for group in groups {
        let mut names = backends.to_vec();
        for row in group {
            let mut more = session.execute(&names, vec![row.clone()])?;
            // One row for each backend, in their order: the name of a database is not its URL.
            let follows = |row: &Row| row.failure.is_none() && !is_overloaded(row);
            let rows = names.into_iter().zip(&more);
            names = rows.filter(|(_, row)| follows(row)).map(|(name, _)| name).collect();
            measured.append(&mut more);
        }
    }
    Ok(measured)
}

fn is_overloaded(row: &Row) -> bool {
    let mode = row.workload.load.mode;
    let overloaded = row.runs.iter().filter(|run| run.is_overloaded(mode)).count();
    overloaded * 2 >= row.runs.len().max(1)
}

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
fn usage(error: impl ToString) -> Failure {
    Failure::Usage(error.to_string())
}

/// Finds the highest rate of each backend, and shows it.
pub(super) fn find_max(asked: &FindMax, out: &mut Out<'_>) -> Outcome {
    check_names(&asked.what.backends)?;
    let data = Data::create(asked.data.as_deref().unwrap_or(Path::new(".")))?;
    let mut records = Records::new(&["workload", "backend", "durability", "limit", "holds at", "not at"]);
    let mut is_verified = true;
    for workload in what::workloads(&asked.what, None)? {
        for name in &asked.what.backends {
            let (mut durability, mut is_kept) = ("", true);
            let mut holds = |rate: f64| {
                let rows = data.execute(
                    std::slice::from_ref(name),
                    vec![row(&workload, rate, asked.limit)?],
                    asked.what.seed,
                )?;
                let row = rows
                    .first()
                    .ok_or_else(|| Failure::Runtime("nothing was measured".to_owned()))?;
                (durability, is_kept) = (row.backend.durability.name(), row.backend.keeps_events);
                check(row, asked.limit)
            };
            let Found { holds, fails } = highest(asked.start, asked.limit.lowest_rate(TIME_MAX) * SPARE, &mut holds)?;
            is_verified &= is_kept;
            let rate = |rate: Option<f64>| rate.map_or(Value::Null, |rate| rate_of(rate, out.format));
            records.push(vec![
                Value::from(workload.name.as_str()),
                Value::from(name.as_str()),
                Value::from(durability),
                Value::from(asked.limit.to_string()),
                rate(holds),
                rate(fails),
            ]);
        }
    }
    records.write(out)?;
    let verified = if is_verified {
        "every run was verified"
    } else {
        "every run was verified but those of a backend that keeps nothing"
    };
    out.hint(&format!("operations a second, in an open loop; {verified}"))
        .map_err(Failure::from)
}

fn rate_of(rate: f64, format: Format) -> Value {
    if format == Format::Table {
        Value::from(whole(rate))
    } else {
        Value::from(rate.round())
    }
}

/// The workload at `rate`, once, for as long as the percentile needs.
fn row(workload: &Workload, rate: f64, limit: Limit) -> Outcome<Workload> {
    let mut row = workload.at_rate(rate).map_err(usage)?;
    let time = limit
        .time_needed(rate)
        .max(Duration::from_millis(row.phases.measure_ms));
    if time > TIME_MAX {
        let text = format!(
            "at {rate:.0} operations a second, the percentile needs {} s: name a lower one",
            time.as_secs()
        );
        return Err(Failure::Usage(text));
    }
    row.phases.measure_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    row.phases.repeats = 1;
    row.phases.operations_max = row.phases.operations_max.max(OPERATIONS_MAX);
    Ok(row)
}

/// Whether the backend accepted the load and kept the limit. A backend that loses events has no rate.
fn check(row: &Row, limit: Limit) -> Outcome<bool> {
    if let Some(failure) = &row.failure {
        return Err(Failure::Runtime(format!("{}: {failure}", row.backend.name)));
    }
    let Some(run) = row.runs.first() else {
        return Ok(false);
    };
    if !run.verdict.is_clean() {
        let text = format!("{} is WRONG: it did not keep what it acknowledged", row.backend.name);
        return Err(Failure::Verdict(super::WRONG, text));
    }
    let waited = Duration::from_millis(row.workload.phases.drain_ms);
    let response = run.loaded.recording.all().response;
    let time = response
        .censored_quantile(limit.share, run.loaded.censored, waited)
        .known();
    let is_whole = !run.is_overloaded(row.workload.load.mode) && run.loaded.recording.failed == 0;
    Ok(is_whole && time.is_some_and(|time| time <= limit.time))
}
