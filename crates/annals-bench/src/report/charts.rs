//! The charts of a report: which rows are drawn, and which of them in one chart.

use std::collections::BTreeSet;

use super::html::escape;
use super::svg::{Bar, Line, Stack, bars, lines, stacks};
use crate::results::{Figure, RowSummary, Summary};
use crate::run::Phase;
use crate::status::{Status, status};
use crate::workload::{Mode, PROCESSES, THREADS};

/// Points of a line that show a knee.
const POINTS_MIN: usize = 3;

/// Rows of one chart.
struct Group<'a> {
    /// What they have in common.
    title: String,
    rows: Vec<&'a RowSummary>,
}

impl Group<'_> {
    /// A line for each backend, through the points of its rows.
    fn lines(&self, point: &dyn Fn(&RowSummary) -> Option<(f64, f64)>) -> Vec<Line> {
        let names: BTreeSet<&str> = self.rows.iter().map(|row| row.backend.name.as_str()).collect();
        let line = |name: &str| {
            let own = self.rows.iter().filter(|row| row.backend.name == name);
            Line {
                label: name.to_owned(),
                parts: vec![own.filter_map(|row| point(row)).collect()],
            }
        };
        names.into_iter().map(line).collect()
    }
}

/// Whether a row is in charts: its figures are valid, and its backend stores events.
fn is_drawn(row: &RowSummary) -> bool {
    row.backend.keeps_events && !matches!(status(row), Status::Wrong | Status::Failed)
}

/// The rows that are drawn, in groups of one durability, batch unit, and workload by `name`; rows without a name are left out. Every chart takes
/// its rows from here.
fn groups<'a>(summary: &'a Summary, name: &dyn Fn(&RowSummary) -> Option<&str>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for row in summary.rows.iter().filter(|row| is_drawn(row)) {
        let Some(name) = name(row) else {
            continue;
        };
        let (durability, unit) = (row.backend.durability.name(), row.backend.batch_unit.name());
        let title = format!("{name}, {durability}, batch unit {unit}");
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { title, rows: vec![row] }),
        }
    }
    groups
}

/// The name of a workload without its variant.
fn base(row: &RowSummary) -> &str {
    let name = row.workload.rsplit_once('/').map(|(base, _)| base);
    name.unwrap_or(&row.workload)
}

/// The knee: response times over the offered rate, of workloads that were measured at three rates or more.
pub(super) fn curves(summary: &Summary) -> String {
    let mut text = String::new();
    for group in groups(summary, &|row| Some(base(row))) {
        for figure in [Figure::ResponseP50, Figure::ResponseP99] {
            let mut all = group.lines(&|row| Some((row.rate?, row.figure(figure)?.value)));
            all.retain(|line| line.parts.iter().any(|points| points.len() >= POINTS_MIN));
            text.push_str(&lines(&group.title, ("operations/s offered", figure.name()), &all));
        }
    }
    if text.is_empty() {
        return text;
    }
    let note = "<p class=\"soft\">A line ends before the rate at which the backend was overloaded. Rows that are WRONG or failed are not drawn.</p>";
    format!("<h2>Response time by load</h2>{note}{text}\n")
}

/// Throughput over the number of threads or processes, of workloads that were measured with several.
pub(super) fn scaling(summary: &Summary) -> String {
    let threads = scaling_by(summary, THREADS, &|row| row.workers);
    let processes = scaling_by(summary, PROCESSES, &|row| row.processes);
    threads + &processes
}

fn scaling_by(summary: &Summary, words: [&str; 2], count: &dyn Fn(&RowSummary) -> u32) -> String {
    let is_of_unit = |name: &str| words.iter().any(|word| name.rsplit(' ').next() == Some(word));
    let [_, unit] = words;
    let mut text = String::new();
    for group in groups(summary, &|row| is_of_unit(&row.workload).then(|| base(row))) {
        let all = group.lines(&|row| Some((f64::from(count(row)), row.figure(Figure::OperationsPerSecond)?.value)));
        text.push_str(&lines(&group.title, (unit, "operations/s"), &all));
    }
    if text.is_empty() {
        return text;
    }
    format!("<h2>Throughput by {unit}</h2>{text}\n")
}

