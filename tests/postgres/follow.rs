//! Stores that follow read what any other store or SQL client has committed.

use std::future::poll_fn;
use std::time::Duration;

use annals::{
    Append, Condition, Conflict, ContentType, Delivery, Durability, Error, Event, Expected, NewEvent, Position, Query,
    Store, StreamId, StreamLimits, Version,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Connection, NoTls, Socket, connect};

use crate::support::{Schema, prepared};

pub(crate) fn note(id: &str) -> StreamId {
    StreamId::new("Note", id)
}

pub(crate) fn noted(number: u64) -> NewEvent<'static> {
    NewEvent::new("Noted").data(number.to_string())
}

/// The URL of a store: that of its server, with its schema.
pub(crate) fn url_at(url: &str, schema: &Schema) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    let name: Vec<_> = schema.name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("{url}{sign}schema={}", name.concat())
}

pub(crate) fn follow(schema: &Schema) -> Store {
    Store::follow(&url_at(&schema.url, schema)).expect("it can be followed")
}

fn write(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

pub(crate) fn append_in_sql(schema: &Schema, id: &str) -> u64 {
    let call = format!("append_events('{id}', 'Note', NULL, '[{{\"eventType\": \"Noted\"}}]')");
    let position = schema.value(&format!("SELECT last_position FROM {call}"));
    position.parse().expect("a number")
}

pub(crate) fn events(store: &Store) -> Vec<Event> {
    let mut events = Vec::new();
    store.read_all().for_each(|event| events.push(event.to_event()));
    events
}

/// The same events, aggregates and gaps.
pub(crate) fn assert_same(follower: &Store, other: &Store) {
    assert_eq!(events(follower), events(other));
    assert_eq!(follower.gaps(), other.gaps());
    for (id, _) in other.terms(&annals::Field::Aggregate) {
        assert_eq!(follower.stream_info(&id), other.stream_info(&id));
        assert_eq!(follower.read_stream(&id).events(), other.read_stream(&id).events());
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
        let events = (1..=5).map(noted).collect::<Vec<_>>();
        writer.append(&note(id), Expected::NoStream, events).expect("it is new");
    }
    let limits = StreamLimits::default().max_count(2);
    writer.set_limits("limited", limits).expect("it is there");
    writer.truncate_before("truncated", Version(4)).expect("it is there");
    writer.delete("deleted", Expected::Any).expect("it is there");
    writer.tombstone("for good", Expected::Any).expect("it is there");
    // Too few for rows to leave: a follower that comes late has other gaps then.
    let many = (0..900).map(noted).collect::<Vec<_>>();
    writer.append(&note("limited"), Expected::Any, many).expect("any");
    let last = writer
        .append(&note("deleted"), Expected::NoStream, vec![noted(6)])
        .expect("it was deleted");
    follower.wait_visible(last.last_position);
    assert_same(&follower, &writer);
    let fork = follower.fork();
    fork.append(&note("kept"), Expected::exactly(5), vec![noted(6)])
        .expect("a fork is on its own");
    let next = writer
        .append(&note("kept"), Expected::exactly(5), vec![noted(7)])
        .expect("as is the writer");
    follower.wait_visible(next.last_position);
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
                let events = (0..9_000).map(|_| noted(round)).collect::<Vec<_>>();
                writer.append(&note("long"), Expected::Any, events).expect("any");
            }
        });
        while follower.visible() < Position(45_000) {
            assert_eq!(follower.visible().0 % 9_000, 0);
            assert_eq!(follower.read_stream("long").events().len() % 9_000, 0);
        }
    });
}

#[test]
fn forks_and_tails_are_whole_while_others_append() {
    let schema = prepared();
    let follower = follow(&schema);
    let three = r#"'[{"eventType": "Noted"}, {"eventType": "Noted"}, {"eventType": "Noted"}]'"#;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100 {
                schema.sql(&format!(
                    "SELECT append_events('note-{}', 'Note', NULL, {three})",
                    round % 3
                ));
            }
        });
        scope.spawn(|| {
            let tail = follower.tail(Query::all(), Position(0)).expect("a query");
            for (position, delivery) in (1..=300).zip(tail) {
                assert!(matches!(delivery, Delivery::Event(event) if event.position() == Position(position)));
            }
            is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
            let fork = follower.fork();
            let visible = fork.visible();
            assert_eq!(visible.0 % 3, 0);
            let appended = fork
                .append(&note("note-1"), Expected::Any, vec![noted(1)])
                .expect("it is on its own");
            assert_eq!(appended.first_position.0, visible.0 + 1);
            assert_eq!(events(&fork).len() as u64, visible.0 + 1);
        }
    });
    assert_eq!(follower.visible(), Position(300));
    assert_same(&follower, &follow(&schema));
    follower.close().expect("nothing waits");
    assert_eq!(follower.fault(), None);
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
    // The first to open it creates the tables.
    assert_eq!(follow(&schema).visible(), Position(0));
    let changed = follow(&schema).delete("note-1", Expected::Any);
    assert!(
        matches!(&changed, Err(Error::Invalid { message: why }) if why.contains("open the store as its writer")),
        "{changed:?}"
    );
}

