//! Change capture: what anyone writes comes, at least once and in order, whatever ends meanwhile.

use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture, Changes};
use annals::journal::{Journal as _, JournalErrorKind};
use annals::{Event, EventRef, Expected, NewEvent, Store, StreamId, Version};

use crate::cluster::Cluster;
use crate::support::{Schema, Taker, batch, sql};

/// A reader of a schema's changes; its slot is dropped at the end.
pub(crate) struct Reader<'a> {
    schema: &'a Schema,
    pub(crate) slot: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(schema: &'a Schema, name: &str) -> Self {
        let slot = format!("test_{}_{name}", std::process::id());
        Self { schema, slot }
    }

    pub(crate) fn settings(&self) -> CaptureSettings {
        CaptureSettings::default().slot(self.slot.clone())
    }

    pub(crate) fn open(&self) -> ChangeCapture {
        self.open_as(self.settings())
    }

    pub(crate) fn open_as(&self, settings: CaptureSettings) -> ChangeCapture {
        ChangeCapture::open_with(&self.schema.url, self.schema.settings(), settings).expect("changes can be captured")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let drop_slot = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ";
        drop(sql(&self.schema.url, &format!("{drop_slot}'{}'", self.slot)));
    }
}

pub(crate) fn store(schema: &Schema) -> Store {
    Store::open(schema.journal().expect("a journal")).expect("a store")
}

/// Appends an event to each of so many aggregates; all are in the table.
pub(crate) fn write(store: &Store, count: u64) {
    for number in 0..count {
        let event = NewEvent::new("Noted")
            .data(format!("{{\"number\":{number}}}"))
            .tag("a tag")
            .user("anna");
        let stream = StreamId::new("Note", format!("note-{}", number % 5));
        store.append(&stream, Expected::Any, vec![event]).expect("appended");
    }
    store.wait_durable(store.visible()).expect("written");
}

fn events_of(changes: &Changes) -> Vec<Event> {
    changes.batch.events().map(EventRef::to_event).collect()
}

/// Everything that comes until nothing does, acknowledged.
pub(crate) fn drain(capture: &mut ChangeCapture) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(changes) = capture.take().expect("changes") {
        events.extend(events_of(&changes));
        capture.acknowledge(&changes).expect("acknowledged");
    }
    events
}

pub(crate) fn everything(store: &Store) -> Vec<Event> {
    store.read_all().include_system().events()
}

#[test]
fn what_was_there_before_the_slot_comes_and_what_is_written_then() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "before");
    let store = store(&schema);
    write(&store, 50);
    let mut capture = reader.open();
    assert_eq!(drain(&mut capture), everything(&store));
    write(&store, 30);
    store.truncate_before("note-1", Version(3)).expect("truncated");
    store
        .wait_durable(store.reached(annals::Durability::Volatile))
        .expect("written");
    let later = drain(&mut capture);
    assert_eq!(later.len(), 31);
    assert_eq!(later[30].event_type(), "$truncated");
    drop(capture);
    assert_eq!(drain(&mut reader.open()), []);
    write(&store, 1);
    assert_eq!(drain(&mut reader.open()).len(), 1);

    let newcomer = Reader::new(&schema, "newcomer");
    let mut only_new = newcomer.open_as(newcomer.settings().from_the_first(false));
    assert_eq!(drain(&mut only_new), []);
    write(&store, 2);
    assert_eq!(drain(&mut only_new).len(), 2);
}

