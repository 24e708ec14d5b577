//! Times have one range: SQL takes what a store has, and a time beyond it in the table is named, and read as no other.

use annals::journal::{Journal as _, JournalErrorKind};
use annals::{Event, Expected, NewEvent, Store, Timestamp};

use crate::cdc::{Reader, drain};
use crate::follow::{append_in_sql, events, follow, note, url_at};
use crate::support::{Schema, Taker, prepared};

fn append(schema: &Schema, fields: &str) -> Result<String, (String, String)> {
    let call = format!(
        "SELECT last_position FROM append_events('m', 'M', NULL, '[{{\"eventType\": \"Expires\", {fields}}}]')"
    );
    match schema.try_sql(&call) {
        Ok(rows) => Ok(rows[0][0].clone().unwrap_or_default()),
        Err(error) => {
            let said = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
            Err((said.code().code().to_owned(), said.message().to_owned()))
        }
    }
}

/// Times, and what a store has of them.
const TAKEN: [(&str, &str); 17] = [
    ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
    ("9999-12-31T23:59:59+23:59", "9999-12-31T00:00:59Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ("0001-01-01T00:00:00+23:59", "0000-12-31T00:01:00Z"),
    ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
    ("1970-01-01T00:00:00-00:00", "1970-01-01T00:00:00Z"),
    ("2024-02-29t12:00:00z", "2024-02-29T12:00:00Z"),
    ("2000-02-29 12:00:00.25-15:59", "2000-03-01T03:59:00.25Z"),
    ("2026-03-29T02:30:00+02:00", "2026-03-29T00:30:00Z"),
    ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456Z"),
    ("1582-10-10T00:00:00Z", "1582-10-10T00:00:00Z"),
    ("2262-04-11T23:47:16.854776Z", "2262-04-11T23:47:16.854776Z"),
    ("1677-09-21T00:12:43.145224Z", "1677-09-21T00:12:43.145224Z"),
    ("1883-11-18T12:03:58-04:56", "1883-11-18T16:59:58Z"),
    ("2038-01-19T03:14:08Z", "2038-01-19T03:14:08Z"),
];
/// Texts that are no times of a store.
const REFUSED: [&str; 19] = [
    "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-00:01",
    "0000-12-31T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-01-31T25:00:00Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T12:60:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-31T12:00:00+99:99",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31T12:00:00.Z",
    "infinity",
    "٢٠٢٦-01-31T12:00:00Z",
];

#[test]
fn a_date_without_an_end_was_taken_by_sql_and_read_as_1970() {
    let schema = prepared();
    for (time, _) in TAKEN {
        append(&schema, &format!("\"timestamp\": \"{time}\"")).unwrap_or_else(|error| panic!("{time}: {error:?}"));
    }
    let limits = [
        Timestamp::MIN,
        Timestamp::from_micros(-210_866_803_200_000_001),
        Timestamp::MAX,
    ];
    for time in limits {
        append(&schema, &format!("\"timestampMicros\": {}", time.as_micros())).expect("it is in the range");
    }
    let expected: Vec<_> = TAKEN
        .iter()
        .map(|(_, time)| (*time).to_owned())
        .chain(limits.map(|time| time.to_string()))
        .collect();
    let times = |events: Vec<Event>| {
        events
            .iter()
            .map(|event| event.timestamp().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(times(events(&follow(&schema))), expected);
    let reader = Reader::new(&schema, "no_end");
    assert_eq!(times(drain(&mut reader.open())), expected);
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    assert_eq!(times(events(&store)), expected);
    // SQL reads the same, where PostgreSQL has it.
    let last =
        "SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM events WHERE position = ";
    assert_eq!(schema.value(&format!("{last} 2")), "9999-12-31 23:59:59.999999");
    assert_eq!(schema.value(&format!("{last} 20")), "9999-12-31 23:59:59.999999");
    assert_eq!(
        schema.value("SELECT count(*) FROM events WHERE NOT isfinite(occurred_at)"),
        "2"
    );
}

#[test]
fn times_that_are_none_were_refused_in_the_words_of_postgresql() {
    let schema = prepared();
    for time in REFUSED {
        let (state, message) = append(&schema, &format!("\"timestamp\": \"{time}\"")).expect_err(time);
        assert_eq!(state, "ZA400", "{time}: {message}");
        assert!(message.contains("event 1: timestamp must be"), "{time}: {message}");
    }
    for micros in [
        "253402300800000000",
        "-377705116800000001",
        "999999999999999999",
        "9999999999999999999",
        "1.5",
        "\"x\"",
    ] {
        let (state, message) = append(&schema, &format!("\"timestampMicros\": {micros}")).expect_err(micros);
        assert_eq!(state, "ZA400", "{micros}: {message}");
        assert!(
            message.contains("timestampMicros must be a number from -3777"),
            "{micros}: {message}"
        );
    }
    assert_eq!(schema.value("SELECT count(*) FROM events"), "0");
}

/// A follower appends the number of microseconds; SQL saw no time then.
#[test]
fn what_a_follower_appended_had_no_time_in_sql() {
    let schema = prepared();
    let event = NewEvent::new("Noted").timestamp("2026-01-31T12:00:00.5Z".parse().expect("a time"));
    follow(&schema)
        .append(&note("o"), Expected::Any, vec![event])
        .expect("appended");
    let rows = schema.sql("SELECT (occurred_at = '2026-01-31 12:00:00.5+00')::text, occurred_micros::text FROM events");
    assert_eq!(rows, [[Some("true".to_owned()), None]]);
}

/// What SQL has put into the table, and how it is named.
const BEYOND: [(&str, &str); 6] = [
    (
        "occurred_at = '294276-12-31 23:59:59.999999+00'",
        "its occurred_at is 9224318015999999999 microseconds since 1970",
    ),
    (
        "occurred_at = '10000-01-01 00:00:00+00'",
        "its occurred_at is 253402300800000000 microseconds",
    ),
    ("occurred_at = 'infinity'", "its occurred_at is infinity"),
    ("occurred_at = '-infinity'", "its occurred_at is -infinity"),
    (
        "occurred_micros = 999999999999999999",
        "its occurred_at is 999999999999999999 microseconds",
    ),
    (
        "recorded_at = '20000-01-01 00:00:00+00'",
        "its recorded_at is 568971820800000000 microseconds",
    ),
];

#[test]
fn a_time_beyond_the_range_in_the_table_was_read_as_another() {
    let schema = prepared();
    append_in_sql(&schema, "one");
    let follower = follow(&schema);
    append_in_sql(&schema, "two");
    schema.sql("CREATE TABLE kept AS SELECT occurred_at, recorded_at FROM events WHERE position = 2");
    for (set, part) in BEYOND {
        schema.sql(&format!("UPDATE events SET {set} WHERE position = 2"));
        let mut journal = schema.journal().expect("it opens");
        let error = journal.recover(&mut Taker::default()).expect_err("it cannot be read");
        assert_eq!(error.kind(), JournalErrorKind::Corrupt);
        let said = [
            error.to_string(),
            Store::follow(&url_at(&schema.url, &schema))
                .expect_err("nor followed")
                .to_string(),
        ];
        for said in said {
            for part in ["position 2: ", part, "9999-12-31T23:59:59.999999Z", "UPDATE"] {
                assert!(said.contains(part), "{set}: {said}");
            }
        }
        let back = "occurred_at = kept.occurred_at, recorded_at = kept.recorded_at, occurred_micros = NULL";
        schema.sql(&format!("UPDATE events SET {back} FROM kept WHERE position = 2"));
    }
    assert_eq!(events(&follow(&schema)).len(), 2);
    drop(follower);
}

/// The log has the row as it was; the table may have been corrected since.
#[test]
fn a_time_that_was_corrected_in_the_table_comes_as_a_change() {
    let schema = prepared();
    append_in_sql(&schema, "one");
    let reader = Reader::new(&schema, "corrected");
    let mut capture = reader.open();
    assert_eq!(drain(&mut capture).len(), 1);
    append_in_sql(&schema, "two");
    schema.sql(
        "BEGIN; UPDATE head SET position = 3; \
         INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, \
         recorded_at, tags) VALUES (3, gen_random_uuid(), 'a', 'A', 'Written', 1, 1, 'infinity', now(), '{}'); COMMIT",
    );
    append_in_sql(&schema, "four");
    let changes = capture.take().expect("changes").expect("those before it");
    assert_eq!(changes.batch.last_position().0, 2);
    capture.acknowledge(&changes).expect("acknowledged");
    let error = capture.take().expect_err("it has no time");
    assert!(
        error.to_string().contains("position 3: its occurred_at is infinity"),
        "{error}"
    );
    schema.sql("UPDATE events SET occurred_at = '9999-12-31 23:59:59+00' WHERE position = 3");
    let events = drain(&mut capture);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].timestamp().to_string(), "9999-12-31T23:59:59Z");
}