#[test]
fn a_follower_reads_its_own_appends_and_gets_the_conflicts_of_a_store_in_memory() {
    let schema = prepared();
    let writer = write(&schema);
    for id in ["soft", "hard"] {
        writer
            .append(&note(id), Expected::Any, vec![noted(1), noted(2)])
            .expect("any");
    }
    writer.delete("soft", Expected::Any).expect("it is there");
    writer.tombstone("hard", Expected::Any).expect("it is there");
    writer.close().expect("the server is there");
    let memory = writer.fork();
    let follower = follow(&schema);
    let expectations = [
        Expected::Any,
        Expected::NoStream,
        Expected::StreamExists,
        Expected::exactly(0),
        Expected::exactly(1),
        Expected::exactly(2),
        Expected::exactly(u64::MAX),
    ];
    for (id, expected) in ["soft", "hard", "new", "new"]
        .into_iter()
        .flat_map(|id| expectations.map(|expected| (id, expected)))
    {
        for count in [0, 1, 2] {
            let events: Vec<_> = (0..count).map(noted).collect();
            let (there, here) = (
                memory.append(&note(id), expected, events.clone()),
                follower.append(&note(id), expected, events),
            );
            let told = |mut appended: annals::Appended| {
                appended.durability = Durability::Synced;
                appended
            };
            assert_eq!(there.map(told), here.map(told), "{id} {expected}");
            assert_eq!(follower.stream_info(id), memory.stream_info(id));
        }
    }
    assert_eq!(follower.visible(), memory.visible());
    let other = follower.append(&StreamId::new("Order", "soft"), Expected::Any, vec![noted(1)]);
    assert_eq!(
        other,
        memory.append(&StreamId::new("Order", "soft"), Expected::Any, vec![noted(1)])
    );
    assert_same(&follower, &follow(&schema));
}

/// Events with whatever an event can have.
fn odd_events() -> Vec<NewEvent<'static>> {
    let data: [&[u8]; 11] = [
        b"",
        b"null",
        b" null ",
        b"{\"b\": 1, \"a\": 1.50}",
        b"\"\\u0000\"",
        b"[1,2]",
        b"\x00\xff",
        b"{",
        b"\"x\\ny\"",
        "\"ä€😀\"".as_bytes(),
        b"1e400",
    ];
    let types = [
        ContentType::Json,
        ContentType::Bytes,
        ContentType::from("text/\"x\"\n"),
        ContentType::from(""),
    ];
    let mut events = Vec::new();
    for (data, kind) in data
        .into_iter()
        .flat_map(|data| types.iter().map(move |kind| (data, kind)))
    {
        let mut event = NewEvent::new("Tab\t\"quoted\" \\ \u{1f} ä")
            .data(data)
            .content_type(kind.clone());
        event.metadata = data.to_vec().into();
        event.metadata_type = kind.clone();
        event.user_id = Some("\u{7f}\r\n".into());
        event.tags = vec!["a,b".into(), "{\"}".into(), "'".into()];
        event.schema_version = u32::MAX;
        events.push(event);
    }
    for micros in [
        0,
        -1,
        1,
        i64::MIN,
        i64::MAX,
        253_402_207_200_999_999,
        -210_866_803_200_000_001,
    ] {
        events.push(NewEvent::new("At").timestamp(annals::Timestamp::from_micros(micros)));
    }
    events
}