#[test]
fn what_was_not_acknowledged_comes_again_whenever_the_reader_ends() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "again");
    let store = store(&schema);
    write(&store, 20);
    let mut seen: Vec<Event> = Vec::new();
    let mut acknowledged = 0;
    for round in 0..24_u64 {
        write(&store, 1 + round % 3);
        let mut capture = reader.open();
        let changes = capture.take().expect("changes").expect("there are some");
        let events = events_of(&changes);
        assert_eq!(events[0].position().0, acknowledged + 1, "round {round}");
        let known = seen.len() - acknowledged as usize;
        assert_eq!(
            events[..known.min(events.len())],
            seen[acknowledged as usize..][..known.min(events.len())]
        );
        seen.extend(events.iter().skip(known).cloned());
        // The reader ends before it acknowledges, or after.
        if round % 3 != 0 {
            capture.acknowledge(&changes).expect("acknowledged");
            acknowledged = events.last().expect("an event").position().0;
        }
    }
    seen.truncate(acknowledged as usize);
    seen.extend(drain(&mut reader.open()));
    assert_eq!(seen, everything(&store));
}

#[test]
fn rows_that_others_write_come_too() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "others");
    drop(store(&schema));
    let mut capture = reader.open();
    let insert = |position: u64| {
        schema.sql(&format!(
            "BEGIN; UPDATE head SET position = {position}; \
             INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, \
             recorded_at, tags, data) VALUES ({position}, gen_random_uuid(), 'a', 'A', 'Written', 1, {position}, now(), now(), '{{}}', \
             '{{\"by\": \"SQL\"}}'); COMMIT"
        ));
    };
    insert(1);
    insert(2);
    let events = drain(&mut capture);
    assert_eq!(events.len(), 2);
    assert_eq!(
        (events[1].version(), events[1].data()),
        (Version(2), &br#"{"by":"SQL"}"#[..])
    );
}

#[test]
fn a_slot_that_was_dropped_under_the_reader_costs_no_event() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "dropped");
    let store = store(&schema);
    let mut capture = reader.open();
    write(&store, 10);
    let mut seen = drain(&mut capture);
    write(&store, 10);
    capture.drop_slot().expect("dropped");
    assert_eq!(capture.status().expect("a status").lag_bytes, None);
    write(&store, 10);
    for _ in 0..3 {
        seen.extend(drain(&mut capture));
    }
    assert_eq!(seen, everything(&store));
    let behind_its_back = format!("SELECT pg_drop_replication_slot('{}')", reader.slot);
    write(&store, 5);
    schema.sql(&behind_its_back);
    for _ in 0..3 {
        seen.extend(drain(&mut capture));
    }
    assert_eq!(seen, everything(&store));
}

/// The process ends right after the server has made the slot anew.
#[test]
fn what_lay_before_a_slot_was_missed_when_its_maker_ended_at_once() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "maker");
    let store = store(&schema);
    write(&store, 10);
    let mut seen = drain(&mut reader.open());
    for is_made in [false, true] {
        schema.sql(&format!("SELECT pg_drop_replication_slot('{}')", reader.slot));
        write(&store, 10);
        if is_made {
            schema.sql("UPDATE checkpoints SET copied_to = NULL");
            schema.sql(&format!(
                "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
                reader.slot
            ));
        }
        seen.extend(drain(&mut reader.open()));
        assert_eq!(seen, everything(&store));
    }
}

#[test]
fn the_server_says_what_a_slot_costs_it() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "lag");
    let store = store(&schema);
    let mut capture = reader.open();
    write(&store, 200);
    let behind = capture.status().expect("a status");
    assert!(behind.lag_bytes.is_some_and(|bytes| bytes > 10_000), "{behind:?}");
    assert!(!behind.is_lost);
    drain(&mut capture);
    let there = capture.status().expect("a status");
    assert_eq!(there.position, store.visible());
}

