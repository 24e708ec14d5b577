//! A store for tests: the same ids and times in every run, set up once, and a copy of its own for each test.
//!
//! `cargo run --example fake_store`

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, ManualClock, NewEvent, SeededIds, Store, StreamId};

/// What is tested: a subscription may be cancelled once, and only within a fortnight.
fn cancel(store: &Store, id: &str, now: annals::Timestamp) -> Result<(), Box<dyn Error>> {
    let history = store.read_stream(id).events();
    let started = history.first().ok_or("there is no such subscription")?;
    if history
        .iter()
        .any(|event| event.event_type() == "SubscriptionCancelled")
    {
        return Err("it is cancelled already".into());
    }
    if now > started.timestamp().after(Duration::from_secs(14 * 24 * 60 * 60)) {
        return Err("the fortnight is over".into());
    }
    let last = history.last().map_or(0, |event| event.version().0);
    store.append(
        &started.stream_id(),
        Expected::exactly(last),
        vec![NewEvent::new("SubscriptionCancelled")],
    )?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();

    // Set up once, for all tests.
    let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse()?));
    let store = Store::builder()
        .clock(Arc::<ManualClock>::clone(&clock))
        .ids(Arc::new(SeededIds::new(7)))
        .open()?;
    let subscription = StreamId::new("Subscription", "subscription-1");
    let started = NewEvent::new("SubscriptionStarted").data(r#"{"plan": "small"}"#);
    store.append(&subscription, Expected::NoStream, vec![started])?;
    writeln!(
        out,
        "set up: {} event, with id {}",
        store.visible(),
        store.read_stream("subscription-1").events()[0].id()
    )?;

    // One test: in time.
    let test = store.fork();
    cancel(&test, "subscription-1", "2026-02-01T12:00:00Z".parse()?)?;
    writeln!(out, "first test: {} events in its copy", test.visible())?;
    let again = cancel(&test, "subscription-1", "2026-02-01T12:00:00Z".parse()?);
    writeln!(out, "first test, again: {}", again.err().ok_or("it must be refused")?)?;

    // Another: too late. It sees nothing of the first.
    let test = store.fork();
    let late = cancel(&test, "subscription-1", "2026-02-15T12:00:00Z".parse()?);
    writeln!(out, "second test: {}", late.err().ok_or("it must be refused")?)?;

    // As strict as a real store.
    let conflict = test.append(
        &subscription,
        Expected::NoStream,
        vec![NewEvent::new("SubscriptionStarted")],
    );
    writeln!(out, "a conflict: {}", conflict.err().ok_or("it must be refused")?)?;
    writeln!(out, "the store that all began with: still {} event", store.visible())?;
    Ok(())
}
