//! A server that is killed and started again while stores append.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals::journal::JournalErrorKind;
use annals::{Error, Expected, NewEvent, Store};
use uuid::Uuid;

use crate::process::{Process, spawn};
use crate::{arguments, open, order, program};

const APPENDS: u128 = 100;
const WRITERS: usize = 4;

/// Ends the server without a warning.
fn stop(server: &mut Process) {
    // The guard kills it by SIGKILL once its own input ends.
    drop(server.guard.stdin.take());
    server.guard.wait().unwrap();
}

/// Starts it with the same files.
fn start(server: &mut Process) {
    let arguments = arguments(&server.port.number.to_string(), &server.folder.to_string_lossy());
    server.guard = spawn(&program(), &arguments, &server.folder);
    server.wait();
}

/// What the server has of a stream is put back to an earlier state while it is down.
#[test]
fn a_server_that_had_lost_messages_was_followed() {
    let mut server = Process::start_at(&program(), arguments);
    let store = open(&format!("{}/orders", server.url("nats")));
    let append = || store.append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")]);
    append().unwrap();
    stop(&mut server);
    let (now, kept) = (server.folder.join("jetstream"), server.folder.join("kept"));
    copy(&now, &kept);
    start(&mut server);
    while append().is_err() {}
    stop(&mut server);
    std::fs::remove_dir_all(&now).unwrap();
    std::fs::rename(&kept, &now).unwrap();
    start(&mut server);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let is_corrupt =
        |error: Option<annals::JournalError>| error.is_some_and(|error| error.kind() == JournalErrorKind::Corrupt);
    while !is_corrupt(store.fault()) {
        assert!(std::time::Instant::now() < deadline, "{:?}", store.fault());
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    assert!(matches!(append(), Err(Error::Corrupt { .. } | Error::Closed)));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Appends with ids of its own, again while the server is away, and counts what is acknowledged.
fn append_all(store: &Store, writer: u128, acknowledged: &AtomicUsize) {
    for count in 0..APPENDS {
        let event = NewEvent::new("Placed").id(Uuid::from_u128(1 + writer * APPENDS + count));
        let stream = order(&format!("order-{}", writer % 2));
        while let Err(error) = store.append(&stream, Expected::Any, std::slice::from_ref(&event)) {
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_acknowledged_event_was_lost_or_doubled_when_the_server_was_killed() {
    let mut server = Process::start_at(&program(), arguments);
    let url = format!("{}/orders", server.url("nats"));
    let stores = [open(&url), open(&url)];
    let acknowledged = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, acknowledged) = (&stores[writer % 2], &acknowledged);
            scope.spawn(move || append_all(store, writer as u128, acknowledged));
        }
        for kill in 1..=2 {
            while acknowledged.load(Ordering::SeqCst) < kill * 100 {
                std::thread::yield_now();
            }
            stop(&mut server);
            start(&mut server);
        }
    });
    let events = open(&url).read_all().events();
    let ids: HashSet<_> = events.iter().map(|event| event.id()).collect();
    assert_eq!((events.len(), ids.len()), (400, 400));
    for store in &stores {
        store.wait_visible(events[399].position());
        assert_eq!(store.read_all().events(), events);
    }
}
