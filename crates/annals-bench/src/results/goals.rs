//! Goals: what a workload wants, and whether a row reached it.

use serde::{Deserialize, Serialize};

use crate::load::Samples;
use crate::plan::Row;
use crate::run::Run;
use crate::statistics::median;
use crate::workload::{Goal, Kind, Metric};

/// Whether a goal was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoalResult {
    /// What it is called.
    pub name: String,
    /// What was measured, in the metric's unit; none if too little was.
    pub value: Option<f64>,
    /// Whether that is enough; none if it is not known.
    pub is_reached: Option<bool>,
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
            }
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
fn measured(row: &Row, goal: &Goal) -> Option<f64> {
    let sum = |of: &dyn Fn(&Run) -> u64| row.runs.iter().map(of).sum::<u64>() as f64;
    let percent = |part: f64, all: f64| (all > 0.0).then(|| part / all * 100.0);
    match goal.metric {
        Metric::ResponseP95Ms => percentile(row, goal.of, 0.95),
        Metric::ResponseP99Ms => percentile(row, goal.of, 0.99),
        Metric::SeenP95Ms => {
            let mut all = Samples::default();
            let seen = row.runs.iter().filter_map(|run| run.seen.as_ref());
            seen.for_each(|seen| all.add(&seen.after));
            all.quantile(0.95).known().map(|time| time.as_secs_f64() * 1_000.0)
        }
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
            // What had no answer has failed, for a user.
            None => percent(
                sum(&|run| run.loaded.recording.failed + run.loaded.censored),
                sum(&|run| run.loaded.offered),
            ),
        },
        Metric::DeliveredPercent => percent(sum(&|run| run.verdict.found), sum(&|run| run.verdict.acknowledged)),
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
    // What was never answered may be of any kind: then nothing is known of the tail.
    let is_whole = row.runs.iter().all(|run| run.loaded.censored == 0);
    let known = all.quantile(share).known().filter(|_| is_whole);
    known.map(|time| time.as_secs_f64() * 1_000.0)
}
