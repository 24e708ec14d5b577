//! Goals of workloads, and whether a row reached them.

use serde::{Deserialize, Serialize};

use crate::load::Samples;
use crate::plan::Row;
use crate::readers::Seen;
use crate::run::Run;
use crate::statistics::median;
use crate::trace::Traced;
use crate::workload::{Goal, Kind, Metric};

/// Whether a goal was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoalResult {
    /// Its name.
    pub name: String,
    /// The measured value in the metric's unit; `None` if there was too little data.
    pub value: Option<f64>,
    /// Whether that is enough; none if it is not known.
    pub is_reached: Option<bool>,
    /// Whether it was measured at all: a backend may have no readers or traces.
    #[serde(default = "measured_before")]
    pub is_measured: bool,
}

/// A result without the field has only goals that were measured.
fn measured_before() -> bool {
    true
}

impl GoalResult {
    /// The verdict in a word or two.
    pub fn name_of_result(&self) -> &'static str {
        match self.is_reached {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None if self.is_measured => "not known: too few samples",
            None => "not measured",
        }
    }
}

/// The goals of the workload of `row`.
pub(super) fn judge(row: &Row) -> Vec<GoalResult> {
    let goals = row.workload.goals.iter();
    goals
        .map(|goal| {
            let value = measured(row, goal);
            let is_reached = value.map(|value| {
                goal.at_most.is_none_or(|limit| value <= limit) && goal.at_least.is_none_or(|limit| value >= limit)
            });
            GoalResult {
                name: goal.name.clone(),
                value,
                is_reached,
                is_measured: is_measured(row, goal.metric),
            }
        })
        .collect()
}

/// Whether a run has any data for `metric`.
fn is_measured(row: &Row, metric: Metric) -> bool {
    let any = |is: &dyn Fn(&Run) -> bool| row.runs.iter().any(is);
    match metric {
        Metric::SeenP95Ms | Metric::PublishP95Ms | Metric::DeliveredPercent => any(&|run| run.seen.is_some()),
        Metric::TracedPercent => any(&|run| run.traced.is_some()),
        Metric::ReplaySeconds => any(&|run| run.replay.is_some()),
        Metric::ResponseP95Ms | Metric::ResponseP99Ms | Metric::EventsPerSecond | Metric::ErrorPercent => {
            any(&|_| true)
        }
    }
}

/// The 95th percentile of a time of readers, in milliseconds.
fn of_readers(row: &Row, of: &dyn Fn(&Seen) -> &Samples) -> Option<f64> {
    let mut all = Samples::default();
    let seen = row.runs.iter().filter_map(|run| run.seen.as_ref());
    seen.for_each(|seen| all.add(of(seen)));
    all.quantile(0.95).known().map(|time| time.as_secs_f64() * 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
fn measured(row: &Row, goal: &Goal) -> Option<f64> {
    let sum = |of: &dyn Fn(&Run) -> u64| row.runs.iter().map(of).sum::<u64>() as f64;
    let percent = |part: f64, all: f64| (all > 0.0).then(|| part / all * 100.0);
    match goal.metric {
        Metric::ResponseP95Ms => percentile(row, goal.of, 0.95),
        Metric::ResponseP99Ms => percentile(row, goal.of, 0.99),
        Metric::SeenP95Ms => of_readers(row, &|seen| &seen.after),
        Metric::PublishP95Ms => of_readers(row, &|seen| &seen.published),
        Metric::EventsPerSecond => {
            let rate = |run: &Run| run.loaded.recording.events as f64 / run.loaded.time.as_secs_f64().max(1e-9);
            median(&row.runs.iter().map(rate).collect::<Vec<_>>())
        }
        Metric::ErrorPercent => match goal.of {
            Some(kind) => {
                let ended = |run: &Run| run.loaded.recording.kind(kind).service.count();
                let failed = sum(&|run| run.loaded.recording.kind(kind).failed);
                percent(failed, failed + sum(&ended))
            }
            // An operation without a response counts as failed.
            None => percent(
                sum(&|run| run.loaded.recording.failed + run.loaded.censored),
                sum(&|run| run.loaded.offered),
            ),
        },
        Metric::DeliveredPercent => {
            let of_seen = |of: &dyn Fn(&Seen) -> u64| sum(&|run| run.seen.as_ref().map_or(0, of));
            percent(of_seen(&|seen| seen.delivered), of_seen(&|seen| seen.acknowledged))
        }
        Metric::TracedPercent => {
            let of_traced = |of: &dyn Fn(&Traced) -> u64| sum(&|run| run.traced.as_ref().map_or(0, of));
            percent(of_traced(&|traced| traced.traced), of_traced(&|traced| traced.events))
        }
        Metric::ReplaySeconds => {
            let times = row.runs.iter().filter_map(|run| Some(run.replay?.as_secs_f64()));
            median(&times.collect::<Vec<_>>())
        }
    }
}

fn percentile(row: &Row, of: Option<Kind>, share: f64) -> Option<f64> {
    let mut all = Samples::default();
    for run in &row.runs {
        match of {
            Some(kind) => all.add(&run.loaded.recording.kind(kind).response),
            None => all.add(&run.loaded.recording.all().response),
        }
    }
    // Operations without a response may be of any kind, so the tail of the distribution is unknown.
    let is_whole = row.runs.iter().all(|run| run.loaded.censored == 0);
    let known = all.quantile(share).known().filter(|_| is_whole);
    known.map(|time| time.as_secs_f64() * 1_000.0)
}
