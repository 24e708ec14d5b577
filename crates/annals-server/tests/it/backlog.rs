//! A journal that stands still: writers are told to come again, and readers do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::journal::{Batch, Compactor, Journal, JournalError, Recover, Recovered};
use annals::{Durability, FlushSettings, Settings, Store};
use annals_server::{Limits, Server};
use serde_json::json;

use crate::support::{JSON, Running};

/// Keeps nothing, and takes no batch until it is released.
#[derive(Debug)]
struct Standstill(Arc<AtomicBool>);

impl Journal for Standstill {
    fn durability(&self) -> Durability {
        Durability::Written
    }

    fn recover(&mut self, _: &mut dyn Recover) -> Result<Recovered, JournalError> {
        Ok(Recovered::new(0, 0))
    }

    fn write(&mut self, _: &Batch) -> Result<(), JournalError> {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}

fn stands_still(limits: Limits) -> (Running, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let flush = FlushSettings::default().backlog_bytes(1_000);
    let settings = Settings::default().flush(flush);
    let journal = Standstill(Arc::clone(&released));
    let store = Store::builder().settings(settings).journal(journal).open().unwrap();
    let builder = Server::builder(store).limits(limits);
    (Running::built(builder, Duration::from_secs(30)), released)
}

/// Appends until there is no room.
fn fill(server: &Running) {
    let event = json!({ "eventType": "X", "eventData": "x".repeat(400) });
    let full = (0..100).find_map(|_| {
        let answer = server.post("/v1/streams/a/events?aggregateType=A", &event);
        (answer.status != 201).then_some(answer)
    });
    let full = full.unwrap();
    full.refused(429, "backlog-full");
    assert_eq!(full.header("retry-after"), Some("1"));
}

#[test]
fn writers_that_wait_for_the_journal_held_up_readers() {
    let limits = Limits::default()
        .workers(1)
        .writers(2)
        .worker_wait(Duration::from_secs(20));
    let (server, released) = stands_still(limits);
    fill(&server);
    let body = json!({ "appends": [{ "aggregateId": "b", "aggregateType": "B", "events": [{ "eventType": "Y" }] }] })
        .to_string();
    let head = format!(
        "POST /v1/appends HTTP/1.1\r\nHost: localhost\r\n{}: {}\r\nContent-Length: {}\r\n\r\n",
        JSON.0,
        JSON.1,
        body.len()
    );
    let mut waiting: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for connection in &mut waiting {
        connection.write(&head).unwrap();
        connection.write(&body).unwrap();
    }
    for _ in 0..20 {
        let count = server.get("/v1/count").ok(200)["count"].as_u64().unwrap();
        assert!(count < 100);
        server.get("/v1/statistics").ok(200);
    }
    released.store(true, Ordering::SeqCst);
    for connection in &mut waiting {
        connection.read(false).ok(201);
    }
    assert_eq!(server.get("/v1/count?aggregate=b").ok(200)["count"], 4);
}

#[test]
fn an_append_that_is_stored_was_reported_as_lost() {
    let limits = Limits::default().wait(Duration::from_millis(20));
    let (server, released) = stands_still(limits);
    let target = "/v1/streams/a/events?aggregateType=A&durability=written";
    let late = server
        .post(target, &json!({ "eventType": "X" }))
        .refused(504, "not-durable-yet");
    assert_eq!(late["appended"]["lastPosition"], 1);
    assert_eq!(server.get("/v1/streams/a").ok(200)["version"], 1);
    released.store(true, Ordering::SeqCst);
}

#[cfg(feature = "client")]
#[test]
fn a_client_that_waits_for_room_lost_its_append() {
    use annals::{Expected, NewEvent, StreamId};

    let (server, released) = stands_still(Limits::default());
    fill(&server);
    let stream = StreamId::new("A", "a");
    let event = [NewEvent::new("X").data(format!("\"{}\"", "x".repeat(400)))];
    let full = crate::remote::client_of(&server).append(&stream, Expected::Any, &event);
    let is_full = |result: &Result<_, _>| {
        matches!(
            result,
            Err(annals_server::ClientError::Store(annals::Error::Backlog { .. }))
        )
    };
    assert!(is_full(&full), "{full:?}");
    let impatient = crate::remote::client_of(&server).wait_for_room(|_, _| false);
    assert!(is_full(&impatient.append(&stream, Expected::Any, &event)));
    let waits = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&waits);
    let client = crate::remote::client_of(&server).wait_for_room(move |after, _| {
        seen.store(after == Duration::from_secs(1), Ordering::SeqCst);
        released.store(true, Ordering::SeqCst);
        true
    });
    let appended = client.append(&stream, Expected::Any, &event).unwrap();
    assert!(!appended.repeated && waits.load(Ordering::SeqCst));
}
