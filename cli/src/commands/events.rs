//! `events` and `search`: lists of events, page by page or as a whole.

use annals::{Order, Query, Store};

use crate::args::{By, Events};
use crate::commands::filters;
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::Out;
use crate::output::events::{EventWriter, write_all};
use crate::output::text::counted;

/// Events in a table, unless `--limit` says otherwise.
const LIMIT_TABLE: usize = 50;

pub(crate) fn list(store: &Store, events: &Events, out: &mut Out<'_>) -> Outcome {
    answer(store, query(events, out)?, events, out)
}

pub(crate) fn search(store: &Store, needle: &str, events: &Events, out: &mut Out<'_>) -> Outcome {
    answer(store, query(events, out)?.text(needle), events, out)
}

fn query(events: &Events, out: &Out<'_>) -> Outcome<Query> {
    let order = match (events.order, events.descending) {
        (By::Position, false) => Order::Position,
        (By::Position, true) => Order::PositionDescending,
        (By::Time, false) => Order::Time,
        (By::Time, true) => Order::TimeDescending,
    };
    let query = filters::query(&events.filters, &out.zone)?.order(order);
    match &events.cursor {
        Some(cursor) => Ok(query.cursor(cursor.parse()?)),
        None => Ok(query),
    }
}

fn answer(store: &Store, query: Query, events: &Events, out: &mut Out<'_>) -> Outcome {
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
    if events.explain {
        let explanation = store.query(query).explain()?;
        return out.line(explanation.to_string().trim_end());
    }
    if limit.is_some() {
        write_page(store, query, out)
    } else {
        write_whole(store, query, out)
    }
}

/// Writes one page, and where the next one begins.
fn write_page(store: &Store, query: Query, out: &mut Out<'_>) -> Outcome {
    let page = store.query(query).page()?;
    write_all(out.format, out.stdout, &out.zone, &page.events)?;
    if let (true, Some(next)) = (out.is_table(), page.next) {
        out.hint(&format!(
            "there is more: the same again with --cursor {next}, or --limit 0 for all"
        ))?;
    }
    Ok(())
}

/// Writes everything while it is read.
pub(crate) fn write_whole(store: &Store, query: Query, out: &mut Out<'_>) -> Outcome {
    let mut writer = EventWriter::new(out.format, out.stdout, &out.zone)?;
    copy(store, query, &mut writer)?;
    writer.finish()?;
    Ok(())
}

/// Hands every event that `query` finds to `writer`, until one of both fails or Ctrl-C is pressed.
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
