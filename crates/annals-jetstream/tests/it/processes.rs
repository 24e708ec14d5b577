//! Processes that append to one stream, one of which is killed.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use annals::{Error, Expected, NewEvent, Store};
use uuid::Uuid;

use crate::{new_url, open, order};

/// The URL that a process of [`writer`] appends to, and its number.
const URL: &str = "ANNALS_TEST_JETSTREAM_URL";
const NUMBER: &str = "ANNALS_TEST_JETSTREAM_NUMBER";
/// How often it appends.
const APPENDS: &str = "ANNALS_TEST_JETSTREAM_APPENDS";

/// A process that appends, and prints the id of each event once it is acknowledged.
#[test]
fn writer() {
    let (Ok(url), Ok(number)) = (std::env::var(URL), std::env::var(NUMBER)) else {
        return;
    };
    let (store, number) = (open(&url), number.parse::<u128>().unwrap());
    let appends: u128 = std::env::var(APPENDS).unwrap().parse().unwrap();
    let mut out = std::io::stdout().lock();
    for count in 1..=appends {
        let ids = [count * 20 + number * 2, count * 20 + number * 2 + 1].map(Uuid::from_u128);
        append(&store, &format!("order-{}", count % 5), ids);
        for id in ids {
            writeln!(out, "acknowledged {id}").unwrap();
        }
        out.flush().unwrap();
    }
}

fn append(store: &Store, id: &str, ids: [Uuid; 2]) {
    let events = ids.map(|id| NewEvent::new("Placed").id(id));
    loop {
        match store.append(&order(id), Expected::Any, &events) {
            Ok(_) => return,
            Err(Error::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn start(url: &str, number: u32, appends: u32) -> Child {
    let arguments = ["--exact", "processes::writer", "--nocapture", "--test-threads=1"];
    Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(URL, url)
        .env(NUMBER, number.to_string())
        .env(APPENDS, appends.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The ids that a process acknowledges, in their order.
pub(crate) fn acknowledged(out: ChildStdout) -> impl Iterator<Item = Uuid> {
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    lines.filter_map(|line| Uuid::parse_str(line.split_once("acknowledged ")?.1).ok())
}

/// Checks that the stores are equal and have all acknowledged events, none of them twice, and appends of two events that are whole.
pub(crate) fn check(stores: &[Store], acknowledged: &HashSet<Uuid>) {
    let events = stores[0].read_all().events();
    let last = events.last().expect("events were acknowledged").position();
    for store in &stores[1..] {
        store.wait_visible(last);
        assert_eq!(store.read_all().events(), events, "the processes differ");
    }
    let ids: HashSet<_> = events.iter().map(|event| event.id()).collect();
    assert_eq!(ids.len(), events.len(), "an event is there twice");
    let missing = acknowledged.difference(&ids).count();
    assert_eq!(missing, 0, "acknowledged events are lost");
    for number in 0..5 {
        let stream = stores[0].read_stream(&format!("order-{number}")).events();
        assert!(stream.iter().map(|event| event.version().0).eq(1..=stream.len() as u64));
        assert!(stream.len().is_multiple_of(2), "a part of an append was stored");
    }
}

#[test]
fn an_acknowledged_event_was_lost_or_doubled_when_a_writer_was_killed() {
    let url = new_url();
    let mut children = [0, 1, 2].map(|number| start(&url, number, 150));
    let outs = children.each_mut().map(|child| child.stdout.take().unwrap());
    let [first, second, third] = outs;
    let mut ids: HashSet<_> = acknowledged(first).take(60).collect();
    children[0].kill().unwrap();
    let rest = [second, third].map(|out| acknowledged(out).collect::<Vec<_>>());
    for child in &mut children {
        child.wait().unwrap();
    }
    assert_eq!((ids.len(), rest[0].len(), rest[1].len()), (60, 300, 300));
    ids.extend(rest.into_iter().flatten());
    check(&[open(&url), open(&url)], &ids);
}
