//! Appends: what they answer, what they refuse, and that a refusal stores nothing.

use annals::{Budget, Settings, Store};
use serde_json::json;

use crate::support::{JSON, Running};

#[test]
fn an_append_answers_with_its_place() {
    let server = Running::new();
    let answer = server.post(
        "/v1/streams/order-1/events?aggregateType=Order&expectedVersion=none",
        &json!([{ "eventType": "OrderPlaced", "eventData": { "total": 250 } }, { "eventType": "OrderPaid" }]),
    );
    let place = answer.ok(201);
    assert_eq!(
        place,
        json!({ "firstVersion": 1, "lastVersion": 2, "firstPosition": 1, "lastPosition": 2,
            "durability": "volatile", "repeated": false })
    );
    assert_eq!(
        (answer.header("etag"), answer.header("location")),
        (Some("\"2\""), Some("/v1/events/1"))
    );
    let read = server.get("/v1/streams/order-1/events").ok(200);
    assert_eq!(read["events"][0]["eventData"], json!({ "total": 250 }));
    assert_eq!((&read["version"], &read["aggregateType"]), (&json!(2), &json!("Order")));
    // The type is known from now on.
    server
        .post("/v1/streams/order-1/events", &json!({ "eventType": "OrderSent" }))
        .ok(201);
}

#[test]
fn a_conflict_names_the_expected_and_the_actual_version() {
    let server = Running::new();
    server.add("order-1", "OrderPlaced");
    let event = json!({ "eventType": "OrderPaid" });
    let conflict = server.post("/v1/streams/order-1/events?expectedVersion=5", &event);
    let conflict = conflict.refused(409, "version-conflict");
    assert_eq!(
        (&conflict["expectedVersion"], &conflict["actualVersion"]),
        (&json!(5), &json!(1))
    );
    let exists = server.post("/v1/streams/order-1/events?expectedVersion=none", &event);
    assert_eq!(exists.refused(409, "version-conflict")["expectedVersion"], "none");
    let body = event.to_string();
    let target = "/v1/streams/order-1/events";
    for (name, value) in [("If-Match", "\"5\""), ("If-Match", "W/\"5\""), ("If-None-Match", "*")] {
        let failed = server.send("POST", target, &[JSON, (name, value)], body.as_bytes());
        assert_eq!(failed.refused(412, "precondition-failed")["actualVersion"], 1);
    }
    for malformed in ["5", "\"x\"", "\"1\", \"2\""] {
        let refused = server.send("POST", target, &[JSON, ("If-Match", malformed)], body.as_bytes());
        refused.refused(400, "invalid-request");
    }
    let new = "/v1/streams/order-2/events?aggregateType=Order";
    let missing = server.send("POST", new, &[JSON, ("If-Match", "*")], body.as_bytes());
    missing.refused(412, "precondition-failed");
    server
        .send("POST", target, &[JSON, ("If-Match", "W/\"1\"")], body.as_bytes())
        .ok(201);
    assert_eq!(server.get("/v1/count").ok(200)["count"], 2);
}

#[test]
fn the_lines_before_a_bad_line_were_stored() {
    let server = Running::new();
    let mut lines: Vec<String> = (1..=9).map(|n| format!("{{\"eventType\":\"E{n}\"}}")).collect();
    lines[6] = "{\"eventType\":".to_owned();
    let target = "/v1/streams/a/events?aggregateType=A";
    let problem = server
        .post_lines(target, &lines.join("\n"))
        .refused(400, "invalid-request");
    assert_eq!(problem["line"], 7);
    assert!(problem["detail"].as_str().unwrap().contains("0 events"), "{problem}");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 0);
    lines.remove(6);
    let place = server.post_lines(target, &(lines.join("\r\n") + "\n\n")).ok(201);
    assert_eq!(place["lastVersion"], 8);
}

