//! What keeps web pages, other namespaces and strange paths away.

use std::time::Duration;

use annals::Store;
use annals_server::Server;
use serde_json::json;

use crate::support::{JSON, Running};

const EVENT: &[u8] = b"{\"eventType\":\"X\"}";
const TARGET: &str = "/v1/streams/a/events?aggregateType=A";

#[test]
fn a_web_page_reached_a_local_server_by_a_name_of_its_own() {
    let server = Running::built(
        Server::builder(Store::in_memory()).host("annals.example"),
        Duration::from_secs(30),
    );
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:4280",
        "notlocalhost",
    ] {
        server
            .send("GET", "/v1/events", &[("Host", host)], b"")
            .refused(421, "unknown-host");
        server
            .send("POST", TARGET, &[("Host", host), JSON], EVENT)
            .refused(421, "unknown-host");
    }
    for host in [
        "localhost",
        "LOCALHOST:80",
        "a.localhost",
        "127.0.0.1",
        "[::1]:4280",
        "annals.example:443",
        "10.0.0.7",
    ] {
        server.send("GET", "/v1/events", &[("Host", host)], b"").ok(200);
    }
    for host in ["", "user@localhost", "a b"] {
        server
            .send("GET", "/v1/events", &[("Host", host)], b"")
            .refused(400, "invalid-request");
    }
    let mut connection = server.connect();
    connection
        .write("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        .unwrap();
    connection.read(false).refused(400, "invalid-request");
    let mut connection = server.connect();
    connection.write("GET /v1/events HTTP/1.0\r\n\r\n").unwrap();
    connection.read(false).refused(400, "invalid-request");
}

#[test]
fn a_web_page_of_another_origin_wrote_to_a_local_server() {
    let server = Running::new();
    let own = format!("http://{}", server.address);
    for origin in ["http://evil.example", "null", "http://localhost:1", "file://"] {
        server
            .send("POST", TARGET, &[JSON, ("Origin", origin)], EVENT)
            .refused(403, "cross-origin");
        server
            .send("GET", "/v1/events", &[("Origin", origin)], b"")
            .refused(403, "cross-origin");
    }
    for site in ["cross-site", "same-site"] {
        server
            .send("POST", TARGET, &[JSON, ("Sec-Fetch-Site", site)], EVENT)
            .refused(403, "cross-origin");
    }
    server
        .send(
            "POST",
            TARGET,
            &[JSON, ("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
            EVENT,
        )
        .ok(201);
    // A link from another site may lead here.
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    server.send("GET", "/", &link, b"").ok(200);
    assert_eq!(server.get("/v1/count").ok(200)["count"], 1);
    assert_eq!(server.get("/v1/count").header("access-control-allow-origin"), None);
}

#[test]
fn an_unknown_namespace_was_made_or_replaced_by_the_default_one() {
    let other = Store::in_memory();
    let server = Running::built(
        Server::builder(Store::in_memory()).namespace("other", other.clone()),
        Duration::from_secs(30),
    );
    server.add("a", "X");
    for target in ["/v1/ns/othr/events", "/v1/ns/Other/events", "/v1/ns/%20/events"] {
        server.get(target).refused(403, "unknown-namespace");
    }
    let append = "/v1/ns/othr/streams/a/events?aggregateType=A";
    server
        .send("POST", append, &[JSON], EVENT)
        .refused(403, "unknown-namespace");
    assert_eq!(server.get("/v1/ns/other/count").ok(200)["count"], 0);
    assert_eq!(server.get("/v1/ns/default/count").ok(200)["count"], 1);
    let mine = "/v1/ns/other/streams/b/events?aggregateType=A";
    let answer = server.send("POST", mine, &[JSON], EVENT);
    answer.ok(201);
    assert_eq!(answer.header("location"), Some("/v1/ns/other/events/1"));
    assert_eq!((other.visible().0, server.get("/v1/streams/b").status), (1, 404));
    assert_eq!(server.get("/").ok(200)["namespaces"], json!(["default", "other"]));
}

#[test]
fn a_refusal_was_no_problem_document() {
    let server = Running::new();
    for (method, target, status, name) in [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/ns/default/nothing", 404, "not-found"),
        ("GET", "/v1/streams", 404, "not-found"),
        ("GET", "/v1/streams/", 404, "not-found"),
        ("GET", "/v1/streams/a/b/c", 404, "not-found"),
        ("GET", "/v1/../etc/passwd", 404, "not-found"),
        ("GET", "/problems/none", 404, "not-found"),
        ("DELETE", "/v1/events", 405, "method-not-allowed"),
        ("OPTIONS", "/v1/events", 405, "method-not-allowed"),
        ("PUT", "/healthz", 405, "method-not-allowed"),
        ("TRACE", "/", 405, "method-not-allowed"),
    ] {
        let answer = server.send(method, target, &[], b"");
        answer.refused(status, name);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
    }
    let answer = server.send("GET", "/v1/events", &[("Accept", "text/html")], b"");
    answer.refused(406, "not-acceptable");
    server.send("HEAD", "/v1/store", &[], b"");
}

#[test]
fn an_answer_had_no_id_or_one_that_a_client_made_up() {
    let server = Running::new();
    let id = |given: &str| {
        let answer = server.send("GET", "/healthz", &[("X-Request-Id", given)], b"");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("abc-1"), "abc-1");
    let long = "x".repeat(129);
    for strange in ["", "a b", &long] {
        let own = id(strange);
        assert!(own != strange && own.len() == 36, "{own}");
    }
    assert_ne!(id(""), id(""));
    assert!(server.get("/nothing").header("x-request-id").is_some());
}

#[test]
fn every_type_of_problem_is_described_at_its_address() {
    let server = Running::new();
    let list = server.get("/problems").ok(200);
    let problems = list["problems"].as_array().unwrap();
    assert!(problems.len() > 20);
    let guide = include_str!("../../../../docs/server.md");
    for problem in problems {
        let address = problem["type"].as_str().unwrap();
        assert_eq!(&server.get(address).ok(200), problem);
        let name = address.rsplit('/').next().unwrap();
        let row = format!("| `{name}` | {} |", problem["status"]);
        assert!(guide.contains(&row), "docs/server.md has no row {row}");
    }
}
