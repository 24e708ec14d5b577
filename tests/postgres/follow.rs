//! Stores that follow: they have what others have committed, whoever that is.

use annals::{Durability, Error, Event, Expected, NewEvent, Position, Query, Store, StreamId, StreamLimits, Version};

use crate::support::{Schema, prepared};

fn note(id: &str) -> StreamId {
    StreamId::new("Note", id)
}

fn noted(number: u64) -> NewEvent {
    NewEvent::new("Noted").data(number.to_string())
}

/// The URL of a store: that of its server, with its schema.
fn url_at(url: &str, schema: &Schema) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    let name: Vec<_> = schema.name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("{url}{sign}schema={}", name.concat())
}

fn follow(schema: &Schema) -> Store {
    Store::follow(&url_at(&schema.url, schema)).expect("it can be followed")
}

fn write(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.acknowledging(Durability::Synced).expect("PostgreSQL can")
}

fn append_in_sql(schema: &Schema, id: &str) -> u64 {
    let call = format!("append_events('{id}', 'Note', NULL, '[{{\"eventType\": \"Noted\"}}]')");
    let position = schema.value(&format!("SELECT last_position FROM {call}"));
    position.parse().expect("a number")
}

fn events(store: &Store) -> Vec<Event> {
    let mut events = Vec::new();
    store.log().for_each(|event| events.push(event.to_event()));
    events
}

/// The same events, aggregates and gaps.
fn assert_same(follower: &Store, other: &Store) {
    assert_eq!(events(follower), events(other));
    assert_eq!(follower.gaps(), other.gaps());
    for (id, _) in other.terms(&annals::Field::Aggregate) {
        assert_eq!(follower.stream_info(&id), other.stream_info(&id));
        assert_eq!(follower.stream(&id).events(), other.stream(&id).events());
    }
}

#[test]
fn a_follower_has_what_is_there_and_what_comes() {
    let schema = prepared();
    append_in_sql(&schema, "note-1");
    let follower = follow(&schema);
    assert_eq!(follower.visible(), Position(1));
    assert_eq!(follower.recovery().events, 1);
    let mut tail = follower.tail(Query::all(), Position(0)).expect("a query");
    for round in 2..20 {
        assert_eq!(append_in_sql(&schema, &format!("note-{}", round % 3)), round);
    }
    for position in 1..20 {
        let next = tail.events().next().expect("it goes on");
        assert_eq!(next.position(), Position(position));
    }
    assert_eq!(follower.query(Query::all().aggregate("note-1")).count(), Ok(7));
    assert_eq!(follower.reached(Durability::Synced), Position(19));
    follower.wait_durable(Position(19)).expect("it is");
    assert_eq!(follower.stats().events_at_risk, 0);
    let writer = write(&schema);
    assert_same(&follower, &writer);
}

#[test]
fn a_follower_sees_what_a_writer_does_while_it_has_the_lease() {
    let schema = prepared();
    let writer = write(&schema);
    let follower = follow(&schema);
    for id in ["kept", "limited", "truncated", "deleted", "for good"] {
        let events = (1..=5).map(noted).collect();
        writer.append(&note(id), Expected::NoStream, events).expect("it is new");
    }
    let limits = StreamLimits {
        max_count: Some(2),
        ..StreamLimits::default()
    };
    writer.set_limits("limited", limits).expect("it is there");
    writer.truncate("truncated", Version(4)).expect("it is there");
    writer.delete("deleted", Expected::Any).expect("it is there");
    writer.tombstone("for good", Expected::Any).expect("it is there");
    let many = (0..3000).map(noted).collect();
    writer.append(&note("limited"), Expected::Any, many).expect("any");
    let last = writer
        .append(&note("deleted"), Expected::NoStream, vec![noted(6)])
        .expect("it was deleted");
    follower.await_visible(last.last_position);
    assert_same(&follower, &writer);
    let fork = follower.fork();
    fork.append(&note("kept"), Expected::exactly(5), vec![noted(6)])
        .expect("a fork is on its own");
    let next = writer
        .append(&note("kept"), Expected::exactly(5), vec![noted(7)])
        .expect("as is the writer");
    follower.await_visible(next.last_position);
    assert_same(&follower, &writer);
    writer.close().expect("the server is there");
    assert_eq!(append_in_sql(&schema, "kept"), next.last_position.0 + 1);
}

#[test]
fn an_append_is_seen_whole() {
    let schema = prepared();
    let writer = write(&schema);
    let follower = follow(&schema);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..5 {
                let events = (0..9_000).map(|_| noted(round)).collect();
                writer.append(&note("long"), Expected::Any, events).expect("any");
            }
        });
        while follower.visible() < Position(45_000) {
            assert_eq!(follower.visible().0 % 9_000, 0);
            assert_eq!(follower.stream("long").events().len() % 9_000, 0);
        }
    });
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let schema = Schema::new();
    for (url, part) in [
        ("memory:".to_owned(), "memory: cannot be followed"),
        ("file:orders".to_owned(), "file:orders cannot be followed"),
        (
            url_at("postgres://nobody@127.0.0.1:1/orders", &schema),
            "cannot be reached",
        ),
    ] {
        let error = Store::follow(&url).expect_err("it cannot be followed");
        assert!(error.to_string().contains(part), "{error}");
    }
    // Whoever comes first makes the tables.
    assert_eq!(follow(&schema).visible(), Position(0));
    let changed = follow(&schema).delete("note-1", Expected::Any);
    assert!(
        matches!(&changed, Err(Error::Invalid(why)) if why.contains("open the store as its writer")),
        "{changed:?}"
    );
}
