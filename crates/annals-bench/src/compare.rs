//! Two results compared: better, worse, or the same within noise; and whether they can be compared at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::results::{Figure, Manifest, RowSummary, Summary, short};
use crate::statistics::Estimate;

/// A change below this part is none.
pub const THRESHOLD: f64 = 0.03;
/// The minimum number of repeats for an interval.
const REPEATS_MIN: usize = 3;
/// Keys of workloads that are named where they differ.
const KEYS_MAX: usize = 3;
/// A figure that is this many times better is more likely a mistake: a load that does nothing is fast.
const IMPLAUSIBLE: f64 = 10.0;
/// The figures that decide; the others follow from them.
const DECIDING: [Figure; 10] = [
    Figure::EventsPerSecond,
    Figure::OperationsPerSecond,
    Figure::ServiceP50,
    Figure::ServiceP99,
    Figure::ResponseP50,
    Figure::ResponseP90,
    Figure::ResponseP99,
    Figure::SeenP50,
    Figure::SeenP99,
    Figure::ReopenTime,
];

/// The result of the comparison of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is better, beyond the threshold and the intervals.
    Better,
    /// It is worse, beyond the threshold and the intervals.
    Worse,
    /// It is the same within noise.
    Same,
    /// It has no counterpart, or too few repeats.
    Missing,
    /// It is so much better that something must be wrong.
    Implausible,
}

impl Change {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same within noise",
            Self::Missing => "MISSING",
            Self::Implausible => "IMPLAUSIBLE",
        }
    }
}

/// A figure before and after.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Compared {
    /// The workload.
    pub workload: String,
    /// The backend, or both of them.
    pub backend: String,
    /// The figure; none if the whole row has no counterpart.
    pub figure: Option<Figure>,
    /// Before.
    pub before: Option<Estimate>,
    /// After.
    pub after: Option<Estimate>,
    /// The result of the comparison.
    pub change: Change,
    /// The reason why it is missing.
    pub note: String,
}

impl Compared {
    /// By which part it changed.
    pub fn ratio(&self) -> Option<f64> {
        let (before, after) = (self.before?.value, self.after?.value);
        (before > 0.0).then(|| after / before - 1.0)
    }
}

/// Two results side by side.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Comparison {
    /// What makes them unlike; empty if nothing does.
    pub unlike: Vec<String>,
    /// The results whose figures are invalid, and why; empty if both are valid.
    pub refused: Vec<String>,
    /// How the programs differ that measured them, if they do; results of different programs are alike.
    pub builds: Option<String>,
    /// The figures, by workload and backend.
    pub figures: Vec<Compared>,
}

impl Comparison {
    /// Whether a figure became `change`.
    pub fn has(&self, change: Change) -> bool {
        self.figures.iter().any(|figure| figure.change == change)
    }
}

/// A result that is compared.
pub type Result<'a> = (&'a Manifest, &'a Summary);

/// Compares two results: all rows of both, so that a row that is gone is seen.
pub fn compare(before: Result<'_>, after: Result<'_>) -> Comparison {
    let pairs = pairs(before.1, after.1);
    let mut unlike = unlike_machines(before.0, after.0);
    let mut figures = Vec::new();
    for (one, other) in &pairs {
        if let (Some(one), Some(other)) = (one, other) {
            unlike.extend(unlike_rows(one, other));
            unlike.extend(unlike_workloads(before.0, after.0, one, other));
        }
        figures.extend(compare_rows(*one, *other));
    }
    figures.extend(doubled("first", before.1));
    figures.extend(doubled("second", after.1));
    let results = [("the first result", before.1), ("the second result", after.1)];
    let red = |(name, summary): &(&str, &Summary)| {
        let red = summary.rows.iter().filter(|row| row.is_red());
        let texts = red.map(|row| {
            format!(
                "{name} is wrong: the oracle found a broken rule in {} on {}",
                row.workload, row.backend.name
            )
        });
        texts.collect::<Vec<_>>()
    };
    Comparison {
        unlike,
        refused: results.iter().flat_map(red).collect(),
        builds: builds(before.0, after.0),
        figures,
    }
}

type Pair<'a> = (Option<&'a RowSummary>, Option<&'a RowSummary>);

