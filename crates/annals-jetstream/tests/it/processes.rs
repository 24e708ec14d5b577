//! Processes that append to one stream, one of which is killed.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use annals::{Append, Error, Expected, NewEvent, Store};
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
        append(&store, count, ids);
        for id in ids {
            writeln!(out, "acknowledged {id}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// Appends a pair of events: to one aggregate, and every third time to two of them.
fn append(store: &Store, count: u128, ids: [Uuid; 2]) {
    let streams = [count % 5, (count + 1) % 5].map(|number| order(&format!("order-{number}")));
    let events = ids.map(|id| NewEvent::new("Placed").id(id));
    let parts = if count.is_multiple_of(3) {
        let parts = streams.iter().zip(events);
        parts
            .map(|(stream, event)| Append::new(stream, Expected::Any, event))
            .collect()
    } else {
        vec![Append::new(&streams[0], Expected::Any, events)]
    };
    loop {
        match store.append_all(&parts) {
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

/// Checks that the stores are equal and have all acknowledged events, none of them twice, and both events of each append.
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
    }
    let pairs: Vec<_> = events.iter().map(|event| event.id().as_u128()).collect();
    let are_whole = pairs
        .chunks(2)
        .all(|pair| pair[0] % 2 == 0 && pair.get(1) == Some(&(pair[0] + 1)));
    assert!(are_whole, "a part of an append was stored");
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
