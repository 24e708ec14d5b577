//! Bodies that are too large, of another type, or not what they announce.

use annals::Store;
use annals_server::{Limits, Server};
use std::time::Duration;

use crate::support::{JSON, Running};

const TARGET: &str = "/v1/streams/a/events?aggregateType=A";
const EVENT: &[u8] = b"{\"eventType\":\"X\"}";

fn small() -> Running {
    let limits = Limits::default().body_bytes(1_000);
    Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    )
}

#[test]
fn a_client_that_still_sent_lost_the_refusal() {
    let server = small();
    let mut connection = server.connect();
    // Far more than the buffers of a socket hold.
    let answer = connection.send("POST", TARGET, &[JSON], &vec![b' '; 20 << 20]);
    let problem = answer.refused(413, "body-too-large");
    assert_eq!(problem["limitBytes"], 1_000);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(connection.is_closed());
}

#[test]
fn a_chunked_body_had_no_limit() {
    let server = small();
    let mut connection = server.connect();
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    connection.write(head).unwrap();
    let chunk = format!("100\r\n{}\r\n", " ".repeat(256));
    while connection.write(&chunk).is_ok() {
        // The refusal arrives while the client sends, at the latest after the fourth chunk.
        if connection.has_answer() {
            break;
        }
    }
    connection.read(false).refused(413, "body-too-large");
}

#[test]
fn a_body_at_the_limit_was_refused() {
    let server = small();
    let mut body = EVENT.to_vec();
    body.resize(1_000, b' ');
    server.send("POST", TARGET, &[JSON], &body).ok(201);
    body.push(b' ');
    server
        .send("POST", TARGET, &[JSON], &body)
        .refused(413, "body-too-large");
}

#[test]
fn a_form_of_a_web_page_was_an_append() {
    let server = Running::new();
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        let answer = server.send("POST", TARGET, &[("Content-Type", media)], EVENT);
        answer.refused(415, "unsupported-media-type");
    }
    server
        .send("POST", TARGET, &[], EVENT)
        .refused(415, "unsupported-media-type");
    let encoded = server.send("POST", TARGET, &[JSON, ("Content-Encoding", "gzip")], EVENT);
    encoded.refused(415, "unsupported-media-type");
    let answer = server.send(
        "POST",
        TARGET,
        &[("Content-Type", "application/json; charset=utf-8")],
        EVENT,
    );
    answer.ok(201);
}

#[test]
fn a_connection_was_lost_after_a_refusal_that_had_read_all() {
    let server = Running::new();
    let mut connection = server.connect();
    connection
        .send("POST", TARGET, &[JSON], b"{")
        .refused(400, "invalid-request");
    connection.send("POST", TARGET, &[JSON], EVENT).ok(201);
    connection.send("GET", "/v1/count", &[], b"").ok(200);
}

#[test]
fn a_body_that_never_ended_held_its_connection() {
    let limits = Limits::default().body_time(Duration::from_millis(50));
    let server = Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    );
    let mut connection = server.connect();
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    connection.write(head).unwrap();
    connection.read(false).refused(408, "body-timeout");
    server.send("GET", "/v1/count", &[], b"").ok(200);
}

#[test]
fn invalid_utf8_was_replaced() {
    let server = Running::new();
    server
        .send("POST", TARGET, &[JSON], b"{\"eventType\":\"\xff\"}")
        .refused(400, "invalid-request");
    server.get("/v1/streams/%FF/events").refused(400, "invalid-request");
    server.get("/v1/events?user=%FF").refused(400, "invalid-request");
}
