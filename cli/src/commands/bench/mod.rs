//! `bench`: measures backends under the same load, and compares results.

mod compare;
mod list;
mod measure;
mod progress;
mod record;
mod sweep;
mod table;
mod what;

use annals_bench::results::{self, Folder, GoalResult, Manifest, ResultsError, RowSummary, Summary};
use annals_bench::{Status, child, report, status};

use self::measure::Asked;
use crate::args::bench::{Bench, To};
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::output::text::counted;

/// The exit code of a worse figure.
const WORSE: u8 = 5;
/// The exit code of a broken rule or a missed goal.
const WRONG: u8 = 6;
/// The exit code of figures that are missing, or cannot be compared.
const UNCOMPARABLE: u8 = 7;

pub(crate) fn run(asked: &Bench, out: &mut Out<'_>) -> Outcome {
    match asked {
        Bench::List => list::show(out),
        Bench::Run(run) => {
            let mut workloads = Vec::new();
            if let Some(log) = &run.import {
                workloads.push(what::changed(record::import(log, out)?, &run.what)?);
            }
            // A log without a workload is measured alone.
            if run.import.is_none() || !run.what.workload.is_empty() {
                workloads.extend(what::workloads(&run.what, run.rate)?);
            }
            measure_and_show(&asked_of(workloads, &run.what.backends, run.what.seed, &run.to), out)
        }
        Bench::Compare(asked) => compare::run(asked, out),
        Bench::Report { result } => {
            let (manifest, summary) = results::read(result)?;
            let folder = Folder::existing(result);
            let text = report::html(&manifest, &summary);
            folder.file("report.html", |file| file.write_all(text.as_bytes()))?;
            out.hint(&format!(
                "report written to {}",
                folder.path().join("report.html").display()
            ))
            .map_err(Failure::from)
        }
        Bench::Rerun { result, to } => {
            let (mut manifest, _) = results::read(result)?;
            record::reopen(&mut manifest.workloads, out)?;
            let asked = asked_of(manifest.workloads, &manifest.backends, manifest.seed, to);
            measure_and_show(&asked, out)
        }
        Bench::Sweep(sweep) => {
            let found = sweep::sweep(sweep, out)?;
            show(&found, out)
        }
        Bench::FindMax(asked) => sweep::find_max(asked, out),
        Bench::Child => {
            let input = std::io::BufReader::new(std::io::stdin());
            child::child(input, std::io::stdout()).map_err(|error| Failure::Runtime(error.to_string()))
        }
        Bench::Record { log, name } => record::run(log, name, out),
    }
}

fn asked_of(workloads: Vec<annals_bench::workload::Workload>, backends: &[String], seed: u64, to: &To) -> Asked {
    Asked {
        workloads,
        backends: backends.to_vec(),
        seed,
        out: to.out.clone(),
        data: to.data.clone(),
    }
}

fn measure_and_show(asked: &Asked, out: &mut Out<'_>) -> Outcome {
    let found = measure::measure(asked, out)?;
    show(&found, out)
}

fn show((folder, manifest, summary): &(Folder, Manifest, Summary), out: &mut Out<'_>) -> Outcome {
    table::write(summary, out)?;
    for warning in &manifest.self_test.warnings {
        out.warn(warning)?;
    }
    out.hint(&format!("result written to {}", folder.path().display()))?;
    judge(summary)
}

/// Fails if a row is wrong, missed a goal, or was not measured; also if it is overloaded besides.
fn judge(summary: &Summary) -> Outcome {
    let count = |is: &dyn Fn(&RowSummary) -> bool| summary.rows.iter().filter(|row| is(row)).count() as u64;
    let has_goal = |row: &RowSummary, is_meant: &dyn Fn(&GoalResult) -> bool| row.goals.iter().any(is_meant);
    let is_unknown =
        |goal: &GoalResult, is_measured: bool| goal.is_reached.is_none() && goal.is_measured == is_measured;
    let verdicts = [
        (
            WRONG,
            count(&RowSummary::is_red),
            "WRONG: the backend did not keep what it acknowledged; see summary.json",
        ),
        (
            WRONG,
            count(&|row| has_goal(row, &|goal| goal.is_reached == Some(false))),
            "missed a goal; see the list of goals",
        ),
        (
            UNCOMPARABLE,
            count(&|row| status(row) == Status::Failed),
            "failed; see the warnings",
        ),
        (
            UNCOMPARABLE,
            count(&|row| has_goal(row, &|goal| is_unknown(goal, true))),
            "measured too little for a goal; use a longer --duration",
        ),
        (
            UNCOMPARABLE,
            count(&|row| has_goal(row, &|goal| is_unknown(goal, false))),
            "has a goal that cannot be measured on its backend; see the list of goals",
        ),
    ];
    match verdicts.into_iter().find(|(_, rows, _)| *rows > 0) {
        Some((code, rows, text)) => Err(Failure::Verdict(code, format!("{} {text}", counted(rows, "row")))),
        None => Ok(()),
    }
}

impl From<ResultsError> for Failure {
    fn from(error: ResultsError) -> Self {
        match &error {
            ResultsError::File { error: cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                Self::NotFound(error.to_string())
            }
            ResultsError::File { .. } => Self::Runtime(error.to_string()),
            ResultsError::Invalid { .. } => Self::Data(error.to_string()),
        }
    }
}
