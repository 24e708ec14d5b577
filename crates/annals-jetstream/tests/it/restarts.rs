//! A server that is killed and started again while stores append.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals::{Error, Expected, NewEvent, Store};
use uuid::Uuid;

use crate::process::{Process, find, spawn};
use crate::{PROGRAM, arguments, open, order};

const APPENDS: u128 = 100;
const WRITERS: usize = 4;

/// Ends the server without a warning, and starts it with the same files.
fn kill_and_start(server: &mut Process) {
    // The guard kills it by SIGKILL once its own input ends.
    drop(server.guard.stdin.take());
    server.guard.wait().unwrap();
    let arguments = arguments(&server.port.number.to_string(), &server.folder.to_string_lossy());
    server.guard = spawn(&find(PROGRAM).unwrap(), &arguments, &server.folder);
    server.wait();
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
    let mut server = Process::start(PROGRAM, arguments);
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
            kill_and_start(&mut server);
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
