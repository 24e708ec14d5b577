//! Stores over a stream of a real server.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;
mod foreign;
mod nodes;
#[path = "../../../annals-bench/tests/servers/process.rs"]
mod process;
mod processes;
#[path = "../../../annals-bench/tests/servers/python.rs"]
mod python;
mod restarts;
mod several;
mod three_nodes;
mod tls;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::journal::{Followed, JournalError};
use annals::testing::conformance::Log;
use annals::{Error, Expected, NewEvent, Store, StoreUrl, StreamId};
use process::Process;

const PROGRAM: &str = "nats-server";

fn arguments(port: &str, folder: &str) -> Vec<String> {
    let arguments = ["-a", "127.0.0.1", "-p", port, "-js", "-sd", folder];
    arguments.map(str::to_owned).to_vec()
}

/// A current server.
fn program() -> PathBuf {
    python::program(PROGRAM)
}

/// The server of this process. It ends with it.
fn server() -> &'static str {
    static SERVER: OnceLock<(Process, String)> = OnceLock::new();
    let start = || with_url(Process::start_at(&program(), arguments));
    &SERVER.get_or_init(start).1
}

/// A server of Debian, which is older than batches and than the replicas of a store.
fn old_server() -> &'static str {
    static SERVER: OnceLock<(Process, String)> = OnceLock::new();
    let start = || with_url(Process::start(PROGRAM, arguments));
    &SERVER.get_or_init(start).1
}

fn with_url(server: Process) -> (Process, String) {
    let url = server.url("nats");
    (server, url)
}

/// A name of a stream that no other test has.
fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("stream-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The URL of a stream that no other test has.
fn new_url() -> String {
    format!("{}/{}", server(), new_name())
}

fn old_url() -> String {
    format!("{}/{}", old_server(), new_name())
}

/// A stream for the contracts.
struct Stream(String);

impl Log for Stream {
    fn connect(&self) -> Result<Followed, JournalError> {
        annals_jetstream::connect(&self.0).map_err(|error| JournalError::failed(error.to_string()))
    }
}

annals::feed_conformance!(contract, Stream(new_url()));
annals::feed_conformance!(contract_of_an_old_server, Stream(old_url()));

fn order(id: &str) -> StreamId {
    StreamId::new("Order", id)
}

fn open(url: &str) -> Store {
    annals_jetstream::open(url).expect("the stream opens")
}

#[test]
fn two_processes_that_expect_the_same_version_both_appended() {
    let url = new_url();
    let stores = [open(&url), open(&url)];
    for round in 0..20 {
        let append = |store: &Store| store.append(&order("a"), Expected::exactly(round), vec![NewEvent::new("Placed")]);
        let results = std::thread::scope(|scope| {
            let appends = stores.each_ref().map(|store| scope.spawn(move || append(store)));
            appends.map(|append| append.join().unwrap())
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}: {won:?} {lost:?}");
        assert!(matches!(lost[0], Err(Error::Conflict(_))), "{lost:?}");
    }
}

fn append_to_hot(store: &Store) {
    for _ in 0..25 {
        let event = vec![NewEvent::new("Counted")];
        store
            .append(&order("hot"), Expected::Any, event)
            .expect("any version goes");
    }
}

#[test]
fn any_version_was_a_conflict_when_another_process_was_faster() {
    let url = new_url();
    let stores = [open(&url), open(&url)];
    std::thread::scope(|scope| {
        for store in stores.iter().chain(&stores) {
            scope.spawn(|| append_to_hot(store));
        }
    });
    let events = open(&url).read_stream("hot").events();
    assert!(events.iter().map(|event| event.version().0).eq(1..=100));
}

#[test]
fn an_append_that_is_too_large_ended_the_connection() {
    let url = new_url();
    let store = open(&url);
    let large = vec![NewEvent::new("Large").data(vec![b'x'; 1 << 19]); 3];
    let error = store
        .append(&order("a"), Expected::Any, large)
        .expect_err("it is too large");
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains("max_payload"), "{error}");
    assert!(
        store
            .append(&order("a"), Expected::NoStream, vec![NewEvent::new("Small")])
            .is_ok()
    );
}

#[test]
fn a_password_was_in_the_error_of_a_server_that_is_gone() {
    let port = cluster::Port::free();
    let url = format!("nats://anna:secret@127.0.0.1:{}/orders", port.number);
    let error = annals_jetstream::open(&url).expect_err("no server listens");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
}

#[test]
fn a_url_of_nats_named_no_store() {
    annals_jetstream::register().expect("the name is free");
    annals_jetstream::register().expect("the second call does nothing");
    let url = new_url();
    let parsed: StoreUrl = url.parse().expect("the scheme is known");
    assert_eq!((parsed.exists(), parsed.to_string()), (Ok(false), url.clone()));
    let stores = [
        Store::open_url(&url).expect("a store"),
        Store::follow(&url).expect("the same"),
    ];
    for store in &stores {
        store
            .append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")])
            .expect("all append");
    }
    assert_eq!(parsed.exists(), Ok(true));
    assert_eq!(open(&url).read_stream("a").events().len(), 2);
}

#[test]
fn an_append_without_events_was_not_checked() {
    let (url, memory) = (new_url(), Store::in_memory());
    let store = open(&url);
    for store in [&store, &memory] {
        store
            .append(&order("a"), Expected::Any, vec![NewEvent::new("Placed"); 2])
            .unwrap();
    }
    let none: [NewEvent<'_>; 0] = [];
    for (id, expected) in [
        ("a", Expected::exactly(2)),
        ("a", Expected::NoStream),
        ("b", Expected::exactly(7)),
        ("b", Expected::Any),
    ] {
        let append = |store: &Store| {
            store
                .append(&order(id), expected, &none)
                .map(|done| (done.first_version, done.last_version))
        };
        assert_eq!(append(&store), append(&memory), "{id}, {expected}");
    }
}

#[test]
fn a_store_that_was_only_to_be_read_was_created() {
    annals_jetstream::register().unwrap();
    let url = new_url();
    let read = || Store::builder().read_only().open_url(&url);
    assert!(matches!(read(), Err(Error::Invalid { .. })));
    assert_eq!(url.parse::<StoreUrl>().unwrap().exists(), Ok(false));
    open(&url)
        .append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")])
        .unwrap();
    let store = read().unwrap();
    assert_eq!(store.read_stream("a").events().len(), 1);
    let refused = store.append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")]);
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
}

/// In a cluster of such servers, two appends at once to one aggregate were both taken.
#[test]
fn replicas_of_a_server_that_takes_two_appends_at_once_were_a_store() {
    let url = old_url();
    let error = annals_jetstream::open(&format!("{url}?replicas=3")).expect_err("the server is too old");
    assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains("use 2.15 or later"), "{error}");
    annals_jetstream::register().unwrap();
    assert_eq!(url.parse::<StoreUrl>().unwrap().exists(), Ok(false));
}
