//! The figures of a row, from its repeats.

use std::time::Duration;

use super::{FORMAT, Figure, KindSummary, RowSummary, Summary, TimelinePart, goals};
use crate::load::{Quantile, Samples};
use crate::oracle::Verdict;
use crate::plan::Row;
use crate::readers::Seen;
use crate::run::{Phase, Run};
use crate::statistics::{Estimate, estimate, estimate_percentile, median};
use crate::workload::{Kind, Mode};

/// A part that has less than this of its time is left out.
const SLIVER: f64 = 0.05;

impl Summary {
    /// The figures of `rows`.
    pub fn of(rows: &[Row]) -> Self {
        Self {
            format: FORMAT,
            rows: rows.iter().map(summarize).collect(),
        }
    }
}

fn summarize(row: &Row) -> RowSummary {
    let mode = row.workload.load.mode;
    let sum = |of: &dyn Fn(&Run) -> u64| row.runs.iter().map(of).sum::<u64>();
    let overloaded = row.runs.iter().filter(|run| run.is_overloaded(mode)).count();
    let is_overloaded = overloaded * 2 >= row.runs.len() && overloaded > 0;
    let verdict = verdict(row);
    let last = row.runs.last();
    let lag = merged(row.runs.iter().map(|run| &run.loaded.recording.lag));
    RowSummary {
        workload: row.workload.name.clone(),
        backend: row.backend.clone(),
        mode,
        rate: (mode == Mode::Open).then_some(row.workload.load.rate),
        batch: row.workload.data.batch,
        workers: row.workload.load.workers,
        processes: row.workload.load.processes,
        repeats: row.runs.len(),
        failure: row.failure.clone(),
        is_overloaded,
        is_unsteady: row.runs.iter().any(|run| !run.is_steady),
        figures: figures(row, is_overloaded),
        max_ms: millis(row.runs.iter().map(|run| longest(run, mode)).max().unwrap_or_default()),
        operations: sum(&|run| run.loaded.recording.ended),
        conflicts: sum(&|run| run.loaded.recording.conflicts),
        failed: sum(&|run| run.loaded.recording.failed),
        first_failure: row.runs.iter().find_map(|run| run.loaded.recording.failure.clone()),
        censored: sum(&|run| run.loaded.censored),
        lag_p99_ms: lag.quantile(0.99).known().map(millis),
        kinds: Kind::ALL.into_iter().filter_map(|kind| of_kind(row, kind)).collect(),
        phases: phases(row),
        usage: last.map(|run| run.usage).unwrap_or_default(),
        stored: last.map_or(0, |run| run.stored),
        is_checked: verdict.is_checked,
        delivered: (verdict.acknowledged, verdict.found),
        time_to_live_ms: row.workload.data.time_to_live_ms,
        expired: row
            .runs
            .iter()
            .filter_map(|run| run.expired)
            .reduce(|sum, more| sum + more),
        foreign: seen(row).map(|seen| seen.foreign).max().unwrap_or(0),
        violations: verdict.violations,
        goals: goals::judge(row),
        timeline: timeline(row),
    }
}

fn seen(row: &Row) -> impl Iterator<Item = &Seen> {
    row.runs.iter().filter_map(|run| run.seen.as_ref())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn merged<'a>(all: impl Iterator<Item = &'a Samples>) -> Samples {
    let mut merged = Samples::default();
    all.for_each(|samples| merged.add(samples));
    merged
}

fn longest(run: &Run, mode: Mode) -> Duration {
    let all = run.loaded.recording.all();
    match mode {
        Mode::Saturate => all.service.max(),
        Mode::Open => all.response.max(),
    }
}

