//! Data and metadata of every kind as lines of JSON. They are parsed back without loss.

use std::path::{Path, PathBuf};

use annals::{ContentType, Event, Expected, NewEvent, Query, Store, StoreUrl, StreamId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{Folder, ask, line, program, run};

fn open(url: &Path) -> Store {
    let mut settings = annals::Settings::default();
    settings.limits.payload_bytes_max = 16 << 20;
    let url: StoreUrl = url.to_str().unwrap().parse().unwrap();
    url.open(Store::builder().settings(settings)).unwrap()
}

/// A durable store with `events`, of two aggregates in turn.
fn store_of(folder: &Folder, name: &str, events: &[NewEvent<'static>]) -> PathBuf {
    let url = folder.url(name);
    let store = open(&url);
    for (number, event) in events.iter().enumerate() {
        let stream = StreamId::new("Thing", format!("thing-{}", number % 2));
        store.append(&stream, Expected::Any, vec![event.clone()]).unwrap();
    }
    store.close().unwrap();
    url
}

fn events_of(url: &Path) -> Vec<Event> {
    let (store, mut events) = (open(url), Vec::new());
    let push = |event: annals::EventRef<'_>| events.push(event.to_event());
    store.query(Query::all()).for_each(push).unwrap();
    store.close().unwrap();
    events
}

fn event() -> NewEvent<'static> {
    NewEvent::new("Noted").timestamp("2026-01-31T12:00:00.000001Z".parse().unwrap())
}

fn with_types(mut event: NewEvent<'static>, metadata: &str, data: &str) -> NewEvent<'static> {
    event.metadata_type = ContentType::from(metadata);
    event.data_type = ContentType::from(data);
    event
}

/// The export to standard output, or to the file `name`.
fn export(store: &Path, name: &str) -> String {
    let ran = ask(store, &["export", "--output", name]);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    ran.ok()
}

/// The lines without the times at which the store recorded the events.
fn said(lines: &str) -> Vec<String> {
    let without = |line: &str| {
        let (before, rest) = line.split_once("\"recordedAt\":\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        format!("{before}{after}")
    };
    lines.lines().map(without).collect()
}

/// Imports `log` into a new store, and compares every event with those of `store`.
fn check_copy(folder: &Folder, store: &Path, log: &Path, copy: &str) {
    let copy = folder.url(copy);
    run(program().arg("--store").arg(&copy).arg("import").arg(log)).ok();
    let (before, after) = (events_of(store), events_of(&copy));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.to_new(), after.to_new(), "{}", log.display());
        assert_eq!(before.stream_id(), after.stream_id());
        assert_eq!(
            (before.position(), before.version()),
            (after.position(), after.version())
        );
    }
    assert_eq!(said(&export(store, "-")), said(&export(&copy, "-")));
}

/// Data that a line can contain as JSON, and other data.
const ODD_DATA: [&[u8]; 18] = [
    b"",
    b"\xff",
    &[0xff; 16 << 10],
    b"\0",
    b"a\0b",
    b"\"a\\u0000b\"",
    b"\"text\"",
    b"text",
    b"id,amount\r\n1,\"a \"\"b\"\"\"\r\n",
    b"null",
    b" null",
    b"{\"a\": 1 }",
    b"{\"a\":\n1}",
    b"[1,\r2]",
    b"1 2",
    b"\"\\ud800\"",
    b"\xef\xbb\xbf{}",
    "\"\u{fffd}\u{2028}\u{7f}\"".as_bytes(),
];

/// The same for metadata.
const ODD_METADATA: [&[u8]; 20] = [
    b"{}",
    b"{ }",
    b" {\"a\":1}",
    b"{\"a\":1}\n",
    b"{\"a\": 1, \"b\": [1, 2]}",
    b"{ \"a\" : 1 }",
    b"{\"a\":1,\"a\":2}",
    b"{\"userId\":\"x\"}",
    b"{\"userId\":null}",
    b"{\"user\\u0049d\":\"x\"}",
    b"{\"userId\":1}",
    b"{\"\\ud800\":1}",
    b"{,}",
    b"[1]",
    b"null",
    b"7",
    b"text",
    b"\"text\"",
    b"\xfe",
    b"\0",
];

/// Events with data, metadata and content types of every kind.
fn odd_events() -> Vec<NewEvent<'static>> {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let mut events: Vec<_> = ODD_DATA.iter().map(|data| event().data(data.to_vec())).collect();
    for levels in [128, 129] {
        events.push(event().data(nested(levels)));
        events.push(event().metadata(format!("{{\"a\":{}}}", nested(levels - 1))));
    }
    for metadata in ODD_METADATA {
        let metadata = metadata.to_vec();
        events.push(event().metadata(metadata.clone()));
        events.push(event().metadata(metadata.clone()).user("anna").correlation("c-\"1\""));
        events.push(event().metadata(metadata).organization("o").causation("x").data([0x80]));
    }
    for (metadata, data) in [
        ("application/octet-stream", "application/octet-stream"),
        ("application/json", "text/csv; charset=utf-8"),
        ("application/cbor", "application/json"),
    ] {
        events.push(with_types(event(), metadata, data));
        events.push(with_types(event().data("a,b\n1,2\n").metadata("a"), metadata, data));
        events.push(with_types(
            event().data("{\"a\":1}").metadata("{\"a\":1}"),
            metadata,
            data,
        ));
        events.push(with_types(event().data([0xff, 0]).metadata([0xfe]), metadata, data));
    }
    events
}

