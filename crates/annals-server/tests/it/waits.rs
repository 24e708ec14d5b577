//! Waits for positions, groups and processors: no test needs to sleep.

use std::time::{Duration, Instant};

use annals::cqrs::OnFailure;
use serde_json::{Value, json};

use crate::processors::Mailer;
use crate::support::Running;

/// Longer than a wait may take that ends early.
const LONG: Duration = Duration::from_secs(25);

fn take(server: &Running) -> Vec<Value> {
    let taken = server.send("POST", "/v1/groups/g/take", &[], b"").ok(200);
    taken["events"].as_array().unwrap().clone()
}

fn ack(server: &Running, taken: &[Value]) {
    let leases: Vec<&Value> = taken.iter().map(|one| &one["lease"]).collect();
    server.post("/v1/groups/g/ack", &json!({ "leases": leases })).ok(200);
}

fn define(server: &Running) {
    let filter = json!({ "filter": { "eventType": "Paid" } });
    server
        .send(
            "PUT",
            "/v1/groups/g",
            &[crate::support::JSON],
            filter.to_string().as_bytes(),
        )
        .ok(201);
}

#[test]
fn a_test_had_to_sleep_until_a_position_was_visible() {
    let server = Running::for_tests();
    let late = server.get("/v1/test/wait?position=1&timeoutSeconds=0");
    let problem = late.refused(408, "not-reached");
    assert_eq!((&problem["visible"], &problem["groups"]), (&json!(0), &json!([])));
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/v1/test/wait?position=1").ok(200));
        server.add("a", "Placed");
        waiting.join().unwrap()
    });
    assert_eq!(waited, json!({ "visible": 1, "groups": [] }));
    server.get("/v1/test/wait").refused(400, "invalid-request");
    server.get("/v1/test/wait?position=x").refused(400, "invalid-request");
    server.get("/v1/test/wait?group=g").refused(404, "not-found");
    server
        .get("/v1/ns/none/test/wait?position=0")
        .refused(403, "unknown-namespace");
    assert_eq!(Running::new().get("/v1/test/wait?position=0").status, 404);
}

#[test]
fn a_group_was_idle_while_a_consumer_held_an_event() {
    let server = Running::for_tests();
    define(&server);
    let target = "/v1/test/wait?group=g&timeoutSeconds=0";
    server.get(target).ok(200);
    let paid = server.add("a", "Paid")["lastPosition"].as_u64().unwrap();
    let problem = server.get(target).refused(408, "not-reached");
    assert_eq!(problem["groups"][0]["reached"], false, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("the group 'g' is at position"),
        "{problem}"
    );
    let taken = take(&server);
    server.get(target).refused(408, "not-reached");
    // What is before the event is handled.
    server.get(&format!("{target}&position={}", paid - 1)).ok(200);
    server
        .get(&format!("{target}&position={paid}"))
        .refused(408, "not-reached");
    ack(&server, &taken);
    assert_eq!(server.get(target).ok(200)["groups"][0]["reached"], true);
    server.get(&format!("{target}&position={paid}")).ok(200);
}

#[test]
fn a_group_was_never_idle_behind_events_of_other_filters() {
    let server = Running::for_tests();
    define(&server);
    server.add("a", "Paid");
    ack(&server, &take(&server));
    server.add("a", "Placed");
    let reached = server.get("/v1/test/wait?group=g&timeoutSeconds=0").ok(200);
    assert_eq!(reached["groups"][0]["inFlight"], 0, "{reached}");
}

#[test]
fn a_wait_for_a_group_ended_before_the_acknowledgement() {
    let server = Running::for_tests();
    define(&server);
    server.add("a", "Paid");
    let taken = take(&server);
    let reached = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/v1/test/wait?group=g").ok(200));
        ack(&server, &taken);
        waiting.join().unwrap()
    });
    assert_eq!(reached["groups"][0]["inFlight"], 0, "{reached}");
}

#[test]
fn a_wait_held_up_the_end_of_the_server() {
    let server = Running::for_tests();
    let begun = Instant::now();
    let mut waiting = server.connect();
    waiting
        .write("GET /v1/test/wait?position=9 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    while !server
        .get("/metrics")
        .text()
        .contains("server_places_in_use{of=\"tails\"} 1\n")
    {}
    server.begin_stop();
    assert_eq!(waiting.read(false).status, 408);
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_test_had_to_poll_a_processor() {
    let mailer = Mailer::with_letters(&["order-1"]);
    let server = mailer.server();
    let told = server.get("/v1/processors/mailer/wait").ok(200);
    assert_eq!((&told["lagEvents"], &told["parked"]), (&json!(0), &json!(1)), "{told}");
    let target = "/v1/processors/mailer/wait?position=1000&timeoutSeconds=0";
    let problem = server.get(target).refused(408, "not-reached");
    assert_eq!(problem["processor"]["name"], "mailer", "{problem}");
    server.get("/v1/processors/none/wait").refused(404, "not-found");
    server
        .get("/v1/processors/mailer/wait?position=x")
        .refused(400, "invalid-request");
}

#[test]
fn a_wait_for_a_processor_that_has_stopped_lasted_its_whole_time() {
    let mailer = Mailer::new(OnFailure::stop());
    let server = mailer.server();
    mailer.place("order-1");
    let begun = Instant::now();
    let problem = server.get("/v1/processors/mailer/wait").refused(408, "not-reached");
    assert!(begun.elapsed() < LONG);
    assert_eq!(problem["processor"]["state"], "stopped", "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("no \"server\" for mail"),
        "{problem}"
    );
}