/// The figures that are known. Those of the wait and the response are for an open loop alone: in a closed one, no operation is due. An
/// overloaded row has none of them, since they depend on how long it was measured.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
fn figures(row: &Row, is_overloaded: bool) -> Vec<(Figure, Estimate)> {
    let rate = |of: &dyn Fn(&Run) -> u64| {
        let rates = row
            .runs
            .iter()
            .map(|run| of(run) as f64 / run.loaded.time.as_secs_f64().max(1e-9));
        estimate(&rates.collect::<Vec<_>>())
    };
    let services: Vec<Samples> = row.runs.iter().map(|run| run.loaded.recording.all().service).collect();
    let responses: Vec<Samples> = row.runs.iter().map(|run| run.loaded.recording.all().response).collect();
    let waits: Vec<Samples> = row.runs.iter().map(|run| run.loaded.recording.wait.clone()).collect();
    let service = |share| estimate_percentile(&services, &|all| all.quantile(share));
    let is_open = row.workload.load.mode == Mode::Open && !is_overloaded;
    let since_due = |repeats: &[Samples], share| {
        let of = |all: &Samples| censored(row, all, share);
        is_open.then(|| estimate_percentile(repeats, &of)).flatten()
    };
    let response = |share| since_due(&responses, share);
    let wait = |share| since_due(&waits, share);
    let sights: Vec<Samples> = seen(row).map(|seen| seen.after.clone()).collect();
    let seen = |share| estimate_percentile(&sights, &|all| all.quantile(share));
    let has_appends = row.runs.iter().any(|run| run.loaded.recording.events > 0);
    let known = |figure| match figure {
        Figure::EventsPerSecond => rate(&|run| run.loaded.recording.events).filter(|_| has_appends),
        Figure::OperationsPerSecond => rate(&|run| run.loaded.recording.accepted),
        Figure::BytesPerSecond => rate(&|run| run.loaded.recording.bytes).filter(|_| has_appends),
        Figure::ServiceP50 => service(0.5),
        Figure::ServiceP99 => service(0.99),
        Figure::WaitP50 => wait(0.5),
        Figure::WaitP99 => wait(0.99),
        Figure::ResponseP50 => response(0.5),
        Figure::ResponseP90 => response(0.9),
        Figure::ResponseP99 => response(0.99),
        Figure::ResponseP999 => response(0.999),
        Figure::SeenP50 => seen(0.5),
        Figure::SeenP99 => seen(0.99),
        Figure::BehindMax => of_runs(row, &|run| Some(run.seen.as_ref()?.behind_max as f64)),
        Figure::ReopenTime => of_runs(row, &|run| Some(millis(run.recovery?.opened))),
        Figure::LostEvents => of_runs(row, &|run| Some(run.recovery?.lost as f64)),
    };
    let all = Figure::ALL.into_iter();
    all.filter_map(|figure| Some((figure, known(figure)?))).collect()
}

/// The median of a figure of each run, of those that have it.
fn of_runs(row: &Row, of: &dyn Fn(&Run) -> Option<f64>) -> Option<Estimate> {
    estimate(&row.runs.iter().filter_map(of).collect::<Vec<_>>())
}

/// A percentile of waits or responses, with the operations that never started: they waited for the whole drain at least.
fn censored(row: &Row, all: &Samples, share: f64) -> Quantile {
    let censored: u64 = row.runs.iter().map(|run| run.loaded.censored).sum();
    let waited = Duration::from_millis(row.workload.phases.drain_ms);
    all.censored_quantile(share, censored, waited)
}

fn of_kind(row: &Row, kind: Kind) -> Option<KindSummary> {
    let all = merged(row.runs.iter().map(|run| {
        let times = run.loaded.recording.kind(kind);
        match row.workload.load.mode {
            Mode::Saturate => &times.service,
            Mode::Open => &times.response,
        }
    }));
    let failed = row.runs.iter().map(|run| run.loaded.recording.kind(kind).failed).sum();
    let is_whole = row.runs.iter().all(|run| run.loaded.censored == 0);
    let quantile = |share| all.quantile(share).known().filter(|_| is_whole).map(millis);
    (all.count() + failed > 0).then(|| KindSummary {
        kind,
        count: all.count(),
        failed,
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        max_ms: millis(all.max()),
    })
}

fn phases(row: &Row) -> Vec<(String, f64)> {
    let of = |phase: Phase| {
        let times = row.runs.iter().flat_map(|run| &run.phases);
        let times: Vec<f64> = times
            .filter(|(own, _)| *own == phase)
            .map(|(_, time)| millis(*time))
            .collect();
        Some((phase.name().to_owned(), median(&times)?))
    };
    Phase::ALL.into_iter().filter_map(of).collect()
}

