//! Tokens: what each role permits, and that nothing is permitted without one.

use std::time::Duration;

use annals::Store;
use annals_server::{Role, Server, Token};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{JSON, Running};

const READER: &str = "reader-0123456789";
const WRITER: &str = "writer-0123456789";
const ADMIN: &str = "admin-0123456789";
const TENANT: &str = "tenant-0123456789";

fn server() -> Running {
    let tokens = [
        Token::new(Role::Read, READER).unwrap(),
        Token::new(Role::Write, WRITER).unwrap(),
        Token::new(Role::Admin, ADMIN).unwrap(),
        Token::new(Role::Write, TENANT).unwrap().in_namespace("tenant"),
    ];
    let builder = Server::builder(Store::in_memory()).namespace("tenant", Store::in_memory());
    Running::built(builder.tokens(tokens), Duration::from_secs(30))
}

fn send(server: &Running, token: &str, method: &str, target: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let body: &[u8] = if method == "POST" {
        b"{\"eventType\":\"X\"}"
    } else {
        b""
    };
    server.send(method, target, &[JSON, ("Authorization", &bearer)], body)
}

const APPEND: &str = "/v1/streams/a/events?aggregateType=A";

#[test]
fn a_role_did_what_only_a_higher_one_may() {
    let server = server();
    for (token, reads, writes, changes) in [(READER, 200, 403, 403), (WRITER, 200, 201, 403), (ADMIN, 200, 201, 200)] {
        assert_eq!(send(&server, token, "GET", "/v1/events").status, reads, "{token}");
        assert_eq!(send(&server, token, "POST", APPEND).status, writes, "{token}");
        assert_eq!(
            send(&server, token, "DELETE", "/v1/streams/a").status,
            changes,
            "{token}"
        );
        assert_eq!(send(&server, token, "GET", "/").status, 200);
    }
    let refused = send(&server, READER, "POST", APPEND).refused(403, "forbidden");
    assert_eq!(
        refused["detail"],
        "the request needs the role write, and the token has the role read"
    );
}

#[test]
fn a_token_of_one_namespace_reached_another() {
    let server = server();
    send(
        &server,
        TENANT,
        "POST",
        "/v1/ns/tenant/streams/a/events?aggregateType=A",
    )
    .ok(201);
    send(&server, TENANT, "GET", "/v1/ns/tenant/events").ok(200);
    for target in [
        "/v1/events",
        "/v1/ns/default/events",
        "/v1/ns/none/events",
        "/",
        "/metrics",
        "/v1/ns/tenant%2F../events",
    ] {
        send(&server, TENANT, "GET", target).refused(403, "forbidden");
    }
    send(&server, TENANT, "POST", APPEND).refused(403, "forbidden");
    assert_eq!(send(&server, ADMIN, "GET", "/v1/count").ok(200)["count"], 0);
}

#[test]
fn a_token_of_one_namespace_made_another_by_a_fork() {
    let tokens = [
        Token::new(Role::Admin, TENANT).unwrap().in_namespace("tenant"),
        Token::new(Role::Admin, ADMIN).unwrap(),
    ];
    let builder = Server::builder(Store::in_memory()).namespace("tenant", Store::in_memory());
    let server = Running::built(builder.test_api().tokens(tokens), Duration::from_secs(30));
    let post = |token: &str, target: &str| {
        let bearer = format!("Bearer {token}");
        server.send("POST", target, &[("Authorization", &bearer)], b"")
    };
    post(TENANT, "/v1/ns/tenant/test/reset").ok(200);
    post(TENANT, "/v1/ns/tenant/test/fork/another").refused(403, "forbidden");
    post(ADMIN, "/v1/ns/tenant/test/fork/another").ok(201);
}