#[test]
fn bytes_that_are_no_text_were_exported_as_replacement_characters() {
    let folder = Folder::new();
    let store = store_of(&folder, "store", &odd_events());
    for (number, name) in ["a.jsonl", "a.json", "a.jsonl.zst"].into_iter().enumerate() {
        let file = folder.path(name);
        export(&store, file.to_str().unwrap());
        check_copy(&folder, &store, &file, &format!("copy-{number}"));
    }
    let lines = export(&store, "-");
    assert_eq!(lines.matches('\u{fffd}').count(), 1);
    check_copy(&folder, &store, &folder.file("o.jsonl", &lines), "copy-o");
    // An import of the existing events has the same report.
    let again = run(program()
        .arg("--store")
        .arg(&store)
        .arg("import")
        .arg(folder.path("o.jsonl")));
    assert!(again.stderr.contains(": 0 new, "), "{}", again.stderr);
    let store = store_of(
        &folder,
        "one",
        &[event().data([0, 0xff, 0x80]).metadata([0xfe]).user("u")],
    );
    let line = export(&store, "-");
    for field in [
        "\"eventDataHex\":\"00ff80\"",
        "\"metadataHex\":\"fe\"",
        "\"userId\":\"u\"",
    ] {
        assert!(line.contains(field), "{line}");
    }
    assert!(
        !line.contains("\"eventData\":") && !line.contains("\"metadata\":"),
        "{line}"
    );
}

