//! A tracker of sessions: bounded memory, a thread that follows the log, and statistics at the end.
//!
//! `cargo run --release --example sessions`

use std::error::Error;
use std::io::{Write, stdout};

use annals::analytics::TimeZone;
use annals::{Budget, Delivery, Expected, Field, NewEvent, Position, Query, Settings, Store, StreamId, WhenFull};

const SESSIONS: u64 = 5_000;
const PAGES: [&str; 4] = ["/", "/prices", "/docs", "/sign-up"];

fn track(store: &Store, session: u64) -> annals::Result<()> {
    let stream = StreamId::new("Session", format!("session-{session:05}"));
    let user = format!("user-{:03}", session % 500);
    let mut events = vec![NewEvent::new("SessionStarted").user(&user)];
    for step in 0..session % 6 {
        let page = PAGES[usize::try_from((session + step) % 4).unwrap_or(0)];
        let viewed = NewEvent::new("PageViewed").user(&user).tag(page);
        events.push(viewed.data(format!(r#"{{"page":"{page}"}}"#)));
    }
    if session.is_multiple_of(7) {
        events.push(NewEvent::new("SignedUp").user(&user));
    }
    store.append(&stream, Expected::NoStream, events)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let budget = Budget::default().events(10_000).when_full(WhenFull::DropOldest);
    let settings = Settings::default().budget(budget);
    let store = Store::builder().settings(settings).open()?;

    // Counts sign-ups as they happen. The tail ends when the store is closed.
    let sign_ups = store.tail(Query::all().event_type("SignedUp"), Position(0))?;
    let follower = std::thread::spawn(move || {
        sign_ups.fold((0, 0), |(seen, missed), delivery| match delivery {
            Delivery::Event(_) => (seen + 1, missed),
            // The gap counts events of every type, since the types of dropped events are unknown.
            Delivery::Gap(gap) => (seen, missed + gap.count),
        })
    });
    for session in 0..SESSIONS {
        track(&store, session)?;
    }

    let statistics = store.query(Query::all()).statistics(&TimeZone::UTC)?;
    let mut out = stdout().lock();
    writeln!(
        out,
        "tracked {} events, kept the last {}",
        store.visible(),
        statistics.total()
    )?;
    for gap in store.gaps() {
        writeln!(out, "dropped: {gap}")?;
    }
    for (event_type, events) in store.terms(&Field::EventType) {
        writeln!(out, "{:<15} {events:>6}", event_type.as_str())?;
    }
    for (user, events) in statistics.by_user().ranked().into_iter().take(3) {
        writeln!(out, "{user:<15} {events:>6}")?;
    }
    let prices = store.query(Query::all().tag("/prices")).count()?;
    writeln!(out, "views of /prices: {prices}")?;
    let stats = store.stats();
    writeln!(
        out,
        "memory: {} bytes an event",
        stats.memory_bytes / stats.events.max(1)
    )?;

    store.close()?;
    let (seen, missed) = follower.join().map_err(|_| "the follower panicked")?;
    writeln!(
        out,
        "the follower saw {seen} sign-ups; {missed} events were dropped before it read them"
    )?;
    Ok(())
}
