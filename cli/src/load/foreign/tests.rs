//! Lines of JSON as other programs write them.

use super::*;

/// Of several maps of a field, the last counts here.
fn mapping(maps: &[&str], keeps_unknown: bool) -> Mapping {
    let all: Vec<Mapped> = maps.iter().map(|text| Mapped::parse(text).unwrap()).collect();
    let is_last = |number: usize| all[number + 1..].iter().all(|other| other.field != all[number].field);
    let last = (0..all.len()).filter(|number| is_last(*number));
    let mapped: Vec<Mapped> = last.map(|number| all[number].clone()).collect();
    Mapping::new(&mapped, keeps_unknown).unwrap()
}

const MAPS: [&str; 4] = [
    "aggregateId=/case/id",
    "aggregateType=\"Case\"",
    "eventType=/activity",
    "timestamp=/when",
];

fn entry(maps: &[&str], line: &str) -> Entry {
    mapping(&[&MAPS[..], maps].concat(), false)
        .entry(line.as_bytes())
        .unwrap()
}

fn refusal(maps: &[&str], line: &str) -> String {
    let mapping = mapping(&[&MAPS[..], maps].concat(), false);
    mapping.entry(line.as_bytes()).unwrap_err().to_string()
}

fn kept(maps: &[&str], line: &str) -> Result<String, String> {
    let mapping = mapping(&[&MAPS[..], maps].concat(), true);
    let entry = mapping.entry(line.as_bytes());
    entry
        .map(|entry| String::from_utf8_lossy(&entry.event.metadata).into_owned())
        .map_err(|reason| reason.to_string())
}

