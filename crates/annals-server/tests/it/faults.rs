//! Rules of faults: requests fail as a test asks for, and no others.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{JSON, Running};

const STREAM: &str = "/v1/ns/t/streams/order-1/events?aggregateType=Order";

fn server() -> Running {
    let server = Running::for_tests();
    server.send("POST", "/v1/ns/t/test/reset", &[], b"").ok(200);
    server
}

#[track_caller]
fn add(server: &Running, rule: &Value) -> Value {
    server.post("/v1/ns/t/test/faults", rule).ok(201)
}

fn append(server: &Running, target: &str) -> Answer {
    server.post(target, &json!({ "eventType": "Placed" }))
}

fn count(server: &Running, namespace: &str) -> Value {
    server.get(&format!("/v1/ns/{namespace}/count")).ok(200)["count"].clone()
}

fn rules(server: &Running) -> Vec<Value> {
    let rules = server.get("/v1/ns/t/test/faults").ok(200);
    rules["rules"].as_array().unwrap().clone()
}

#[test]
fn an_injected_conflict_was_unlike_a_real_one() {
    let server = server();
    append(&server, STREAM).ok(201);
    add(
        &server,
        &json!({ "fault": "conflict", "aggregateId": "order-1", "times": 2 }),
    );
    let refused = append(&server, &format!("{STREAM}&expectedVersion=1"));
    assert_eq!(refused.header("annals-fault"), Some("conflict; rule=1"));
    let problem = refused.refused(409, "version-conflict");
    assert_eq!(
        (&problem["aggregateId"], &problem["actualVersion"], &problem["position"]),
        (&json!("order-1"), &json!(1), &json!(1))
    );
    assert_eq!(problem["expectedVersion"], 1);
    // A failed precondition stays one.
    let headers = [JSON, ("If-Match", "\"1\"")];
    let refused = server.send("POST", STREAM, &headers, b"{\"eventType\":\"Placed\"}");
    refused.refused(412, "precondition-failed");
    let third = append(&server, STREAM);
    assert_eq!((third.status, third.header("annals-fault")), (201, None));
    assert_eq!(count(&server, "t"), 2);
}

#[test]
fn a_fault_that_changes_nothing_stored_the_events() {
    let server = server();
    let faults = [
        ("unavailable", 503, "store-unavailable"),
        ("overload", 429, "backlog-full"),
        ("timeout", 503, "busy"),
    ];
    for (fault, status, name) in faults {
        add(&server, &json!({ "fault": fault }));
        let refused = append(&server, STREAM);
        refused.refused(status, name);
        assert_eq!(refused.header("retry-after"), Some("1"), "{fault}");
        assert_eq!(count(&server, "t"), 0, "{fault}");
    }
    append(&server, STREAM).ok(201);
}

#[test]
fn the_answer_to_an_append_was_lost_without_the_append() {
    let server = server();
    add(&server, &json!({ "fault": "lostAnswer" }));
    let headers = [JSON, ("Idempotency-Key", "placed-1")];
    let body = b"{\"eventType\":\"Placed\"}";
    let lost = server.send("POST", STREAM, &headers, body);
    lost.refused(503, "busy");
    assert_eq!(count(&server, "t"), 1);
    // The client repeats it safely.
    assert_eq!(server.send("POST", STREAM, &headers, body).ok(200)["repeated"], true);
    assert_eq!(count(&server, "t"), 1);
}

#[test]
fn a_delayed_request_was_not_carried_out() {
    let server = server();
    add(
        &server,
        &json!({ "fault": "delay", "delayMillis": 1, "operations": ["all"], "times": 2 }),
    );
    let late = append(&server, STREAM);
    assert_eq!((late.status, late.header("annals-fault")), (201, Some("delay; rule=1")));
    let read = server.get("/v1/ns/t/count");
    assert_eq!(read.header("annals-fault"), Some("delay; rule=1"));
    assert_eq!(read.ok(200)["count"], 1);
}

