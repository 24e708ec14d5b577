//! `trace`: shows a conversation as a tree of causes.

use std::collections::BTreeSet;

use annals::analytics::{CausationTree, Node};
use annals::{Event, Field, Query, Store};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::commands::nearest::did_you_mean;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::output::Out;
use crate::output::records::Records;
use crate::output::text::{clean, counted};
use crate::when;

pub(crate) fn show(store: &Store, correlation: &str, out: &mut Out<'_>) -> Outcome {
    let events = store.query(Query::all().correlation(correlation)).events()?;
    if events.is_empty() {
        let hint = did_you_mean(store, &Field::Correlation, correlation)?;
        return Err(Failure::NotFound(format!(
            "there is no conversation '{correlation}'{hint}"
        )));
    }
    if out.is_table() {
        draw(correlation, &events, out)
    } else {
        records(&events).write(out)
    }
}

/// The events of the conversation as a tree, one per line.
pub(crate) fn draw(correlation: &str, events: &[Event], out: &mut Out<'_>) -> Outcome {
    let aggregates: BTreeSet<&str> = events.iter().map(Event::aggregate_id).collect();
    let (size, aggregates) = (
        counted(events.len() as u64, "event"),
        counted(aggregates.len() as u64, "aggregate"),
    );
    out.line(&clean(&format!(
        "{correlation}: {size} of {aggregates}{}",
        span(events)
    )))?;
    let tree = CausationTree::new(events);
    for (drawn, node) in (0_u64..).zip(tree.walk()) {
        interrupt::check(|| format!("{} had been drawn", counted(drawn, "event")))?;
        let text = format!("{}{}", branch(node), label(node.event(), &out.zone));
        out.line(&out.screen.cut(&text))?;
    }
    Ok(())
}

fn span(events: &[Event]) -> String {
    let times = || events.iter().map(Event::timestamp);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return String::new();
    };
    let seconds = (last.as_micros() - first.as_micros()) / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!(" in {seconds} s"),
        (0, 0, minutes) => format!(" in {minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!(" in {hours} h {minutes} min"),
        (days, hours, _) => format!(" in {days} d {hours} h"),
    }
}

/// The branches before a node. Very deep trees are cut on the left, because no terminal is that wide.
fn branch(node: Node<'_, '_>) -> String {
    const LEVELS_SHOWN: usize = 24;
    let lines = node.lines();
    let hidden = lines.len().saturating_sub(LEVELS_SHOWN);
    let mut text = if hidden > 0 {
        format!("({hidden} more) ")
    } else {
        String::new()
    };
    text.extend(
        lines
            .iter()
            .skip(hidden)
            .map(|passes| if *passes { "│  " } else { "   " }),
    );
    text.push_str(if node.is_last() { "└─ " } else { "├─ " });
    text
}

fn label(event: &Event, zone: &TimeZone) -> String {
    let user = event.user_id().map(|user| format!(" by {user}")).unwrap_or_default();
    let time = when::show(event.timestamp(), zone);
    let text = format!(
        "{time}  {}  {} #{}{user}",
        event.event_type(),
        event.aggregate_id(),
        event.version()
    );
    clean(&text).into_owned()
}

fn records(events: &[Event]) -> Records {
    let mut records = Records::new(&[
        "depth",
        "position",
        "causedBy",
        "timestamp",
        "eventType",
        "aggregateType",
        "aggregateId",
        "version",
        "userId",
        "eventId",
    ]);
    for node in CausationTree::new(events).walk() {
        let event = node.event();
        records.push(vec![
            node.depth().into(),
            event.position().0.into(),
            node.parent()
                .map_or(Value::Null, |parent| parent.event().position().0.into()),
            event.timestamp().to_string().into(),
            event.event_type().into(),
            event.aggregate_type().into(),
            event.aggregate_id().into(),
            event.version().0.into(),
            event.user_id().map_or(Value::Null, Value::from),
            event.id().to_string().into(),
        ]);
    }
    records
}
