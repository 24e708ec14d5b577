//! A payment system: commands, an aggregate, a read model, a saga, queries, and a test. `cargo run --example payment`

#![expect(clippy::print_stdout, reason = "an example prints")]

mod domain;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Aggregates, Context, Processors, Projected};
use annals::{Event, Field, ManualClock, Position, Query, Store, Version};

use crate::domain::Command::{Authorize, Cancel, Complete, Create};
use crate::domain::{Expiry, Payment, Summary};

const SOON: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "testing")]
    test();
    let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse()?));
    let store = Store::builder().clock(Arc::<ManualClock>::clone(&clock)).open()?;
    let payments = Aggregates::<Payment>::new(&store);
    let processors = Processors::new(&store);
    let summary = processors.project("payments", Summary::default()).start()?;
    let cancelling = payments.clone();
    let expiry = processors.saga::<Expiry>(move |command, sending| {
        let payments = cancelling.with_context(sending.context.clone());
        payments.execute_once(sending.command_id, &sending.key, command)?;
        Ok(())
    });
    expiry.start()?;

    println!("12:00  three payments are made");
    for (id, user, commands) in [
        ("p1", "anna", vec![Create(2_500), Authorize, Complete]),
        ("p2", "bert", vec![Create(990), Cancel, Complete]),
        ("p3", "anna", vec![Create(12_000), Authorize]),
    ] {
        let payments = payments.with_context(Context::new().user(user).correlation(id));
        for command in commands {
            clock.advance(Duration::from_secs(90));
            if let Err(rejected) = payments.execute(id, &command) {
                println!("       {id}: {rejected}");
            }
        }
    }
    processors.when_idle(SOON)?;
    report(&summary);
    println!("14:12  payments not completed within an hour have expired");
    clock.advance(Duration::from_secs(2 * 3_600));
    processors.when_idle(SOON)?;
    report(&summary);
    history(&store, &payments)?;
    println!(
        "replay: {} events give the same read model",
        summary.rebuild(Summary::default())?
    );
    report(&summary);
    Ok(())
}

/// Queries the read model: the payments of each status, with their processing times.
fn report(summary: &Projected<Summary>) {
    summary.read(|Summary(payments)| {
        for status in ["Authorized", "Completed", "Cancelled"] {
            for (id, line) in payments.find(&status.to_owned()) {
                let seconds = (line.changed.as_micros() - line.created.as_micros()) / 1_000_000;
                println!("       {status:<10} {id} {:>7} cents, after {seconds} s", line.cents);
            }
        }
    });
}

/// Queries the log: status history, audit trail, search, statistics, and past states.
fn history(store: &Store, payments: &Aggregates<Payment>) -> Result<(), Box<dyn Error>> {
    let list = |events: Vec<Event>| {
        let types: Vec<_> = events.iter().map(Event::event_type).collect();
        types.join(", ")
    };
    println!("status history of p3: {}", list(store.read_stream("p3").events()));
    let made = Query::all().aggregate_type("Payment");
    println!(
        "what anna did: {}",
        list(store.query(made.clone().user("anna")).events()?)
    );
    println!("search for 990: {}", list(store.query(made.text("990")).events()?));
    for (status, count) in store
        .terms(&Field::EventType)
        .iter()
        .filter(|(name, _)| !name.starts_with("annals."))
    {
        println!("{count} x {status}");
    }
    println!("p3 at version 1: {:?}", payments.load_version("p3", Version(1))?.state);
    println!(
        "p1 at position 3 of the log: {:?}",
        payments.load_as_of("p1", Position(3))?.state
    );
    Ok(())
}

/// Tests the aggregate and the saga: given events, when a command or an event, then these events or commands.
#[cfg(feature = "testing")]
fn test() {
    use annals::testing::{SagaScenario, Scenario};
    use domain::PaymentEvent;

    Scenario::<Payment>::given([PaymentEvent::Created(5)])
        .when(Authorize)
        .then([PaymentEvent::Authorized]);
    SagaScenario::<Expiry>::new()
        .when("p1", PaymentEvent::Created(5))
        .advance(Duration::from_secs(3_600))
        .then_sends([Cancel]);
}
