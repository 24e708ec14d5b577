//! Appends in SQL, as any program makes them: what they are checked for, what they are answered, and that a store reads them.

use annals::journal::{Journal as _, JournalErrorKind};
use annals::{ContentType, Durability, Error, Event, Expected, NewEvent, Position, Store, StreamId, Version};

use crate::support::{Schema, batch, last_error, prepared, recovered};

fn open(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

/// First and last position, first and last version, and whether it was made before.
fn answered(schema: &Schema, arguments: &str) -> [String; 5] {
    let rows = schema.sql(&format!("SELECT * FROM append_events({arguments})"));
    std::array::from_fn(|column| rows[0][column].clone().unwrap_or_default())
}

fn appended(schema: &Schema, id: &str, expected: &str, count: usize) -> [String; 5] {
    let events = vec![r#"{"eventType": "Noted"}"#; count].join(",");
    answered(schema, &format!("'{id}', 'Note', {expected}, '[{events}]'"))
}

/// The state, message and detail with which an append is refused.
fn refused(schema: &Schema, arguments: &str) -> (String, String, String) {
    let refused = schema.try_sql(&format!("SELECT * FROM append_events({arguments})"));
    let error = refused.expect_err(arguments);
    let said = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    let detail = said.detail().unwrap_or_default().to_owned();
    (said.code().code().to_owned(), said.message().to_owned(), detail)
}

fn events(store: &Store) -> Vec<Event> {
    let mut events = Vec::new();
    store.read_all().for_each(|event| events.push(event.to_event()));
    events
}

#[test]
fn the_example_of_the_documentation_appends() {
    let schema = prepared();
    let page = include_str!("../../docs/postgresql.md");
    let (_, rest) = page
        .split_once("```sql\nSELECT * FROM annals.append_events")
        .expect("there is one");
    let (example, _) = rest.split_once(";\n").expect("it ends");
    let rows = schema.sql(&format!("SELECT * FROM append_events{example}"));
    assert_eq!(rows[0], ["1", "2", "1", "2", "f"].map(|text| Some(text.to_owned())));
    assert_eq!(events(&open(&schema)).len(), 2);
}

#[test]
fn a_store_reads_what_was_appended() {
    let schema = prepared();
    let full = r#"{"eventType": "Paid", "eventId": "018f0000-0000-7000-8000-000000000001", "eventVersion": 3,
        "timestamp": "2026-01-31T12:00:00.5+02:00", "correlationId": "c-1", "causationId": "c-2", "userId": "anna",
        "organizationId": "acme", "tags": ["a b", "ä\"\\"], "metadata": {"b": 1, "a": [1, null]}, "eventData": "x, y: z"}"#;
    let bytes = r#"{"eventType": "Scanned", "eventDataHex": "00fF", "eventDataType": "image/png", "tags": [],
        "metadataHex": "6e756C6c", "timestampMicros": -377705116800000000, "eventData": null, "userId": null}"#;
    let answer = answered(&schema, &format!("'order-1', 'Order', 0, '[{full}, {bytes}]'"));
    assert_eq!(answer, ["1", "2", "1", "2", "f"]);
    let store = open(&schema);
    let events = events(&store);
    let first = &events[0];
    assert_eq!(first.id().to_string(), "018f0000-0000-7000-8000-000000000001");
    assert_eq!(
        (first.aggregate_id(), first.aggregate_type(), first.event_type()),
        ("order-1", "Order", "Paid")
    );
    assert_eq!(
        (first.schema_version(), first.version(), first.position()),
        (3, Version(1), Position(1))
    );
    assert_eq!(first.timestamp().to_string(), "2026-01-31T10:00:00.5Z");
    assert_eq!(
        (first.correlation_id(), first.causation_id()),
        (Some("c-1"), Some("c-2"))
    );
    assert_eq!((first.user_id(), first.organization_id()), (Some("anna"), Some("acme")));
    assert_eq!(first.tags().collect::<Vec<_>>(), ["a b", "ä\"\\"]);
    assert_eq!(first.metadata(), br#"{"a":[1,null],"b":1}"#);
    assert_eq!(first.data(), br#""x, y: z""#);
    let second = &events[1];
    assert_eq!((second.data(), second.metadata()), (&b"\x00\xff"[..], &b"null"[..]));
    assert_eq!(second.data_type(), ContentType::from("image/png"));
    assert_eq!(second.metadata_type(), ContentType::Json);
    assert_eq!(second.timestamp(), annals::Timestamp::MIN);
    assert_eq!((second.user_id(), second.tags().count()), (None, 0));
    assert_eq!(first.recorded_at(), second.recorded_at());
    let next = store.append(
        &StreamId::new("Order", "order-1"),
        Expected::exactly(2),
        vec![NewEvent::new("Sent")],
    );
    assert_eq!(next.expect("it goes on").last_position, Position(3));
}

#[test]
fn the_expected_version_is_checked() {
    let schema = prepared();
    assert_eq!(appended(&schema, "note-1", "NULL", 1), ["1", "1", "1", "1", "f"]);
    assert_eq!(appended(&schema, "note-1", "1", 2), ["2", "3", "2", "3", "f"]);
    assert_eq!(appended(&schema, "note-2", "0", 1), ["4", "4", "1", "1", "f"]);
    assert_eq!(appended(&schema, "note-1", "-1", 1), ["5", "5", "4", "4", "f"]);
    assert_eq!(appended(&schema, "note-3", "-2", 1), ["6", "6", "1", "1", "f"]);
    assert_eq!(appended(&schema, "note-1", "4", 0), ["7", "6", "5", "4", "f"]);
    for (id, expected, message, detail) in [
        (
            "note-1",
            "0",
            "is at version 4, expected no stream",
            r#"{"actualVersion" : 4, "position" : 5}"#,
        ),
        (
            "note-1",
            "3",
            "is at version 4, expected version 3",
            r#"{"actualVersion" : 4, "position" : 5}"#,
        ),
        (
            "note-1",
            "-2",
            "is at version 4, expected version 0",
            r#"{"actualVersion" : 4, "position" : 5}"#,
        ),
        (
            "note-9",
            "-1",
            "is at version 0, expected an existing stream",
            r#"{"actualVersion" : 0, "position" : 0}"#,
        ),
    ] {
        let (state, text, found) = refused(
            &schema,
            &format!(r#"'{id}', 'Note', {expected}, '[{{"eventType": "Noted"}}]'"#),
        );
        assert_eq!((state.as_str(), found.as_str()), ("ZA409", detail));
        assert_eq!(text, format!("aggregate '{id}' {message}"));
    }
    assert_eq!(schema.value("SELECT position FROM head"), "6");
}

#[test]
fn what_was_deleted_is_as_it_is_in_a_store() {
    let schema = prepared();
    appended(&schema, "soft", "0", 2);
    appended(&schema, "hard", "0", 1);
    let store = open(&schema);
    store.delete("soft", Expected::Any).expect("it is there");
    store.tombstone("hard", Expected::Any).expect("it is there");
    store.close().expect("the server is there");
    let soft = |expected: &str| format!(r#"'soft', 'Note', {expected}, '[{{"eventType": "Noted"}}]'"#);
    let (state, _, detail) = refused(&schema, &soft("-1"));
    assert_eq!(
        (state.as_str(), detail.as_str()),
        ("ZA409", r#"{"actualVersion" : 2, "position" : 0}"#)
    );
    assert_eq!(refused(&schema, &soft("-2")).0, "ZA409");
    assert_eq!(appended(&schema, "soft", "0", 1), ["6", "6", "3", "3", "f"]);
    assert_eq!(refused(&schema, &soft("0")).0, "ZA409");
    let (state, message, _) = refused(&schema, r#"'hard', 'Note', NULL, '[{"eventType": "Noted"}]'"#);
    assert_eq!(state, "ZA410");
    assert_eq!(message, "aggregate 'hard' was deleted for good: use another id");
}

#[test]
fn an_append_made_again_is_answered_as_the_first_time() {
    let schema = prepared();
    let event = |number: u32| format!(r#"{{"eventType": "Noted", "eventId": "00000000-0000-0000-0000-{number:012}"}}"#);
    let two = format!("'[{}, {}]'", event(1), event(2));
    assert_eq!(
        answered(&schema, &format!("'note-1', 'Note', 0, {two}")),
        ["1", "2", "1", "2", "f"]
    );
    appended(&schema, "note-2", "0", 1);
    appended(&schema, "note-1", "2", 1);
    for expected in ["0", "NULL", "-1", "-2"] {
        let answer = answered(&schema, &format!("'note-1', 'Note', {expected}, {two}"));
        assert_eq!(answer, ["1", "2", "1", "2", "t"], "{expected}");
    }
    let other = format!("'[{}, {}]'", event(2), event(1));
    assert_eq!(refused(&schema, &format!("'note-1', 'Note', 0, {other}")).0, "ZA409");
    assert_eq!(refused(&schema, &format!("'note-1', 'Note', 1, {two}")).0, "ZA409");
}

/// Events that no store would take, and a part of what is said of them.
const EVENTS: [(&str, &str); 15] = [
    (
        r#"{"eventType": "$noted"}"#,
        "event 1: event type '$noted' begins with '$'",
    ),
    ("{}", "event 1: the event type is missing"),
    ("7", "event 1: an event must be an object"),
    (
        r#"{"eventType": "Noted"}, {"eventType": 7}"#,
        "event 2: eventType must be a text",
    ),
    (
        r#"{"eventType": "Noted", "userID": "anna"}"#,
        "'userID' is no field of an event",
    ),
    (r#"{"eventType": "Noted", "userId": ""}"#, "the user id is empty"),
    (r#"{"eventType": "Noted", "eventId": "7"}"#, "eventId must be a UUID"),
    (
        r#"{"eventType": "Noted", "eventVersion": 4294967296}"#,
        "eventVersion must be a number",
    ),
    (
        r#"{"eventType": "Noted", "timestamp": "yesterday"}"#,
        "timestamp must be as RFC 3339",
    ),
    (
        r#"{"eventType": "Noted", "tags": "x"}"#,
        "tags must be an array of texts",
    ),
    (
        r#"{"eventType": "Noted", "tags": [7]}"#,
        "tags must be an array of texts",
    ),
    (r#"{"eventType": "Noted", "tags": ["x", ""]}"#, "the tag is empty"),
    (
        r#"{"eventType": "Noted", "eventDataHex": "0"}"#,
        "pairs of hexadecimal digits",
    ),
    (r#"{"eventType": "LARGE"}"#, "the event type has 256 bytes"),
    (r#"{"eventType": "Noted", "eventData": "HUGE"}"#, "at most 1048576"),
];
/// The same for aggregates and whole appends.
const APPENDS: [(&str, &str); 9] = [
    ("'note-1', 'Order', NULL, '[]'", "is of type 'Note', not 'Order'"),
    ("'$note', 'Note', NULL, '[]'", "aggregate id '$note' begins with '$'"),
    ("'', 'Note', NULL, '[]'", "the aggregate id is empty"),
    ("'note-1', '', NULL, '[]'", "the aggregate type is empty"),
    ("NULL, 'Note', NULL, '[]'", "the aggregate id is missing"),
    ("'note-1', 'Note', -3, '[]'", "expected version -3"),
    ("'note-1', 'Note', NULL, '{}'", "events must be an array"),
    ("'note-1', 'Note', NULL, NULL", "events must be an array"),
    (
        "'note-1', 'Note', NULL, (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 10001))",
        "10001 events in one append",
    ),
];

#[test]
fn what_a_store_would_refuse_is_refused() {
    let schema = prepared();
    appended(&schema, "note-1", "0", 1);
    let events = EVENTS.map(|(event, part)| {
        let event = event
            .replace("LARGE", &"x".repeat(256))
            .replace("HUGE", &"x".repeat(1 << 20));
        (format!("'note-1', 'Note', NULL, '[{event}]'"), part)
    });
    let appends = APPENDS.map(|(arguments, part)| (arguments.to_owned(), part));
    for (arguments, part) in events.into_iter().chain(appends) {
        let (state, message, _) = refused(&schema, &arguments);
        assert_eq!(state, "ZA400", "{message}");
        assert!(message.contains(part), "{message}: {part}");
    }
    assert_eq!(schema.value("SELECT count(*) FROM events"), "1");
}

#[test]
fn while_a_store_writes_nobody_else_does() {
    let schema = prepared();
    let store = open(&schema);
    let (state, message, _) = refused(&schema, r#"'note-1', 'Note', NULL, '[{"eventType": "Noted"}]'"#);
    let since = schema.value("SELECT to_char(held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI') FROM head");
    assert_eq!(state, "ZA423");
    for part in [
        "held by annals (process ",
        &std::process::id().to_string(),
        &format!("since {since}"),
    ] {
        assert!(message.contains(part), "{message}: {part}");
    }
    store.close().expect("the server is there");
    assert_eq!(appended(&schema, "note-1", "NULL", 1), ["1", "1", "1", "1", "f"]);
}

#[test]
fn a_writer_whose_lease_was_over_when_others_appended_writes_no_more() {
    let schema = prepared();
    let mut old = schema.journal().expect("it opens");
    assert_eq!(recovered(&mut old), 0);
    old.write(&batch(1, 3)).expect("it is its own");
    schema.sql("UPDATE head SET lease_expires = clock_timestamp() - interval '1 second'");
    assert_eq!(appended(&schema, "note-1", "NULL", 1), ["4", "4", "1", "1", "f"]);
    for count in [1, 1000] {
        let refused = last_error(&mut old, &batch(4, count));
        assert_eq!(refused.kind(), JournalErrorKind::Failed);
        assert!(
            refused
                .to_string()
                .contains("the lease expired, and another program has appended since"),
            "{refused}"
        );
    }
    drop(old);
    assert_eq!(schema.value("SELECT epoch FROM head"), "3");
    let store = open(&schema);
    assert_eq!(events(&store).len(), 4);
    let conflict = store.append(
        &StreamId::new("Note", "note-1"),
        Expected::NoStream,
        vec![NewEvent::new("Noted")],
    );
    assert!(matches!(conflict, Err(Error::Conflict(_))), "{conflict:?}");
}

fn race(schema: &Schema, writer: usize) {
    for round in 0..25 {
        appended(schema, "shared", "NULL", 1 + round % 3);
        appended(schema, &format!("own-{writer}"), &round.to_string(), 1);
        if round % 5 == 0 {
            // What is rolled back leaves nothing.
            let event = r#"'[{"eventType": "Noted"}]'"#;
            schema.sql(&format!(
                "BEGIN; SELECT append_events('shared', 'Note', NULL, {event}); ROLLBACK"
            ));
        }
    }
}

#[test]
fn appends_that_race_leave_no_gap() {
    check_races(&prepared());
}

#[test]
fn appends_that_race_leave_no_gap_in_partitions() {
    let schema = Schema::partitioned();
    drop(schema.journal().expect("the tables are made"));
    check_races(&schema);
    assert_eq!(schema.value("SELECT count(*) FROM partitions()"), "1");
}

fn check_races(schema: &Schema) {
    std::thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || race(schema, writer));
        }
    });
    let gapless = "SELECT count(*) = max(position) AND max(position) = (SELECT position FROM head) FROM events";
    assert_eq!(schema.value(gapless), "t");
    let consecutive = "SELECT bool_and(version = place) FROM (SELECT version, row_number() OVER \
                       (PARTITION BY aggregate_id ORDER BY position) AS place FROM events) AS numbered";
    assert_eq!(schema.value(consecutive), "t");
    assert_eq!(events(&open(schema)).len(), 4 * (25 + 49));
}
