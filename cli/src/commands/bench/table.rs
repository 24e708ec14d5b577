//! The figures of a result as a table.

use annals_bench::results::{Figure, RowSummary, Summary};
use annals_bench::statistics::Estimate;
use annals_bench::workload::Mode;
use annals_bench::{Status, status};
use serde_json::Value;

use crate::exit::Outcome;
use crate::output::records::Records;
use crate::output::screen::Role;
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::grouped;
use crate::output::{Format, Out};

/// Writes the figures.
pub(super) fn write(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    if out.format != Format::Table {
        return records(summary).write(out);
    }
    write_grid(summary, out)?;
    write_goals(summary, out)?;
    write_remarks(summary, out)
}

/// All figures, for programs.
fn records(summary: &Summary) -> Records {
    let mut columns = vec!["workload", "backend", "durability", "mode", "status"];
    columns.extend(Figure::ALL.map(Figure::name));
    let mut records = Records::new(&columns);
    for row in &summary.rows {
        let texts = [
            row.workload.as_str(),
            row.backend.name.as_str(),
            row.backend.durability.name(),
            row.mode.name(),
            status(row).name(),
        ];
        let figures =
            Figure::ALL.map(|figure| row.figure(figure).map_or(Value::Null, |found| Value::from(found.value)));
        records.push(texts.map(Value::from).into_iter().chain(figures).collect());
    }
    records
}

fn write_grid(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    let mut columns = vec![
        Column::left("workload", Role::Id),
        Column::left("backend", Role::Type),
        Column::left("durability", Role::Secondary),
        Column::right("per second", Role::Number),
        Column::right("±", Role::Secondary),
        Column::left("time", Role::Secondary),
        Column::right("p50 ms", Role::Number),
        Column::right("p99 ms", Role::Number),
        Column::right("wait p99 ms", Role::Number),
        Column::right("bytes/event", Role::Number),
        Column::left("result", Role::Plain),
    ];
    let has_wait = summary.rows.iter().any(|row| row.mode == Mode::Open);
    columns.retain(|column| has_wait || column.name != "wait p99 ms");
    let steps = [
        Narrow::Drop("wait p99 ms"),
        Narrow::Drop("bytes/event"),
        Narrow::Drop("±"),
        Narrow::Drop("time"),
        Narrow::CutMiddle("workload", 12),
        Narrow::CutMiddle("durability", 8),
    ];
    let mut grid = Grid::new(&columns, &steps, out.screen).whole_last();
    for row in &summary.rows {
        grid.push(&cells(row, has_wait));
    }
    grid.write(out.stdout)
}

fn cells(row: &RowSummary, has_wait: bool) -> Vec<String> {
    let (time, p50, p99) = match row.mode {
        Mode::Saturate => ("service", Figure::ServiceP50, Figure::ServiceP99),
        Mode::Open => ("response", Figure::ResponseP50, Figure::ResponseP99),
    };
    let rate = row
        .figure(Figure::EventsPerSecond)
        .or_else(|| row.figure(Figure::OperationsPerSecond));
    let shown = |figure| {
        row.figure(figure)
            .map_or_else(|| "n/a".to_owned(), |found| millis(found.value))
    };
    let wait = match row.mode {
        Mode::Saturate => String::new(),
        Mode::Open => shown(Figure::WaitP99),
    };
    let memory = row.memory_per_event().map(|bytes| format!("{bytes:.0}"));
    let mut cells = vec![
        row.workload.clone(),
        row.backend.name.clone(),
        row.backend.durability.name().to_owned(),
        rate.map_or_else(String::new, |found| whole(found.value)),
        rate.map_or_else(String::new, spread),
        time.to_owned(),
        shown(p50),
        shown(p99),
    ];
    cells.extend(has_wait.then_some(wait));
    cells.extend([memory.unwrap_or_default(), status(row).name().to_owned()]);
    cells
}

#[expect(clippy::cast_sign_loss, reason = "a rate is not negative")]
pub(super) fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

/// Milliseconds with three significant digits.
pub(super) fn millis(time: f64) -> String {
    if time < 1.0 {
        format!("{time:.3}")
    } else if time < 100.0 {
        format!("{time:.2}")
    } else {
        format!("{time:.0}")
    }
}

/// Half of the interval, in percent of the figure.
fn spread(found: Estimate) -> String {
    if found.value > 0.0 {
        format!("{:.0} %", (found.high - found.low) / found.value * 50.0)
    } else {
        String::new()
    }
}

