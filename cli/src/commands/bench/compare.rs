//! `bench compare`: two results side by side, with an exit code.

use annals_bench::compare::{Change, Compared, Comparison, compare};
use annals_bench::results::{self, Figure};
use annals_bench::statistics::Estimate;
use serde_json::Value;

use super::table::{millis, whole};
use super::{UNCOMPARABLE, WORSE, WRONG};
use crate::args::bench::Compare;
use crate::exit::{Failure, Outcome};
use crate::output::records::Records;
use crate::output::screen::Role;
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::counted;
use crate::output::{Format, Out};

pub(super) fn run(asked: &Compare, out: &mut Out<'_>) -> Outcome {
    let before = results::read(&asked.before)?;
    let after = results::read(&asked.after)?;
    let comparison = compare((&before.0, &before.1), (&after.0, &after.1));
    if let Some(reason) = comparison.refused.first() {
        return Err(Failure::Verdict(WRONG, reason.clone()));
    }
    if let Some(reason) = comparison.unlike.first() {
        if !asked.allow_unlike {
            let text = format!("the results are unlike: {reason}; --allow-unlike compares them all the same");
            return Err(Failure::Verdict(UNCOMPARABLE, text));
        }
        write_banner(&comparison, out)?;
    }
    if out.format == Format::Table {
        write_grid(&comparison, out)?;
        comparison.builds.iter().try_for_each(|text| out.note(text))?;
    } else {
        records(&comparison).write(out)?;
    }
    judge(&comparison)
}

fn write_banner(comparison: &Comparison, out: &mut Out<'_>) -> Outcome {
    out.warn("THESE RESULTS ARE UNLIKE, and a difference may have nothing to do with the backends:")?;
    for reason in &comparison.unlike {
        out.warn(reason)?;
    }
    Ok(())
}

fn write_grid(comparison: &Comparison, out: &mut Out<'_>) -> Outcome {
    let columns = [
        Column::left("workload", Role::Id),
        Column::left("backend", Role::Type),
        Column::left("figure", Role::Secondary),
        Column::right("before", Role::Number),
        Column::right("after", Role::Number),
        Column::right("change", Role::Plain),
        Column::left("result", Role::Plain),
    ];
    // Names and the result stay: the change says how the figures differ.
    let steps = [Narrow::Drop("before"), Narrow::Drop("after")];
    let mut grid = Grid::new(&columns, &steps, out.screen).whole_names();
    for figure in &comparison.figures {
        grid.push(&cells(figure));
    }
    grid.write(out.stdout)
}

fn cells(compared: &Compared) -> [String; 7] {
    let shown = |estimate: Option<Estimate>| {
        let is_rate = compared.figure.is_some_and(Figure::is_rate);
        estimate.map_or_else(
            || "n/a".to_owned(),
            |found| {
                if is_rate {
                    whole(found.value)
                } else {
                    millis(found.value)
                }
            },
        )
    };
    let change = compared.ratio().map(|ratio| format!("{:+.1} %", ratio * 100.0));
    let note = if compared.note.is_empty() {
        compared.change.name().to_owned()
    } else {
        format!("{}: {}", compared.change.name(), compared.note)
    };
    [
        compared.workload.clone(),
        compared.backend.clone(),
        compared.figure.map_or("", Figure::name).to_owned(),
        shown(compared.before),
        shown(compared.after),
        change.unwrap_or_default(),
        note,
    ]
}

fn records(comparison: &Comparison) -> Records {
    let mut records = Records::new(&["workload", "backend", "figure", "before", "after", "result", "note"]);
    for compared in &comparison.figures {
        let value = |estimate: Option<Estimate>| estimate.map_or(Value::Null, |found| Value::from(found.value));
        records.push(vec![
            Value::from(compared.workload.as_str()),
            Value::from(compared.backend.as_str()),
            compared.figure.map_or(Value::Null, |figure| Value::from(figure.name())),
            value(compared.before),
            value(compared.after),
            Value::from(compared.change.name()),
            Value::from(compared.note.as_str()),
        ]);
    }
    records
}

/// The exit code: what cannot be compared comes first, since a gate that does not see it would let anything pass.
fn judge(comparison: &Comparison) -> Outcome {
    let count = |change| {
        let figures = comparison.figures.iter();
        figures.filter(|figure| figure.change == change).count() as u64
    };
    let (missing, implausible) = (count(Change::Missing), count(Change::Implausible));
    if missing + implausible > 0 || comparison.figures.is_empty() {
        let text = format!(
            "{} missing and {implausible} implausibly better: measure again",
            counted(missing, "figure")
        );
        return Err(Failure::Verdict(UNCOMPARABLE, text));
    }
    match count(Change::Worse) {
        0 => Ok(()),
        worse => Err(Failure::Verdict(WORSE, format!("{} worse", counted(worse, "figure")))),
    }
}