#[test]
fn a_rule_for_one_kind_of_event_struck_others() {
    let server = server();
    let paid = json!({ "eventType": "Paid", "aggregateId": "order-1", "aggregateType": "Order" });
    let seat = json!({ "eventType": "Taken", "aggregateId": "seat-7", "aggregateType": "Seat" });
    let rule = |matching: Value| {
        let mut rule = json!({ "fault": "unavailable" });
        rule.as_object_mut()
            .unwrap()
            .extend(matching.as_object().unwrap().clone());
        rule
    };
    for matching in [
        json!({ "eventType": "Taken" }),
        json!({ "aggregateType": "Seat" }),
        json!({ "aggregateId": "seat-7" }),
    ] {
        let added = add(&server, &rule(matching));
        server.post("/v1/ns/t/events", &json!([paid])).ok(201);
        let both = server.post("/v1/ns/t/events", &json!([paid, seat]));
        both.refused(503, "store-unavailable");
        let several = json!({ "appends": [{ "aggregateId": "seat-7", "aggregateType": "Seat", "events": [{ "eventType": "Taken" }] }] });
        server.post("/v1/ns/t/appends", &several).ok(201);
        let found = rules(&server).pop().unwrap();
        assert_eq!(found["number"], added["number"]);
        assert_eq!((&found["matched"], &found["struck"]), (&json!(2), &json!(1)), "{found}");
        server.send("DELETE", "/v1/ns/t/test/faults", &[], b"").ok(200);
    }
    // The aggregate has a type already, which the append does not name; events as lines, and a CloudEvent.
    add(
        &server,
        &rule(json!({ "aggregateType": "Seat", "operations": ["append"], "times": 3 })),
    );
    server
        .post_lines("/v1/ns/t/streams/seat-7/events", "{\"eventType\":\"Left\"}\n")
        .refused(503, "store-unavailable");
    let cloud = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "Left", "subject": "seat-7", "aggregatetype": "Seat" });
    let media = [("Content-Type", "application/cloudevents+json")];
    let refused = server.send(
        "POST",
        "/v1/ns/t/streams/seat-7/events",
        &media,
        cloud.to_string().as_bytes(),
    );
    refused.refused(503, "store-unavailable");
    append(&server, "/v1/ns/t/streams/seat-8/events?aggregateType=Seat").refused(503, "store-unavailable");
    append(&server, STREAM).ok(201);
}

#[test]
fn a_rule_for_reads_struck_an_append() {
    let server = server();
    let rule = json!({ "fault": "overload", "operations": ["reads"], "every": 2 });
    add(&server, &rule);
    for _ in 0..3 {
        append(&server, STREAM).ok(201);
    }
    let statuses: Vec<u16> = (0..4).map(|_| server.get("/v1/ns/t/events").status).collect();
    assert_eq!(statuses, [200, 503, 200, 503]);
    let by_body = server.post("/v1/ns/t/query", &json!({}));
    by_body.ok(200);
    server.get("/v1/ns/t/store").refused(503, "busy");
    // By the name of an operation, and the aggregate of the path.
    server.send("DELETE", "/v1/ns/t/test/faults", &[], b"").ok(200);
    add(
        &server,
        &json!({ "fault": "timeout", "operations": ["readStream"], "aggregateType": "Order", "times": 9 }),
    );
    server.get("/v1/ns/t/streams/order-1/events").refused(503, "busy");
    server.get("/v1/ns/t/streams/order-1").ok(200);
    server.get("/v1/ns/t/events").ok(200);
}

#[test]
fn a_fault_struck_another_namespace() {
    let server = server();
    add(
        &server,
        &json!({ "fault": "unavailable", "operations": ["all"], "times": 1_000 }),
    );
    for namespace in ["default", "u"] {
        let target = format!("/v1/ns/{namespace}/streams/a/events?aggregateType=A");
        append(&server, &target).ok(201);
        assert_eq!(count(&server, namespace), 1);
    }
    // Nor a fork, nor what is no operation on a store.
    server.send("POST", "/v1/ns/t/test/fork/v", &[], b"").ok(201);
    assert_eq!(count(&server, "v"), 0);
    server.get("/healthz").ok(200);
    server.get("/v1/ns/t/count").refused(503, "store-unavailable");
    assert_eq!(rules(&server)[0]["struck"], 1);
}

