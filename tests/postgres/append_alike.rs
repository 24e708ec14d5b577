//! Appends in SQL answer as the functions of the migration before did, and several in one call as one after the other.

use std::fmt::Write as _;

use annals::{Expected, NewEvent, Store, StreamId, StreamLimits, Version};
use uuid::Uuid;

use crate::support::{Schema, prepared};

/// The functions that appended before version 8 of the tables.
const BEFORE: &str = include_str!("../../src/journal/postgres/migrations/0007-own-schema.sql");

/// Numbers that look random, and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// The values of each field of an event, as JSON; the first are valid.
const FIELDS: [(&str, &[&str]); 17] = [
    (
        "eventId",
        &[
            "\"018F0000-0000-7000-8000-00000000000a\"",
            "null",
            "\"018f\"",
            "7",
            "\"\"",
            "[\"018f0000-0000-7000-8000-00000000000a\"]",
        ],
    ),
    (
        "eventVersion",
        &[
            "0",
            "4294967295",
            "\"3\"",
            "null",
            "4294967296",
            "-1",
            "1.5",
            "99999999999",
            "\"x\"",
            "[]",
            "true",
        ],
    ),
    (
        "timestamp",
        &[
            "\"2026-01-31T12:00:00.1234567+02:00\"",
            "null",
            "\"0001-01-01t00:00:00z\"",
            "\"2026-02-30T12:00:00Z\"",
            "\"yesterday\"",
            "7",
            "\"9999-12-31T23:59:59-00:01\"",
        ],
    ),
    (
        "timestampMicros",
        &[
            "-377705116800000000",
            "\"7\"",
            "null",
            "253402300799999999",
            "253402300800000000",
            "1e3",
            "0.5",
            "\"x\"",
            "9999999999999999999",
            "{}",
        ],
    ),
    ("correlationId", NAMES),
    ("causationId", NAMES),
    ("userId", NAMES),
    ("organizationId", NAMES),
    (
        "tags",
        &[
            "[]",
            "[\"a\", \"b\"]",
            "null",
            "\"a\"",
            "[\"\"]",
            "[7]",
            "[null]",
            "[\"LONG\"]",
            "{}",
            "[[\"a\"]]",
            "MANY",
        ],
    ),
    ("metadata", VALUES),
    ("eventData", VALUES),
    ("metadataHex", HEX),
    ("eventDataHex", HEX),
    ("metadataType", TYPES),
    ("eventDataType", TYPES),
    ("eventID", &["null", "\"a\""]),
    ("$", &["null", "{}"]),
];
const NAMES: &[&str] = &[
    "\"anna\"",
    "null",
    "\"$\"",
    "\"\"",
    "\"LONG\"",
    "\"EDGE\"",
    "\"OVER\"",
    "\"QUOTES\"",
    "7",
    "[\"anna\"]",
    "{}",
];
const VALUES: &[&str] = &["{\"a\": [1, null]}", "null", "\"text\"", "0", "\"HUGE\"", "[]"];
const HEX: &[&str] = &["\"00fF\"", "\"\"", "null", "\"0\"", "\"0g\"", "7", "[\"00\"]"];
const TYPES: &[&str] = &[
    "\"application/json\"",
    "\"image/png\"",
    "\"\"",
    "null",
    "\"LONG\"",
    "\"EDGE\"",
    "\"QUOTES\"",
    "7",
];
const EVENT_TYPES: [&str; 11] = [
    "\"EDGE\"",
    "\"OVER\"",
    "\"QUOTES\"",
    "\"Noted\"",
    "null",
    "\"\"",
    "\"$noted\"",
    "\"LONG\"",
    "7",
    "[\"Noted\"]",
    "\"ä\"",
];

/// An event with some fields; most are valid.
fn event(numbers: &mut Numbers) -> String {
    match numbers.below(40) {
        0 => return numbers.one_of(&["7", "null", "[]", "\"Noted\"", "{}"]).to_owned(),
        1..20 => return "{\"eventType\": \"Noted\", \"eventData\": {\"total\": 7}}".to_owned(),
        _ => {}
    }
    let kind = if numbers.below(4) == 0 {
        numbers.one_of(&EVENT_TYPES)
    } else {
        "\"Noted\""
    };
    let mut event = format!("{{\"eventType\": {kind}");
    for _ in 0..numbers.below(4) {
        let (field, values) = FIELDS[numbers.below(FIELDS.len())];
        write!(event, ", \"{field}\": {}", numbers.one_of(values)).expect("a text grows");
    }
    filled(&(event + "}"))
}

/// With the long texts in their places.
fn filled(event: &str) -> String {
    let many = format!("[{}]", ["\"a\""; 33].join(","));
    event
        .replace("LONG", &"x".repeat(256))
        .replace("EDGE", &("ä".repeat(127) + "x"))
        .replace("OVER", &"ä".repeat(128))
        .replace("QUOTES", &"\\\"".repeat(255))
        .replace("HUGE", &"x".repeat(1 << 20))
        .replace("MANY", &many)
}