#[test]
fn an_operation_needed_no_token() {
    let server = server();
    let document = server.get("/openapi.json").ok(200);
    let public = ["/healthz", "/readyz", "/openapi.json", "/problems", "/problems/{name}"];
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let target = path.replace("{namespace}", "tenant").replace(['{', '}'], "");
        for method in item.as_object().unwrap().keys() {
            let answer = server.send(
                &method.to_uppercase(),
                &target,
                &[JSON],
                json!({}).to_string().as_bytes(),
            );
            if public.contains(&path.as_str()) {
                assert_ne!(answer.status, 401, "{method} {path}");
                continue;
            }
            answer.refused(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn a_token_that_is_almost_right_was_accepted() {
    let server = server();
    let upper = ADMIN.to_uppercase();
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        ADMIN,
        &format!("Bearer {upper}"),
        &format!("Bearer {ADMIN}x"),
        &format!("Bearer {}", &ADMIN[..10]),
        &format!("Bearer{ADMIN}"),
        &format!("Bearer {ADMIN} {ADMIN}"),
    ] {
        server
            .send("GET", "/v1/events", &[("Authorization", value)], b"")
            .refused(401, "unauthorized");
    }
    let (one, two) = (format!("Bearer {READER}"), format!("Bearer {ADMIN}"));
    let both = [("Authorization", one.as_str()), ("Authorization", two.as_str())];
    server
        .send("GET", "/v1/events", &both, b"")
        .refused(401, "unauthorized");
    server
        .send(
            "GET",
            "/v1/events",
            &[("Authorization", &format!("bearer {READER}"))],
            b"",
        )
        .ok(200);
}

#[test]
fn a_token_was_taken_for_two_roles() {
    let token = |role| Token::new(role, ADMIN).unwrap();
    let twice = Server::builder(Store::in_memory()).tokens([token(Role::Read), token(Role::Admin)]);
    assert!(twice.build().is_err());
    let unknown = Server::builder(Store::in_memory()).tokens([token(Role::Read).in_namespace("none")]);
    assert!(unknown.build().is_err());
}

/// The value of a line of metrics.
fn metric(text: &str, name: &str) -> Option<f64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    lines.next()
}

#[test]
fn metrics_count_what_happened() {
    let server = Running::new();
    server.add("a", "X");
    server
        .post(
            "/v1/streams/a/events",
            &json!([{ "eventType": "Y" }, { "eventType": "Z" }]),
        )
        .ok(201);
    server
        .post("/v1/streams/a/events?expectedVersion=1", &json!({ "eventType": "Y" }))
        .refused(409, "version-conflict");
    server.get("/nothing").refused(404, "not-found");
    for (accept, media) in [
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let answer = server.send("GET", "/metrics", &[("Accept", accept)], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)));
        let text = answer.text();
        for (name, value) in [
            ("events_published_total{namespace=\"default\"}", 3.0),
            ("event_publishing_duration_seconds_count", 2.0),
            ("event_store_event_count{namespace=\"default\"}", 3.0),
            ("event_store_unflushed_events{namespace=\"default\"}", 3.0),
            ("event_store_fault{namespace=\"default\"}", 0.0),
            (
                "http_requests_total{route=\"/v1/streams/{aggregateId}/events\",code=\"201\"}",
                2.0,
            ),
            (
                "http_requests_total{route=\"/v1/streams/{aggregateId}/events\",code=\"409\"}",
                1.0,
            ),
            ("http_requests_total{route=\"none\",code=\"404\"}", 1.0),
        ] {
            assert_eq!(metric(text, name), Some(value), "{name}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}

#[test]
fn a_client_made_labels_without_end() {
    let server = Running::new();
    for number in 0..200 {
        server.get(&format!("/v1/streams/s-{number}"));
        server.get(&format!("/unknown-{number}"));
        server.get(&format!("/v1/ns/n-{number}/events"));
        server.send(&format!("M{number}"), "/v1/events", &[], b"");
    }
    let text = server.get("/metrics");
    let lines = text
        .text()
        .lines()
        .filter(|line| line.starts_with("http_requests_total{"))
        .count();
    assert!(lines < 10, "{lines}");
    assert_eq!(server.get("/").ok(200)["ephemeral"], Value::Bool(true));
}