#[test]
fn a_server_that_crashes_is_waited_for_and_nothing_is_missed() {
    let cluster = Cluster::start(&[], &[]);
    let schema = Schema::on(cluster.url());
    let reader = Reader::new(&schema, "crash");
    let mut journal = schema.journal().expect("a journal");
    journal.recover(&mut Taker::default()).expect("empty");
    let mut capture = reader.open();
    let (mut written, mut seen) = (0, 0);
    for round in 0..6 {
        journal.write(&batch(written + 1, 30)).expect("written");
        written += 30;
        if round % 2 == 0 {
            let changes = capture.take().expect("changes").expect("there are some");
            assert!(changes.batch.first_position().0 <= seen + 1, "a hole behind {seen}");
            capture.acknowledge(&changes).expect("acknowledged");
            seen = changes.batch.last_position().0;
        }
        cluster.control(&["-m", "immediate", "-w", "stop"]);
        let error = capture.take().expect_err("the server is away");
        assert_eq!(error.kind(), JournalErrorKind::Retry, "{error}");
        cluster.control(&["-w", "-t", "60", "start"]);
    }
    while let Some(changes) = capture.take().expect("changes") {
        assert!(changes.batch.first_position().0 <= seen + 1, "a hole behind {seen}");
        seen = changes.batch.last_position().0;
        capture.acknowledge(&changes).expect("acknowledged");
    }
    assert_eq!(seen, written);
    drop(journal);
}

#[test]
fn a_server_that_does_not_tell_of_changes_is_named() {
    let cluster = Cluster::start(&["wal_level = replica"], &[]);
    let schema = Schema::on(cluster.url());
    let open = || ChangeCapture::open_with(&schema.url, schema.settings(), CaptureSettings::default());
    let refused = open().expect_err("there is no store").to_string();
    assert!(refused.contains("there is no store"), "{refused}");
    drop(store(&schema));
    let refused = open().expect_err("the server does not").to_string();
    assert!(refused.contains("wal_level = logical"), "{refused}");
    let settings = CaptureSettings::default().slot("My Slot");
    let refused = ChangeCapture::open_with(&schema.url, schema.settings(), settings).expect_err("a bad name");
    assert_eq!(refused.kind(), JournalErrorKind::Unsupported);
}

/// Bytes that are no text and no JSON, names in every alphabet, and a transaction longer than what is taken together.
#[test]
fn changes_come_to_the_byte_and_a_long_transaction_in_order() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "bytes");
    let store = store(&schema);
    let mut capture = reader.open();
    let odd = |number: u64| {
        let bytes = (0..number % 300).map(|byte| (byte * 7 % 256) as u8).collect::<Vec<_>>();
        NewEvent::new("Zählung \t'\"\\ 数")
            .content_type(annals::ContentType::Bytes)
            .data(bytes)
            .metadata("{\"a\": 1,\"a\":2}")
            .tag("\\N")
            .timestamp(annals::Timestamp::from_micros(
                i64::try_from(number).unwrap_or(0) - 5_000,
            ))
    };
    let events = (0..10_000).map(odd).collect::<Vec<_>>();
    store
        .append(&StreamId::new("Größe", "a\tb\n"), Expected::Any, events)
        .expect("appended");
    store.wait_durable(store.visible()).expect("written");
    let came = drain(&mut capture);
    assert_eq!(came.len(), 10_000);
    assert!(came == everything(&store), "what comes is what was appended");
}

/// The row of the event that was acknowledged was looked for, and the server said to have lost it.
#[test]
fn what_was_read_is_acknowledged_when_its_rows_have_left() {
    let schema = Schema::new();
    let store = store(&schema);
    let reader = Reader::new(&schema, "left");
    let mut capture = reader.open();
    write(&store, 10);
    let changes = capture.take().expect("changes").expect("they were written");
    for number in 0..5 {
        store.delete(&format!("note-{number}"), Expected::Any).expect("deleted");
    }
    store.compact_journal().expect("compacted");
    assert_eq!(schema.value("SELECT count(*) FROM live_events"), "0");
    assert_eq!(schema.value("SELECT count(*) FROM events WHERE position <= 10"), "0");
    capture.acknowledge(&changes).expect("acknowledged");
    let came: Vec<_> = drain(&mut capture)
        .iter()
        .map(|event| event.event_type().to_owned())
        .collect();
    assert_eq!(came, ["$deleted"; 5]);
}
