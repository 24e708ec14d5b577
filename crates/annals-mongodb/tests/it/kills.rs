//! Kills under load: of the server, and of the process that writes.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use annals::{Append, Error, Expected, NewEvent, Store};
use uuid::Uuid;

use crate::process::{Process, spawn};
use crate::{LEASE, arguments, emulator, new_url, open, order, program};

const URL: &str = "ANNALS_TEST_MONGODB_WRITER_URL";
/// The number of the first event of a process.
const FIRST: &str = "ANNALS_TEST_MONGODB_WRITER_FIRST";
/// Acknowledgements before each kill.
const ACKNOWLEDGED: usize = 40;

fn rounds() -> usize {
    std::env::var("ANNALS_KILLS").map_or(2, |rounds| rounds.parse().expect("ANNALS_KILLS is a number"))
}

/// A process that appends pairs of events until it is killed, and prints the ids once they are acknowledged.
#[test]
fn writer() {
    let (Ok(url), Ok(first)) = (std::env::var(URL), std::env::var(FIRST)) else {
        return;
    };
    let store = open(&url);
    let mut out = std::io::stdout().lock();
    for number in (first.parse::<u128>().unwrap()..).step_by(2) {
        let ids = [number, number + 1].map(Uuid::from_u128);
        append(&store, ids);
        writeln!(out, "acknowledged {}\nacknowledged {}", ids[0], ids[1]).unwrap();
        out.flush().unwrap();
    }
}

/// Appends a pair of events: one each to two aggregates.
fn append(store: &Store, ids: [Uuid; 2]) {
    let streams = ids.map(|id| order(&format!("order-{}", id.as_u128() % 6)));
    let parts: Vec<_> = streams
        .iter()
        .zip(ids)
        .map(|(stream, id)| Append::new(stream, Expected::Any, NewEvent::new("Placed").id(id)))
        .collect();
    loop {
        match store.append_all(&parts) {
            Ok(_) => return,
            Err(Error::Unavailable { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn start(url: &str, first: u128) -> (Child, impl Iterator<Item = Uuid>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::writer", "--nocapture", "--test-threads=1"])
        .env(URL, url)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let acknowledged = acknowledged(child.stdout.take().unwrap());
    (child, acknowledged)
}

fn acknowledged(out: ChildStdout) -> impl Iterator<Item = Uuid> {
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    lines.filter_map(|line| Uuid::parse_str(line.split_once("acknowledged ")?.1).ok())
}

/// Waits for events of the writer.
fn acknowledge(acknowledged: &mut impl Iterator<Item = Uuid>, ids: &mut HashSet<Uuid>) {
    let before = ids.len();
    ids.extend(acknowledged.take(ACKNOWLEDGED));
    assert_eq!(ids.len(), before + ACKNOWLEDGED, "the writer has ended");
}

/// A writer that has ended by itself has failed.
fn kill(child: &mut Child) {
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Checks that all acknowledged events are there, none twice, in whole pairs, and without a hole in the versions.
fn check(url: &str, acknowledged: &HashSet<Uuid>) {
    let store = open(url);
    let events = store.read_all().events();
    let ids: HashSet<_> = events.iter().map(|event| event.id()).collect();
    assert_eq!(ids.len(), events.len(), "an event is there twice");
    assert_eq!(acknowledged.difference(&ids).count(), 0, "acknowledged events are lost");
    let numbers: Vec<_> = events.iter().map(|event| event.id().as_u128()).collect();
    let are_whole = numbers
        .chunks(2)
        .all(|pair| pair[0] % 2 == 0 && pair.get(1) == Some(&(pair[0] + 1)));
    assert!(are_whole, "a part of an append was stored");
    for number in 0..6 {
        let stream = store.read_stream(&format!("order-{number}")).events();
        assert!(stream.iter().map(|event| event.version().0).eq(1..=stream.len() as u64));
    }
    store.close().unwrap();
}

#[test]
fn an_acknowledged_event_was_lost_or_doubled_when_the_writer_was_killed() {
    let (url, mut ids) = (new_url(), HashSet::new());
    for round in 0..rounds() {
        let (mut child, acknowledged) = start(&url, round as u128 * 1_000_000);
        let mut acknowledged = acknowledged;
        acknowledge(&mut acknowledged, &mut ids);
        kill(&mut child);
        ids.extend(acknowledged);
        check(&url, &ids);
    }
}

#[test]
fn an_acknowledged_event_was_lost_or_doubled_when_the_server_was_killed() {
    let mut server = emulator();
    let url = format!("{}/orders?{LEASE}", server.url("mongodb"));
    let mut ids = HashSet::new();
    let (mut child, mut acknowledged) = start(&url, 0);
    for _ in 0..rounds() {
        acknowledge(&mut acknowledged, &mut ids);
        restart(&mut server);
    }
    acknowledge(&mut acknowledged, &mut ids);
    kill(&mut child);
    ids.extend(acknowledged);
    check(&url, &ids);
}

/// Ends the server by SIGKILL, and starts it with the same files.
fn restart(server: &mut Process) {
    drop(server.guard.stdin.take());
    server.guard.wait().unwrap();
    std::fs::remove_file(server.folder.join("server.pid")).ok();
    let arguments = arguments(&server.port.number.to_string(), &server.folder.to_string_lossy());
    server.guard = spawn(&program(), &arguments, &server.folder);
    server.wait();
}