fn verdict(row: &Row) -> Verdict {
    let mut all = Verdict::default();
    row.runs.iter().for_each(|run| all.merge(run.verdict.clone()));
    all
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
fn timeline(row: &Row) -> Vec<TimelinePart> {
    let mut parts = Vec::new();
    for (repeat, run) in (1..).zip(&row.runs) {
        let slots = &run.loaded.recording.slots;
        let seconds = Duration::from_millis(row.workload.phases.measure_ms).as_secs_f64() / slots.len() as f64;
        for (index, slot) in slots.iter().enumerate() {
            let second = index as f64 * seconds;
            // A load that ended at its largest number of operations has no more parts.
            let Some(covered) = covered(second, seconds, run.loaded.time) else {
                break;
            };
            parts.push(TimelinePart {
                repeat,
                second,
                operations_per_second: slot.operations as f64 / covered,
                events_per_second: slot.events as f64 / covered,
                failed: slot.failed,
                p50_ms: slot.response.quantile(0.5).known().map(millis),
                p90_ms: slot.response.quantile(0.9).known().map(millis),
            });
        }
    }
    parts
}

/// The seconds that a part of `seconds`, which begins at `second`, has of a load that took `time`.
fn covered(second: f64, seconds: f64, time: Duration) -> Option<f64> {
    let covered = (time.as_secs_f64() - second).min(seconds);
    // A sliver has no rate.
    (covered > seconds * SLIVER).then_some(covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Naive;
    use crate::load::recording::{Outcome, Times, Window};
    use crate::load::{Loaded, Recording};
    use crate::store::{Backend as _, Usage};
    use crate::workload::Workload;

    const MS: Duration = Duration::from_millis(1);

    /// A run whose operations waited for 1, 2, 3 … ms, and took 1 ms each.
    fn run_of(operations: u32) -> Run {
        let mut recording = Recording::default();
        let window = Window {
            start: Duration::ZERO,
            end: 2 * operations * MS,
        };
        for wait in 1..=operations {
            let times = Times {
                due: MS,
                ready: MS,
                started: MS + wait * MS,
                ended: 2 * MS + wait * MS,
            };
            recording.add(window, Kind::Load, times, Outcome::Read, (0, 0));
        }
        let loaded = Loaded {
            offered: recording.ended,
            recording,
            time: window.end,
            ..Loaded::default()
        };
        Run {
            loaded,
            verdict: Verdict::default(),
            phases: Vec::new(),
            is_steady: true,
            usage: Usage::default(),
            stored: 0,
            replay: None,
            seen: None,
            expired: None,
            traced: None,
            recovery: None,
        }
    }

    /// The summary of one repeat in an open or a closed loop.
    fn summary_of(mode: Mode, run: Run) -> RowSummary {
        let mut workload = Workload::named("x");
        workload.load.mode = mode;
        summarize(&Row {
            backend: Naive.description(),
            workload,
            runs: vec![run],
            failure: None,
        })
    }

    #[test]
    fn the_wait_was_measured_and_shown_nowhere() {
        let near =
            |found: Option<Estimate>, millis: f64| found.is_some_and(|own| (own.value - millis).abs() < millis / 500.0);
        let row = summary_of(Mode::Open, run_of(10_000));
        assert!(near(row.figure(Figure::WaitP50), 5_000.0), "{:?}", row.figures);
        assert!(near(row.figure(Figure::WaitP99), 9_900.0), "{:?}", row.figures);
        assert!(near(row.figure(Figure::ResponseP50), 5_001.0), "{:?}", row.figures);
        assert!(near(row.figure(Figure::ServiceP50), 1.0), "{:?}", row.figures);
    }

    #[test]
    fn a_wait_was_shown_with_too_few_samples_or_without_a_schedule() {
        let few = summary_of(Mode::Open, run_of(9_999));
        assert!(few.figure(Figure::WaitP50).is_some() && few.figure(Figure::WaitP99).is_none());
        let closed = summary_of(Mode::Saturate, run_of(10_000));
        assert!(closed.figure(Figure::WaitP50).is_none() && closed.figure(Figure::ServiceP50).is_some());
        // Of 10,000 operations, 400 never started: less than 5 %, but more than one in a hundred.
        let mut run = run_of(9_600);
        (run.loaded.censored, run.loaded.offered) = (400, 10_000);
        let cut = summary_of(Mode::Open, run);
        assert!(
            !cut.is_overloaded && cut.figure(Figure::WaitP99).is_none(),
            "{:?}",
            cut.figures
        );
    }

    #[test]
    fn the_last_part_of_a_load_that_ended_early_had_a_low_rate() {
        let time = Duration::from_millis(2_500);
        let parts: Vec<Option<f64>> = (0..4).map(|index| covered(f64::from(index), 1.0, time)).collect();
        assert_eq!(parts, [Some(1.0), Some(1.0), Some(0.5), None]);
        assert_eq!(covered(2.0, 1.0, Duration::from_millis(2_001)), None);
    }
}
