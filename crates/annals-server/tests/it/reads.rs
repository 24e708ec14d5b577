//! Reads: streams, the log, queries, pages and summaries.

use annals::{Expected, NewEvent, Store, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::support::Running;

fn types(page: &Value) -> Vec<&str> {
    page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["eventType"].as_str().unwrap())
        .collect()
}

/// Follows the links of pages to the last, and returns the types of all events.
fn follow(server: &Running, target: &str) -> Vec<String> {
    let (mut all, mut target) = (Vec::new(), target.to_owned());
    loop {
        let answer = server.get(&target);
        let page = answer.ok(200);
        all.extend(types(&page).into_iter().map(str::to_owned));
        let Some(link) = answer.header("link") else {
            assert_eq!(page["next"], Value::Null);
            return all;
        };
        let link = link.strip_prefix('<').unwrap();
        link.strip_suffix(">; rel=\"next\"").unwrap().clone_into(&mut target);
    }
}

#[test]
fn a_name_that_needs_encoding_led_to_another_stream() {
    let server = Running::new();
    for (id, path) in [
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("#x", "%23x"),
        ("..", "%2E%2E"),
        ("ü", "%C3%BC"),
        ("a b", "a%20b"),
        ("a+b", "a+b"),
        ("?", "%3F"),
    ] {
        for number in 1..=3 {
            server.add(path, &format!("E{number}"));
        }
        let stream = server.get(&format!("/v1/streams/{path}")).ok(200);
        assert_eq!(
            (&stream["aggregateId"], &stream["version"]),
            (&json!(id), &json!(3)),
            "{path}"
        );
        assert_eq!(
            follow(&server, &format!("/v1/streams/{path}/events?limit=2")),
            ["E1", "E2", "E3"]
        );
        let query = path.replace('+', "%2B");
        assert_eq!(
            follow(&server, &format!("/v1/events?aggregate={query}&limit=2")),
            ["E1", "E2", "E3"]
        );
    }
}

#[test]
fn the_link_of_a_page_that_began_at_a_version_was_refused() {
    let server = Running::new();
    for number in 1..=7 {
        server.add("a", &format!("E{number}"));
    }
    assert_eq!(
        follow(&server, "/v1/streams/a/events?from=3&limit=2"),
        ["E3", "E4", "E5", "E6", "E7"]
    );
    assert_eq!(
        follow(&server, "/v1/streams/a/events?limit=2&from=3&order=-version"),
        ["E3", "E2", "E1"]
    );
}

#[test]
fn pages_have_every_event_once() {
    let server = Running::new();
    for number in 0..25 {
        server.add("a", &format!("E{number}"));
    }
    let all: Vec<String> = (0..25).map(|number| format!("E{number}")).collect();
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(follow(&server, "/v1/events?limit=10"), all);
    assert_eq!(follow(&server, "/v1/events?limit=10&order=time"), all);
    assert_eq!(follow(&server, "/v1/events?limit=7&order=-position"), reversed);
    assert_eq!(follow(&server, "/v1/events?limit=7&order=-time"), reversed);
    assert_eq!(follow(&server, "/v1/streams/a/events?limit=5"), all);
    assert_eq!(follow(&server, "/v1/streams/a/events?limit=6&order=-version"), reversed);
    let past = server.get("/v1/streams/a/events?asOf=3").ok(200);
    assert_eq!(types(&past), ["E0", "E1", "E2"]);
    assert_eq!(
        types(&server.get("/v1/streams/a/events?from=24").ok(200)),
        ["E23", "E24"]
    );
    assert_eq!(types(&server.get("/v1/events?asOf=2").ok(200)), ["E0", "E1"]);
}

#[test]
fn filters_select_as_the_body_of_a_query_does() {
    let server = Running::new();
    for (user, amount) in [("anna", 250), ("bob", 250), ("anna", 3)] {
        let event = json!({ "eventType": "Paid", "userId": user, "eventData": { "amount": amount } });
        server.post("/v1/streams/a/events?aggregateType=A", &event).ok(201);
    }
    let found = server.get("/v1/events?user=anna&data:/amount=250").ok(200);
    assert_eq!(found["events"].as_array().unwrap().len(), 1);
    let filter = json!({ "filter": { "all": [{ "user": "anna" }, { "not": { "data": { "/amount": 250 } } }] } });
    let found = server.post("/v1/query", &filter).ok(200);
    assert_eq!(found["events"][0]["position"], 3);
    assert_eq!(server.get("/v1/count?userPrefix=an").ok(200)["count"], 2);
    assert_eq!(server.get("/v1/explain?user=anna").ok(200)["matches"], 2);
    server.get("/v1/events?usr=anna").refused(400, "invalid-request");
    server.get("/v1/events?limit=0").refused(400, "invalid-request");
    server.get("/v1/events?limit=1001").refused(400, "invalid-request");
    server.get("/v1/events?cursor=x").refused(400, "invalid-request");
    server
        .post("/v1/query", &json!({ "filtre": {} }))
        .refused(400, "invalid-request");
}

