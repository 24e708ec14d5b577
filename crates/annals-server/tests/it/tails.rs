//! Live tails: every event once, in order; what is missing is said; and nothing that is stored can break a frame.

use std::sync::Arc;
use std::time::Duration;

use annals::{Budget, Expected, NewEvent, Position, Settings, Store, StreamId, WhenFull};
use annals_server::{Limits, Server};
use serde_json::{Value, json};

use crate::client::Connection;
use crate::support::Running;

/// A frame: event, id and data.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    event: String,
    id: String,
    data: Value,
}

/// A tail that is open.
struct Tail {
    connection: Connection,
    text: Vec<u8>,
}

impl Tail {
    fn open(server: &Running, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = server.connect();
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| {
                format!(
                    "{name}: {value}
"
                )
            })
            .collect();
        let headers = headers.concat();
        connection
            .write(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
            .unwrap();
        let head = connection.read_head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
        assert_eq!(head.header("content-encoding"), None);
        Self {
            connection,
            text: Vec::new(),
        }
    }

    /// The next block of lines, up to an empty one; `None` at the end.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(String::from_utf8(block).unwrap());
            }
            if !self.connection.read_chunk(&mut self.text) {
                assert!(self.text.is_empty(), "a frame was cut");
                return None;
            }
        }
    }

    /// The next frame with an event.
    fn next(&mut self) -> Option<Frame> {
        loop {
            let block = self.block()?;
            let field = |name: &str| {
                let mut found = block
                    .lines()
                    .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let first = found.next().map(str::to_owned);
                assert_eq!(found.next(), None, "{name} is there twice: {block:?}");
                first
            };
            if let Some(event) = field("event") {
                let data = field("data").unwrap();
                return Some(Frame {
                    event,
                    id: field("id").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                });
            }
        }
    }

    fn next_type(&mut self) -> String {
        let frame = self.next().unwrap();
        assert_eq!(
            (frame.event.as_str(), frame.id),
            ("event", frame.data["position"].to_string())
        );
        frame.data["eventType"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_tail_has_what_is_there_and_what_comes() {
    let server = Running::new();
    server.add("a", "E1");
    let mut tail = Tail::open(
        &server,
        "/v1/tail",
        &[("Accept", "text/event-stream"), ("Accept-Encoding", "gzip")],
    );
    assert_eq!(tail.next_type(), "E1");
    server.add("a", "E2");
    assert_eq!(tail.next_type(), "E2");
    let mut filtered = Tail::open(&server, "/v1/tail?eventType=E4&after=now", &[]);
    server.add("a", "E3");
    server.add("a", "E4");
    assert_eq!(filtered.next_type(), "E4");
    server.stop();
    assert_eq!(
        (tail.next_type(), tail.next_type(), tail.next()),
        ("E3".into(), "E4".into(), None)
    );
}

#[test]
fn an_event_between_history_and_live_was_lost() {
    let store = Store::in_memory();
    let server = Running::of(store.clone());
    let stream = StreamId::new("A", "a");
    let writer = std::thread::spawn(move || {
        for _ in 0..5_000 {
            store.append(&stream, Expected::Any, NewEvent::new("X")).unwrap();
        }
    });
    let mut tails: Vec<Tail> = (0..4).map(|_| Tail::open(&server, "/v1/tail", &[])).collect();
    for tail in &mut tails {
        for position in 1..=5_000 {
            assert_eq!(tail.next().unwrap().id, position.to_string());
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_client_that_connects_again_continues_where_it_was() {
    let server = Running::new();
    for number in 1..=3 {
        server.add("a", &format!("E{number}"));
    }
    let mut tail = Tail::open(&server, "/v1/tail?after=0", &[("Last-Event-ID", "2")]);
    assert_eq!(tail.next_type(), "E3");
    for garbage in ["x", "-1", "1.5", "99999999999999999999"] {
        server
            .send("GET", "/v1/tail", &[("Last-Event-ID", garbage)], b"")
            .refused(400, "invalid-request");
    }
    server.get("/v1/tail?after=x").refused(400, "invalid-request");
    server.get("/v1/tail?limit=3").refused(400, "invalid-request");
    server.get("/v1/tail?asOf=3").refused(400, "invalid-request");
}

#[test]
fn a_client_of_an_earlier_log_waited_for_ever() {
    let server = Running::new();
    server.add("a", "E1");
    let mut tail = Tail::open(&server, "/v1/tail", &[("Last-Event-ID", "500")]);
    let reset = tail.next().unwrap();
    assert_eq!(
        (reset.event.as_str(), reset.data),
        ("reset", json!({ "lastEventId": 500, "visible": 1 }))
    );
    assert_eq!(tail.next_type(), "E1");
}

#[test]
fn dropped_events_were_missing_without_a_word() {
    let budget = Budget::default().events(10).when_full(WhenFull::DropOldest);
    let settings = Settings::default().budget(budget);
    let store = Store::builder().settings(settings).open().unwrap();
    let stream = StreamId::new("A", "a");
    for _ in 0..5_000 {
        store.append(&stream, Expected::Any, NewEvent::new("X")).unwrap();
    }
    let server = Running::of(store.clone());
    let mut tail = Tail::open(&server, "/v1/tail", &[("Last-Event-ID", "7")]);
    let (mut next, mut gaps) = (8, 0);
    while next <= 5_000 {
        let frame = tail.next().unwrap();
        if frame.event == "gap" {
            assert_eq!(
                (&frame.data["first"], &frame.data["reason"]),
                (&json!(next), &json!("budget"))
            );
            assert_eq!(frame.id, frame.data["last"].to_string());
            next = frame.data["last"].as_u64().unwrap() + 1;
            gaps += 1;
        } else {
            assert_eq!(frame.id, next.to_string());
            next += 1;
        }
    }
    assert!(gaps > 0);
}

#[test]
fn a_page_hid_that_events_were_dropped() {
    let server = Running::new();
    for (id, event) in [("a", "E1"), ("b", "E2"), ("b", "E3"), ("a", "E4")] {
        server.add(id, event);
    }
    server.send("DELETE", "/v1/streams/b/events-before/3", &[], b"").ok(200);
    let page = server.get("/v1/events").ok(200);
    assert_eq!(
        (&page["gaps"][0]["first"], &page["gaps"][0]["count"]),
        (&json!(2), &json!(2))
    );
    let lines = server.send("GET", "/v1/events", &[("Accept", "application/x-ndjson")], b"");
    assert_eq!(lines.header("annals-missing-events"), Some("2"));
}

#[test]
fn a_stored_text_ended_a_frame_or_forged_one() {
    let server = Running::new();
    let evil = "E\r\n\ndata: forged\u{2028}\u{85}\u{7f}";
    let event = json!({ "eventType": evil, "eventData": "line\r\n\n: x\u{0}", "tags": ["\n\nid: 1"], "userId": "\r" });
    server
        .post("/v1/streams/a%0A%0Ab/events?aggregateType=A%0D", &event)
        .ok(201);
    let raw = "{\"eventType\":\"Raw\",\"eventData\":{\r\n\n\"a\":\r1}}";
    let answer = server.send(
        "POST",
        "/v1/streams/b/events?aggregateType=B",
        &[crate::support::JSON],
        raw.as_bytes(),
    );
    answer.ok(201);
    let mut tail = Tail::open(&server, "/v1/tail", &[]);
    let frame = tail.next().unwrap();
    assert_eq!(
        (&frame.data["eventType"], &frame.data["eventData"]),
        (&json!(evil), &json!("line\r\n\n: x\u{0}"))
    );
    assert_eq!(tail.next_type(), "Raw");
}

#[test]
fn a_silent_tail_was_taken_for_a_dead_one() {
    let limits = Limits::default().heartbeat(Duration::from_millis(20));
    let server = Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    );
    server.add("a", "E1");
    let mut tail = Tail::open(&server, "/v1/tail?eventType=E2", &[]);
    assert_eq!(tail.block().as_deref(), Some("retry: 1000\n\n"));
    for _ in 0..3 {
        // A client that connects again continues after what did not match.
        assert_eq!(tail.block().as_deref(), Some(": heartbeat\nid: 1\n\n"));
    }
    server.add("a", "E2");
    assert_eq!(tail.next_type(), "E2");
}

#[test]
fn a_client_that_went_away_held_its_tail() {
    let limits = Limits::default().tails(1);
    let server = Running::built(
        Server::builder(Store::in_memory()).limits(limits),
        Duration::from_secs(30),
    );
    // No event and no heartbeat comes: only the end of the connection tells.
    drop(Tail::open(&server, "/v1/tail", &[]));
    wait_for_place(&server);
}

/// Waits until the server has a place for another tail.
fn wait_for_place(server: &Running) {
    loop {
        let mut other = server.connect();
        other
            .write("GET /v1/tail?after=now HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        if other.read_head().status == 200 {
            break;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_that_stopped_reading_held_its_tail() {
    let limits = Limits::default().tails(1).write_time(Duration::from_millis(50));
    let store = Store::in_memory();
    let server = Running::built(Server::builder(store.clone()).limits(limits), Duration::from_secs(30));
    let mut tail = Tail::open(&server, "/v1/tail", &[]);
    server.get("/v1/tail").refused(503, "busy");
    // Far more than sockets hold. Writers do not wait for the reader.
    let data: Arc<str> = format!("\"{}\"", "x".repeat(1 << 19)).into();
    for _ in 0..100 {
        store
            .append(&StreamId::new("A", "a"), Expected::Any, NewEvent::new("X").data(&*data))
            .unwrap();
    }
    assert_eq!(store.visible(), Position(100));
    // Its place is free once the server has given it up.
    wait_for_place(&server);
    // What the reader still gets ends before the last event.
    let mut taken = Vec::new();
    while tail.connection.read_some(&mut taken) {}
    assert!(taken.len() < 100 << 19, "{}", taken.len());
}
