//! `CloudEvents`: structured, batched and in headers, and what is answered.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::Running;

const ONE: (&str, &str) = ("Content-Type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("Content-Type", "application/cloudevents-batch+json");

fn post(server: &Running, target: &str, media: (&str, &str), body: &Value) -> Answer {
    server.send("POST", target, &[media], body.to_string().as_bytes())
}

fn placed(id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": "OrderPlaced", "subject": "order/1", "aggregatetype": "Order",
        "time": "2026-01-31T12:00:00Z", "correlationid": "c", "traceparent": "00-1", "data": { "total": 250 } })
}

#[test]
fn an_event_is_taken_once_by_its_source_and_id() {
    let server = Running::new();
    post(&server, "/v1/events", ONE, &placed("1")).ok(201);
    let again = post(&server, "/v1/events", ONE, &placed("1")).ok(200);
    assert_eq!(again["appended"][0]["repeated"], true);
    let mut other = placed("1");
    other["source"] = json!("/other");
    post(
        &server,
        "/v1/streams/order%2F1/events",
        BATCH,
        &json!([other, placed("2")]),
    )
    .ok(201);
    let event = server.get("/v1/events/1").ok(200);
    assert_eq!(
        (&event["aggregateId"], &event["timestamp"]),
        (&json!("order/1"), &json!("2026-01-31T12:00:00Z"))
    );
    assert_eq!(
        event["metadata"],
        json!({ "correlationId": "c", "source": "/shop", "traceparent": "00-1" })
    );
    assert_eq!(server.get("/v1/count").ok(200)["count"], 3);
}

#[test]
fn attributes_in_headers_were_kept_with_their_escapes() {
    let server = Running::new();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/shop"),
        ("ce-type", "Greeted"),
        ("ce-subject", "a%20b%2520%C3%BC"),
        ("ce-aggregatetype", "ü"),
        ("Content-Type", "text/plain"),
    ];
    server.send("POST", "/v1/events", &headers, b"hello").ok(201);
    let event = server.get("/v1/events/1").ok(200);
    assert_eq!(
        (&event["aggregateId"], &event["aggregateType"]),
        (&json!("a b%20ü"), &json!("ü"))
    );
    assert_eq!(
        (&event["eventDataType"], &event["eventDataHex"]),
        (&json!("text/plain"), &json!("68656c6c6f"))
    );
    let mut wrong = headers;
    wrong[4].1 = "%FF";
    server
        .send("POST", "/v1/events", &wrong, b"hello")
        .refused(400, "invalid-request");
}

#[test]
fn what_was_answered_could_not_be_appended() {
    let (one, other) = (Running::new(), Running::new());
    let big = r#"{"specversion":"1.0","id":"1","source":"/s","type":"T","subject":"a","aggregatetype":"A","data":{"n":73314510714175488,"f":1.0}}"#;
    one.send("POST", "/v1/events", &[ONE], big.as_bytes()).ok(201);
    let bytes = json!({ "specversion": "1.0", "id": "2", "source": "/s", "type": "T", "subject": "a", "aggregatetype": "A",
        "datacontenttype": "application/cbor", "data_base64": "AP8=", "tags": "[\"x\"]", "schemaversion": 3 });
    post(&one, "/v1/events", ONE, &bytes).ok(201);
    let accept = [("Accept", BATCH.1)];
    let batch = one.send("GET", "/v1/events", &accept, b"");
    assert_eq!(batch.header("content-type"), Some(BATCH.1));
    assert!(
        batch.text().contains("73314510714175488,\"f\":1.0") && batch.text().contains("\"AP8=\""),
        "{}",
        batch.text()
    );
    other.send("POST", "/v1/events", &[BATCH], &batch.body).ok(201);
    assert_eq!(
        other.send("GET", "/v1/streams/a/events", &accept, b"").json(),
        batch.json()
    );
    assert_eq!(other.get("/v1/events/2").ok(200)["tags"], json!(["x"]));
}

#[test]
fn an_invalid_cloud_event_was_taken() {
    let server = Running::new();
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("id", json!("")),
        ("source", Value::Null),
        ("type", json!(null)),
        ("time", json!("yesterday")),
        ("subject", json!(["a"])),
        ("Upper", json!("x")),
        ("data_base64", json!("AA==")),
        ("tags", json!("x")),
        ("schemaversion", json!("x")),
    ] {
        let mut event = placed("1");
        event[name] = value;
        post(&server, "/v1/events", ONE, &event).refused(400, "invalid-request");
    }
    let second = post(&server, "/v1/events", BATCH, &json!([placed("1"), {}])).refused(400, "invalid-request");
    assert_eq!(second["event"], 2);
    post(&server, "/v1/events", BATCH, &json!([])).refused(400, "invalid-request");
    post(&server, "/v1/appends", ONE, &placed("1")).refused(415, "unsupported-media-type");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 0);
}