/// A line with `rest` behind the fields that are mapped.
fn line(rest: &str) -> String {
    format!(r#"{{"case":{{"id":17}},"activity":"Paid","when":1769860800{rest}}}"#)
}

#[test]
fn pointers_lead_to_the_fields_of_an_event() {
    let maps = [
        "userId=/who/0/name",
        "eventData=/what",
        "tags=/labels",
        "eventVersion=/v",
    ];
    let entry = entry(
        &maps,
        &line(r#","who":[{"name":7}],"what":{ "a":1.50 },"labels":["x",3],"v":2,"correlationId":"c""#),
    );
    assert_eq!(entry.stream, StreamId::new("Case", "17"));
    let event = entry.event;
    assert_eq!(event, {
        let mut event = NewEvent::new("Paid");
        event.schema_version = 2;
        event.timestamp = Some("2026-01-31T12:00:00Z".parse().unwrap());
        event.user_id = Some("7".into());
        event.correlation_id = Some("c".into());
        event.tags = vec!["x".into(), "3".into()];
        event.data = br#"{ "a":1.50 }"#.to_vec().into();
        event
    });
}

#[test]
fn pointers_have_escapes_and_may_be_the_whole_line() {
    let text = line(r#","a/b":{"~x":"anna"}"#);
    let entry = entry(&["userId=/a~1b/~0x", "eventData="], &text);
    assert_eq!(entry.event.user_id, Some("anna".into()));
    assert_eq!(&*entry.event.data, text.as_bytes());
    for (text, told) in [
        ("eventType", "write it as FIELD=/POINTER"),
        ("kind=/a", "'kind' is no field of an event; the fields are aggregateId"),
        (
            "eventType=a",
            "must begin with '/'; a text that every event gets is written as eventType='\"a\"'",
        ),
        ("eventType=/a~2", "neither '~0'"),
        ("timestamp=\"2026\"", "timestamp cannot be one text for all events"),
        ("eventType=\"a", "is no JSON text"),
    ] {
        let message = Mapped::parse(text).unwrap_err();
        assert!(message.contains(told), "{message}");
    }
    let twice = ["userId=/a", "userId=/b"].map(|text| Mapped::parse(text).unwrap());
    assert_eq!(Mapping::new(&twice, false).unwrap_err(), "userId");
}

#[test]
fn the_magnitude_of_a_number_tells_its_unit() {
    for (value, expected) in [
        ("1769860800", "2026-01-31T12:00:00Z"),
        ("\"1769860800\"", "2026-01-31T12:00:00Z"),
        ("1769860800.25", "2026-01-31T12:00:00.25Z"),
        ("1769860800.1234569", "2026-01-31T12:00:00.123456Z"),
        ("1769860800123", "2026-01-31T12:00:00.123Z"),
        ("1769860800123.5", "2026-01-31T12:00:00.1235Z"),
        ("1769860800123456", "2026-01-31T12:00:00.123456Z"),
        ("0", "1970-01-01T00:00:00Z"),
        ("-1", "1969-12-31T23:59:59Z"),
        ("99999999999", "5138-11-16T09:46:39Z"),
        ("100000000000", "1973-03-03T09:46:40Z"),
        ("\"2026-01-31 12:00\"", "2026-01-31T12:00:00Z"),
        ("\"20260131\"", "2026-01-31T00:00:00Z"),
        ("\"2026-01-31T13:00:00+01:00\"", "2026-01-31T12:00:00Z"),
    ] {
        let entry = entry(&["timestamp=/at"], &line(&format!(",\"at\":{value}")));
        let expected: Timestamp = expected.parse().unwrap();
        assert_eq!(entry.event.timestamp, Some(expected), "{value}");
    }
    for value in ["100000000000000000", "true", "\"soon\"", "{}", "1e9", "[1]"] {
        let message = refusal(&["timestamp=/at"], &line(&format!(",\"at\":{value}")));
        assert!(message.starts_with("timestamp: the value at /at is "), "{message}");
        assert!(message.contains("milliseconds or microseconds since 1970"), "{message}");
    }
}

#[test]
fn a_refusal_names_the_field_the_pointer_and_what_is_there() {
    let whole = line("");
    for (text, told) in [
        (
            whole.replace("activity", "action"),
            "eventType: nothing at /activity; the line has the fields case, action, when;",
        ),
        (
            whole.replace("\"id\"", "\"no\""),
            "aggregateId: nothing at /case/id; /case has the fields no;",
        ),
        (
            whole.replace("{\"id\":17}", "17"),
            "aggregateId: nothing at /case/id; /case is no object;",
        ),
        (
            whole.replace("{\"id\":17}", "{}"),
            "aggregateId: nothing at /case/id; /case has no fields;",
        ),
        (
            whole.replace("\"Paid\"", "null"),
            "eventType: nothing at /activity; the value is empty; name its place with --map eventType=/POINTER",
        ),
        (
            whole.replace("\"Paid\"", "\"\""),
            "eventType: nothing at /activity; the value is empty",
        ),
    ] {
        let message = refusal(&[], &text);
        assert!(message.contains(told), "{text}\n{message}\n{told}");
    }
}

#[test]
fn a_refusal_names_what_the_value_is() {
    for (maps, text, told) in [
        (
            &["userId=/who"][..],
            line(",\"who\":1.5"),
            "userId: the value at /who is 1.5, expected a text or an integer",
        ),
        (
            &["eventId=/id"],
            line(",\"id\":\"7\""),
            "eventId: the value at /id is \"7\", expected a UUID",
        ),
        (
            &["eventVersion=/v"],
            line(",\"v\":-1"),
            "eventVersion: the value at /v is -1, expected an integer",
        ),
        (
            &["tags=/t"],
            line(",\"t\":[{}]"),
            "tags: the value at /t is an object, expected a text",
        ),
        (
            &[],
            line(",\"when\":1"),
            "timestamp: the value at /when is there twice: an object has two fields 'when'",
        ),
        (&[], "17".to_owned(), "expected an event: a JSON object"),
        (&[], "{".to_owned(), "EOF"),
        (&[], line(",\"metadata\":[]"), "metadata: invalid type"),
        (
            &["userId=/who"],
            line(",\"who\":1,\"metadata\":{\"userId\":\"a\"}"),
            "userId is there twice",
        ),
    ] {
        let message = refusal(maps, &text);
        assert!(message.contains(told), "{text}\n{message}\n{told}");
    }
}

#[test]
fn a_refusal_lists_twenty_fields_at_most() {
    let many: Vec<String> = (0..30).map(|number| format!(",\"f{number}\":1")).collect();
    let message = refusal(&["eventType=/none"], &line(&many.concat()));
    assert!(
        message.contains("f16, …; name") && !message.contains("f17"),
        "{message}"
    );
}

#[test]
fn what_no_pointer_leads_to_is_kept_to_the_byte() {
    for (maps, text, expected) in [
        (&[][..], line(""), ""),
        (
            &[],
            line(r#","cost": 1.50,"b":{"x":[ 1 ]}"#),
            r#"{"cost":1.50,"b":{"x":[ 1 ]}}"#,
        ),
        (
            &[],
            line("").replace("17}", "17,\"owner\":\"o\"}"),
            r#"{"case":{"owner":"o"}}"#,
        ),
        (
            &[],
            line(r#","metadata":{"ip":1,"userId":"u"},"x":2"#),
            r#"{"ip":1,"x":2}"#,
        ),
        (&["eventData="], line(r#","x":2"#), ""),
        (&["eventData=/d"], line(r#","d":{"x":1},"y":2"#), r#"{"y":2}"#),
        (&["userId=/a/0"], line(r#","a":["u","v"]"#), r#"{"a":["u","v"]}"#),
    ] {
        assert_eq!(kept(maps, &text).as_deref(), Ok(expected), "{text}");
    }
    let clash = kept(&[], &line(r#","metadata":{"x":1},"x":2"#)).unwrap_err();
    assert!(clash.contains("the unknown field 'x' cannot be kept"), "{clash}");
    let id = kept(&["userId=/who"], &line(r#","who":"a","userId":"b""#)).unwrap_err();
    assert!(id.contains("the unknown field 'userId' cannot be kept"), "{id}");
    // Without the option, it is left out.
    assert!(entry(&[], &line(r#","x":2"#)).event.metadata.is_empty());
}
