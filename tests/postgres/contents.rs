//! Every byte comes back, whatever it is: a `jsonb` is for those who ask in SQL.

use annals::journal::{Batch, Journal as _, Record};
use annals::{EventRef, Position, Timestamp, Version};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{Schema, Taker};

/// What an event has of its own.
#[derive(Clone, Debug)]
struct Content {
    names: [Option<String>; 4],
    tags: Vec<String>,
    times: [i64; 2],
    types: [&'static str; 2],
    metadata: Vec<u8>,
    data: Vec<u8>,
}

fn name() -> impl Strategy<Value = String> {
    // Any character but U+0000, and those that SQL, arrays and COPY have a meaning for.
    prop_oneof![
        "[^\u{0}]{0,20}",
        "[\"'\\\\{},;$NULL \t\n\r\u{1}\u{7f}é🙂\u{10ffff}]{0,12}",
        Just("NULL".to_owned())
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let text = r#"[\[\]{},:"\\ \n\tabeEtrufalsn0-9.+/é\x01-]{0,24}"#;
    let json = prop_oneof![
        "-?(0|[1-9][0-9]{0,30})([.][0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        r#""([ -!#-\[\]-~é🙂]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,8}""#,
        Just("null".to_owned()),
        Just("{\"a\":1,\"b\":[true, false]}".to_owned()),
    ];
    let nested = json.prop_recursive(4, 24, 4, |inner| {
        let space = prop::sample::select(vec!["", " ", "\n"]);
        let key = prop::sample::select(vec!["a", "b", "aa", "é", "", "\\n", "long key"]);
        let pairs = prop::collection::vec((key, inner.clone()), 0..4);
        prop_oneof![
            (prop::collection::vec(inner, 0..4), space.clone())
                .prop_map(|(values, space)| format!("[{}]", values.join(&format!(",{space}")))),
            (pairs, space).prop_map(|(pairs, space)| {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("\"{key}\":{space}{value}"))
                    .collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    });
    prop_oneof![
        4 => nested.prop_map(String::into_bytes),
        2 => text.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(Vec::new()),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    let (min, max) = (Timestamp::MIN.as_micros(), Timestamp::MAX.as_micros());
    // PostgreSQL begins in 4713 BC.
    let first = -210_866_803_200_000_000_i64;
    prop_oneof![Just(min), Just(max), min..=max, first - 2..first + 2]
}

fn content() -> impl Strategy<Value = Content> {
    let types = prop::sample::select(vec![
        "application/json",
        "application/json",
        "application/octet-stream",
        "text/x",
        "",
    ]);
    (
        prop::array::uniform4(prop::option::of(name())),
        prop::collection::vec(name(), 0..4),
        prop::array::uniform2(time()),
        prop::array::uniform2(types),
        payload(),
        payload(),
    )
        .prop_map(|(names, tags, times, types, metadata, data)| Content {
            names,
            tags,
            times,
            types,
            metadata,
            data,
        })
}

fn push(batch: &mut Batch, position: u64, content: &Content) {
    let [correlation_id, causation_id, user_id, organization_id] = content.names.each_ref().map(Option::as_deref);
    let tags: Vec<_> = content.tags.iter().map(String::as_str).collect();
    let aggregate_id = format!("{}'\"\\", content.tags.first().map_or("a", String::as_str));
    let [occurred, recorded] = content.times.map(Timestamp::from_micros);
    let mut record = Record::new(
        Position(position),
        Version(position),
        Uuid::from_u64_pair(position, u64::MAX),
    );
    record.timestamp = occurred;
    record.recorded_at = recorded;
    record.aggregate_id = &aggregate_id;
    record.aggregate_type = "Type";
    record.event_type = "Happened";
    record.schema_version = position as u32;
    record.correlation_id = correlation_id;
    record.causation_id = causation_id;
    record.user_id = user_id;
    record.organization_id = organization_id;
    record.tags = &tags;
    record.metadata_type = content.types[0];
    record.metadata = &content.metadata;
    record.data_type = content.types[1];
    record.data = &content.data;
    batch.push(&record);
}

/// Writes the contents as batches of these lengths, and reads them back.
fn check(schema: &Schema, contents: &[Content], lengths: &[usize]) {
    let mut journal = schema.journal().expect("it opens");
    journal.recover(&mut Taker::default()).expect("it is empty");
    let mut wanted = Vec::new();
    let mut numbered = (1..).zip(contents.iter().cycle());
    for length in lengths {
        let mut batch = Batch::new();
        numbered
            .by_ref()
            .take(*length)
            .for_each(|(position, content)| push(&mut batch, position, content));
        wanted.extend(batch.events().map(EventRef::to_event));
        journal.write(&batch).expect("it is taken");
    }
    drop(journal);
    let mut taker = Taker::default();
    let mut journal = schema.journal().expect("it opens again");
    journal.recover(&mut taker).expect("it can be read");
    for (got, wanted) in taker.0.iter().zip(&wanted) {
        assert_eq!(
            (got, got.metadata(), got.tags().collect::<Vec<_>>()),
            (wanted, wanted.metadata(), wanted.tags().collect())
        );
    }
    assert_eq!(taker.0.len(), wanted.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_comes_back(contents in prop::collection::vec(content(), 1..200)) {
        // Few at a time, and many.
        let lengths = [1, contents.len(), 300];
        check(&Schema::new(), &contents, &lengths);
        // Their times are all over the years: each has a partition.
        check(&Schema::partitioned(), &contents[..contents.len().min(5)], &[1, 4, 70]);
    }
}

/// Data that PostgreSQL has as a `jsonb`, with and without its bytes beside it, and data that it would refuse.
#[test]
fn what_is_json_can_be_asked_for_in_sql() {
    let plain = Content {
        names: Default::default(),
        tags: Vec::new(),
        times: [0, 0],
        types: ["application/json", "application/json"],
        metadata: Vec::new(),
        data: Vec::new(),
    };
    let mut batch = Batch::new();
    let data: [&[u8]; 6] = [b"{\"a\":1}", b"{\"a\": 1}", b"{\"a\":\"\\u0000\"}", b"{", b"\xff", b""];
    for (position, data) in (1..).zip(data) {
        let data = data.to_vec();
        push(&mut batch, position, &Content { data, ..plain.clone() });
    }
    let schema = Schema::new();
    let mut journal = schema.journal().expect("it opens");
    journal.recover(&mut Taker::default()).expect("it is empty");
    journal.write(&batch).expect("it is taken");
    let rows = schema.sql("SELECT data ->> 'a', data_bytes IS NOT NULL FROM live_events ORDER BY position");
    let rows: Vec<_> = rows.iter().map(|row| (row[0].as_deref(), row[1].as_deref())).collect();
    let (yes, no) = (Some("t"), Some("f"));
    assert_eq!(
        rows,
        [
            (Some("1"), no),
            (Some("1"), yes),
            (None, yes),
            (None, yes),
            (None, yes),
            (None, no)
        ]
    );
    assert_eq!(
        schema.value("SELECT count(*) FROM events WHERE occurred_at = '1970-01-01 00:00:00Z'"),
        "6"
    );
}
