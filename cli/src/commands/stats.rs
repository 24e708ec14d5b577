//! `stats`: figures of a whole store, or of the events that match the filters.

use std::collections::{HashMap, HashSet};

use annals::analytics::{Counts, Statistics};
use annals::{Field, Store, Timestamp};
use serde_json::Value;

use crate::args::Filters;
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::screen::Role;
use crate::output::sections::{Sections, ranked};
use crate::output::text::{bytes, grouped};
use crate::when;

/// Rows of types: enough for all types of a usual log.
const TYPES_SHOWN: usize = 60;
/// Rows of users, organizations and days.
const SHOWN: usize = 15;

pub(crate) fn show(store: &Store, filters: &Filters, out: &mut Out<'_>) -> Outcome {
    if *filters == Filters::default() {
        return of_store(store, out).write(out);
    }
    let sections = of_query(store, filters, out)?;
    nearest::hint(store, filters, out)?;
    sections.write(out)
}

/// The contents of a store.
pub(crate) fn of_store(store: &Store, out: &Out<'_>) -> Sections {
    let mut sections = figures_of_store(store, out);
    sections.list(
        ("eventTypes", "event types", Role::Type),
        terms(store, &Field::EventType),
        TYPES_SHOWN,
    );
    sections.list(
        ("aggregateTypes", "aggregate types", Role::Type),
        terms(store, &Field::AggregateType),
        TYPES_SHOWN,
    );
    sections
}

/// The figures of a store.
pub(crate) fn figures_of_store(store: &Store, out: &Out<'_>) -> Sections {
    let stats = store.stats();
    let seen = Seen::of(store);
    let count_of = |field: &Field| store.terms(field).len() as u64;
    let days = terms(store, &Field::Day);
    let day = |day: Option<&String>| day.cloned().unwrap_or_default();
    let (first_day, last_day) = (
        day(days.iter().map(|(day, _)| day).min()),
        day(days.iter().map(|(day, _)| day).max()),
    );

    let mut sections = Sections::default();
    sections.count("events", "events", stats.events);
    sections.count("aggregates", "aggregates", stats.aggregates);
    sections.count("aggregateTypeCount", "aggregate types", count_of(&Field::AggregateType));
    sections.count("eventTypeCount", "event types", count_of(&Field::EventType));
    sections.count("correlations", "correlations", seen.correlations.len() as u64);
    sections.count(
        "correlationsAcrossAggregateTypes",
        "correlations across aggregate types",
        seen.across(),
    );
    sections.count(
        "eventsWithoutCorrelation",
        "events without correlation",
        seen.without_correlation,
    );
    sections.count("users", "users", count_of(&Field::User));
    sections.count("eventsWithoutUser", "events without user", seen.without_user);
    sections.count("organizations", "organizations", count_of(&Field::Organization));
    sections.count("tags", "tags", count_of(&Field::Tag));
    let shown = if days.is_empty() {
        "0".to_owned()
    } else {
        format!("{}, {first_day} to {last_day}", grouped(days.len() as u64))
    };
    sections.figure("days", "UTC days", days.len().into(), shown);
    sections.figure("firstDay", "first day", first_day.clone().into(), first_day);
    sections.figure("lastDay", "last day", last_day.clone().into(), last_day);
    time(&mut sections, "first", "first event", seen.first, out);
    time(&mut sections, "last", "last event", seen.last, out);
    sections.figure(
        "payloadBytes",
        "data and metadata",
        stats.payload_bytes.into(),
        bytes(stats.payload_bytes),
    );
    sections.figure(
        "memoryBytes",
        "memory",
        stats.memory_bytes.into(),
        memory(stats.memory_bytes, stats.events),
    );
    sections
}

/// Bytes in total, and per event.
pub(crate) fn memory(memory_bytes: u64, events: u64) -> String {
    let each = memory_bytes
        .checked_div(events)
        .map(|each| format!(", {} bytes an event", grouped(each)));
    format!("{}{}", bytes(memory_bytes), each.unwrap_or_default())
}

fn time(sections: &mut Sections, key: &'static str, label: &'static str, time: Option<Timestamp>, out: &Out<'_>) {
    let value = time.map_or(Value::Null, |time| time.to_string().into());
    let shown = time.map_or_else(|| "-".to_owned(), |time| when::show(time, &out.zone));
    sections.figure(key, label, value, shown);
}

fn terms(store: &Store, field: &Field) -> Vec<(String, u64)> {
    ranked(store.terms(field))
}

/// Figures that the index does not have, counted by reading every event once.
#[derive(Default)]
struct Seen {
    /// For each correlation, the type of its first aggregate, and whether it has others.
    correlations: HashMap<String, (String, bool)>,
    without_correlation: u64,
    without_user: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Seen {
    fn of(store: &Store) -> Self {
        let mut seen = Self::default();
        store.read_all().for_each(|event| {
            let time = event.timestamp();
            seen.first = Some(seen.first.map_or(time, |first| first.min(time)));
            seen.last = Some(seen.last.map_or(time, |last| last.max(time)));
            seen.without_user += u64::from(event.user_id().is_none());
            match event.correlation_id() {
                None => seen.without_correlation += 1,
                Some(correlation) => seen.correlate(correlation, event.aggregate_type()),
            }
        });
        seen
    }

    fn correlate(&mut self, correlation: &str, aggregate_type: &str) {
        if let Some((first, has_others)) = self.correlations.get_mut(correlation) {
            *has_others |= first != aggregate_type;
        } else {
            self.correlations
                .insert(correlation.to_owned(), (aggregate_type.to_owned(), false));
        }
    }

    fn across(&self) -> u64 {
        self.correlations.values().filter(|(_, has_others)| *has_others).count() as u64
    }
}

fn of_query(store: &Store, filters: &Filters, out: &Out<'_>) -> Outcome<Sections> {
    let query = filters::query(filters, &out.zone)?;
    let mut statistics = Statistics::new(time_zone(out)?);
    let mut aggregates = HashSet::<String>::new();
    store.query(query).for_each(|event| {
        statistics.add(event);
        if !aggregates.contains(event.aggregate_id()) {
            aggregates.insert(event.aggregate_id().to_owned());
        }
    })?;
    let mut sections = Sections::default();
    sections.count("events", "events", statistics.total());
    sections.count("aggregates", "aggregates", aggregates.len() as u64);
    sections.count("users", "users", statistics.by_user().len() as u64);
    sections.count(
        "organizations",
        "organizations",
        statistics.by_organization().len() as u64,
    );
    sections.count("days", "days", statistics.by_day().len() as u64);
    time(&mut sections, "first", "first event", statistics.first(), out);
    time(&mut sections, "last", "last event", statistics.last(), out);
    sections.list(
        ("byType", "by event type", Role::Type),
        counts(statistics.by_type()),
        TYPES_SHOWN,
    );
    let hours = (0..)
        .zip(statistics.by_hour())
        .map(|(hour, count)| (format!("{hour:02}:00"), *count));
    sections.list(("byHour", "by hour", Role::Plain), hours.collect(), 24);
    let days = statistics.by_day().iter().map(|(day, count)| (day.to_string(), *count));
    sections.list(("byDay", "by day", Role::Plain), days.collect(), SHOWN);
    sections.list(
        ("byOrganization", "by organization", Role::Id),
        counts(statistics.by_organization()),
        SHOWN,
    );
    sections.list(("byUser", "by user", Role::Id), counts(statistics.by_user()), SHOWN);
    Ok(sections)
}

fn counts(counts: &Counts) -> Vec<(String, u64)> {
    counts
        .ranked()
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