#[test]
fn a_repeated_request_stored_its_events_twice() {
    let server = Running::new();
    let target = "/v1/streams/a/events?aggregateType=A";
    let send = |key: &str, body: &serde_json::Value| {
        server.send(
            "POST",
            target,
            &[JSON, ("Idempotency-Key", key)],
            body.to_string().as_bytes(),
        )
    };
    let two = json!([{ "eventType": "X", "eventData": 1 }, { "eventType": "Y" }]);
    let first = send("k-1", &two).ok(201);
    let again = send("k-1", &two).ok(200);
    assert_eq!(again["repeated"], true);
    assert_eq!(again["lastPosition"], first["lastPosition"]);
    // The key of other events, of fewer and of more.
    for other in [
        json!([{ "eventType": "X", "eventData": 2 }, { "eventType": "Y" }]),
        json!([{ "eventType": "X", "eventData": 1 }]),
        json!([{ "eventType": "X", "eventData": 1 }, { "eventType": "Y" }, { "eventType": "Z" }]),
    ] {
        send("k-1", &other).refused(422, "idempotency-key-reused");
    }
    send("k-2", &two).ok(201);
    send("", &two).refused(400, "invalid-request");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 4);
    // By ids of events as well.
    let with_id = json!({ "eventType": "Z", "eventId": "0197f5d2-7e5b-7000-8000-000000000001" });
    server.post(target, &with_id).ok(201);
    assert_eq!(server.post(target, &with_id).ok(200)["repeated"], true);
    let partly = json!([{ "eventType": "New" }, with_id]);
    server.post(target, &partly).refused(409, "event-known");
}

#[test]
fn a_key_with_other_tags_was_a_repetition() {
    let server = Running::new();
    let send = |tags: &serde_json::Value| {
        let body = json!({ "eventType": "X", "tags": tags }).to_string();
        let target = "/v1/streams/a/events?aggregateType=A";
        server.send("POST", target, &[JSON, ("Idempotency-Key", "k-1")], body.as_bytes())
    };
    send(&json!(["a", "b"])).ok(201);
    assert_eq!(send(&json!(["a", "b"])).ok(200)["repeated"], true);
    for other in [json!(["a"]), json!(["a", "c"]), json!([]), json!(["a", "b", "c"])] {
        send(&other).refused(422, "idempotency-key-reused");
    }
}

#[test]
fn several_aggregates_are_appended_to_all_or_none() {
    let server = Running::new();
    let transfer = json!({ "appends": [
        { "aggregateId": "a", "aggregateType": "Account", "expectedVersion": "none", "events": [{ "eventType": "Withdrawn" }] },
        { "aggregateId": "b", "aggregateType": "Account", "expectedVersion": "none", "events": [{ "eventType": "Deposited" }] },
    ] });
    let done = server.post("/v1/appends", &transfer).ok(201);
    assert_eq!(done["appended"][1]["aggregateId"], "b");
    assert_eq!(done["appended"][1]["firstPosition"], 2);
    let mut second = transfer;
    second["appends"][0]["expectedVersion"] = json!(1);
    let conflict = server.post("/v1/appends", &second).refused(409, "version-conflict");
    assert_eq!(conflict["aggregateId"], "b");
    assert_eq!(server.get("/v1/streams/a").ok(200)["version"], 1);
}

#[test]
fn a_member_of_a_condition_without_effect_was_ignored() {
    let server = Running::new();
    server.add("a", "X");
    for member in [
        json!({ "asOf": 1 }),
        json!({ "minPosition": 9 }),
        json!({ "limit": 1 }),
        json!({ "cursor": "p9" }),
        json!({ "order": "-position" }),
    ] {
        let events = json!([{ "eventType": "X" }]);
        let body = json!({ "condition": { "query": member }, "appends": [{ "aggregateId": "a", "events": events }] });
        server.post("/v1/appends", &body).refused(400, "invalid-request");
    }
}

#[test]
fn a_condition_that_fails_names_the_event() {
    let server = Running::new();
    server.add("seat-1", "SeatTaken");
    let take = |after: u64| {
        json!({
            "condition": { "query": { "filter": { "eventType": "SeatTaken" } }, "after": after },
            "appends": [{ "aggregateId": "seat-2", "aggregateType": "Thing", "events": [{ "eventType": "SeatTaken" }] }],
        })
    };
    let failed = server.post("/v1/appends", &take(0)).refused(409, "condition-failed");
    assert_eq!(failed["position"], 1);
    server.post("/v1/appends", &take(1)).ok(201);
    server.post("/v1/appends", &take(1)).refused(409, "condition-failed");
}