/// The rows of both, by workload and backend. Two results with one backend each are paired by workload.
fn pairs<'a>(before: &'a Summary, after: &'a Summary) -> Vec<Pair<'a>> {
    let backends = |summary: &'a Summary| {
        summary
            .rows
            .iter()
            .map(|row| row.backend.name.as_str())
            .collect::<BTreeSet<_>>()
    };
    let (own, others) = (backends(before), backends(after));
    let by_workload = own.len() == 1 && others.len() == 1;
    let key = |row: &'a RowSummary| {
        let backend = if by_workload { "" } else { row.backend.name.as_str() };
        (row.workload.as_str(), backend)
    };
    let mut keys: Vec<_> = before.rows.iter().map(key).collect();
    keys.extend(after.rows.iter().map(key));
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(*key));
    let find = |summary: &'a Summary, wanted| summary.rows.iter().find(|row| key(row) == wanted);
    keys.into_iter()
        .map(|wanted| (find(before, wanted), find(after, wanted)))
        .collect()
}

/// The rows of a result that have the names of an earlier row: one of them alone was compared.
fn doubled(which: &str, summary: &Summary) -> Vec<Compared> {
    let mut seen = BTreeSet::new();
    let rows = summary.rows.iter();
    rows.filter(|row| !seen.insert((&row.workload, &row.backend.name)))
        .map(|row| missing(row, format!("the {which} result has several such rows")))
        .collect()
}

fn unlike_machines(before: &Manifest, after: &Manifest) -> Vec<String> {
    if before.machine.is_like(&after.machine) {
        return Vec::new();
    }
    let name = |manifest: &Manifest| {
        let machine = &manifest.machine;
        format!(
            "{} × {}, {}",
            machine.processors, machine.processor, machine.file_system
        )
    };
    vec![format!("the machines differ: {} and {}", name(before), name(after))]
}

fn unlike_rows(before: &RowSummary, after: &RowSummary) -> Vec<String> {
    let (one, other) = (&before.backend, &after.backend);
    let differences = [
        (
            "durability",
            one.durability.name().to_owned(),
            other.durability.name().to_owned(),
        ),
        (
            "batch unit",
            one.batch_unit.name().to_owned(),
            other.batch_unit.name().to_owned(),
        ),
        (
            "consistency check",
            one.check.name().to_owned(),
            other.check.name().to_owned(),
        ),
        ("events of an append", before.batch.to_string(), after.batch.to_string()),
        ("workers", before.workers.to_string(), after.workers.to_string()),
        (
            "number of processes",
            before.processes.to_string(),
            after.processes.to_string(),
        ),
        ("load", before.mode.name().to_owned(), after.mode.name().to_owned()),
    ];
    let different = differences.into_iter().filter(|(_, one, other)| one != other);
    different
        .map(|(what, one, other)| format!("{}: the {what} differs, {one} and {other}", before.workload))
        .collect()
}

/// How the work of two rows differs, if it does.
fn unlike_workloads(before: &Manifest, after: &Manifest, one: &RowSummary, other: &RowSummary) -> Option<String> {
    let work = |manifest: &Manifest, row: &RowSummary| {
        let rows = manifest.workloads.iter().filter_map(|workload| workload.rows().ok());
        let mut rows = rows.flatten().filter(|workload| workload.name == row.workload);
        rows.next().map(|workload| workload.work())
    };
    let hashes = (before.work.get(&one.workload), after.work.get(&other.workload));
    let hashes = Option::zip(hashes.0, hashes.1).filter(|(one, other)| one != other);
    let (own, others) = (work(before, one), work(after, other));
    if own == others && hashes.is_none() {
        return None;
    }
    let mut text = format!("{}: the workloads differ", one.workload);
    if let (Some(own), Some(others)) = (own, others) {
        let keys = different_keys(&own, &others);
        text = format!(
            "{text} in {}",
            keys.unwrap_or_else(|| "the events of their logs".to_owned())
        );
    }
    if let Some((one, other)) = hashes {
        text = format!("{text}; their hashes are {} and {}", short(one), short(other));
    }
    Some(text)
}