#[test]
fn a_reset_left_the_faults_of_the_test_before() {
    let server = server();
    add(&server, &json!({ "fault": "unavailable", "times": 5 }));
    add(&server, &json!({ "fault": "timeout", "times": 5 }));
    server.send("DELETE", "/v1/ns/t/test/faults/1", &[], b"").ok(200);
    server
        .send("DELETE", "/v1/ns/t/test/faults/1", &[], b"")
        .refused(404, "not-found");
    server
        .send("DELETE", "/v1/ns/t/test/faults/x", &[], b"")
        .refused(404, "not-found");
    append(&server, STREAM).refused(503, "busy");
    server.send("POST", "/v1/ns/t/test/reset", &[], b"").ok(200);
    assert!(rules(&server).is_empty());
    append(&server, STREAM).ok(201);
}

#[test]
fn a_fault_was_not_in_the_timeline() {
    let server = server();
    add(&server, &json!({ "fault": "lostAnswer", "skip": 1 }));
    append(&server, STREAM).ok(201);
    append(&server, STREAM).refused(503, "busy");
    let page = server.get("/v1/ns/t/test/timeline?after=1").ok(200);
    let entries = page["entries"].as_array().unwrap();
    let kinds: Vec<&Value> = entries.iter().map(|entry| &entry["kind"]).collect();
    // The fault comes first, and the append is carried out.
    assert_eq!(kinds, ["appended", "fault", "appended"]);
    assert_eq!(
        (
            &entries[1]["rule"],
            &entries[1]["fault"],
            &entries[1]["operation"],
            &entries[1]["aggregateId"]
        ),
        (&json!(1), &json!("lostAnswer"), &json!("append"), &json!("order-1"))
    );
    // A refusal that a rule caused is no second entry.
    add(&server, &json!({ "fault": "unavailable" }));
    append(&server, STREAM).refused(503, "store-unavailable");
    let page = server.get("/v1/ns/t/test/timeline?after=4").ok(200);
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
}

#[test]
fn an_invalid_rule_was_taken() {
    let server = server();
    let long = "x".repeat(1_025);
    for rule in [
        json!({}),
        json!({ "fault": "explode" }),
        json!({ "fault": "delay" }),
        json!({ "fault": "delay", "delayMillis": 30_001 }),
        json!({ "fault": "timeout", "times": 0 }),
        json!({ "fault": "timeout", "every": 0 }),
        json!({ "fault": "timeout", "probability": 1.5 }),
        json!({ "fault": "timeout", "operations": [] }),
        json!({ "fault": "timeout", "operations": ["unheardOf"] }),
        json!({ "fault": "timeout", "operations": ["testReset"] }),
        json!({ "fault": "timeout", "aggregateId": long }),
        json!({ "fault": "timeout", "unheardOf": 1 }),
    ] {
        server
            .post("/v1/ns/t/test/faults", &rule)
            .refused(400, "invalid-request");
    }
    let text = server.send("POST", "/v1/ns/t/test/faults", &[("Content-Type", "text/plain")], b"{}");
    text.refused(415, "unsupported-media-type");
    assert!(rules(&server).is_empty());
    for _ in 0..50 {
        add(&server, &json!({ "fault": "timeout" }));
    }
    server
        .post("/v1/ns/t/test/faults", &json!({ "fault": "timeout" }))
        .refused(400, "invalid-request");
    server
        .post("/v1/ns/none/test/faults", &json!({ "fault": "timeout" }))
        .refused(403, "unknown-namespace");
    let plain = Running::new();
    plain
        .post("/v1/test/faults", &json!({ "fault": "timeout" }))
        .refused(404, "not-found");
}

#[test]
fn an_append_that_is_invalid_used_up_a_fault() {
    let server = server();
    add(&server, &json!({ "fault": "unavailable", "eventType": "Placed" }));
    server
        .post_lines(STREAM, "{\"eventType\":\"Placed\"}\n{")
        .refused(400, "invalid-request");
    append(&server, STREAM).refused(503, "store-unavailable");
    // The connection of a struck request goes on.
    add(&server, &json!({ "fault": "unavailable", "eventType": "Placed" }));
    let mut connection = server.connect();
    let body = b"{\"eventType\":\"Placed\"}";
    connection
        .send("POST", STREAM, &[JSON], body)
        .refused(503, "store-unavailable");
    connection.send("POST", STREAM, &[JSON], body).ok(201);
}
