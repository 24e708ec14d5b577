//! The report: one self-contained page for light and dark screens and for paper.

mod charts;
mod html;
mod svg;

use self::charts::{charts, curves, scaling};
use self::html::{escape, number, table};
use crate::results::{Figure, Manifest, RowSummary, Summary, short};
use crate::status::status;
use crate::workload::Mode;

/// The content security policy: the page loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of a result.
pub fn html(manifest: &Manifest, summary: &Summary) -> String {
    let style = include_str!("style.css");
    let parts = [
        head(manifest, summary),
        figures(summary),
        times_apart(summary),
        curves(summary),
        scaling(summary),
        charts(summary),
        operations(summary),
        readers(summary),
        correctness(summary),
        goals(summary),
        resources(summary),
        machine(manifest),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><title>annals bench</title><style>\n{style}</style></head><body>\n\
         {}</body></html>\n",
        parts.concat()
    )
}

fn head(manifest: &Manifest, summary: &Summary) -> String {
    let started = jiff::Timestamp::from_microsecond(manifest.started_micros).unwrap_or_default();
    let rows = match summary.rows.iter().filter(|row| row.is_red()).count() {
        0 => None,
        1 => Some(
            "1 row is WRONG: the backend did not keep what it acknowledged, and its figures are invalid.".to_owned(),
        ),
        wrong => Some(format!(
            "{wrong} rows are WRONG: the backends did not keep what they acknowledged, and their figures are invalid."
        )),
    };
    let verdict = rows.map_or_else(
        || "<p class=\"good\">Every backend that keeps events has kept what it acknowledged.</p>".to_owned(),
        |text| format!("<p class=\"bad\">{text}</p>"),
    );
    let warnings: Vec<String> = manifest
        .self_test
        .warnings
        .iter()
        .map(|warning| format!("<p class=\"warn\">Warning: {}</p>", escape(warning)))
        .collect();
    let machine = &manifest.machine;
    format!(
        "<h1>annals bench</h1><p class=\"soft\">{} · {} × {} · {}</p>\n{verdict}\n{}\n",
        escape(&started.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        machine.processors,
        escape(&machine.processor),
        escape(&machine.file_system),
        warnings.concat()
    )
}

fn shown(row: &RowSummary, figure: Figure) -> String {
    row.figure(figure)
        .map_or_else(|| "n/a".to_owned(), |found| number(found.value))
}

/// The cells of a row: the durability stands beside its figures in every table.
fn cells(row: &RowSummary, values: impl IntoIterator<Item = String>) -> Vec<String> {
    let durability = row.backend.durability.name().to_owned();
    let names = [row.workload.clone(), row.backend.name.clone(), durability];
    names.into_iter().chain(values).collect()
}

/// The header of a table of [`cells`].
fn header(values: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let names = ["workload", "backend", "durability"];
    names.into_iter().chain(values).collect()
}

fn times(row: &RowSummary) -> [Figure; 3] {
    match row.mode {
        Mode::Saturate => [Figure::ServiceP50, Figure::ServiceP99, Figure::ServiceP99],
        Mode::Open => [Figure::ResponseP50, Figure::ResponseP99, Figure::ResponseP999],
    }
}

fn figures(summary: &Summary) -> String {
    let row = |row: &RowSummary| {
        let [p50, p99, p999] = times(row);
        let p999 = if p999 == p99 { String::new() } else { shown(row, p999) };
        let load = match row.rate {
            Some(rate) => format!("open, {}/s", number(rate)),
            None => "saturate".to_owned(),
        };
        let time = if row.mode == Mode::Open { "response" } else { "service" };
        let values = [
            load,
            row.batch.to_string(),
            shown(row, Figure::EventsPerSecond),
            shown(row, Figure::OperationsPerSecond),
            time.to_owned(),
            shown(row, p50),
            shown(row, p99),
            p999,
            number(row.max_ms),
            status(row).name().to_owned(),
        ];
        cells(row, values)
    };
    let rows: Vec<Vec<String>> = summary.rows.iter().map(row).collect();
    let header = header([
        "load",
        "batch",
        "events/s",
        "operations/s",
        "time",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "result",
    ]);
    let notes = "<p class=\"soft\">Service time is from the start of an operation to its end. Response time is from the moment at which the operation was due: \
                 waiting counts. A closed loop (saturate) has no response time. A percentile is given if at least 100 samples lie beyond it, \
                 and not among operations that were never answered. Percentiles are of all repeats together.</p>";
    format!("<h2>Figures</h2>{}{notes}\n", table(&header, &rows))
}

/// What an operation takes, apart from what it waits before, in open loops.
fn times_apart(summary: &Summary) -> String {
    let times = [
        Figure::ServiceP50,
        Figure::ServiceP99,
        Figure::WaitP50,
        Figure::WaitP99,
        Figure::ResponseP50,
        Figure::ResponseP99,
    ];
    let line = |row: &RowSummary| cells(row, times.map(|figure| shown(row, figure)));
    let open = summary.rows.iter().filter(|row| row.mode == Mode::Open);
    let rows: Vec<Vec<String>> = open.map(line).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = header(times.map(Figure::name));
    let note = "<p class=\"soft\">Wait is from the moment at which an operation was due to its start, service from there to its end, and response is both. A \
                percentile of the response is not the sum of the other two. A row that was overloaded has only the service time.</p>";
    format!(
        "<h2>Service, wait and response time</h2>{}{note}\n",
        table(&header, &rows)
    )
}

fn operations(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for row in &summary.rows {
        for kind in &row.kinds {
            let time = |time: Option<f64>| time.map_or_else(|| "n/a".to_owned(), number);
            rows.push(cells(
                row,
                [
                    kind.kind.name().to_owned(),
                    kind.count.to_string(),
                    kind.failed.to_string(),
                    time(kind.p50_ms),
                    time(kind.p99_ms),
                    number(kind.max_ms),
                ],
            ));
        }
    }
    let header = header(["operation", "ended", "failed", "p50 ms", "p99 ms", "max ms"]);
    format!("<h2>Operations</h2>{}\n", table(&header, &rows))
}

/// Readers beside the load, and stores whose process was killed.
fn readers(summary: &Summary) -> String {
    let figures = [
        Figure::SeenP50,
        Figure::SeenP99,
        Figure::BehindMax,
        Figure::ReopenTime,
        Figure::LostEvents,
    ];
    let has_any = |row: &&RowSummary| figures.iter().any(|figure| row.figure(*figure).is_some());
    let value = |row: &RowSummary, figure| row.figure(figure).map_or_else(String::new, |found| number(found.value));
    let line = |row: &RowSummary| cells(row, figures.map(|figure| value(row, figure)));
    let rows: Vec<Vec<String>> = summary.rows.iter().filter(has_any).map(line).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = header([
        "seen p50 ms",
        "seen p99 ms",
        "behind, most events",
        "reopen ms",
        "lost events",
    ]);
    let note = "<p class=\"soft\">Seen: from the start of an append until a reader that follows the log has it. Reopen: from opening a store whose \
                process was killed until it is open. Lost: acknowledged events that were not there any more, in the median of the repeats.</p>";
    format!("<h2>Readers and recovery</h2>{}{note}\n", table(&header, &rows))
}

/// Events that had expired and were removed.
fn expired(row: &RowSummary) -> String {
    match row.expired {
        Some(expired) => expired.to_string(),
        None if row.time_to_live_ms > 0 && row.repeats > 0 => "cannot".to_owned(),
        None => String::new(),
    }
}

fn correctness(summary: &Summary) -> String {
    let row = |row: &RowSummary| {
        let (acknowledged, found) = row.delivered;
        let broken = row.violations.iter().map(|violation| {
            let example = violation.examples.first().map_or("", String::as_str);
            format!("{} ({} times): {example}", violation.rule.name(), violation.count)
        });
        let verdict = if row.is_red() {
            broken.collect::<Vec<_>>().join("; ")
        } else if row.is_checked {
            "kept all rules".to_owned()
        } else {
            "keeps nothing to check".to_owned()
        };
        let lag = row.lag_p99_ms.map_or_else(|| "n/a".to_owned(), number);
        let values = [
            acknowledged.to_string(),
            found.to_string(),
            expired(row),
            row.conflicts.to_string(),
            row.failed.to_string(),
            row.censored.to_string(),
            lag,
            verdict,
            row.failure.clone().or(row.first_failure.clone()).unwrap_or_default(),
        ];
        cells(row, values)
    };
    let rows: Vec<Vec<String>> = summary.rows.iter().map(row).collect();
    let header = header([
        "acknowledged events",
        "found",
        "expired",
        "conflicts",
        "failed",
        "never answered",
        "harness late p99 ms",
        "oracle",
        "failure",
    ]);
    format!("<h2>Correctness</h2>{}\n", table(&header, &rows))
}

fn goals(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for row in &summary.rows {
        for goal in &row.goals {
            let result = goal.name_of_result();
            let value = goal.value.map_or_else(|| "n/a".to_owned(), number);
            rows.push(cells(row, [goal.name.clone(), value, result.to_owned()]));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = header(["goal", "measured", "result"]);
    format!("<h2>Goals</h2>{}\n", table(&header, &rows))
}

fn resources(summary: &Summary) -> String {
    let row = |row: &RowSummary| {
        let per_event = |bytes: Option<f64>| bytes.map_or_else(|| "n/a".to_owned(), number);
        let phases: Vec<String> = row
            .phases
            .iter()
            .map(|(name, time)| format!("{name} {}", number(*time)))
            .collect();
        let values = [
            row.stored.to_string(),
            per_event(row.memory_per_event()),
            per_event(row.disk_per_event()),
            phases.join(", "),
        ];
        cells(row, values)
    };
    let rows: Vec<Vec<String>> = summary.rows.iter().map(row).collect();
    let header = header(["events stored", "memory bytes/event", "disk bytes/event", "phases, ms"]);
    format!("<h2>Resources and phases</h2>{}\n", table(&header, &rows))
}

fn machine(manifest: &Manifest) -> String {
    let machine = &manifest.machine;
    let sync = manifest
        .self_test
        .sync_micros
        .map_or_else(|| "n/a".to_owned(), |micros| format!("{micros} µs"));
    let work: Vec<String> = manifest
        .work
        .iter()
        .map(|(row, hash)| format!("{row} {}", short(hash)))
        .collect();
    let facts = [
        ("program", format!("annals {}", manifest.tool)),
        ("build", manifest.build.to_string()),
        ("command", manifest.command.join(" ")),
        ("seed", manifest.seed.to_string()),
        ("hashes of the work", work.join(", ")),
        ("system", machine.system.clone()),
        ("processor", format!("{} × {}", machine.processors, machine.processor)),
        ("governor", machine.governor.clone()),
        ("memory", format!("{} MiB", machine.memory_bytes >> 20)),
        ("limits", machine.limits.clone()),
        ("file system of the data", machine.file_system.clone()),
        ("a sync of it", sync),
    ];
    let rows: Vec<Vec<String>> = facts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| vec![name.to_owned(), text])
        .collect();
    let again = "<p>Files beside this page: <code>manifest.json</code>, <code>summary.json</code>, <code>summary.csv</code>, <code>timeseries.csv</code>, \
                 <code>*.hlog</code>. <code>annals bench rerun DIR</code> measures the same again.</p>";
    format!(
        "<h2>How it was measured</h2><div class=\"wrap\">{}</div>{again}\n",
        table(&["", ""], &rows)
    )
}
