//! Servers for tests.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::Store;
use annals_server::{Builder, Report, Server, Stop, stop_signal};
use serde_json::{Value, json};

use crate::client::{Answer, Connection};

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

/// How long requests may take when a server stops.
const GRACE: Duration = Duration::from_secs(30);

/// A server on a port of its own, which stops with the test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Report>>,
}

impl Running {
    /// A server of an empty store in memory.
    pub(crate) fn new() -> Self {
        Self::of(Store::in_memory())
    }

    /// A server with the test API.
    pub(crate) fn for_tests() -> Self {
        Self::built(Server::builder(Store::in_memory()).test_api(), GRACE)
    }

    pub(crate) fn of(store: Store) -> Self {
        Self::built(Server::builder(store), GRACE)
    }

    pub(crate) fn built(builder: Builder, grace: Duration) -> Self {
        let server = builder.build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = stop_signal();
        let thread = std::thread::spawn(move || server.run(listener, stopped, grace).unwrap());
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().send(method, target, headers, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send("POST", target, &[JSON], body.to_string().as_bytes())
    }

    pub(crate) fn post_lines(&self, target: &str, body: &str) -> Answer {
        self.send("POST", target, &[NDJSON], body.as_bytes())
    }

    /// Appends an event of type `event_type` to an aggregate of type `Thing`.
    #[track_caller]
    pub(crate) fn add(&self, aggregate_id: &str, event_type: &str) -> Value {
        let target = format!("/v1/streams/{aggregate_id}/events?aggregateType=Thing");
        self.post(&target, &json!({ "eventType": event_type })).ok(201)
    }

    /// Tells the server to stop, and does not wait.
    pub(crate) fn begin_stop(&self) {
        self.stop.stop();
    }

    /// Stops the server, and waits until it has ended.
    pub(crate) fn stop(mut self) -> Report {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A test that fails has its own message.
            drop(thread.join());
        }
    }
}