#[test]
fn what_a_follower_appends_comes_back_to_the_byte() {
    let schema = prepared();
    let follower = follow(&schema);
    let events = odd_events();
    let appended = follower
        .append(&note("note-1"), Expected::NoStream, events.clone())
        .expect("it is new");
    assert_eq!(appended.last_position.0, events.len() as u64);
    let memory = Store::in_memory();
    memory
        .append(&note("note-1"), Expected::NoStream, events)
        .expect("it is new");
    for (there, here) in self::events(&memory).into_iter().zip(self::events(&follower)) {
        assert_eq!((there.data(), there.metadata()), (here.data(), here.metadata()));
        assert_eq!(
            (there.data_type(), there.metadata_type()),
            (here.data_type(), here.metadata_type())
        );
        assert_eq!(
            (there.event_type(), there.user_id()),
            (here.event_type(), here.user_id())
        );
        assert_eq!(
            (there.schema_version(), there.version()),
            (here.schema_version(), here.version())
        );
        assert!(there.tags().eq(here.tags()));
        assert!(
            there.timestamp() == here.timestamp() || there.event_type() != "At",
            "{here:?}"
        );
    }
}

#[test]
fn an_append_made_again_through_a_follower_is_answered_as_the_first_time() {
    let schema = prepared();
    let (one, other) = (follow(&schema), follow(&schema));
    let event = |number: u64| noted(number).id(uuid::Uuid::from_u64_pair(7, number));
    let first = one
        .append(&note("note-1"), Expected::NoStream, vec![event(1), event(2)])
        .expect("it is new");
    one.append(&note("note-1"), Expected::Any, (0..40).map(noted).collect::<Vec<_>>())
        .expect("any");
    for expected in [Expected::NoStream, Expected::Any, Expected::exactly(0)] {
        let again = other
            .append(&note("note-1"), expected, vec![event(1), event(2)])
            .expect("it is the same");
        assert_eq!(
            (again.first_position, again.last_version),
            (first.first_position, first.last_version)
        );
        assert!(again.repeated && !first.repeated);
    }
}

#[test]
fn what_needs_the_locks_of_a_store_is_refused() {
    let schema = prepared();
    let follower = follow(&schema);
    let part = |id: &str| Append::new(note(id), Expected::Any, vec![noted(1)]);
    let one = follower.append_all(vec![part("note-1")]).expect("it is one");
    assert_eq!(one[0].last_position, Position(1));
    assert_eq!(follower.append_all(Vec::new()), Ok(Vec::new()));
    let condition = Condition::none_after(Query::all(), Position(1));
    for refused in [
        follower.append_all(vec![part("note-1"), part("note-2")]),
        follower.append_if(&condition, vec![part("note-1")]),
    ] {
        assert!(
            matches!(&refused, Err(Error::Invalid { message: why }) if why.contains("one aggregate at a time")),
            "{refused:?}"
        );
    }
    let mut tag = noted(1);
    tag.tags = vec!["".into()];
    let refused = follower.append(&note("note-1"), Expected::Any, vec![tag]);
    assert!(
        matches!(&refused, Err(Error::Invalid { message: why }) if why.contains("the tag is empty")),
        "{refused:?}"
    );
    let writer = write(&schema);
    let held = follower.append(&note("note-1"), Expected::Any, vec![noted(1)]);
    assert!(
        matches!(&held, Err(Error::Unavailable { cause: why }) if why.to_string().contains("held by annals (process ")),
        "{held:?}"
    );
    drop(writer);
    follower
        .append(&note("note-1"), Expected::exactly(1), vec![noted(2)])
        .expect("it was given back");
    follower.close().expect("nothing waits");
    let closed = follower.append(&note("note-1"), Expected::Any, vec![noted(1)]);
    assert_eq!(closed, Err(Error::Closed));
}

