//! The test API: every test has a store of its own, with a clock that it moves.

use std::time::Duration;

use annals::Store;
use annals_server::{Limits, Server};
use serde_json::json;

use crate::support::{JSON, Running};

fn append(server: &Running, namespace: &str, status: u16) -> serde_json::Value {
    let target = format!("/v1/ns/{namespace}/streams/a/events?aggregateType=A");
    server.post(&target, &json!({ "eventType": "X" })).ok(status)
}

fn post(server: &Running, target: &str, status: u16) -> serde_json::Value {
    server.send("POST", target, &[], b"").ok(status)
}

#[test]
fn a_read_made_a_namespace() {
    let server = Running::for_tests();
    server.get("/v1/ns/test-1/events").refused(403, "unknown-namespace");
    server
        .send("DELETE", "/v1/ns/test-1/streams/a", &[], b"")
        .refused(403, "unknown-namespace");
    append(&server, "test-1", 201);
    assert_eq!(server.get("/v1/ns/test-1/count").ok(200)["count"], 1);
    assert_eq!(server.get("/v1/count").ok(200)["count"], 0);
    for name in ["%2E%2E", "a%2Fb", "a%20b", "%C3%BC"] {
        let target = format!("/v1/ns/{name}/streams/a/events?aggregateType=A");
        server
            .post(&target, &json!({ "eventType": "X" }))
            .refused(400, "invalid-request");
    }
}

#[test]
fn tests_that_ran_at_once_saw_each_other() {
    let server = Running::for_tests();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let name = format!("test-{number}");
                for _ in 0..=number {
                    append(server, &name, 201);
                }
                assert_eq!(server.get(&format!("/v1/ns/{name}/count")).ok(200)["count"], number + 1);
            });
        }
    });
}

#[test]
fn a_namespace_is_emptied_kept_restored_and_forked() {
    let server = Running::for_tests();
    append(&server, "t", 201);
    assert_eq!(post(&server, "/v1/ns/t/test/snapshots", 201)["snapshot"], 1);
    append(&server, "t", 201);
    post(&server, "/v1/ns/t/test/fork/u", 201);
    append(&server, "u", 201);
    let count = |name: &str| {
        server.get(&format!("/v1/ns/{name}/count")).ok(200)["count"]
            .as_u64()
            .unwrap()
    };
    assert_eq!((count("t"), count("u")), (2, 3));
    for _ in 0..2 {
        post(&server, "/v1/ns/t/test/snapshots/1/restore", 200);
        assert_eq!(append(&server, "t", 201)["lastVersion"], 2);
    }
    post(&server, "/v1/ns/t/test/reset", 200);
    assert_eq!((count("t"), count("u")), (0, 3));
    // Its snapshots are gone with its events.
    server
        .send("POST", "/v1/ns/t/test/snapshots/1/restore", &[], b"")
        .refused(404, "not-found");
    server
        .send("POST", "/v1/ns/t/test/fork/u", &[], b"")
        .refused(400, "invalid-request");
    server
        .send("POST", "/v1/ns/none/test/fork/v", &[], b"")
        .refused(403, "unknown-namespace");
    server.send("DELETE", "/v1/ns/u/test", &[], b"").ok(200);
    server.get("/v1/ns/u/events").refused(403, "unknown-namespace");
}

