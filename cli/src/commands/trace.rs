//! `trace`: shows a conversation as a tree of causes.

use std::collections::{BTreeMap, BTreeSet};

use annals::analytics::{CausationTree, Node};
use annals::{Event, Field, Query, Store, Timestamp};
use serde_json::Value;

use crate::commands::lanes;
use crate::commands::nearest::did_you_mean;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::output::Out;
use crate::output::records::Records;
use crate::output::screen::Role;
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::{clean, counted, grouped};
use crate::when;

/// Levels of a tree that are drawn, at most.
const LEVELS_MAX: usize = 24;
/// The width of the columns beside the branches.
const OTHERS_WIDTH: usize = 62;

pub(crate) fn show(store: &Store, correlation: &str, out: &mut Out<'_>) -> Outcome {
    let events = store.query(Query::all().correlation(correlation)).events()?;
    if events.is_empty() {
        let hint = did_you_mean(store, &Field::Correlation, correlation)?;
        return Err(Failure::NotFound(format!(
            "there is no conversation '{correlation}'{}",
            hint.unwrap_or_else(|| "; `annals list correlations` shows those that there are".to_owned())
        )));
    }
    if out.is_table() {
        draw(correlation, &events, out)
    } else {
        records(&events).write(out)
    }
}

/// The events of the conversation as a tree, one per line; without causes by aggregate, under their lanes.
pub(crate) fn draw(correlation: &str, events: &[Event], out: &mut Out<'_>) -> Outcome {
    let aggregates: BTreeSet<&str> = events.iter().map(Event::aggregate_id).collect();
    let (size, count) = (
        counted(events.len() as u64, "event"),
        counted(aggregates.len() as u64, "aggregate"),
    );
    let title = out.screen.paint(Role::Heading, &format!("{}:", clean(correlation)));
    out.line(&format!("{title} {size} of {count}{}", span(events)))?;
    let tree = CausationTree::new(events);
    let has_causes = tree.walk().any(|node| node.parent().is_some());
    if has_causes || events.len() == 1 {
        let grid = table(tree.walk().map(|node| row(node, out)), events, out)?;
        return grid.write(out.stdout);
    }
    let groups = by_aggregate(events);
    if groups.len() > 1 {
        lanes::draw(&groups, out)?;
    }
    let rows = groups.iter().flat_map(|group| rows_of_aggregate(group, out));
    table(rows, events, out)?.write(out.stdout)
}

/// A line of the table.
type Row = [String; 4];

const COLUMNS: [Column; 4] = [
    Column::right("time", Role::Secondary),
    Column::left("event", Role::Tree),
    Column::left("aggregate", Role::Id),
    Column::left("user", Role::Id),
];

const NARROW: [Narrow; 6] = [
    Narrow::ToSeconds("time"),
    Narrow::CutMiddle("user", 12),
    Narrow::CutMiddle("aggregate", 14),
    Narrow::Drop("user"),
    Narrow::Cut("event", 24),
    Narrow::CutMiddle("aggregate", 10),
];

fn table(rows: impl Iterator<Item = Row>, events: &[Event], out: &Out<'_>) -> Outcome<Grid> {
    let has_users = events.iter().any(|event| event.user_id().is_some());
    let columns = if has_users { &COLUMNS[..] } else { &COLUMNS[..3] };
    let mut grid = Grid::new(columns, &NARROW, out.screen);
    for (drawn, row) in (0_u64..).zip(rows) {
        interrupt::check(|| format!("{} had been drawn", counted(drawn, "event")))?;
        grid.push(&row[..columns.len()]);
    }
    Ok(grid)
}

/// The events of each aggregate ascending by version, the aggregate that began first before the others.
fn by_aggregate(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
    for event in events {
        let key = (event.aggregate_type(), event.aggregate_id());
        groups.entry(key).or_default().push(event);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|event| event.version());
    }
    groups.sort_by_key(|group| group.first().map(|event| event.position()));
    groups
}

fn rows_of_aggregate(events: &[&Event], out: &Out<'_>) -> Vec<Row> {
    let before = std::iter::once(None).chain(events.iter().map(Some));
    let rows = events.iter().zip(before).map(|(event, before)| {
        let since = before.map(|before| before.timestamp());
        row_of(event, since, "", out)
    });
    rows.collect()
}

fn row(node: Node<'_, '_>, out: &Out<'_>) -> Row {
    let since = node.parent().map(|parent| parent.event().timestamp());
    row_of(node.event(), since, &branch(node, out.screen.width), out)
}

fn row_of(event: &Event, since: Option<Timestamp>, branch: &str, out: &Out<'_>) -> Row {
    let time = since.map_or_else(
        || when::show(event.timestamp(), &out.zone),
        |since| after(event.timestamp().as_micros().saturating_sub(since.as_micros())),
    );
    [
        time,
        format!("{branch}{}", event.event_type()),
        format!("{} #{}", event.aggregate_id(), event.version()),
        event.user_id().unwrap_or_default().to_owned(),
    ]
}

/// How long after another an event happened: `+2 min 3 s`.
fn after(micros: i64) -> String {
    let sign = if micros < 0 { '-' } else { '+' };
    let micros = micros.unsigned_abs();
    if micros > 0 && micros < 1_000_000 {
        return format!("{sign}{} ms", micros.div_ceil(1_000));
    }
    format!("{sign}{}", duration(micros / 1_000_000))
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{} d {hours} h", grouped(days)),
    }
}

fn span(events: &[Event]) -> String {
    let times = || events.iter().map(Event::timestamp);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return String::new();
    };
    format!(
        " in {}",
        duration(last.as_micros().abs_diff(first.as_micros()) / 1_000_000)
    )
}

/// The branches before a node; a root has none. Those of a deep tree are cut on the left, with their number.
fn branch(node: Node<'_, '_>, width: Option<usize>) -> String {
    if node.depth() == 0 {
        return String::new();
    }
    let most = width.map_or(LEVELS_MAX, |width| {
        (width.saturating_sub(OTHERS_WIDTH) / 3).clamp(4, LEVELS_MAX)
    });
    let lines = node.lines();
    let hidden = (lines.len() - 1).saturating_sub(most);
    let mut text = if hidden > 0 {
        format!("…{hidden} ")
    } else {
        String::new()
    };
    let lines = lines.iter().skip(1 + hidden);
    text.extend(lines.map(|passes| if *passes { "│  " } else { "   " }));
    text.push_str(if node.is_last() { "└─ " } else { "├─ " });
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_a_cause_has_two_units_at_most() {
        for (micros, expected) in [
            (0, "+0 s"),
            (1, "+1 ms"),
            (350_000, "+350 ms"),
            (59_999_999, "+59 s"),
            (-5_000_000, "-5 s"),
            (98_000_000, "+1 min 38 s"),
            (7_380_000_000, "+2 h 3 min"),
            (93_600_000_000, "+1 d 2 h"),
            (i64::MIN, "-106,751,991 d 4 h"),
        ] {
            assert_eq!(after(micros), expected);
        }
    }
}