#[test]
fn a_batch_of_many_aggregates_is_all_or_none() {
    let server = Running::new();
    let lines = concat!(
        "{\"aggregateId\":\"s-1\",\"aggregateType\":\"Session\",\"eventType\":\"Opened\"}\n",
        "{\"aggregateId\":\"s-2\",\"aggregateType\":\"Session\",\"eventType\":\"Opened\"}\n",
        "{\"aggregateId\":\"s-1\",\"aggregateType\":\"Session\",\"eventType\":\"Closed\"}\n",
    );
    let done = server.post_lines("/v1/events", lines).ok(201);
    assert_eq!(done["appended"][0]["lastVersion"], 2);
    let bad = format!("{lines}{{\"aggregateId\":\"s-1\",\"aggregateType\":\"Other\",\"eventType\":\"X\"}}\n");
    server.post_lines("/v1/events", &bad).refused(400, "invalid-request");
    server
        .post_lines("/v1/events", "{\"eventType\":\"X\"}\n")
        .refused(400, "invalid-request");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 3);
    assert_eq!(server.get("/v1/count?aggregate=s-2").ok(200)["count"], 1);
}

#[test]
fn an_event_that_was_read_could_not_be_appended() {
    let (one, other) = (Running::new(), Running::new());
    let event = json!({ "eventType": "X", "eventData": { "n": 73_314_510_714_175_488_u64 }, "eventVersion": 3,
        "metadata": { "ip": "::1" }, "correlationId": "c", "userId": "ü", "tags": ["t"], "timestamp": "2026-01-31T12:00:00Z" });
    one.post("/v1/streams/a%2Fb/events?aggregateType=A", &event).ok(201);
    one.post(
        "/v1/streams/x/events?aggregateType=A",
        &json!({ "eventType": "Y", "eventDataHex": "00ff", "eventDataType": "text/csv" }),
    )
    .ok(201);
    let lines = one.send("GET", "/v1/events", &[("Accept", "application/x-ndjson")], b"");
    other.post_lines("/v1/events", lines.text()).ok(201);
    let again = other.send("GET", "/v1/events", &[("Accept", "application/x-ndjson")], b"");
    let without_time = |text: &str| -> Vec<serde_json::Value> {
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events
            .map(|mut event| {
                event.as_object_mut().unwrap().remove("recordedAt");
                event
            })
            .collect()
    };
    assert_eq!(without_time(lines.text()), without_time(again.text()));
    assert!(
        lines.text().contains("73314510714175488") && lines.text().contains("00ff"),
        "{}",
        lines.text()
    );
}

#[test]
fn the_tag_of_another_writing_of_a_version_was_taken() {
    let server = Running::new();
    server.add("a", "X");
    let body = b"{\"eventType\":\"X\"}";
    for malformed in [
        "\"01\"",
        "\"+1\"",
        "W/\"01\"",
        "\" 1\"",
        "\"\"",
        "\"18446744073709551616\"",
    ] {
        let headers = [JSON, ("If-Match", malformed)];
        let refused = server.send("POST", "/v1/streams/a/events", &headers, body);
        refused.refused(400, "invalid-request");
    }
    let headers = [JSON, ("If-Match", "\"0\"")];
    let refused = server.send("POST", "/v1/streams/a/events", &headers, body);
    refused.refused(412, "precondition-failed");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 1);
}

#[test]
fn a_full_store_blocked_a_writer() {
    let budget = Budget::default().events(1);
    let settings = Settings::default().budget(budget);
    let server = Running::of(Store::builder().settings(settings).open().unwrap());
    server.add("a", "X");
    let full = server.post("/v1/streams/a/events", &json!({ "eventType": "X" }));
    full.refused(507, "store-full");
    assert_eq!(full.header("retry-after"), None);
}

#[test]
fn a_store_without_a_journal_acknowledged_more_than_it_keeps() {
    let server = Running::new();
    let event = json!({ "eventType": "X" });
    let target = "/v1/streams/a/events?aggregateType=A&durability=synced";
    server.post(target, &event).refused(400, "invalid-request");
    let folder = tempfile::tempdir().unwrap();
    let durable = Running::of(Store::open_url(&format!("file:{}", folder.path().display())).unwrap());
    let answer = durable.post(target, &event);
    assert_eq!(answer.ok(201)["durability"], "synced");
    assert_eq!(answer.header("annals-ephemeral"), None);
    assert_eq!(server.get("/healthz").header("annals-ephemeral"), Some("true"));
}