/// The first keys with different values, and these.
fn different_keys(own: &BTreeMap<String, String>, others: &BTreeMap<String, String>) -> Option<String> {
    let keys: BTreeSet<&String> = own.keys().chain(others.keys()).collect();
    let differs = |key: &&String| own.get(*key) != others.get(*key);
    let different: Vec<&String> = keys.into_iter().filter(differs).collect();
    let value =
        |work: &BTreeMap<String, String>, key: &String| work.get(key).map_or("absent", String::as_str).to_owned();
    let name = |key: &&String| format!("{key} ({} and {})", value(own, key), value(others, key));
    let named: Vec<String> = different.iter().take(KEYS_MAX).map(name).collect();
    let more = different
        .len()
        .checked_sub(KEYS_MAX + 1)
        .map(|more| format!(", and {} more", more + 1));
    (!named.is_empty()).then(|| named.join(", ") + &more.unwrap_or_default())
}

/// What differs besides the figures, and is often the question: the program.
fn builds(before: &Manifest, after: &Manifest) -> Option<String> {
    let is_same = before.tool == after.tool && before.build.may_be(&after.build);
    let name = |manifest: &Manifest| {
        let build = manifest.build.to_string();
        let comma = if build.is_empty() { "" } else { ", " };
        format!("annals {}{comma}{build}", manifest.tool)
    };
    (!is_same).then(|| format!("the builds differ: {}; and {}", name(before), name(after)))
}

fn compare_rows(before: Option<&RowSummary>, after: Option<&RowSummary>) -> Vec<Compared> {
    let Some(any) = after.or(before) else {
        return Vec::new();
    };
    let missing = |note: String| vec![missing(any, note)];
    let (Some(before), Some(after)) = (before, after) else {
        let which = if before.is_none() { "first" } else { "second" };
        return missing(format!("the {which} result has no such row"));
    };
    for (name, row) in [("first", before), ("second", after)] {
        if let Some(failure) = &row.failure {
            return missing(format!("the {name} result failed: {failure}"));
        }
        if row.repeats < REPEATS_MIN {
            return missing(format!(
                "the {name} result has {} repeats, and {REPEATS_MIN} are needed",
                row.repeats
            ));
        }
    }
    // In an open loop, the tail of the response has that of the service in it.
    let is_judged = |figure: &Figure| *figure != Figure::ServiceP99 || after.mode == crate::workload::Mode::Saturate;
    let figures = DECIDING
        .into_iter()
        .filter(is_judged)
        .filter_map(|figure| compare_figure(before, after, figure));
    let figures: Vec<Compared> = figures.collect();
    if figures.is_empty() {
        return missing("neither result has a figure".to_owned());
    }
    figures
}

/// A row that cannot be compared.
fn missing(row: &RowSummary, note: String) -> Compared {
    Compared {
        workload: row.workload.clone(),
        backend: row.backend.name.clone(),
        figure: None,
        before: None,
        after: None,
        change: Change::Missing,
        note,
    }
}

fn compare_figure(before: &RowSummary, after: &RowSummary, figure: Figure) -> Option<Compared> {
    let (one, other) = (before.figure(figure), after.figure(figure));
    let backend = if before.backend.name == after.backend.name {
        before.backend.name.clone()
    } else {
        format!("{} → {}", before.backend.name, after.backend.name)
    };
    let (change, note) = match (one, other) {
        (None, None) => return None,
        (Some(one), Some(other)) if one.value > 0.0 => (judge(figure, one, other), ""),
        (Some(_), Some(_)) => (Change::Missing, "it was nothing before"),
        (None, Some(_)) => (
            Change::Missing,
            "the first result has too few samples for it, or was overloaded",
        ),
        (Some(_), None) => (
            Change::Missing,
            "the second result has too few samples for it, or was overloaded",
        ),
    };
    Some(Compared {
        workload: before.workload.clone(),
        backend,
        figure: Some(figure),
        before: one,
        after: other,
        change,
        note: note.to_owned(),
    })
}

fn judge(figure: Figure, before: Estimate, after: Estimate) -> Change {
    let ratio = after.value / before.value;
    // How many times better.
    let better = if figure.is_rate() { ratio } else { 1.0 / ratio };
    if !better.is_finite() || better >= IMPLAUSIBLE {
        Change::Implausible
    } else if (ratio - 1.0).abs() < THRESHOLD || before.overlaps(&after) {
        Change::Same
    } else if better > 1.0 {
        Change::Better
    } else {
        Change::Worse
    }
}