/// An append as one of several; `null` stands for a missing argument.
struct Append {
    id: String,
    kind: String,
    expected: String,
    events: String,
}

impl Append {
    fn json(&self) -> String {
        let Self {
            id,
            kind,
            expected,
            events,
        } = self;
        format!(
            r#"{{"aggregateId": {id}, "aggregateType": {kind}, "expectedVersion": {expected}, "events": {events}}}"#
        )
    }
}

/// Appends by which any check fails.
fn invalid_and_valid(numbers: &mut Numbers) -> Append {
    let id = match numbers.below(12) {
        0 => numbers.one_of(&["null", "\"\"", "\"$a\"", "\"LONG\""]).to_owned(),
        _ => format!("\"note-{}\"", numbers.below(30)),
    };
    let kind = if numbers.below(12) == 0 {
        numbers.one_of(&["null", "\"\"", "\"$a\"", "\"LONG\"", "\"Order\""])
    } else {
        "\"Note\""
    };
    let expected = numbers.one_of(&["null", "null", "null", "-1", "0", "1", "-2", "-3"]);
    let count = [1, 1, 1, 0, 2, 3][numbers.below(6)];
    let events: Vec<_> = (0..count).map(|_| event(numbers)).collect();
    let events = match numbers.below(40) {
        0 => numbers.one_of(&["null", "{}", "\"\"", "7"]).to_owned(),
        _ => format!("[{}]", events.join(",")),
    };
    Append {
        id: filled(&id),
        kind: filled(kind),
        expected: expected.to_owned(),
        events,
    }
}

/// Valid appends to few aggregates, whose ids are often known.
fn repeated(numbers: &mut Numbers) -> Append {
    let ids = (0..numbers.below(4)).map(|_| match numbers.below(8) {
        0..3 => "{\"eventType\": \"Noted\"}".to_owned(),
        number => format!(
            "{{\"eventType\": \"Noted\", \"eventId\": \"{}\"}}",
            Uuid::from_u64_pair(9, (number * 3 + numbers.below(3)) as u64)
        ),
    });
    let events = ids.collect::<Vec<_>>().join(",");
    let kind = if numbers.below(20) == 0 {
        "\"Order\""
    } else {
        "\"Note\""
    };
    Append {
        id: format!(
            "\"{}\"",
            numbers.one_of(&["live", "deleted", "tombstoned", "truncated", "limited", "new", "other"])
        ),
        kind: kind.to_owned(),
        expected: numbers
            .one_of(&["null", "null", "null", "0", "-1", "-2", "1", "2", "3", "4", "5", "6"])
            .to_owned(),
        events: format!("[{events}]"),
    }
}

/// A schema in which aggregates were deleted, truncated and limited, and have rows that are gone.
fn aged() -> Schema {
    let schema = prepared();
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    for (number, id) in ["live", "deleted", "tombstoned", "truncated", "limited"]
        .iter()
        .enumerate()
    {
        let events = (0..4).map(|event| NewEvent::new("Noted").id(Uuid::from_u64_pair(9, (number * 4 + event) as u64)));
        let stream = StreamId::new("Note", *id);
        store
            .append(&stream, Expected::NoStream, events.collect::<Vec<_>>())
            .expect("it is new");
    }
    store.delete("deleted", Expected::Any).expect("it is there");
    store.tombstone("tombstoned", Expected::Any).expect("it is there");
    store.truncate_before("truncated", Version(5)).expect("it is there");
    let limits = StreamLimits::default().max_count(2);
    store.set_limits("limited", limits).expect("it is there");
    store.compact_journal().expect("compacted");
    store.close().expect("the server is there");
    schema
}

/// Makes a function that returns what an append returns, or the state, message, detail and hint of its error.
const OUTCOME: &str = "CREATE FUNCTION outcome(append jsonb) RETURNS text LANGUAGE plpgsql AS $$ \
    DECLARE appended record; state text; message text; detail text; hint text; BEGIN \
    SELECT * INTO appended FROM append_events(append ->> 'aggregateId', append ->> 'aggregateType', (append ->> 'expectedVersion')::bigint, \
        append -> 'events'); RETURN appended::text; \
    EXCEPTION WHEN OTHERS THEN \
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT; \
    RETURN concat_ws('|', state, message, detail, hint); END $$";
/// What is in the tables, but for what differs by chance.
const ROWS: &str = "SELECT concat_ws('|', position, version, aggregate_id, event_type, schema_version, nullif(occurred_at, recorded_at), \
    occurred_micros, correlation_id, causation_id, user_id, organization_id, tags, md5(metadata::text), md5(data::text), metadata_bytes, data_bytes, \
    metadata_type, data_type) FROM events ORDER BY position";

pub(crate) fn quoted(json: &str) -> String {
    format!("'{}'::jsonb", json.replace('\'', "''"))
}

pub(crate) fn lines(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    let line = |row: Vec<Option<String>>| row.into_iter().flatten().collect::<Vec<_>>().join(" ");
    rows.into_iter().map(line).collect()
}

