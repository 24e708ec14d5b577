//! Groups of consumers, which compete for events and acknowledge each.

use std::collections::BTreeMap;

use annals::Store;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{JSON, Running};

/// The group `billing` of the namespace at `base`, as its consumers use it.
pub(crate) struct Billing<'a> {
    server: &'a Running,
    base: &'static str,
}

impl<'a> Billing<'a> {
    pub(crate) fn of(server: &'a Running, definition: &Value) -> Self {
        let billing = Self { server, base: "/v1" };
        billing.define(definition).ok(201);
        billing
    }

    pub(crate) fn define(&self, definition: &Value) -> Answer {
        let target = format!("{}/groups/billing", self.base);
        self.server
            .send("PUT", &target, &[JSON], definition.to_string().as_bytes())
    }

    pub(crate) fn post(&self, what: &str, body: &Value) -> Answer {
        self.server.post(&format!("{}/groups/billing/{what}", self.base), body)
    }

    fn get(&self, what: &str) -> Value {
        self.server.get(&format!("{}/groups/billing{what}", self.base)).ok(200)
    }

    #[track_caller]
    pub(crate) fn take(&self, query: &str) -> Vec<Value> {
        let target = format!("{}/groups/billing/take?{query}", self.base);
        let taken = self.server.send("POST", &target, &[], b"").ok(200);
        taken["events"].as_array().unwrap().clone()
    }

    fn status(&self) -> Value {
        self.get("")["status"].clone()
    }
}

/// Waits until a request that waits for events has its place.
pub(crate) fn await_place(server: &Running) {
    let line = "server_places_in_use{of=\"tails\"} 1";
    while !server.get("/metrics").text().lines().any(|own| own == line) {}
}