/// Events, the fields of their data and metadata in a line of `events`, and those in an export.
fn cases() -> [(NewEvent<'static>, Value, Value); 12] {
    let digits = |name: &str, digits: &str| json!({ name: digits });
    let types = json!({"eventData": "a,b\n", "eventDataType": "text/csv"});
    [
        (event(), json!({}), json!({})),
        (
            event().data("{\"a\": 1}"),
            json!({"eventData": {"a": 1}}),
            json!({"eventData": {"a": 1}}),
        ),
        (
            event().data("text"),
            json!({"eventData": "text"}),
            digits("eventDataHex", "74657874"),
        ),
        (
            event().data("[\n]"),
            json!({"eventData": []}),
            digits("eventDataHex", "5b0a5d"),
        ),
        (
            event().data("a\0"),
            json!({"eventData": "a\0"}),
            digits("eventDataHex", "6100"),
        ),
        (
            event().data([0xff]),
            digits("eventDataHex", "ff"),
            digits("eventDataHex", "ff"),
        ),
        (
            event().metadata([0xff]),
            digits("metadataHex", "ff"),
            digits("metadataHex", "ff"),
        ),
        (
            event().metadata("{\"a\": 1}").user("u"),
            json!({"metadata": {"userId": "u", "a": 1}}),
            json!({"metadata": {"userId": "u", "a": 1}}),
        ),
        (
            event().metadata("[1]").user("u"),
            json!({"metadata": [1], "userId": "u"}),
            json!({"metadata": [1], "userId": "u"}),
        ),
        (
            event().metadata("text").user("u"),
            json!({"metadata": "text", "userId": "u"}),
            json!({"metadataHex": "74657874", "userId": "u"}),
        ),
        (
            with_types(event().data("a,b\n"), "application/json", "text/csv"),
            types,
            json!({"eventDataHex": "612c620a", "eventDataType": "text/csv"}),
        ),
        (
            with_types(event(), "application/cbor", "application/octet-stream"),
            json!({"metadataType": "application/cbor", "eventDataType": "application/octet-stream"}),
            json!({"metadataType": "application/cbor", "eventDataType": "application/octet-stream"}),
        ),
    ]
}

#[test]
fn a_line_to_be_read_has_digits_only_for_what_is_not_text() {
    let cases = cases();
    let folder = Folder::new();
    let events: Vec<_> = cases.iter().map(|(event, ..)| event.clone()).collect();
    let store = store_of(&folder, "store", &events);
    let exported = payloads(&export(&store, "-"));
    let listed = payloads(&ask(&store, &["events", "--format", "jsonl"]).ok());
    let array = ask(&store, &["events", "--format", "json", "--limit", "0"]).ok();
    let array: Vec<Value> = serde_json::from_str(&array).unwrap();
    for (number, (_, readable, exact)) in cases.iter().enumerate() {
        assert_eq!((&listed[number], &exported[number]), (readable, exact));
        assert_eq!(payload(&array[number]), *readable);
        let one = ask(&store, &["event", &(number + 1).to_string(), "--format", "json"]).ok();
        assert_eq!(payloads(&one), std::slice::from_ref(readable));
    }
    let stream = payloads(&ask(&store, &["stream", "thing-1", "--format", "jsonl"]).ok());
    let readable = cases.iter().skip(1).step_by(2).map(|(_, readable, _)| readable.clone());
    assert_eq!(stream, readable.collect::<Vec<_>>());
}

fn payloads(lines: &str) -> Vec<Value> {
    let parse = |line: &str| payload(&serde_json::from_str(line).unwrap());
    lines.lines().map(parse).collect()
}

/// The fields of data, metadata and their types, and the ids beside them.
fn payload(event: &Value) -> Value {
    let is_of_payload = |name: &str| name.starts_with("eventData") || name.starts_with("metadata") || name == "userId";
    let fields = event.as_object().unwrap().iter();
    fields
        .filter(|(name, _)| is_of_payload(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[test]
fn invalid_digits_are_refused_by_their_field() {
    let folder = Folder::new();
    for (rest, parts) in [
        (
            r#","eventDataHex":"abc""#,
            ["eventDataHex: 3 is an odd number", "write two"],
        ),
        (
            r#","metadataHex":"0x00""#,
            ["metadataHex: character 2 is 'x'", "write 0-9 and a-f"],
        ),
        (
            r#","eventDataHex":"\u0000f""#,
            ["eventDataHex: character 1 is '\\0'", "not a hex"],
        ),
        (
            r#","metadataHex":7"#,
            ["invalid type: integer `7`", "digits as `metadataHex`"],
        ),
        (
            r#","eventDataHex":["00"]"#,
            ["invalid type: sequence", "digits as `eventDataHex`"],
        ),
        (
            r#","eventData":null,"eventDataHex":"""#,
            ["eventData and eventDataHex are both there", "leave one out"],
        ),
        (
            r#","metadata":{"userId":"u"},"metadataHex":"00""#,
            ["metadata and metadataHex are both there", "leave one out"],
        ),
        (
            r#","position":1,"version":1,"metadata":{"userId":"u"},"userId":"u""#,
            ["userId is there twice", "leave one out"],
        ),
        (
            r#","eventDataType":7"#,
            ["invalid type: integer `7`", "expected a string"],
        ),
        (
            r#","eventDataHex":"00","eventDataHex":"00""#,
            ["duplicate field", "eventDataHex"],
        ),
    ] {
        let log = folder.file("a.jsonl", line("a", "T", rest));
        let message = ask(&log, &["stats"]).failed(3);
        assert!(message.contains("line 1: "), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{rest}: {message}");
    }
    let long = format!(r#","eventDataType":"{}""#, "x".repeat(2_000));
    let message = ask(&folder.file("a.jsonl", line("a", "T", &long)), &["stats"]).failed(3);
    assert!(message.contains("content type"), "{message}");
}

#[test]
fn digits_of_any_case_are_read() {
    let folder = Folder::new();
    for (rest, data, metadata) in [
        (
            r#","eventDataHex":"00fFAb","metadataHex":"FE","userId":"u""#,
            &b"\0\xff\xab"[..],
            &b"\xfe"[..],
        ),
        (r#","eventDataHex":"","metadataHex":"","userId":"u""#, b"", b""),
        (r#","eventDataHex":null,"metadata":{"userId":"u"}"#, b"", b""),
        (
            r#","eventData":1,"eventDataHex":null,"metadata":null,"metadataHex":"00","userId":"u""#,
            b"1",
            b"\0",
        ),
    ] {
        let store = folder.url(&format!("store-{}", rest.len()));
        let log = folder.file("a.jsonl", line("a", "T", rest));
        run(program().arg("--store").arg(&store).arg("import").arg(&log)).ok();
        let events = events_of(&store);
        assert_eq!((events[0].data(), events[0].metadata()), (data, metadata), "{rest}");
        assert_eq!(events[0].user_id(), Some("u"), "{rest}");
    }
}

#[test]
fn an_event_whose_line_is_too_long_was_exported_without_a_word() {
    let folder = Folder::new();
    let store = store_of(
        &folder,
        "store",
        &[event().data(vec![0xff; 9 << 20]), event().data(vec![0xff; 7 << 20])],
    );
    for name in ["a.jsonl.gz", "a.json.gz"] {
        let file = folder.path(name);
        let ran = ask(&store, &["export", "--output", file.to_str().unwrap()]);
        assert!(
            ran.stderr.contains("warning: 1 event with more than 16 MiB"),
            "{}",
            ran.stderr
        );
        let read = ask(&file, &["--skip-bad", "stats", "--format", "csv"]);
        assert!(read.ok().contains("figures,total,1\n"));
    }
}

/// JSON, with ids among the keys of objects.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-c]",
        Just("userId".to_owned()),
        Just("causationId".to_owned()),
        any::<String>()
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let spaced = ("[ \n\r\t]{0,2}", any_json(), "[ \n\r\t]{0,2}");
    let tokens = [
        "{",
        "}",
        "\"a\"",
        ":",
        ",",
        "1",
        " ",
        "\n",
        "\"userId\"",
        "\"correlationId\"",
        "null",
        "\u{1e}",
    ];
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..64),
        any::<String>().prop_map(String::into_bytes),
        any_json().prop_map(|json| json.to_string().into_bytes()),
        any_json().prop_map(|json| format!("{json:#}").into_bytes()),
        any_json().prop_map(|json| json.to_string().replace("\":", "\": ").into_bytes()),
        spaced.prop_map(|(before, json, after)| format!("{before}{json}{after}").into_bytes()),
        proptest::collection::vec(proptest::sample::select(tokens.to_vec()), 0..9)
            .prop_map(|tokens| tokens.concat().into_bytes()),
    ]
}

fn any_type() -> impl Strategy<Value = ContentType> {
    prop_oneof![
        3 => Just(ContentType::Json),
        1 => Just(ContentType::Bytes),
        1 => "[a-z]{1,8}/[a-zé\"\\\\]{1,8}".prop_map(|name| ContentType::from(&*name)),
    ]
}

fn any_event() -> impl Strategy<Value = NewEvent<'static>> {
    let id = || proptest::option::of("[a-zé\"\n]{1,6}");
    let ids = (id(), id(), id(), id());
    let time = 0..253_402_300_799_999_999_i64;
    (ids, any_bytes(), any_type(), any_bytes(), any_type(), time).prop_map(
        |((correlation, causation, user, organization), metadata, metadata_type, data, data_type, time)| {
            let mut event = event().timestamp(annals::Timestamp::from_micros(time));
            event.correlation_id = correlation.map(Into::into);
            event.causation_id = causation.map(Into::into);
            event.user_id = user.map(Into::into);
            event.organization_id = organization.map(Into::into);
            event.metadata_type = metadata_type;
            event.metadata = metadata.into();
            event.data_type = data_type;
            event.data = data.into();
            event
        },
    )
}

#[test]
fn an_export_of_any_events_is_imported_to_the_byte() {
    let config = Config {
        cases: 16,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let events = proptest::collection::vec(any_event(), 1..200);
    let checked = TestRunner::new(config).run(&events, |events| {
        let folder = Folder::new();
        let store = store_of(&folder, "store", &events);
        let log = folder.file("log.jsonl", export(&store, "-"));
        check_copy(&folder, &store, &log, "copy");
        Ok(())
    });
    checked.unwrap();
}
