//! Without a command: an overview of a log with charts, and suggestions of commands.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Instant;

use annals::analytics::CausationTree;
use annals::{Event, Field, Query, Store};

use crate::args::Global;
use crate::commands::{heatmap, import, load, open, stats, trace, trends};
use crate::demo::Demo;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::loader::{Loader, Report};
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::screen::Role;
use crate::output::text::{bytes, clean, counted};

const DEMO_EVENTS: u64 = 100_000;
const DEMO_SEED: u64 = 42;
/// The most conversations that are examined for an example.
const CANDIDATES: usize = 500;
/// The size of an example conversation: not trivial, and no longer than half a screen; else a longer or a shorter one.
const CONVERSATION_EVENTS: [RangeInclusive<u64>; 3] = [5..=6, 7..=14, 2..=4];

/// Shows the store of `--store`, or a generated log.
pub(crate) fn give(global: &Global, out: &mut Out<'_>) -> Outcome {
    match &global.store {
        None | Some(Location::Memory) => of_demo(DEMO_EVENTS, DEMO_SEED, out),
        Some(location @ Location::File(path)) => {
            let mut loader = Loader::new()?;
            load(&mut loader, location, global, out)?;
            tour(&loader.store, &loader.report, &Source::named(path), out)
        }
        Some(location @ (Location::Durable(_) | Location::Server(_))) => {
            let store = open(global, out)?;
            let recovery = store.recovery();
            let report = Report {
                events: recovery.events - recovery.dropped,
                elapsed: recovery.elapsed,
                ..Report::default()
            };
            tour(&store, &report, &Source::named(Path::new(&name(location))), out)
        }
    }
}

/// The name of a store in messages.
fn name(location: &Location) -> String {
    match location {
        Location::Durable(url) => durable::name(url),
        Location::Server(url) => url.clone(),
        Location::File(path) => path.display().to_string(),
        Location::Memory => String::new(),
    }
}

/// Shows a generated log.
pub(crate) fn of_demo(events: u64, seed: u64, out: &mut Out<'_>) -> Outcome {
    let mut loader = Loader::new()?;
    let started = Instant::now();
    for (loaded, mut entry) in (0..).zip(Demo::new(events, seed)) {
        interrupt::check(|| format!("{} had been generated", counted(loaded, "event")))?;
        loader
            .take(&mut entry)
            .map_err(|reason| Failure::Runtime(reason.to_string()))?;
    }
    loader.report.elapsed = started.elapsed();
    let source = Source {
        title: format!("The generated log of a cloud provider's billing (seed {seed})"),
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

/// Two screens of 80 columns and 24 rows, with the most informative parts first.
fn tour(store: &Store, report: &Report, source: &Source, out: &mut Out<'_>) -> Outcome {
    if !out.is_table() {
        return stats::of_store(store, out)?.write(out);
    }
    out.line(&out.screen.paint(Role::Heading, &clean(&source.title)))?;
    out.line(&import::pace(report))?;
    if report.events == 0 {
        return Ok(());
    }
    figures(store, out)?;
    let conversation = conversation(store)?;
    if let Some((correlation, events)) = &conversation {
        let has_causes = variety(events).0 > 0;
        let what = if has_causes {
            "what caused what"
        } else {
            "what happened when"
        };
        out.heading(&format!("One conversation: {what}"))?;
        trace::draw(correlation, events, out)?;
    }
    out.heading("Hour by hour")?;
    let heatmap = heatmap::of(store, Query::all(), out)?;
    heatmap::draw(&heatmap, out)?;
    trends::draw_columns(store, out)?;
    hints(
        store,
        source,
        conversation.as_ref().map(|(correlation, _)| correlation.as_str()),
        out,
    )
}

/// The size of a store, in two lines.
fn figures(store: &Store, out: &mut Out<'_>) -> Outcome {
    let stats = store.stats();
    let count = |field, noun| counted(store.terms(&field).len() as u64, noun);
    let counts = [
        counted(stats.aggregates, "aggregate"),
        count(Field::EventType, "event type"),
        count(Field::Correlation, "correlation"),
        count(Field::User, "user"),
    ];
    out.line(&counts.join(", "))?;
    let each = stats.memory_bytes.checked_div(stats.events).unwrap_or(0);
    out.line(&format!(
        "{} of data and metadata, {} of memory: {} an event",
        bytes(stats.payload_bytes),
        bytes(stats.memory_bytes),
        counted(each, "byte")
    ))
}

/// The conversation with the most causes, then types of aggregates, then types of events, among those of a suitable size.
fn conversation(store: &Store) -> Outcome<Option<(String, Vec<Event>)>> {
    let mut terms = store.terms(&Field::Correlation);
    terms.sort_unstable();
    let of_size = |sizes: &RangeInclusive<u64>| {
        let names = terms.iter().filter(|(_, count)| sizes.contains(count));
        names
            .map(|(name, _)| name.to_string())
            .take(CANDIDATES)
            .collect::<Vec<_>>()
    };
    let names = CONVERSATION_EVENTS.iter().map(of_size).find(|names| !names.is_empty());
    let mut best: Option<(Variety, String, Vec<Event>)> = None;
    for name in names.unwrap_or_default() {
        let events = store.query(Query::all().correlation(name.as_str())).events()?;
        let variety = variety(&events);
        if best.as_ref().is_none_or(|(most, ..)| variety > *most) {
            best = Some((variety, name, events));
        }
    }
    Ok(best.map(|(_, name, events)| (name, events)))
}

/// The number of caused events, of aggregate types and of event types.
type Variety = (usize, usize, usize);

fn variety(events: &[Event]) -> Variety {
    let tree = CausationTree::new(events);
    let aggregate_types: BTreeSet<_> = events.iter().map(Event::aggregate_type).collect();
    let event_types: BTreeSet<_> = events.iter().map(Event::event_type).collect();
    let roots = tree.roots().count();
    (events.len() - roots, aggregate_types.len(), event_types.len())
}

/// `text` as a word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:,+@%".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Suggested commands, with names from this log.
fn hints(store: &Store, source: &Source, correlation: Option<&str>, out: &mut Out<'_>) -> Outcome {
    let rare = store
        .terms(&Field::EventType)
        .into_iter()
        .min_by_key(|(name, count)| (*count, name.clone()));
    let rare = rare.map(|(name, _)| name.to_string()).unwrap_or_default();
    let mut hints = vec![
        format!("events --type {} --limit 5", quoted(&rare)),
        "stats".to_owned(),
        format!("trends --by week --type {}", quoted(&rare)),
        "heatmap --time-zone Europe/Amsterdam".to_owned(),
        "--help".to_owned(),
    ];
    if let Some(correlation) = correlation {
        hints.insert(0, format!("trace {}", quoted(correlation)));
    }
    out.heading("Ask more:")?;
    let screen = out.screen;
    if let Some(hint) = &source.first_hint {
        out.line(&screen.paint(Role::Command, &format!("  annals {hint}")))?;
    }
    for hint in hints {
        let hint = format!("  annals --store {} {hint}", quoted(&source.file));
        out.line(&screen.paint(Role::Command, &clean(&hint)))?;
    }
    Ok(())
}