#[test]
fn stored_times_did_not_follow_the_clock() {
    let server = Running::for_tests();
    post(&server, "/v1/ns/t/test/reset?seed=7&now=2026-01-31T12:00:00Z", 200);
    append(&server, "t", 201);
    let step = json!({ "seconds": 90.5 });
    assert_eq!(
        server.post("/v1/ns/t/test/clock/advance", &step).ok(200)["now"],
        "2026-01-31T12:01:30.5Z"
    );
    post(&server, "/v1/ns/t/test/fork/u", 201);
    append(&server, "t", 201);
    append(&server, "u", 201);
    let events = server.get("/v1/ns/t/events").ok(200);
    let times: Vec<&serde_json::Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["timestamp"])
        .collect();
    assert_eq!(times, ["2026-01-31T12:00:00Z", "2026-01-31T12:01:30.5Z"]);
    // A fork has a clock of its own, and the same ids for the same appends.
    let put = |target: &str| {
        server
            .send("PUT", target, &[JSON], b"{\"now\":\"2030-01-01T00:00:00Z\"}")
            .ok(200)
    };
    put("/v1/ns/u/test/clock");
    assert_eq!(
        server.get("/v1/ns/t/test/clock").ok(200),
        json!({ "now": "2026-01-31T12:01:30.5Z", "manual": true })
    );
    assert_eq!(
        server.get("/v1/ns/u/events/2").ok(200)["eventId"],
        events["events"][1]["eventId"]
    );
    // An age limit follows the clock as well.
    let limits = b"{\"maxAgeSeconds\":60}";
    server.send("PUT", "/v1/ns/t/streams/a/limits", &[JSON], limits).ok(200);
    assert_eq!(server.get("/v1/ns/t/count").ok(200)["count"], 1);
    server.post("/v1/ns/t/test/clock/advance", &step).ok(200);
    assert_eq!(server.get("/v1/ns/t/count").ok(200)["count"], 0);
    for wrong in [
        json!({ "seconds": -1 }),
        json!({ "seconds": 1e300 }),
        json!({}),
        json!({ "seconds": "1" }),
    ] {
        server
            .post("/v1/ns/t/test/clock/advance", &wrong)
            .refused(400, "invalid-request");
    }
}

#[test]
fn the_clock_of_a_store_that_was_not_reset_could_not_be_read() {
    let server = Running::for_tests();
    assert_eq!(server.get("/v1/test/clock").ok(200)["manual"], false);
    server
        .post("/v1/test/clock/advance", &json!({ "seconds": 1 }))
        .refused(400, "invalid-request");
    server.get("/v1/ns/none/test/clock").refused(403, "unknown-namespace");
}

#[test]
fn a_server_without_the_test_api_was_emptied() {
    let server = Running::new();
    server.add("a", "X");
    for (method, target) in [
        ("POST", "/v1/test/reset"),
        ("POST", "/v1/ns/default/test/reset"),
        ("DELETE", "/v1/test"),
    ] {
        server.send(method, target, &[], b"").refused(404, "not-found");
    }
    let target = "/v1/ns/new/streams/a/events?aggregateType=A";
    server
        .post(target, &json!({ "eventType": "X" }))
        .refused(403, "unknown-namespace");
    assert_eq!(server.get("/v1/count").ok(200)["count"], 1);
    let document = server.get("/openapi.json");
    assert!(!document.text().contains("/test/reset"));
    let folder = tempfile::tempdir().unwrap();
    let durable = Store::open_url(&format!("file:{}", folder.path().display())).unwrap();
    assert!(Server::builder(durable).test_api().build().is_err());
}

#[test]
fn namespaces_without_end_were_made() {
    let limits = Limits::default().test_namespaces(3);
    let builder = Server::builder(Store::in_memory()).test_api().limits(limits);
    let server = Running::built(builder, Duration::from_secs(30));
    append(&server, "t-1", 201);
    append(&server, "t-2", 201);
    append(&server, "t-3", 400);
    server
        .send("POST", "/v1/ns/t-3/test/reset", &[], b"")
        .refused(400, "invalid-request");
    server.send("DELETE", "/v1/ns/t-1/test", &[], b"").ok(200);
    append(&server, "t-3", 201);
    for _ in 0..100 {
        post(&server, "/v1/ns/t-3/test/snapshots", 201);
    }
    server
        .send("POST", "/v1/ns/t-3/test/snapshots", &[], b"")
        .refused(400, "invalid-request");
    let metrics = server.get("/metrics");
    assert!(
        metrics
            .text()
            .contains("events_published_total{namespace=\"other\"} 3\n"),
        "{}",
        metrics.text()
    );
    assert!(!metrics.text().contains("t-3"));
}

#[test]
fn a_tail_of_a_namespace_that_was_emptied_waited_for_ever() {
    let server = Running::for_tests();
    append(&server, "t", 201);
    let mut tail = server.connect();
    tail.write("GET /v1/ns/t/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(tail.read_head().status, 200);
    post(&server, "/v1/ns/t/test/reset", 200);
    // The stream ends: the client connects again, and is told that the log is another.
    let mut text = Vec::new();
    while tail.read_chunk(&mut text) {}
    assert!(String::from_utf8(text).unwrap().contains("event: event"));
}
