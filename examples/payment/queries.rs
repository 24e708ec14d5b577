//! What people ask of payments: the read model answers from its rows, the store from its indexes.

use std::error::Error;
use std::time::Duration;

use annals::cqrs::{Aggregates, Processors, Projected, Row};
use annals::{Event, Field, Query, Store, Timestamp, Version};

use crate::Command::{Authorize, Cancel, Complete, Create};
use crate::{Command, Payment, Summary};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A payment, a user, and what the user asks for.
pub(crate) const COMMANDS: [(&str, &str, Command); 8] = [
    ("p1", "anna", Create(2_500)),
    ("p1", "anna", Authorize),
    ("p1", "anna", Complete),
    ("p2", "bert", Create(990)),
    ("p2", "bert", Cancel),
    ("p2", "bert", Complete),
    ("p3", "anna", Create(12_000)),
    ("p3", "anna", Authorize),
];

/// A row of the read model.
#[derive(Debug)]
pub(crate) struct Line {
    status: String,
    cents: u64,
    created: Timestamp,
    changed: Timestamp,
}

impl Line {
    pub(crate) fn new(cents: u64, record: &Event) -> Self {
        Self {
            status: record.event_type().to_owned(),
            cents,
            created: record.timestamp(),
            changed: record.timestamp(),
        }
    }

    pub(crate) fn update(&mut self, record: &Event) {
        record.event_type().clone_into(&mut self.status);
        self.changed = record.timestamp();
    }
}

impl Row for Line {
    type Secondary = String;

    fn secondary_keys(&self) -> Vec<String> {
        vec![self.status.clone()]
    }
}

/// The payments of each status, with their processing times, once the read model and the saga have handled all events.
pub(crate) fn report(title: &str, processors: &Processors, summary: &Projected<Summary>) -> Result<(), Box<dyn Error>> {
    processors.when_idle(Duration::from_secs(10))?;
    println!("{title}: status, payment, cents, seconds from its creation to its last change");
    summary.read(|Summary(payments)| {
        for status in ["Authorized", "Completed", "Cancelled"] {
            for (id, line) in payments.find(&status.to_owned()) {
                let seconds = (line.changed.as_micros() - line.created.as_micros()) / 1_000_000;
                println!("    {status:<10} {id} {:>6} {seconds:>5}", line.cents);
            }
        }
    });
    Ok(())
}

/// From the log: status history, audit trail, search, statistics, and past states.
pub(crate) fn history(store: &Store, payments: &Aggregates<Payment>) -> Result<(), Box<dyn Error>> {
    let list = |events: Vec<Event>| {
        let types: Vec<_> = events.iter().map(Event::event_type).collect();
        types.join(", ")
    };
    println!("status history of p3: {}", list(store.read_stream("p3").events()));
    let all = Query::all().aggregate_type("Payment");
    println!(
        "what anna did: {}",
        list(store.query(all.clone().user("anna")).events()?)
    );
    println!("search for 990: {}", list(store.query(all.text("990")).events()?));
    for (status, count) in store.terms(&Field::EventType) {
        if !status.starts_with("annals.") {
            println!("{count} x {status}");
        }
    }
    let past = payments.load_version("p3", Version(1))?.state;
    println!("p3 at version 1: {past:?}");
    let past = payments
        .load_as_of("p1", "2026-01-31T12:02:00Z".parse::<Timestamp>()?)?
        .state;
    println!("p1 at 12:02: {past:?}");
    Ok(())
}
