//! `list`: aggregates, users, types and others, with the number of their events and their last activity.

use annals::{Field, ListItem, ListOrder, ListPage, ListQuery, Store};
use serde_json::Value;

use crate::args::list::{List, Listed, Sort};
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::Out;
use crate::output::records::Records;
use crate::output::screen::Role;
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::{counted, grouped};
use crate::when;

/// Rows of a table without `--limit`.
const LIMIT_TABLE: usize = 50;

/// The name is last, where a table has the most room.
const GRID: [Column; 5] = [
    Column::right("events", Role::Number),
    Column::right("last position", Role::Number),
    Column::left("last event", Role::Secondary),
    Column::left("type", Role::Type),
    Column::left("name", Role::Id),
];

/// The steps by which the table becomes narrower: names and numbers go last.
const NARROW: [Narrow; 6] = [
    Narrow::Drop("last position"),
    Narrow::ToSeconds("last event"),
    Narrow::CutMiddle("type", 12),
    Narrow::CutMiddle("name", 24),
    Narrow::ToMinutes("last event"),
    Narrow::CutMiddle("name", 12),
];

pub(crate) fn show(store: &Store, list: &List, out: &mut Out<'_>) -> Outcome {
    let limit = match list.limit {
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None if out.is_table() => LIMIT_TABLE,
        None => usize::MAX,
    };
    let page = read(store, list, limit)?;
    let of_aggregates = list.what == Listed::Aggregates;
    if out.is_table() && page.items.is_empty() {
        out.line(&format!("no {}", noun(list.what)))?;
    } else if out.is_table() {
        write_table(&page.items, of_aggregates, out)?;
    } else {
        records(&page.items, of_aggregates).write(out)?;
    }
    match page.next {
        Some(next) => Ok(out.hint(&format!("for more, add --cursor {next}, or --limit 0 for all"))?),
        None => Ok(()),
    }
}

/// The first `limit` values, read in pages of the store's own limit.
fn read(store: &Store, list: &List, limit: usize) -> Outcome<ListPage> {
    let mut query = query(list)?.limit(limit.min(ListQuery::LIMIT_MAX));
    let mut whole = store.list(&query)?;
    while let Some(next) = whole.next.take_if(|_| whole.items.len() < limit) {
        let read = whole.items.len();
        interrupt::check(|| format!("{} had been read", counted(read as u64, "value")))?;
        query = query.limit((limit - read).min(ListQuery::LIMIT_MAX)).cursor(next);
        let page = store.list(&query)?;
        whole.items.extend(page.items);
        whole.next = page.next;
    }
    Ok(whole)
}

fn query(list: &List) -> Outcome<ListQuery> {
    let field = match list.what {
        Listed::Aggregates => Field::Aggregate,
        Listed::AggregateTypes => Field::AggregateType,
        Listed::Correlations => Field::Correlation,
        Listed::Organizations => Field::Organization,
        Listed::Tags => Field::Tag,
        Listed::Types => Field::EventType,
        Listed::Users => Field::User,
    };
    let order = match list.sort {
        Sort::Name => ListOrder::Name,
        Sort::Events => ListOrder::Events,
        Sort::Last => ListOrder::LastActivity,
    };
    let query = ListQuery::of(field).order(order);
    let query = match &list.prefix {
        Some(prefix) => query.prefix(prefix.as_str()),
        None => query,
    };
    match &list.cursor {
        Some(cursor) => Ok(query.cursor(cursor.parse()?)),
        None => Ok(query),
    }
}

fn noun(what: Listed) -> &'static str {
    match what {
        Listed::Aggregates => "aggregates",
        Listed::AggregateTypes => "types of aggregates",
        Listed::Correlations => "correlations",
        Listed::Organizations => "organizations",
        Listed::Tags => "tags",
        Listed::Types => "types of events",
        Listed::Users => "users",
    }
}

fn records(items: &[ListItem], of_aggregates: bool) -> Records {
    let columns = ["name", "aggregateType", "events", "lastPosition", "lastAt"];
    let is_shown = |place: &usize| of_aggregates || columns[*place] != "aggregateType";
    let shown: Vec<usize> = (0..columns.len()).filter(is_shown).collect();
    let mut records = Records::new(&shown.iter().map(|place| columns[*place]).collect::<Vec<_>>());
    for item in items {
        let values: [Value; 5] = [
            item.name.as_str().into(),
            item.aggregate_type.as_deref().into(),
            item.events.into(),
            item.last_position.0.into(),
            item.last_at.to_string().into(),
        ];
        records.push(shown.iter().map(|place| values[*place].clone()).collect());
    }
    records
}

fn write_table(items: &[ListItem], of_aggregates: bool, out: &mut Out<'_>) -> Outcome {
    let is_shown = |place: &usize| of_aggregates || GRID[*place].name != "type";
    let shown: Vec<usize> = (0..GRID.len()).filter(is_shown).collect();
    let columns: Vec<_> = shown.iter().map(|place| GRID[*place]).collect();
    let mut grid = Grid::new(&columns, &NARROW, out.screen).names_last();
    for item in items {
        let cells = [
            grouped(item.events),
            grouped(item.last_position.0),
            when::show(item.last_at, &out.zone),
            item.aggregate_type.as_deref().unwrap_or_default().to_owned(),
            item.name.to_string(),
        ];
        grid.push(&shown.iter().map(|place| cells[*place].as_str()).collect::<Vec<_>>());
    }
    grid.write(out.stdout)
}
