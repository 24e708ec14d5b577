//! `events` and `search`: list events, by page or all at once.

use annals::{Explanation, Order, Query, Store};

use crate::args::{By, Events};
use crate::commands::written::tell_altered;
use crate::commands::{filters, nearest};
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::Out;
use crate::output::events::{EventWriter, write_all};
use crate::output::payload::Fidelity;
use crate::output::screen::Role;
use crate::output::sections::{Group, Sections, Shape};
use crate::output::text::counted;

/// Rows of a table without `--limit`.
const LIMIT_TABLE: usize = 50;

pub(crate) fn list(store: &Store, events: &Events, out: &mut Out<'_>) -> Outcome {
    let query = query(events, out)?;
    nearest::hint(store, &events.filters, out)?;
    answer(store, query, events, out)
}

pub(crate) fn search(store: &Store, needle: &str, events: &Events, out: &mut Out<'_>) -> Outcome {
    let query = query(events, out)?.text(needle);
    nearest::hint(store, &events.filters, out)?;
    answer(store, query, events, out)
}

/// The query of a command, without a limit.
pub(crate) fn query(events: &Events, out: &Out<'_>) -> Outcome<Query> {
    let order = match (events.order, events.descending) {
        (By::Position, false) => Order::Position,
        (By::Position, true) => Order::PositionDescending,
        (By::Time, false) => Order::Time,
        (By::Time, true) => Order::TimeDescending,
    };
    let query = filters::query(&events.filters, out.times())?.order(order);
    match &events.cursor {
        Some(cursor) => Ok(query.cursor(cursor.parse()?)),
        None => Ok(query),
    }
}

fn answer(store: &Store, query: Query, events: &Events, out: &mut Out<'_>) -> Outcome {
    if events.explain {
        return explain(&store.query(query).explain()?, out);
    }
    let limit = match events.limit {
        Some(0) => None,
        Some(limit) => Some(limit),
        None => out.is_table().then_some(LIMIT_TABLE),
    };
    let query = if let Some(limit) = limit {
        query.limit(limit)
    } else {
        query
    };
    if limit.is_some() {
        write_page(store, query, out)
    } else {
        write_whole(store, query, Fidelity::Readable, out)
    }
}

/// Writes the query plan: as text for people, as figures in other formats.
fn explain(explanation: &Explanation, out: &mut Out<'_>) -> Outcome {
    if out.is_table() {
        return out.line(explanation.to_string().trim_end());
    }
    let mut sections = Sections::default();
    sections.count("matches", "matches", explanation.matches);
    sections.count("candidates", "candidates", explanation.candidates);
    sections.count("examined", "examined", explanation.examined);
    sections.count("windows", "windows", explanation.windows);
    let scanned = if explanation.scanned { "yes" } else { "no" };
    sections.figure("scanned", "scanned", explanation.scanned.into(), scanned.to_owned());
    sections.count("shards", "shards", explanation.shards as u64);
    let cache = format!("{:?}", explanation.cache).to_lowercase();
    sections.figure("cache", "cache", cache.clone().into(), cache);
    let seconds = explanation.elapsed.as_secs_f64();
    sections.figure("seconds", "elapsed", seconds.into(), format!("{seconds:.6} s"));
    let terms = explanation.terms.iter().map(|term| (term.to_string(), term.events));
    let group = Group {
        key: "terms",
        title: "terms",
        role: Role::Plain,
        shape: Shape::Entries,
    };
    sections.list(group, terms.collect(), usize::MAX);
    sections.write(out)
}

/// Writes one page, and the cursor of the next one.
fn write_page(store: &Store, query: Query, out: &mut Out<'_>) -> Outcome {
    let page = store.query(query).page()?;
    let written = write_all(out, &page.events)?;
    tell_altered(written, out)?;
    if let (true, Some(next)) = (out.is_table(), page.next) {
        out.hint(&format!("for more, add --cursor {next}, or --limit 0 for all"))?;
    }
    Ok(())
}

/// Writes all events while they are read.
pub(crate) fn write_whole(store: &Store, query: Query, fidelity: Fidelity, out: &mut Out<'_>) -> Outcome {
    let mut writer = EventWriter::new(out.format, fidelity, out.stdout, &out.zone, out.screen)?;
    copy(store, query, &mut writer)?;
    let written = writer.finish()?;
    tell_altered(written, out)
}

/// Passes every event that matches `query` to `writer`, until either fails or Ctrl-C is pressed.
pub(crate) fn copy(store: &Store, query: Query, writer: &mut EventWriter<'_>) -> Outcome {
    let (mut outcome, mut written) = (Ok(()), 0);
    store.query(query).for_each(|event| {
        if outcome.is_ok() {
            outcome = interrupt::check(|| format!("{} had been written", counted(written, "event")))
                .and_then(|()| writer.write(&event.into()));
            written += 1;
        }
    })?;
    outcome
}