/// Aggregate and version of each event.
fn places(taken: &[Value]) -> Vec<(String, u64)> {
    let events = taken.iter().map(|taken| &taken["event"]);
    events
        .map(|event| {
            (
                event["aggregateId"].as_str().unwrap().to_owned(),
                event["version"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn place(id: &str, version: u64) -> (String, u64) {
    (id.to_owned(), version)
}

fn leases(taken: &[Value]) -> Value {
    json!({ "leases": taken.iter().map(|taken| taken["lease"].clone()).collect::<Vec<_>>() })
}

/// A definition without a pause between two attempts.
fn hasty() -> Value {
    json!({ "firstPauseSeconds": 0, "longestPauseSeconds": 0 })
}

#[test]
fn events_are_taken_in_the_order_of_their_aggregate_and_acknowledged() {
    let server = Running::new();
    for id in ["a", "a", "b", "c"] {
        server.add(id, "Placed");
    }
    server.add("a", "Paid");
    let billing = Billing::of(&server, &json!({ "filter": { "eventType": "Placed" } }));
    assert_eq!(billing.status(), Value::Null);
    // One of each aggregate, since the order of an aggregate must hold.
    let first = billing.take("limit=3");
    assert_eq!(places(&first), [place("a", 1), place("b", 1), place("c", 1)]);
    assert_eq!((&first[0]["attempt"], billing.take("")), (&json!(1), Vec::new()));
    assert_eq!(billing.status()["inFlight"], 4);
    let settled = billing.post("ack", &leases(&first[..2])).ok(200);
    assert_eq!(settled, json!({ "settled": 2, "lost": [] }));
    let second = billing.take("limit=1000");
    assert_eq!(places(&second), [place("a", 2)]);
    // A lease is settled once.
    let again = billing
        .post("ack", &leases(&[&first[..1], &second[..]].concat()))
        .ok(200);
    assert_eq!(again, json!({ "settled": 1, "lost": [first[0]["lease"]] }));
    billing.post("ack", &leases(&first[2..])).ok(200);
    // The event of another type is passed over, and the group's own records are none of its events.
    assert_eq!(billing.take(""), Vec::<Value>::new());
    let status = billing.status();
    assert_eq!(
        (&status["inFlight"], &status["deadLetters"], &status["stopReason"]),
        (&json!(0), &json!(0), &Value::Null)
    );
}

#[test]
fn an_event_that_was_given_back_comes_again_or_is_parked_or_skipped() {
    let server = Running::new();
    for id in ["a", "b", "c", "a"] {
        server.add(id, "Placed");
    }
    let mut definition = hasty();
    definition["attempts"] = json!(2);
    let billing = Billing::of(&server, &definition);
    let taken = billing.take("");
    let key = taken[0]["key"].clone();
    let give = |taken: &[Value], action: &str| {
        let mut body = leases(taken);
        body["action"] = json!(action);
        body["reason"] = json!("the \"bank\" is away\n");
        assert_eq!(billing.post("nack", &body).ok(200)["settled"], taken.len());
    };
    give(&taken[..1], "retry");
    give(&taken[1..2], "park");
    give(&taken[2..], "skip");
    let again = billing.take("wait=30");
    assert_eq!(
        (places(&again), &again[0]["attempt"], &again[0]["key"]),
        (vec![place("a", 1)], &json!(2), &key)
    );
    // That was the last attempt: it is parked, and the later event of its aggregate behind it.
    let mut body = leases(&again);
    body["reason"] = json!("still away");
    billing.post("nack", &body).ok(200);
    assert_eq!(billing.take(""), Vec::<Value>::new());
    let letters = billing.get("/dead-letters");
    let reasons: Vec<_> = letters["deadLetters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| {
            (
                letter["aggregateId"].as_str().unwrap(),
                letter["reason"].as_str().unwrap(),
                letter["attempts"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        reasons,
        [
            ("a", "still away", 2),
            ("b", "the \"bank\" is away\n", 1),
            ("a", "an earlier event of its aggregate is parked", 0),
        ]
    );
    let (page, next) = (
        billing.get("/dead-letters?limit=2"),
        letters["deadLetters"][1]["position"].to_string(),
    );
    assert_eq!(
        (page["deadLetters"].as_array().unwrap().len(), &page["next"]),
        (2, &json!(next))
    );
    assert_eq!(
        billing.get(&format!("/dead-letters?cursor={next}"))["deadLetters"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    replay(&billing, &letters);
}

/// A discarded letter is not replayed; the others are, in order, and leave the place as it is.
fn replay(billing: &Billing<'_>, letters: &Value) {
    let position = &letters["deadLetters"][1]["position"];
    billing
        .post(&format!("dead-letters/{position}/discard"), &json!({}))
        .ok(200);
    billing
        .post(&format!("dead-letters/{position}/discard"), &json!({}))
        .refused(404, "not-found");
    let before = billing.status()["position"].clone();
    assert_eq!(
        billing.post("dead-letters/replay?aggregate=b", &json!({})).ok(200)["replayed"],
        0
    );
    assert_eq!(billing.post("dead-letters/replay", &json!({})).ok(200)["replayed"], 2);
    for version in 1..=2 {
        let replayed = billing.take("");
        assert_eq!(places(&replayed), [place("a", version)]);
        billing.post("ack", &leases(&replayed)).ok(200);
    }
    assert_eq!(billing.get("/dead-letters")["total"], 0);
    assert!(billing.status()["position"].as_u64() >= before.as_u64());
}

#[test]
fn a_lease_that_ended_kept_its_event() {
    let server = Running::for_tests();
    let base = "/v1/ns/leases";
    server
        .send("POST", &format!("{base}/test/reset?now=2026-01-31T12:00:00Z"), &[], b"")
        .ok(200);
    let append = |id: &str| {
        let target = format!("{base}/streams/{id}/events?aggregateType=Thing");
        server.post(&target, &json!({ "eventType": "Placed" })).ok(201)
    };
    append("a");
    let billing = Billing { server: &server, base };
    let mut definition = hasty();
    definition["leaseSeconds"] = json!(60);
    billing.define(&definition).ok(201);
    let first = billing.take("");
    assert_eq!(first[0]["leaseEndsAt"], "2026-01-31T12:01:00Z");
    let advance = |seconds: u64| {
        server
            .post(&format!("{base}/test/clock/advance"), &json!({ "seconds": seconds }))
            .ok(200)
    };
    advance(59);
    assert_eq!(billing.take(""), Vec::<Value>::new());
    advance(1);
    let second = billing.take("");
    assert_eq!(
        (places(&second), &second[0]["attempt"]),
        (vec![place("a", 1)], &json!(2))
    );
    // The first consumer is late; its lease has ended, and that of the second is another one.
    assert_eq!(
        billing.post("ack", &leases(&first)).ok(200),
        json!({ "settled": 0, "lost": [first[0]["lease"]] })
    );
    assert_eq!(billing.post("ack", &leases(&second)).ok(200)["settled"], 1);
    // A request that waits gets an event whose lease ends meanwhile.
    append("b");
    assert_eq!(billing.take("").len(), 1);
    let mut waiting = server.connect();
    let request = format!(
        "POST {base}/groups/billing/take?wait=30 HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address
    );
    waiting.write(request).unwrap();
    advance(60);
    assert_eq!(
        places(waiting.read(false).ok(200)["events"].as_array().unwrap()),
        [place("b", 1)]
    );
    // An empty namespace has no groups.
    server.send("POST", &format!("{base}/test/reset"), &[], b"").ok(200);
    assert_eq!(server.get(&format!("{base}/groups")).ok(200)["groups"], json!([]));
}

#[test]
fn a_consumer_that_waits_gets_what_is_appended_and_what_others_give_back() {
    let server = Running::new();
    let billing = Billing::of(&server, &hasty());
    let request = format!(
        "POST /v1/groups/billing/take?wait=30 HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address
    );
    let mut waiting = server.connect();
    waiting.write(&request).unwrap();
    server.add("a", "Placed");
    let taken = waiting.read(false).ok(200)["events"].as_array().unwrap().clone();
    assert_eq!(places(&taken), [place("a", 1)]);
    waiting.write(&request).unwrap();
    billing.post("nack", &leases(&taken)).ok(200);
    let again = waiting.read(false).ok(200)["events"].as_array().unwrap().clone();
    assert_eq!((places(&again), &again[0]["attempt"]), (vec![place("a", 1)], &json!(2)));
    // A stop does not wait for requests that wait.
    let mut idle = server.connect();
    idle.write(&request).unwrap();
    await_place(&server);
    server.begin_stop();
    assert_eq!(idle.read(false).ok(200)["events"], json!([]));
}

#[test]
fn consumers_that_compete_handle_each_event_once_and_in_order() {
    const AGGREGATES: usize = 7;
    const EVENTS: usize = 210;
    let server = Running::new();
    let billing = Billing::of(&server, &json!({ "maxInFlight": 16 }));
    for number in 0..EVENTS {
        server.add(&format!("a{}", number % AGGREGATES), "Placed");
    }
    let handled = parking_lot::Mutex::new(BTreeMap::<String, Vec<u64>>::new());
    let count = || handled.lock().values().map(Vec::len).sum::<usize>();
    let consume = || {
        while count() < EVENTS {
            let taken = billing.take("limit=3&wait=1");
            for (id, version) in places(&taken) {
                handled.lock().entry(id).or_default().push(version);
            }
            if !taken.is_empty() {
                billing.post("ack", &leases(&taken)).ok(200);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(consume);
        }
    });
    let handled = handled.into_inner();
    assert_eq!(handled.len(), AGGREGATES);
    for (id, versions) in handled {
        let wanted: Vec<u64> = (1..=(EVENTS / AGGREGATES) as u64).collect();
        assert_eq!(versions, wanted, "{id}");
    }
    assert_eq!(billing.status()["inFlight"], 0);
}

#[test]
fn a_group_is_defined_listed_and_deleted() {
    let server = Running::new();
    server.add("a", "Placed");
    let definition = json!({ "filter": { "data": { "/total": 73_314_510_714_175_488_u64 } }, "leaseSeconds": 5 });
    let billing = Billing::of(&server, &definition);
    let told = billing.define(&definition).ok(200);
    assert_eq!(
        (&told["definition"]["filter"], &told["definition"]["attempts"]),
        (&definition["filter"], &json!(5))
    );
    let visible = server.get("/v1/store").ok(200)["visible"].clone();
    billing.define(&definition).ok(200);
    assert_eq!(server.get("/v1/store").ok(200)["visible"], visible);
    let list = server.get("/v1/groups").ok(200);
    assert_eq!(list["groups"], json!([told]));
    // A redefined group continues at its position, and its leases end.
    billing.define(&json!({ "attempts": 1 })).ok(200);
    let taken = billing.take("");
    assert_eq!(places(&taken), [place("a", 1)]);
    billing.define(&json!({ "attempts": 9 })).ok(200);
    assert_eq!(
        billing.post("ack", &leases(&taken)).ok(200)["lost"],
        json!([taken[0]["lease"]])
    );
    // It was the last attempt, and is no dead letter.
    let taken = billing.take("");
    assert_eq!((places(&taken), &taken[0]["attempt"]), (vec![place("a", 1)], &json!(1)));
    let mut body = leases(&taken);
    body["action"] = json!("park");
    billing.post("nack", &body).ok(200);
    assert_eq!(billing.status()["deadLetters"], 1);
    // A new group does not continue a deleted one.
    server.send("DELETE", "/v1/groups/billing", &[], b"").ok(200);
    server
        .send("DELETE", "/v1/groups/billing", &[], b"")
        .refused(404, "not-found");
    server
        .send("POST", "/v1/groups/billing/take", &[], b"")
        .refused(404, "not-found");
    billing.define(&json!({})).ok(201);
    assert_eq!(places(&billing.take("")), [place("a", 1)]);
    assert_eq!(billing.get("/dead-letters")["total"], 0);
    // Where a group begins.
    billing
        .server
        .send("PUT", "/v1/groups/new", &[JSON], br#"{"start":"end"}"#)
        .ok(201);
    billing
        .server
        .send("PUT", "/v1/groups/later", &[JSON], br#"{"start":{"after":1}}"#)
        .ok(201);
    for name in ["new", "later"] {
        let taken = server
            .send("POST", &format!("/v1/groups/{name}/take"), &[], b"")
            .ok(200);
        assert_eq!(taken["events"], json!([]), "{name}");
    }
    assert_eq!(server.get("/").ok(200)["capabilities"], json!(["groups"]));
}

#[test]
fn a_restart_forgot_the_groups_or_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().join("store").display());
    let open = || Store::open_url(&url).unwrap();
    let server = Running::of(open());
    for id in ["a", "b"] {
        server.add(id, "Placed");
    }
    let billing = Billing::of(&server, &json!({ "leaseSeconds": 77 }));
    let taken = billing.take("");
    billing.post("ack", &leases(&taken[..1])).ok(200);
    server.stop();
    let server = Running::of(open());
    let billing = Billing {
        server: &server,
        base: "/v1",
    };
    assert_eq!(billing.get("")["definition"]["leaseSeconds"], 77);
    // A lease of the other process is none of this one.
    assert_eq!(billing.post("ack", &leases(&taken[1..])).ok(200)["settled"], 0);
    assert_eq!(places(&billing.take("")), [place("b", 1)]);
}

#[test]
fn a_gap_stops_a_group_until_it_skips_it() {
    let server = Running::new();
    for _ in 0..3 {
        server.add("a", "Placed");
    }
    let billing = Billing::of(&server, &json!({}));
    server.send("DELETE", "/v1/streams/a/events-before/3", &[], b"").ok(200);
    for _ in 0..2 {
        let stopped = server
            .send("POST", "/v1/groups/billing/take", &[], b"")
            .refused(409, "group-stopped");
        assert!(stopped["detail"].as_str().unwrap().contains("are gone"), "{stopped}");
    }
    assert!(billing.status()["stopReason"].is_string());
    // Without a change it stops again.
    server.send("POST", "/v1/groups/billing/resume", &[], b"").ok(200);
    server
        .send("POST", "/v1/groups/billing/take", &[], b"")
        .refused(409, "group-stopped");
    billing.define(&json!({ "skipGaps": true })).ok(200);
    assert_eq!(places(&billing.take("")), [place("a", 3)]);
}

#[test]
fn data_were_delivered_otherwise_than_they_are_stored() {
    let exact_filter = r#"{"/total":73314510714175488123456789.10}"#;
    let server = Running::new();
    let target = "/v1/streams/a/events?aggregateType=Thing";
    let events = json!([
        { "eventType": "Raw", "eventDataHex": "ff00", "eventDataType": "application/octet-stream" },
        { "eventType": "Exact", "eventData": "DATA" },
    ]);
    // No digit is lost on the way, and no member that is there twice.
    let exact = r#"{"total":73314510714175488123456789.10,"n":1.0,"n":-0}"#;
    let body = events.to_string().replace("\"DATA\"", exact);
    server.send("POST", target, &[JSON], body.as_bytes()).ok(201);
    let billing = Billing::of(&server, &json!({}));
    let taken = billing.take("");
    assert_eq!(taken[0]["event"]["eventDataHex"], "ff00");
    billing.post("ack", &leases(&taken)).ok(200);
    let taken = server.send("POST", "/v1/groups/billing/take", &[], b"");
    assert!(
        taken.text().contains(&format!("\"eventData\":{exact}")),
        "{}",
        taken.text()
    );
    let definition = format!("{{\"filter\":{{\"data\":{exact_filter}}}}}");
    server
        .send("PUT", "/v1/groups/exact", &[JSON], definition.as_bytes())
        .ok(201);
    let listed = server.get("/v1/groups");
    assert!(listed.text().contains(exact_filter), "{}", listed.text());
}
