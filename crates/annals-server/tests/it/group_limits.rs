//! The bounds of groups of consumers, and who may use them.

use std::time::Duration;

use annals::Store;
use annals_server::{Limits, Role, Server, Token};
use serde_json::{Value, json};

use crate::groups::{Billing, await_place};
use crate::support::{JSON, Running};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn what_is_no_group_or_no_lease_is_refused() {
    let server = Running::new();
    let billing = Billing::of(&server, &json!({}));
    for wrong in [
        json!({ "leaseSeconds": 0 }),
        json!({ "leaseSeconds": 86_401 }),
        json!({ "attempts": 0 }),
        json!({ "maxInFlight": 4_097 }),
        json!({ "maxInFlight": 0 }),
        json!({ "unheardOf": 1 }),
        json!({ "filter": { "eventTyp": "x" } }),
        json!({ "filter": {} }),
        json!({ "start": "middle" }),
        json!({ "start": { "before": 1 } }),
        json!([]),
        json!({ "filter": { "text": "x".repeat(70_000) } }),
    ] {
        billing.define(&wrong).refused(400, "invalid-request");
    }
    for name in ["a%2Fb", "%C3%BC", "..%2Fx", &"x".repeat(65)] {
        let target = format!("/v1/groups/{name}");
        server
            .send("PUT", &target, &[JSON], b"{}")
            .refused(400, "invalid-request");
        server.get(&target).refused(404, "not-found");
    }
    let many: Vec<String> = (0..1_001)
        .map(|number| format!("00000000-0000-0000-0000-{number:012}"))
        .collect();
    for body in [
        json!({ "leases": [] }),
        json!({ "leases": ["x"] }),
        json!({ "leases": many }),
        json!({}),
        json!({ "leases": [], "more": 1 }),
    ] {
        billing.post("ack", &body).refused(400, "invalid-request");
    }
    let unknown = json!({ "leases": [many[0]] });
    assert_eq!(
        billing.post("ack", &unknown).ok(200),
        json!({ "settled": 0, "lost": [many[0]] })
    );
    let mut body = unknown.clone();
    body["reason"] = json!("x".repeat(4_097));
    billing.post("nack", &body).refused(400, "invalid-request");
    body["reason"] = json!("x");
    body["action"] = json!("forget");
    billing.post("nack", &body).refused(400, "invalid-request");
    for query in ["limit=0", "limit=1001", "limit=x", "wait=x", "more=1"] {
        let answer = server.send("POST", &format!("/v1/groups/billing/take?{query}"), &[], b"");
        answer.refused(400, "invalid-request");
    }
    server
        .send("POST", "/v1/groups/none/ack", &[JSON], unknown.to_string().as_bytes())
        .refused(404, "not-found");
    // At most a hundred groups.
    for number in 1..100 {
        server
            .send("PUT", &format!("/v1/groups/g{number}"), &[JSON], b"{}")
            .ok(201);
    }
    server
        .send("PUT", "/v1/groups/one-more", &[JSON], b"{}")
        .refused(400, "invalid-request");
    billing.define(&json!({ "attempts": 7 })).ok(200);
}

#[test]
fn one_take_was_as_large_as_the_log() {
    let limits = Limits::default().page_bytes(10_000);
    let server = Running::built(Server::builder(Store::in_memory()).limits(limits), SOON);
    for number in 0..20 {
        let target = format!("/v1/streams/a{number}/events?aggregateType=Thing");
        server
            .post(
                &target,
                &json!({ "eventType": "Large", "eventData": "x".repeat(3_000) }),
            )
            .ok(201);
    }
    let billing = Billing::of(&server, &json!({ "maxInFlight": 6 }));
    assert_eq!(billing.take("limit=20").len(), 4);
    // No more are in flight than the group permits.
    assert_eq!(billing.take("limit=20").len(), 2);
    assert_eq!(billing.take("limit=20").len(), 0);
}

#[test]
fn waiting_consumers_took_every_place() {
    let limits = Limits::default().tails(1);
    let server = Running::built(Server::builder(Store::in_memory()).limits(limits), SOON);
    let billing = Billing::of(&server, &json!({}));
    let mut waiting = server.connect();
    let request = format!(
        "POST /v1/groups/billing/take?wait=30 HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address
    );
    waiting.write(request).unwrap();
    await_place(&server);
    let busy = server.send("POST", "/v1/groups/billing/take?wait=1", &[], b"");
    busy.refused(503, "busy");
    // A request that does not wait needs no place.
    assert_eq!(billing.take(""), Vec::<Value>::new());
    server.add("a", "Placed");
    assert_eq!(waiting.read(false).ok(200)["events"].as_array().unwrap().len(), 1);
}

#[test]
fn a_group_was_used_without_a_right_to_it() {
    const SECRETS: [&str; 4] = [
        "reader-0123456789",
        "writer-0123456789",
        "admin-0123456789",
        "tenant-0123456789",
    ];
    let roles = [Role::Read, Role::Write, Role::Admin, Role::Admin];
    let mut tokens: Vec<Token> = roles
        .iter()
        .zip(SECRETS)
        .map(|(role, secret)| Token::new(*role, secret).unwrap())
        .collect();
    tokens[3] = tokens[3].clone().in_namespace("tenant");
    let builder = Server::builder(Store::in_memory()).namespace("tenant", Store::in_memory());
    let server = Running::built(builder.tokens(tokens), SOON);
    for (secret, reads, writes, controls) in [
        (SECRETS[0], 200, 403, 403),
        (SECRETS[3], 403, 403, 403),
        (SECRETS[1], 200, 200, 403),
        (SECRETS[2], 200, 200, 200),
    ] {
        let bearer = format!("Bearer {secret}");
        let send = |method: &str, target: &str| {
            let status = server
                .send(method, target, &[JSON, ("Authorization", &bearer)], b"{}")
                .status;
            if status == 201 { 200 } else { status }
        };
        assert_eq!(send("GET", "/v1/groups"), reads, "{secret}");
        assert_eq!(send("PUT", "/v1/groups/billing"), writes, "{secret}");
        assert_eq!(send("POST", "/v1/groups/billing/take"), writes, "{secret}");
        for what in ["resume", "dead-letters/replay"] {
            assert_eq!(
                send("POST", &format!("/v1/groups/billing/{what}")),
                controls,
                "{secret} {what}"
            );
        }
        assert_eq!(send("DELETE", "/v1/groups/billing"), controls, "{secret}");
    }
    // The group of one namespace is none of another.
    let bearer = format!("Bearer {}", SECRETS[3]);
    let other = server
        .send("GET", "/v1/ns/tenant/groups", &[("Authorization", &bearer)], b"")
        .ok(200);
    assert_eq!(other["groups"], json!([]));
}