fn write_goals(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    if summary.rows.iter().all(|row| row.goals.is_empty()) {
        return Ok(());
    }
    out.line("")?;
    let columns = [
        Column::left("backend", Role::Type),
        Column::left("goal", Role::Plain),
        Column::right("measured", Role::Number),
        Column::left("result", Role::Plain),
    ];
    let mut grid = Grid::new(&columns, &[Narrow::Cut("goal", 12)], out.screen).whole_last();
    for row in &summary.rows {
        for goal in &row.goals {
            let result = goal.name_of_result();
            let value = goal.value.map_or_else(String::new, |value| format!("{value:.3}"));
            grid.push(&[&row.backend.name, &goal.name, &value, result]);
        }
    }
    grid.write(out.stdout)
}

/// The events that readers saw, and the state of stores whose process was killed.
fn write_readers(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    for row in &summary.rows {
        let name = format!("{} on {}", row.workload, row.backend.name);
        let shown = |figure| {
            row.figure(figure)
                .map_or_else(|| "n/a".to_owned(), |found| millis(found.value))
        };
        if let Some(behind) = row.figure(Figure::BehindMax) {
            out.note(&format!(
                "{name}: readers saw an event after {} ms (p50), {} ms (p99), and were behind by {} events at most",
                shown(Figure::SeenP50),
                shown(Figure::SeenP99),
                whole(behind.value)
            ))?;
        }
        if row.foreign > 0 {
            out.note(&format!(
                "{name}: readers skipped {} events of other programs",
                grouped(row.foreign)
            ))?;
        }
        if let Some(lost) = row.figure(Figure::LostEvents) {
            out.note(&format!(
                "{name}: opened {} ms after its process was killed; of {} acknowledged events, {} were lost",
                shown(Figure::ReopenTime),
                grouped(row.delivered.0),
                grouped(row.delivered.0.saturating_sub(row.delivered.1)),
            ))?;
            if lost.value > 0.0 && row.violations.is_empty() {
                out.note(&format!(
                    "{name}: its durability, {}, permits that",
                    row.backend.durability.name()
                ))?;
            }
        }
    }
    Ok(())
}

/// The number of events that expired.
fn write_expired(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    let has_limit = |row: &&RowSummary| row.time_to_live_ms > 0 && row.repeats > 0;
    for row in summary.rows.iter().filter(has_limit) {
        let name = format!("{} on {}", row.workload, row.backend.name);
        let age = row.time_to_live_ms;
        out.note(&match row.expired {
            Some(expired) => format!(
                "{name}: {} acknowledged events were older than {age} ms, and gone",
                grouped(expired)
            ),
            None => format!("{name}: this backend cannot let events expire after {age} ms, and keeps them all"),
        })?;
    }
    Ok(())
}

/// The limits of a figure.
fn write_remarks(summary: &Summary, out: &mut Out<'_>) -> Outcome {
    for row in &summary.rows {
        let name = format!("{} on {}", row.workload, row.backend.name);
        for violation in &row.violations {
            let example = violation.examples.first().map_or("", String::as_str);
            let (rule, count) = (violation.rule.name(), grouped(violation.count));
            out.warn(&format!(
                "{name} is WRONG: the rule '{rule}' is broken {count} times: {example}"
            ))?;
        }
        if let Some(failure) = &row.failure {
            out.warn(&format!("{name}: {failure}"))?;
        }
        if let Some(failure) = &row.first_failure {
            out.warn(&format!("{name}: {} operations failed: {failure}", grouped(row.failed)))?;
        }
        if status(row) == Status::Overloaded {
            let text = "less than 95 % of the offered load was accepted, so that its response times depend on how long it was measured";
            out.warn(&format!("{name} is OVERLOADED: {text}"))?;
        }
    }
    write_readers(summary, out)?;
    write_expired(summary, out)?;
    for row in summary.rows.iter().filter(|row| row.conflicts > 0) {
        let (conflicts, operations) = (grouped(row.conflicts), grouped(row.operations));
        out.note(&format!(
            "{} on {}: {conflicts} of {operations} operations were refused by a conflict, and are not in events per second",
            row.workload, row.backend.name
        ))?;
    }
    if summary.rows.iter().any(|row| row.mode == Mode::Saturate) {
        out.note("service: from the start of an operation, in a closed loop; says nothing of waiting")?;
    }
    if summary.rows.iter().any(|row| row.mode == Mode::Open) {
        out.note("response: from the time at which an operation was due; wait: from then to its start")?;
    }
    Ok(())
}
