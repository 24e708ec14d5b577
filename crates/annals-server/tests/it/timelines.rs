//! The timeline of a namespace: what a test that failed looks at.

use serde_json::{Value, json};

use crate::support::{JSON, Running};

fn timeline(server: &Running, namespace: &str) -> Value {
    server.get(&format!("/v1/ns/{namespace}/test/timeline")).ok(200)
}

/// The entries without their times.
fn entries(page: &Value) -> Vec<Value> {
    let mut entries = page["entries"].as_array().unwrap().clone();
    for entry in &mut entries {
        entry.as_object_mut().unwrap().remove("at").unwrap();
    }
    entries
}

fn kinds(page: &Value) -> Vec<&str> {
    let entries = page["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["kind"].as_str().unwrap()).collect()
}

fn post(server: &Running, target: &str) {
    let answer = server.send("POST", target, &[], b"");
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

fn append(server: &Running, target: &str, types: &[&str], status: u16) {
    let events: Vec<Value> = types.iter().map(|name| json!({ "eventType": name })).collect();
    server.post(target, &json!(events)).ok(status);
}

#[test]
fn a_timeline_missed_an_append_or_its_refusal() {
    let server = Running::for_tests();
    let stream = "/v1/ns/t/streams/order-1/events?aggregateType=Order";
    append(&server, stream, &["Placed", "Paid"], 201);
    append(&server, &format!("{stream}&expectedVersion=none"), &["Placed"], 409);
    let several = json!({ "appends": [
        { "aggregateId": "order-1", "aggregateType": "Order", "events": [{ "eventType": "Sent" }] },
        { "aggregateId": "seat-7", "aggregateType": "Seat", "events": [{ "eventType": "Taken" }] },
    ] });
    server.post("/v1/ns/t/appends", &several).ok(201);
    server.send("DELETE", "/v1/ns/t/streams/seat-7", &[], b"").ok(200);
    let page = timeline(&server, "t");
    assert_eq!((&page["dropped"], &page["next"]), (&json!(0), &json!(5)));
    let found = entries(&page);
    assert_eq!(
        found[0],
        json!({ "number": 1, "kind": "appended", "aggregateId": "order-1", "aggregateType": "Order", "firstVersion": 1, "lastVersion": 2,
            "firstPosition": 1, "lastPosition": 2, "eventTypes": ["Placed", "Paid"], "repeated": false })
    );
    assert_eq!(
        found[1],
        json!({ "number": 2, "kind": "refused", "operation": "append", "aggregateId": "order-1", "status": 409, "problem": "version-conflict",
            "detail": "aggregate 'order-1' is at version 2, expected no stream" })
    );
    assert_eq!(
        (&found[2]["aggregateId"], &found[2]["eventTypes"]),
        (&json!("order-1"), &json!(["Sent"]))
    );
    assert_eq!(
        (&found[3]["aggregateId"], &found[3]["eventTypes"]),
        (&json!("seat-7"), &json!(["Taken"]))
    );
    assert_eq!(
        found[4],
        json!({ "number": 5, "kind": "changed", "operation": "delete", "aggregateId": "seat-7" })
    );
}

#[test]
fn a_body_that_is_no_event_left_no_trace() {
    let server = Running::for_tests();
    post(&server, "/v1/ns/t/test/reset");
    let target = "/v1/ns/t/streams/a/events?aggregateType=A";
    server
        .post_lines(target, "{\"eventType\":\"X\"}\n{")
        .refused(400, "invalid-request");
    let text = server.send("POST", target, &[("Content-Type", "text/plain")], b"x");
    text.refused(415, "unsupported-media-type");
    // A read that is refused changes nothing, and is none.
    server.get("/v1/ns/t/events?limit=0").refused(400, "invalid-request");
    let page = timeline(&server, "t");
    assert_eq!(kinds(&page), ["reset", "refused", "refused"], "{page}");
    assert!(
        entries(&page)[1]["detail"].as_str().unwrap().contains("line 2"),
        "{page}"
    );
    assert_eq!(entries(&page)[2]["problem"], "unsupported-media-type");
}

#[test]
fn a_reset_hid_what_happened_before_it() {
    let server = Running::for_tests();
    let target = "/v1/ns/t/streams/a/events?aggregateType=A";
    append(&server, target, &["X"], 201);
    post(&server, "/v1/ns/t/test/snapshots");
    post(&server, "/v1/ns/t/test/reset?seed=7&now=2026-01-31T12:00:00Z");
    server
        .send(
            "PUT",
            "/v1/ns/t/test/clock",
            &[JSON],
            b"{\"now\":\"2026-02-01T00:00:00Z\"}",
        )
        .ok(200);
    server
        .post("/v1/ns/t/test/clock/advance", &json!({ "seconds": 60 }))
        .ok(200);
    post(&server, "/v1/ns/t/test/snapshots");
    post(&server, "/v1/ns/t/test/snapshots/1/restore");
    post(&server, "/v1/ns/t/test/fork/u");
    append(&server, "/v1/ns/u/streams/a/events?aggregateType=A", &["X"], 201);
    let page = timeline(&server, "t");
    assert_eq!(
        kinds(&page),
        [
            "appended", "snapshot", "reset", "clock", "clock", "snapshot", "restored", "forkedTo"
        ]
    );
    let all = page["entries"].as_array().unwrap();
    assert_eq!(
        (&all[2]["at"], &all[2]["seed"]),
        (&json!("2026-01-31T12:00:00Z"), &json!(7))
    );
    assert_eq!(all[4]["at"], "2026-02-01T00:01:00Z");
    assert_eq!(all[6]["snapshot"], 1);
    assert_eq!(all[7]["namespace"], "u");
    let forked = timeline(&server, "u");
    assert_eq!(kinds(&forked), ["forkedFrom", "appended"]);
    // A namespace that was removed begins again.
    server.send("DELETE", "/v1/ns/u/test", &[], b"").ok(200);
    server.get("/v1/ns/u/test/timeline").refused(403, "unknown-namespace");
}

#[test]
fn a_timeline_could_not_be_read_in_parts() {
    let server = Running::for_tests();
    for _ in 0..5 {
        append(&server, "/v1/streams/a/events?aggregateType=A", &["X"], 201);
    }
    let part = server.get("/v1/test/timeline?after=1&limit=2").ok(200);
    let numbers: Vec<&Value> = part["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["number"])
        .collect();
    assert_eq!((numbers, &part["next"]), (vec![&json!(2), &json!(3)], &json!(3)));
    let none = server.get("/v1/test/timeline?after=5").ok(200);
    assert_eq!(none, json!({ "entries": [], "next": 5, "dropped": 0 }));
    let accept = [("Accept", "application/x-ndjson")];
    let lines = server.send("GET", "/v1/test/timeline?after=3", &accept, b"");
    assert_eq!(
        (lines.text().lines().count(), lines.header("annals-dropped-entries")),
        (2, Some("0"))
    );
    let accept = [("Accept", "application/cloudevents-batch+json")];
    server
        .send("GET", "/v1/test/timeline", &accept, b"")
        .refused(406, "not-acceptable");
    server.get("/v1/test/timeline?limit=0").refused(400, "invalid-request");
    server.get("/v1/test/timeline?after=-1").refused(400, "invalid-request");
    Running::new().get("/v1/test/timeline").refused(404, "not-found");
}

#[test]
fn old_entries_of_a_timeline_were_dropped_unsaid() {
    let server = Running::for_tests();
    let mut connection = server.connect();
    post(&server, "/v1/test/reset");
    for _ in 0..1_002 {
        connection
            .send("POST", "/v1/test/clock/advance", &[JSON], b"{\"seconds\":1}")
            .ok(200);
    }
    let page = server.get("/v1/test/timeline?limit=1").ok(200);
    assert_eq!(
        (&page["dropped"], &page["entries"][0]["number"]),
        (&json!(3), &json!(4)),
        "{page}"
    );
}

#[test]
fn a_hostile_name_broke_the_lines_of_a_timeline() {
    let server = Running::for_tests();
    let id = "a%0Ab%22%3C%2Fscript%3E";
    let target = format!("/v1/streams/{id}/events?aggregateType=A%0A");
    append(&server, &target, &["X\n\"\u{2028}"], 201);
    let lines = server.send("GET", "/v1/test/timeline", &[("Accept", "application/x-ndjson")], b"");
    let parsed: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (parsed.len(), &parsed[0]["aggregateId"]),
        (1, &json!("a\nb\"</script>"))
    );
}
