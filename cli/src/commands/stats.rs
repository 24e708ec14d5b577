//! `stats`: one report of all events, or of those that match the filters.

use std::collections::{HashMap, HashSet};

use annals::analytics::{Counts, Statistics};
use annals::{EventRef, Name, Query, Store, Timestamp};
use foldhash::fast::RandomState;
use serde_json::Value;

use crate::args::Filters;
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::screen::Role;
use crate::output::sections::{Group, Sections, Shape};
use crate::output::text::{bytes, grouped};
use crate::when;

/// Rows of types: enough for all types of a usual log.
const TYPES_SHOWN: usize = 60;
/// Rows of users, organizations and days.
const SHOWN: usize = 15;
const HOURS: usize = 24;

pub(crate) fn show(store: &Store, filters: &Filters, out: &mut Out<'_>) -> Outcome {
    let query = filters::query(filters, out.times())?;
    let sections = of_query(store, query, out)?;
    nearest::hint(store, filters, out)?;
    sections.write(out)
}

/// The contents of a store.
pub(crate) fn of_store(store: &Store, out: &Out<'_>) -> Outcome<Sections> {
    of_query(store, Query::all(), out)
}

fn of_query(store: &Store, query: Query, out: &Out<'_>) -> Outcome<Sections> {
    let mut seen = Seen::new(Statistics::new(time_zone(out)?));
    store.query(query).for_each(|event| seen.add(event))?;
    let mut sections = Sections::default();
    seen.figures(&mut sections, out);
    let memory_bytes = store.stats().memory_bytes;
    sections.figure("memoryBytes", "memory", memory_bytes.into(), bytes(memory_bytes));
    groups(&mut sections, &seen.statistics);
    Ok(sections)
}

/// The groups of the library's `Statistics`, with its names.
fn groups(sections: &mut Sections, statistics: &Statistics) {
    let group = |key, title, role, shape| Group {
        key,
        title,
        role,
        shape,
    };
    for (key, title, role, counted, shown) in [
        ("byType", "by event type", Role::Type, statistics.by_type(), TYPES_SHOWN),
        (
            "byAggregateType",
            "by aggregate type",
            Role::Type,
            statistics.by_aggregate_type(),
            TYPES_SHOWN,
        ),
        (
            "byOrganization",
            "by organization",
            Role::Id,
            statistics.by_organization(),
            SHOWN,
        ),
        ("byUser", "by user", Role::Id, statistics.by_user(), SHOWN),
    ] {
        sections.list(group(key, title, role, Shape::Object), counts(counted), shown);
    }
    let hours = (0..).zip(statistics.by_hour());
    let hours = hours.map(|(hour, count)| (format!("{hour:02}:00"), *count)).collect();
    let hours_shown = if statistics.total() > 0 { HOURS } else { 0 };
    sections.list(
        group("byHour", "by hour", Role::Plain, Shape::Counts),
        hours,
        hours_shown,
    );
    let days = statistics.by_day().iter().map(|(day, count)| (day.to_string(), *count));
    sections.list(
        group("byDay", "by day", Role::Plain, Shape::Object),
        days.collect(),
        SHOWN,
    );
}

fn counts(counts: &Counts) -> Vec<(String, u64)> {
    let ranked = counts.ranked().into_iter();
    ranked.map(|(name, count)| (name.to_owned(), count)).collect()
}

fn time(sections: &mut Sections, key: &'static str, label: &'static str, time: Option<Timestamp>, out: &Out<'_>) {
    let value = time.map_or(Value::Null, |time| time.to_string().into());
    let shown = time.map_or_else(|| "-".to_owned(), |time| when::show(time, &out.zone));
    sections.figure(key, label, value, shown);
}

/// Names, each once.
type Names = HashSet<Name, RandomState>;

/// Counts of events, which are read once.
struct Seen {
    statistics: Statistics,
    aggregates: Names,
    tags: Names,
    /// For each correlation, the type of its first aggregate, and whether it has others.
    correlations: HashMap<Name, (Name, bool), RandomState>,
    without_correlation: u64,
    payload_bytes: u64,
}

impl Seen {
    fn new(statistics: Statistics) -> Self {
        Self {
            statistics,
            aggregates: Names::default(),
            tags: Names::default(),
            correlations: HashMap::default(),
            without_correlation: 0,
            payload_bytes: 0,
        }
    }

    fn add(&mut self, event: EventRef<'_>) {
        self.statistics.add(event);
        insert(&mut self.aggregates, event.aggregate_id());
        event.tags().for_each(|tag| insert(&mut self.tags, tag));
        self.payload_bytes += (event.data().len() + event.metadata().len()) as u64;
        match event.correlation_id() {
            None => self.without_correlation += 1,
            Some(correlation) => self.correlate(correlation, event.aggregate_type()),
        }
    }