/// Appends in turns to an aggregate of its own and to one of all, and reads each at once.
pub(crate) fn race(store: &Store, name: &str) {
    let own = note(name);
    for round in 0..40 {
        let appended = store
            .append(&own, Expected::exactly(round), vec![noted(round)])
            .expect("nobody else writes there");
        let event = store.event_at(appended.last_position).expect("it reads its own");
        assert_eq!((event.aggregate_id(), event.version()), (name, Version(round + 1)));
        let info = store.stream_info("shared");
        let version = info.map_or(0, |info| info.version.0);
        match store.append(
            &note("shared"),
            Expected::exactly(version),
            vec![noted(round), noted(round)],
        ) {
            Ok(appended) => assert_eq!(
                store
                    .read_stream("shared")
                    .events()
                    .last()
                    .map(|event| event.version() >= appended.last_version),
                Some(true)
            ),
            Err(Error::Conflict(conflict)) => {
                let Conflict::Version { actual, position, .. } = *conflict else {
                    panic!("{conflict:?}")
                };
                assert!(actual.0 > version);
                store.wait_visible(position);
                assert!(store.stream_info("shared").is_some_and(|info| info.version >= actual));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn followers_and_appends_in_sql_that_race_leave_no_gap() {
    let schema = prepared();
    let followers = [follow(&schema), follow(&schema)];
    std::thread::scope(|scope| {
        for (place, store) in followers.iter().enumerate() {
            for thread in 0..2 {
                scope.spawn(move || race(store, &format!("own-{place}-{thread}")));
            }
        }
        for thread in 0..2 {
            let schema = &schema;
            scope.spawn(move || {
                for _ in 0..40 {
                    append_in_sql(schema, "shared");
                    append_in_sql(schema, &format!("sql-{thread}"));
                }
            });
        }
    });
    let last = Position(schema.value("SELECT position FROM head").parse().expect("a number"));
    let mut seen = Vec::new();
    for follower in &followers {
        follower.wait_visible(last);
        let mut versions = std::collections::HashMap::new();
        for (position, event) in (1..).zip(events(follower)) {
            assert_eq!(event.position(), Position(position));
            let version = versions.entry(event.aggregate_id().to_owned()).or_insert(0);
            *version += 1;
            assert_eq!(event.version(), Version(*version));
        }
        assert_eq!(versions["own-0-0"], 40);
        seen.push(events(follower));
    }
    assert_eq!(seen[0].len() as u64, last.0);
    assert_eq!(seen[0], seen[1]);
    assert_same(&followers[0], &write(&schema));
}

#[test]
fn a_store_that_is_only_read_takes_no_lease() {
    let schema = prepared();
    let writer = write(&schema);
    writer
        .append(&note("note-1"), Expected::Any, vec![noted(1)])
        .expect("appended");
    let url = url_at(&schema.url, &schema);
    let read = Store::builder().read_only().open_url(&url).expect("it can be read");
    assert_same(&read, &writer);
    let refused = read.append(&note("note-1"), Expected::Any, vec![noted(2)]);
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    writer
        .append(&note("note-1"), Expected::exactly(1), vec![noted(2)])
        .expect("it is its own");
    assert_eq!(read.visible(), Position(1));
}

/// A URL with a slip in it made the tables of another store.
#[test]
fn reading_a_store_that_is_not_there_makes_none() {
    let schema = Schema::new();
    let url = url_at(&schema.url, &schema);
    let refused = Store::builder().read_only().open_url(&url);
    assert!(
        matches!(&refused, Err(Error::Invalid { message }) if message.contains("there is no store")),
        "{refused:?}"
    );
    let made = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{}'", schema.name);
    assert_eq!(schema.value(&made), "0");
}

/// A program that appends once and ends is the usual writer beside a follower.
#[test]
fn an_append_was_never_announced_if_its_store_was_closed_at_once() {
    let schema = prepared();
    let mut listener = Listener::new(&schema);
    for number in 0..5 {
        let store = follow(&schema);
        store
            .append(&note("note-1"), Expected::Any, vec![noted(number)])
            .expect("appended");
        store.close().expect("closed");
        drop(store);
        assert!(listener.hears(), "append {number} was not announced");
    }
}

struct Listener {
    runtime: tokio::runtime::Runtime,
    _client: tokio_postgres::Client,
    notifications: UnboundedReceiver<()>,
}

impl Listener {
    fn new(schema: &Schema) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be made");
        let listen = format!("LISTEN \"annals-{}\"", schema.value("SELECT store FROM head"));
        let (sender, notifications) = unbounded_channel();
        let client = runtime.block_on(async {
            let (client, connection) = connect(&schema.url, NoTls).await.expect("the server is there");
            tokio::spawn(forward(connection, sender));
            client.batch_execute(&listen).await.expect("it listens");
            client
        });
        Self {
            runtime,
            _client: client,
            notifications,
        }
    }

    /// Whether a notification arrives within 5 s.
    fn hears(&mut self) -> bool {
        let wait = async { tokio::time::timeout(Duration::from_secs(5), self.notifications.recv()).await };
        self.runtime.block_on(wait).is_ok()
    }
}

async fn forward(mut connection: Connection<Socket, NoTlsStream>, notifications: UnboundedSender<()>) {
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        let is_notification = matches!(message, AsyncMessage::Notification(_));
        if is_notification && notifications.send(()).is_err() {
            return;
        }
    }
}