#[test]
fn a_filter_nested_without_end_was_followed() {
    let server = Running::new();
    let depth = 100_000;
    let text = format!(
        "{{\"filter\":{}{{\"user\":\"a\"}}{}}}",
        "{\"not\":".repeat(depth),
        "}".repeat(depth)
    );
    let answer = server.send("POST", "/v1/query", &[crate::support::JSON], text.as_bytes());
    answer.refused(400, "invalid-request");
}

#[test]
fn a_reader_did_not_see_its_own_write() {
    let server = Running::new();
    server.add("a", "X");
    server.get("/v1/events?minPosition=1").ok(200);
    let late = server
        .get("/v1/events?minPosition=2&timeoutSeconds=0")
        .refused(409, "position-not-visible");
    assert_eq!(late["visible"], 1);
    // A reader that waits is answered by the append that comes.
    let mut waiting = server.connect();
    waiting
        .write("GET /v1/streams/a?minPosition=2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.add("a", "Y");
    assert_eq!(waiting.read(false).ok(200)["version"], 2);
}

#[test]
fn one_event_is_found_by_position_and_by_id() {
    let server = Running::new();
    server.add("a", "X");
    let event = server.get("/v1/events/1").ok(200);
    let id = event["eventId"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/events/{id}")).ok(200), event);
    server.get("/v1/events/2").refused(404, "not-found");
    server.get("/v1/events/x").refused(400, "invalid-request");
    server
        .get("/v1/events/0197f5d2-7e5b-7000-8000-000000000001")
        .refused(404, "not-found");
    server.get("/v1/streams/b").refused(404, "not-found");
    server.get("/v1/streams/b/events").refused(404, "not-found");
}

#[test]
fn summaries_count_what_matches() {
    let server = Running::new();
    for user in ["anna", "anna", "bob"] {
        let event = json!({ "eventType": "X", "userId": user, "timestamp": "2026-01-31T23:30:00Z" });
        server.post("/v1/streams/a/events?aggregateType=A", &event).ok(201);
    }
    let list = server.get("/v1/lists/user?order=events&limit=1").ok(200);
    assert_eq!(
        (&list["items"][0]["name"], &list["items"][0]["events"]),
        (&json!("anna"), &json!(2))
    );
    let next = list["next"].as_str().unwrap();
    let list = server
        .get(&format!(
            "/v1/lists/user?order=events&limit=1&cursor={}",
            next.replace('%', "%25")
        ))
        .ok(200);
    assert_eq!(list["items"][0]["name"], "bob");
    let statistics = server.get("/v1/statistics?timeZone=Europe/Amsterdam&top=1").ok(200);
    assert_eq!(
        (&statistics["total"], &statistics["byUser"]),
        (&json!(3), &json!({ "anna": 2 }))
    );
    assert_eq!(
        (&statistics["byHour"][0], &statistics["distinct"]["users"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        server.get("/v1/trend?by=month&user=bob").ok(200)["rows"][0]["label"],
        "2026-01"
    );
    assert_eq!(server.get("/v1/heatmap").ok(200)["counts"][5][23], 3);
    server.get("/v1/lists/colour").refused(404, "not-found");
    server.get("/v1/trend?by=moon").refused(400, "invalid-request");
    server
        .get("/v1/statistics?timeZone=Mars")
        .refused(400, "invalid-request");
}

#[test]
fn a_conversation_is_a_tree() {
    let server = Running::new();
    let first =
        json!({ "eventType": "Placed", "correlationId": "c/1", "eventId": "0197f5d2-7e5b-7000-8000-000000000001" });
    server.post("/v1/streams/a/events?aggregateType=A", &first).ok(201);
    let second =
        json!({ "eventType": "Paid", "correlationId": "c/1", "causationId": "0197f5d2-7e5b-7000-8000-000000000001" });
    server.post("/v1/streams/b/events?aggregateType=B", &second).ok(201);
    let trace = server.get("/v1/traces/c%2F1").ok(200);
    assert_eq!((&trace["total"], &trace["tree"][1]["depth"]), (&json!(2), &json!(1)));
    assert_eq!(server.get("/v1/traces/c%2F1?limit=1").ok(200)["truncated"], true);
    server.get("/v1/traces/none").refused(404, "not-found");
}

#[test]
fn changes_of_an_aggregate_take_effect() {
    let server = Running::new();
    for event in ["E1", "E2", "E3"] {
        server.add("a", event);
    }
    let send = |method: &str, target: &str, body: &str| {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[crate::support::JSON] };
        server.send(method, target, headers, body.as_bytes())
    };
    send("DELETE", "/v1/streams/a/events-before/2", "").ok(200);
    assert_eq!(follow(&server, "/v1/streams/a/events"), ["E2", "E3"]);
    send("PUT", "/v1/streams/a/limits", "{\"maxCount\":1}").ok(200);
    assert_eq!(follow(&server, "/v1/streams/a/events"), ["E3"]);
    assert_eq!(server.get("/v1/streams/a").ok(200)["limits"]["maxCount"], 1);
    send("DELETE", "/v1/streams/a?expectedVersion=1", "").refused(409, "version-conflict");
    send("DELETE", "/v1/streams/a?expectedVersion=3&tombstone=true", "").ok(200);
    let refused = server.post("/v1/streams/a/events", &json!({ "eventType": "E4" }));
    refused.refused(410, "aggregate-deleted");
    send("DELETE", "/v1/streams/none", "").refused(404, "not-found");
}

#[test]
fn a_snapshot_is_kept_to_the_byte() {
    let server = Running::new();
    for event in ["E1", "E2", "E3"] {
        server.add("a", event);
    }
    server.get("/v1/streams/a/snapshot").refused(404, "not-found");
    let save = |body: &str| {
        server.send(
            "PUT",
            "/v1/streams/a/snapshot",
            &[crate::support::JSON],
            body.as_bytes(),
        )
    };
    save("{\"version\":2,\"keep\":2,\"data\":{\"n\":73314510714175488}}").ok(200);
    save("{\"version\":3,\"keep\":2,\"dataHex\":\"00ff\",\"dataType\":\"application/cbor\"}").ok(200);
    let latest = server.get("/v1/streams/a/snapshot").ok(200);
    assert_eq!((&latest["version"], &latest["dataHex"]), (&json!(3), &json!("00ff")));
    let earlier = server.get("/v1/streams/a/snapshot?version=2");
    assert!(
        earlier.text().contains("\"data\":{\"n\":73314510714175488}"),
        "{}",
        earlier.text()
    );
    save("{\"version\":9,\"data\":1}").refused(400, "invalid-request");
    save("{\"data\":1}").refused(400, "invalid-request");
    let other = server.send(
        "PUT",
        "/v1/streams/b/snapshot",
        &[crate::support::JSON],
        b"{\"version\":1}",
    );
    other.refused(404, "not-found");
}

#[test]
fn great_events_make_short_pages() {
    let server = Running::new();
    let data = "x".repeat(900_000);
    for _ in 0..12 {
        let event = json!({ "eventType": "Big", "eventData": data });
        server.post("/v1/streams/a/events?aggregateType=A", &event).ok(201);
    }
    let page = server.get("/v1/events").ok(200);
    assert_eq!(types(&page).len(), 9);
    for target in ["/v1/events", "/v1/events?order=-time", "/v1/streams/a/events"] {
        assert_eq!(follow(&server, target).len(), 12, "{target}");
    }
}

/// Appends an event of 2025 and one of 2026 to `order-1`, and archives what is older than 2026.
fn archive(store: &Store, name: &str) {
    let order = StreamId::new("Order", "order-1");
    for year in [2025, 2026] {
        let at: Timestamp = format!("{year}-06-01T00:00:00Z").parse().unwrap();
        let event = NewEvent::new("OrderPlaced").timestamp(at);
        store.append(&order, Expected::Any, &[event]).unwrap();
    }
    let before = "2026-01-01T00:00:00Z".parse().unwrap();
    let archived = store.archive::<annals::Error>(before, name, |_| Ok(())).unwrap();
    assert_eq!(archived.events, 1);
}

#[test]
fn an_archive_was_not_listed_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().join("store").display());
    let store = Store::open_url(&url).unwrap();
    archive(&store, "until \u{fc}ber-2026");
    let expected = json!({ "archives": [{ "name": "until \u{fc}ber-2026", "events": 1, "firstPosition": 1, "lastPosition": 1 }], "unnamedEvents": 0 });
    let server = Running::of(store);
    assert_eq!(server.get("/v1/archives").ok(200), expected);
    server.stop();
    let server = Running::of(Store::open_url(&url).unwrap());
    assert_eq!(server.get("/v1/archives").ok(200), expected);
    let refused = server.get("/v1/archives?limit=1");
    assert_eq!(refused.status, 400, "{}", refused.text());
    let empty = json!({ "archives": [], "unnamedEvents": 0 });
    assert_eq!(Running::new().get("/v1/archives").ok(200), empty);
}