/// The charts of each workload.
pub(super) fn charts(summary: &Summary) -> String {
    let mut text = "<h2>Charts</h2><p class=\"soft\">A chart has backends of one durability and one batch unit. Rows that are WRONG or failed, and backends that \
                    keep nothing, are in none. The line on a bar is the 95 % interval.</p>"
        .to_owned();
    for group in groups(summary, &|row| Some(&row.workload)) {
        let rows = &group.rows;
        let charts = [throughput(rows), percentiles(rows), timeline(rows), phases(rows)].concat();
        if !charts.is_empty() {
            let heading = format!("<h3>{}</h3>\n", escape(&group.title));
            text.push_str(&heading);
            text.push_str(&charts);
        }
    }
    text
}

fn throughput(rows: &[&RowSummary]) -> String {
    let bar = |row: &&RowSummary| {
        let rate = row
            .figure(Figure::EventsPerSecond)
            .or_else(|| row.figure(Figure::OperationsPerSecond))?;
        Some(Bar {
            group: row.backend.name.clone(),
            label: row.backend.name.clone(),
            value: rate.value,
            low: rate.low,
            high: rate.high,
        })
    };
    let all: Vec<Bar> = rows.iter().filter_map(bar).collect();
    let has_events = rows.iter().any(|row| row.figure(Figure::EventsPerSecond).is_some());
    bars("Throughput", if has_events { "events/s" } else { "operations/s" }, &all)
}

fn percentiles(rows: &[&RowSummary]) -> String {
    let mut all = Vec::new();
    for row in rows {
        let figures: &[Figure] = match row.mode {
            Mode::Saturate => &[Figure::ServiceP50, Figure::ServiceP99],
            Mode::Open => &[
                Figure::ResponseP50,
                Figure::ResponseP90,
                Figure::ResponseP99,
                Figure::ResponseP999,
            ],
        };
        let found = figures.iter().filter_map(|figure| Some((figure, row.figure(*figure)?)));
        all.extend(found.map(|(figure, found)| Bar {
            group: row.backend.name.clone(),
            label: format!("{}, {}", row.backend.name, figure.name().trim_end_matches(" ms")),
            value: found.value,
            low: found.low,
            high: found.high,
        }));
    }
    bars("Percentiles", "ms", &all)
}

/// The repeats in order, each as a part of the line.
fn timeline(rows: &[&RowSummary]) -> String {
    let seconds = rows.iter().flat_map(|row| &row.timeline).map(|part| part.second);
    // With room between two repeats.
    let length = seconds.fold(0.0, f64::max) * 1.1;
    let line = |row: &&RowSummary| {
        let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut start = 0.0;
        for part in &row.timeline {
            if parts.len() < part.repeat {
                start = length * f64::from(u32::try_from(parts.len()).unwrap_or(0));
                parts.push(Vec::new());
            }
            if let Some(points) = parts.last_mut() {
                points.push((start + part.second, part.operations_per_second));
            }
        }
        Line {
            label: row.backend.name.clone(),
            parts,
        }
    };
    let all: Vec<Line> = rows.iter().map(line).collect();
    lines(
        "Measured time, each repeat after the other",
        ("seconds", "operations/s"),
        &all,
    )
}

/// How long each phase takes, in the median of the repeats.
fn phases(rows: &[&RowSummary]) -> String {
    let stack = |row: &&RowSummary| {
        let of = |phase: Phase| row.phases.iter().find(|(name, _)| name == phase.name());
        Stack {
            label: row.backend.name.clone(),
            parts: Phase::ALL
                .map(|phase| of(phase).map_or(0.0, |(_, time)| *time))
                .to_vec(),
        }
    };
    let all: Vec<Stack> = rows.iter().map(stack).collect();
    stacks("Phases of a repeat", "ms", &Phase::ALL.map(Phase::name), &all)
}
