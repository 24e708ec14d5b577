//! Without a command: an overview of a log with charts, and suggestions of commands.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use annals::{Event, Field, Query, Store};

use crate::args::Global;
use crate::commands::{heatmap, import, load, stats, trace, trends};
use crate::demo::Demo;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::loader::{Loader, Report};
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::text::{clean, counted};

const DEMO_EVENTS: u64 = 100_000;
const DEMO_SEED: u64 = 42;
/// The most conversations that are examined for an example.
const CANDIDATES: usize = 500;
/// The size of an example conversation: not trivial, and no longer than a screen.
const CONVERSATION_EVENTS: std::ops::RangeInclusive<u64> = 5..=14;

/// Shows the store of `--store`, or a generated log.
pub(crate) fn give(global: &Global, out: &mut Out<'_>) -> Outcome {
    match &global.store {
        None | Some(Location::Memory) => of_demo(DEMO_EVENTS, DEMO_SEED, out),
        Some(location @ Location::File(path)) => {
            let mut loader = Loader::new()?;
            load(&mut loader, location, global, out)?;
            tour(&loader.store, &loader.report, &Source::named(path), out)
        }
        Some(Location::Durable(url)) => {
            let store = durable::open_to_read(url, &global.attach, out)?;
            let recovery = store.recovery();
            let report = Report {
                events: recovery.events - recovery.dropped,
                elapsed: recovery.elapsed,
                ..Report::default()
            };
            tour(&store, &report, &Source::named(Path::new(&durable::name(url))), out)
        }
    }
}

/// Shows a generated log.
pub(crate) fn of_demo(events: u64, seed: u64, out: &mut Out<'_>) -> Outcome {
    let mut loader = Loader::new()?;
    let started = Instant::now();
    for (loaded, entry) in (0..).zip(Demo::new(events, seed)) {
        interrupt::check(|| format!("{} had been made up", counted(loaded, "event")))?;
        loader
            .take(entry)
            .map_err(|reason| Failure::Runtime(reason.to_string()))?;
    }
    loader.report.elapsed = started.elapsed();
    let source = Source {
        title: format!("A made-up log of a cloud that sends bills (seed {seed})"),
        file: "demo.jsonl.gz".to_owned(),
        first_hint: Some(format!("demo --events {events} --seed {seed} --output demo.jsonl.gz")),
    };
    tour(&loader.store, &loader.report, &source, out)
}

/// The origin of a log, in words.
struct Source {
    title: String,
    file: String,
    /// The command that must be run before the suggested ones.
    first_hint: Option<String>,
}

impl Source {
    fn named(path: &Path) -> Self {
        Self {
            title: path.display().to_string(),
            file: path.display().to_string(),
            first_hint: None,
        }
    }
}

fn tour(store: &Store, report: &Report, source: &Source, out: &mut Out<'_>) -> Outcome {
    if !out.is_table() {
        return stats::of_store(store, out).write(out);
    }
    out.line(&clean(&source.title))?;
    out.line(&import::pace(report))?;
    out.line("")?;
    stats::of_store(store, out).write(out)?;
    if report.events == 0 {
        return Ok(());
    }
    trends::draw_columns(store, out)?;
    out.line("\nHour by hour")?;
    let heatmap = heatmap::of(store, Query::all(), out)?;
    heatmap::draw(&heatmap, out)?;
    let conversation = conversation(store)?;
    if let Some((correlation, events)) = &conversation {
        out.line("\nOne conversation: what was caused by what")?;
        trace::draw(correlation, events, out)?;
    }
    hints(
        store,
        source,
        conversation.as_ref().map(|(correlation, _)| correlation.as_str()),
        out,
    )
}

/// The conversation with the most types of aggregates, then of events, among those of a suitable size.
fn conversation(store: &Store) -> Outcome<Option<(String, Vec<Event>)>> {
    let mut names: Vec<String> = store
        .terms(&Field::Correlation)
        .into_iter()
        .filter(|(_, count)| CONVERSATION_EVENTS.contains(count))
        .map(|(name, _)| name.to_string())
        .collect();
    names.sort_unstable();
    names.truncate(CANDIDATES);
    let mut best: Option<((usize, usize), String, Vec<Event>)> = None;
    for name in names {
        let events = store.query(Query::all().correlation(name.as_str())).events()?;
        let kinds: BTreeSet<_> = events.iter().map(Event::aggregate_type).collect();
        let types: BTreeSet<_> = events.iter().map(Event::event_type).collect();
        let variety = (kinds.len(), types.len());
        if best.as_ref().is_none_or(|(most, ..)| variety > *most) {
            best = Some((variety, name, events));
        }
    }
    Ok(best.map(|(_, name, events)| (name, events)))
}

/// Suggested commands, with names from this log.
fn hints(store: &Store, source: &Source, correlation: Option<&str>, out: &mut Out<'_>) -> Outcome {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let rare = store
        .terms(&Field::EventType)
        .into_iter()
        .min_by_key(|(name, count)| (*count, name.clone()));
    let rare = rare.map(|(name, _)| name.to_string()).unwrap_or_default();
    let mut hints = vec![
        format!("events --type {} --limit 5", quoted(&rare)),
        format!("trends --by week --type {}", quoted(&rare)),
        "heatmap --time-zone Europe/Amsterdam".to_owned(),
        "--help".to_owned(),
    ];
    if let Some(correlation) = correlation {
        hints.insert(2, format!("trace {}", quoted(correlation)));
    }
    out.line("\nAsk more:")?;
    if let Some(hint) = &source.first_hint {
        out.line(&format!("  annals {hint}"))?;
    }
    for hint in hints {
        out.line(&clean(&format!("  annals --store {} {hint}", quoted(&source.file))))?;
    }
    Ok(())
}
