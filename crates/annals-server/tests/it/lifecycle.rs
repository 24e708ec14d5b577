//! How a server ends, and how it stays up.

use std::time::Duration;

use annals::{Durability, Position, Store};
use annals_server::{Limits, Server};
use serde_json::json;

use crate::support::{JSON, Running};

const EVENT: &[u8] = b"{\"eventType\":\"X\"}";
const TARGET: &str = "/v1/streams/a/events?aggregateType=A";

#[test]
fn an_idle_connection_kept_the_server_from_ending() {
    let server = Running::new();
    let mut idle = server.connect();
    let mut used = server.connect();
    used.send("GET", "/healthz", &[], b"").ok(200);
    let mut tail = server.connect();
    tail.write("GET /v1/tail HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(tail.read_head().status, 200);
    let report = server.stop();
    assert_eq!(report.cut_off, 0);
    assert!(idle.is_closed() && used.is_closed());
}

#[test]
fn a_request_in_progress_was_lost_when_the_server_ended() {
    let server = Running::new();
    let mut connection = server.connect();
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        EVENT.len()
    );
    connection.write(head).unwrap();
    // The server reads the body: the request has begun.
    assert_eq!(connection.read_head().status, 100);
    server.begin_stop();
    connection.write(EVENT).unwrap();
    connection.read(false).ok(201);
    assert!(connection.is_closed());
    let report = server.stop();
    assert_eq!((report.cut_off, report.namespaces[0].visible), (0, Position(1)));
}

#[test]
fn a_request_that_never_ended_kept_the_server_from_ending() {
    let server = Running::built(Server::builder(Store::in_memory()), Duration::from_millis(50));
    let mut connection = server.connect();
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    );
    connection.write(head).unwrap();
    assert_eq!(connection.read_head().status, 100);
    assert_eq!(server.stop().cut_off, 1);
}

#[test]
fn what_was_acknowledged_was_lost_when_the_server_ended() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().display());
    let server = Running::of(Store::open_url(&url).unwrap());
    for _ in 0..20 {
        server.send("POST", TARGET, &[JSON], EVENT).ok(201);
    }
    let report = server.stop();
    let namespace = &report.namespaces[0];
    assert_eq!(
        (namespace.name.as_str(), namespace.visible, namespace.synced),
        ("default", Position(20), Some(Position(20)))
    );
    assert!(namespace.error.is_none());
    let store = Store::open_url(&url).unwrap();
    assert_eq!(store.reached(Durability::Synced), Position(20));
}

#[test]
fn a_store_in_memory_claimed_to_be_durable() {
    let server = Running::new();
    server.add("a", "X");
    let described = server.get("/v1/store").ok(200);
    assert_eq!(
        (&described["ephemeral"], &described["synced"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(described["stats"]["eventsAtRisk"], 1);
    assert_eq!(server.stop().namespaces[0].synced, None);
}

#[test]
fn a_slow_head_held_a_connection() {
    let limits = Limits::default().header_time(Duration::from_millis(50));
    let server = Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    );
    let mut connection = server.connect();
    connection.write("GET / HTT").unwrap();
    assert!(connection.is_closed());
    server.get("/healthz").ok(200);
}

#[test]
fn headers_without_end_were_collected() {
    let server = Running::new();
    let mut connection = server.connect();
    connection.write("GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let line = format!("X-Filler: {}\r\n", "x".repeat(1_000));
    let mut sent = 0;
    // The server answers or closes before it has taken ten megabytes.
    while sent < 10_000 && connection.write(&line).is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "all of it was taken");
    server.get("/healthz").ok(200);
}

/// A request whose head has this many bytes.
fn head_of(bytes: usize) -> String {
    let (begin, end) = ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "\r\n");
    let mut head = begin.to_owned();
    let mut left = bytes - begin.len() - end.len();
    let empty = "X-Filler: \r\n".len();
    while left > 0 {
        // The last line has at least the bytes of an empty one.
        let length = if left >= 8_000 { 4_000 } else { left };
        head += "X-Filler: ";
        head += &"x".repeat(length - empty);
        head += "\r\n";
        left -= length;
    }
    head + end
}

#[test]
fn a_head_of_more_bytes_than_the_limit_passed() {
    let server = Running::new();
    for (bytes, status) in [(60_000, 200), (64 << 10, 200), ((64 << 10) + 1, 431), (70_000, 431)] {
        let head = head_of(bytes);
        assert_eq!(head.len(), bytes);
        let mut connection = server.connect();
        // In small parts, so that the server reads each as it comes, and at once.
        let parts = if bytes % 2 == 0 { 1_000 } else { bytes };
        for part in head.as_bytes().chunks(parts) {
            drop(connection.write(part));
        }
        assert_eq!(connection.read(false).status, status, "{bytes}");
    }
    // The connection of the limit goes on.
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.write(head_of(64 << 10)).unwrap();
        assert_eq!(connection.read(false).status, 200);
    }
}

#[test]
fn one_connection_too_many_was_refused_for_ever() {
    let limits = Limits::default().connections(2);
    let server = Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    );
    let (mut one, mut other) = (server.connect(), server.connect());
    one.send("GET", "/healthz", &[], b"").ok(200);
    other.send("GET", "/healthz", &[], b"").ok(200);
    let mut third = server.connect();
    third.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    drop(one);
    third.read(false).ok(200);
}

#[test]
fn a_program_mounts_the_router_in_its_own() {
    let server = Server::builder(Store::in_memory()).build().unwrap();
    let router = server.router().route("/mine", axum::routing::get(|| async { "mine" }));
    drop(router);
    server.end();
}
