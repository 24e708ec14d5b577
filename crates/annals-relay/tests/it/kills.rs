//! A server that is killed and started again while a relay publishes to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{Position, Store};
use annals_relay::Relay;

use crate::process::{Process, spawn};
use crate::support::{append_to, published, status_where};

/// Events that are delivered between two kills, at least.
const BETWEEN: u64 = 200;
const AGGREGATES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// How often a server is killed.
pub(crate) fn kills() -> usize {
    let kills = std::env::var("ANNALS_KILLS").ok();
    kills.map_or(2, |kills| kills.parse().expect("ANNALS_KILLS is a number"))
}

/// Ends the server without a warning.
pub(crate) fn kill(server: &mut Process) {
    // The guard kills it by SIGKILL once its own input ends.
    drop(server.guard.stdin.take());
    server.guard.wait().unwrap();
}

/// Starts it with the same files.
pub(crate) fn restart(server: &mut Process, program: &Path, arguments: &[String]) {
    server.guard = spawn(program, arguments, &server.folder);
    server.wait();
}

/// Appends to several aggregates of two types while the server is killed, and waits until all is published. Returns the number of events of each aggregate.
pub(crate) fn under_load(store: &Store, relay: &Relay, mut round: impl FnMut(usize)) -> BTreeMap<String, u64> {
    let is_over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let appender = scope.spawn(|| append_until(store, relay, &is_over));
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..kills() {
                let before = relay.status().counts.delivered;
                status_where(relay, "nothing is delivered", |status| {
                    status.counts.delivered >= before + BETWEEN
                });
                round(number);
            }
        }));
        is_over.store(true, Ordering::SeqCst);
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        appender.join().unwrap()
    });
    published(relay, Position(store.visible().0));
    assert_eq!(relay.letters(), []);
    counts
}

fn append_until(store: &Store, relay: &Relay, is_over: &AtomicBool) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut number = 0;
    while !is_over.load(Ordering::SeqCst) {
        if number % 50 == 0 {
            // Some events wait at any time, and not ever more of them.
            while relay.status().group.lag_events > 1_000 && !is_over.load(Ordering::SeqCst) {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
        }
        let aggregate = AGGREGATES[number % AGGREGATES.len()];
        let count = counts.entry(aggregate.to_owned()).or_insert(0);
        *count += 1;
        append_to(store, type_of(aggregate), aggregate, &format!("{{\"number\":{count}}}"));
        number += 1;
    }
    counts
}

/// The aggregate type of an aggregate.
pub(crate) fn type_of(aggregate: &str) -> &'static str {
    if aggregate < "c" { "Complaint" } else { "Audit" }
}

/// Checks that each aggregate's events have arrived, in order. Returns how many came again.
pub(crate) fn check(arrived: &[(String, u64)], counts: &BTreeMap<String, u64>) -> usize {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut repeated = 0;
    for (aggregate, version) in arrived {
        let last = last.entry(aggregate).or_default();
        if *version <= *last {
            repeated += 1;
        } else {
            assert_eq!(
                *version,
                *last + 1,
                "an event of '{aggregate}' is lost, or was overtaken"
            );
            *last = *version;
        }
    }
    let expected: BTreeMap<&str, u64> = counts.iter().map(|(id, count)| (id.as_str(), *count)).collect();
    assert_eq!(last, expected);
    repeated
}

/// The aggregate and the version of an event in the envelope of JSON.
pub(crate) fn of_json(body: &[u8]) -> (String, u64) {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    (
        json["aggregateId"].as_str().unwrap().to_owned(),
        json["version"].as_u64().unwrap(),
    )
}