/// The outcomes of the appends, one after the other.
fn one_by_one(schema: &Schema, appends: &[Append]) -> Vec<String> {
    schema.sql(OUTCOME);
    let of = |part: &[Append]| {
        let list: Vec<_> = part.iter().map(Append::json).collect();
        let sql = format!(
            "SELECT outcome(append) FROM jsonb_array_elements({}) WITH ORDINALITY AS all_of (append, place) ORDER BY place",
            quoted(&format!("[{}]", list.join(",")))
        );
        lines(schema.sql(&sql))
    };
    appends.chunks(50).flat_map(of).collect()
}

/// The outcomes of the appends in calls of up to this many.
fn together(schema: &Schema, appends: &[Append], size: usize) -> Vec<String> {
    let list = |part: &[Append]| {
        let list: Vec<_> = part.iter().map(Append::json).collect();
        format!("[{}]", list.join(","))
    };
    let calls: Vec<_> = appends.chunks(size).map(list).collect();
    let outcomes = format!(
        "SELECT CASE WHEN error_code IS NULL THEN ROW(first_position, last_position, first_version, last_version, repeated)::text \
         ELSE concat_ws('|', error_code, error_message, coalesce(error_detail, ''), coalesce(error_hint, '')) END \
         FROM jsonb_array_elements({}) WITH ORDINALITY AS calls (call, number), LATERAL append_many(call) AS made ORDER BY number, place",
        quoted(&format!("[{}]", calls.join(",")))
    );
    lines(schema.sql(&outcomes))
}

fn check_alike(appends: &[Append], left: &[String], right: &[String]) {
    assert_eq!((left.len(), right.len()), (appends.len(), appends.len()));
    for ((append, left), right) in appends.iter().zip(left).zip(right) {
        assert_eq!(left, right, "{:.900}", append.json());
    }
}

/// A schema with the functions of the program before.
fn before() -> Schema {
    let schema = aged();
    let (_, functions) = BEFORE
        .split_once("CREATE FUNCTION refusal_of_time")
        .expect("it is there");
    let functions = functions.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION");
    let path = "SELECT set_config('search_path', format('%I, pg_temp, %I', current_schema(), \
                format('home %s %s', quote_ident(current_schema())::regnamespace::oid, store)), true) FROM head";
    schema.sql(&format!(
        "BEGIN; {path}; CREATE OR REPLACE FUNCTION refusal_of_time{functions}; COMMIT"
    ));
    let body = "SELECT prosrc LIKE '%latest_of%' FROM pg_proc WHERE oid = 'append_events'::regproc";
    assert_eq!(schema.value(body), "t");
    schema
}

#[test]
fn appends_are_answered_as_by_the_functions_before() {
    for (seed, make) in [(1, invalid_and_valid as fn(&mut Numbers) -> Append), (2, repeated)] {
        let mut numbers = Numbers(seed);
        let appends: Vec<_> = (0..1200).map(|_| make(&mut numbers)).collect();
        let (old, new) = (before(), aged());
        check_alike(&appends, &one_by_one(&old, &appends), &one_by_one(&new, &appends));
        assert_eq!(lines(old.sql(ROWS)), lines(new.sql(ROWS)));
        assert_eq!(
            old.value("SELECT position FROM head"),
            new.value("SELECT position FROM head")
        );
    }
}

#[test]
fn several_in_one_call_are_answered_as_one_by_one() {
    for (seed, make) in [(3, invalid_and_valid as fn(&mut Numbers) -> Append), (4, repeated)] {
        let mut numbers = Numbers(seed);
        let appends: Vec<_> = (0..900).map(|_| make(&mut numbers)).collect();
        let single = aged();
        let outcomes = one_by_one(&single, &appends);
        for size in [1, 7, 300] {
            let several = aged();
            check_alike(&appends, &outcomes, &together(&several, &appends, size));
            assert_eq!(lines(single.sql(ROWS)), lines(several.sql(ROWS)), "{size}");
            let gapless = "SELECT count(*) = max(position) - (SELECT coalesce(sum(events), 0) FROM gaps) AND max(position) = \
                           (SELECT position FROM head) FROM events";
            assert_eq!(several.value(gapless), "t");
        }
    }
}

#[test]
fn several_in_one_call_go_into_partitions() {
    let schema = Schema::partitioned();
    drop(schema.journal().expect("the tables are made"));
    let mut numbers = Numbers(5);
    let appends: Vec<_> = (0..60).map(|_| repeated(&mut numbers)).collect();
    let single = Schema::partitioned();
    drop(single.journal().expect("the tables are made"));
    check_alike(
        &appends,
        &one_by_one(&single, &appends),
        &together(&schema, &appends, 20),
    );
    assert_eq!(lines(single.sql(ROWS)), lines(schema.sql(ROWS)));
    assert_eq!(schema.value("SELECT count(*) FROM partitions()"), "1");
}