    fn correlate(&mut self, correlation: &str, aggregate_type: &str) {
        if let Some((first, has_others)) = self.correlations.get_mut(correlation) {
            *has_others |= *first != aggregate_type;
        } else {
            let first = (aggregate_type.into(), false);
            self.correlations.insert(correlation.into(), first);
        }
    }

    fn across(&self) -> u64 {
        self.correlations.values().filter(|(_, has_others)| *has_others).count() as u64
    }

    fn figures(&self, sections: &mut Sections, out: &Out<'_>) {
        let statistics = &self.statistics;
        let (types, users) = (statistics.by_type(), statistics.by_user());
        for (key, label, count) in [
            ("total", "events", statistics.total()),
            ("aggregates", "aggregates", self.aggregates.len() as u64),
            (
                "aggregateTypeCount",
                "aggregate types",
                statistics.by_aggregate_type().len() as u64,
            ),
            ("eventTypeCount", "event types", types.len() as u64),
            ("correlations", "correlations", self.correlations.len() as u64),
            (
                "correlationsAcrossAggregateTypes",
                "correlations across aggregate types",
                self.across(),
            ),
            (
                "withoutCorrelation",
                "events without correlation",
                self.without_correlation,
            ),
            ("users", "users", users.len() as u64),
            ("withoutUser", "events without user", users.without()),
            (
                "organizations",
                "organizations",
                statistics.by_organization().len() as u64,
            ),
            (
                "withoutOrganization",
                "events without organization",
                statistics.by_organization().without(),
            ),
            ("tags", "tags", self.tags.len() as u64),
        ] {
            sections.count(key, label, count);
        }
        self.times(sections, out);
        let size = bytes(self.payload_bytes);
        sections.figure("payloadBytes", "data and metadata", self.payload_bytes.into(), size);
    }

    fn times(&self, sections: &mut Sections, out: &Out<'_>) {
        let days = self.statistics.by_day();
        let day = |day: Option<&annals::analytics::Date>| day.map(ToString::to_string).unwrap_or_default();
        let (first, last) = (day(days.keys().next()), day(days.keys().next_back()));
        let shown = if days.is_empty() {
            "0".to_owned()
        } else {
            format!("{}, {first} to {last}", grouped(days.len() as u64))
        };
        sections.hidden("timeZone", self.statistics.time_zone().to_string().into());
        sections.figure("days", "days", days.len().into(), shown);
        sections.hidden("firstDay", first.into());
        sections.hidden("lastDay", last.into());
        time(sections, "first", "first event", self.statistics.first(), out);
        time(sections, "last", "last event", self.statistics.last(), out);
    }
}

/// Copies a text only if it is new.
fn insert(names: &mut Names, name: &str) {
    if !names.contains(name) {
        names.insert(name.into());
    }
}

#[cfg(test)]
mod tests {
    use annals::Field;

    use super::*;
    use crate::demo::Demo;
    use crate::load::loader::Loader;
    use crate::output::Format;
    use crate::output::screen::Screen;

    #[test]
    fn the_report_has_what_the_library_writes_under_the_same_names() {
        let mut loader = Loader::new().unwrap();
        Demo::new(2_000, 3).for_each(|mut entry| loader.take(&mut entry).unwrap());
        let store = loader.store;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let out = Out {
            stdout: &mut stdout,
            stderr: &mut stderr,
            format: Format::Json,
            zone: when::parse_zone("Asia/Kolkata").unwrap(),
            now: annals::Timestamp::from_micros(0),
            screen: Screen::default(),
            messages: Screen::default(),
            has_hints: false,
        };
        for query in [
            Query::all(),
            Query::all().event_type("InvoicePaid"),
            Query::all().user("nobody"),
        ] {
            let written = serde_json::to_value(of_query(&store, query.clone(), &out).unwrap()).unwrap();
            let library = store
                .query(query.clone())
                .statistics(&"Asia/Kolkata".parse().unwrap())
                .unwrap();
            let library = serde_json::to_value(library).unwrap();
            for (name, value) in library.as_object().unwrap() {
                assert_eq!(&written[name], value, "{name}");
            }
        }
        let whole = serde_json::to_value(of_store(&store, &out).unwrap()).unwrap();
        for (name, field) in [
            ("eventTypeCount", Field::EventType),
            ("aggregates", Field::Aggregate),
            ("correlations", Field::Correlation),
            ("organizations", Field::Organization),
            ("tags", Field::Tag),
        ] {
            assert_eq!(whole[name], store.terms(&field).len(), "{name}");
        }
        assert_eq!(whole["payloadBytes"], store.stats().payload_bytes);
    }
}
