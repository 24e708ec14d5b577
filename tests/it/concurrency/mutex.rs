//! Conditions as locks: an append on condition takes one, and dropping its event gives it back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals::{Append, Condition, Expected, NewEvent, Position, Query, Store, StreamLimits, Version};

use super::run_on;
use crate::support::{fill, found, noted, stream};

/// How a lock is given back: whose event it is, and the version of the event.
type DropEvents = fn(&Store, &str, Version);

fn drop_by_deleting(store: &Store, id: &str, _: Version) {
    store.delete(id, Expected::Any).expect("it exists");
}

fn drop_by_truncating(store: &Store, id: &str, version: Version) {
    store.truncate_before(id, Version(version.0 + 1)).expect("it exists");
}

fn drop_by_limiting(store: &Store, id: &str, _: Version) {
    let none = StreamLimits::default().max_count(0);
    store.set_limits(id, none).expect("it exists");
    store.set_limits(id, StreamLimits::default()).expect("it exists");
}

const WAYS: [DropEvents; 3] = [drop_by_deleting, drop_by_truncating, drop_by_limiting];

/// Takes the lock, looks whether another thread holds it, and gives it back.
fn hold(store: &Store, query: &Query, id: &str, drop_events: DropEvents, held: &AtomicBool) -> bool {
    let event = NewEvent::new("Locked").tag("mutex").user("mutex");
    let append = Append::new(stream(id), Expected::Any, vec![event]);
    let taken = match store.append_if(&Condition::none(query.clone()), vec![append]) {
        Ok(taken) => taken,
        Err(error) => {
            assert!(error.conflict().is_some(), "{error}");
            return false;
        }
    };
    assert!(!held.swap(true, Ordering::SeqCst), "two threads hold {query:?}");
    assert_eq!(found(store, query.clone()), [taken[0].last_position.0], "{query:?}");
    assert!(held.swap(false, Ordering::SeqCst));
    drop_events(store, id, taken[0].last_version);
    true
}

/// What goes on beside: churn that no condition matches, compactions, and forks that decide alone.
fn disturb(store: &Store, round: u64, query: &Query) {
    let id = format!("churn-{round}");
    fill(store, &id, if round.is_multiple_of(16) { 2_500 } else { 3 });
    match round % 4 {
        0 => _ = store.compact(),
        1 => decide_in_fork(&store.fork(), query),
        2 => _ = store.truncate_before(&id, Version(2)).expect("it exists"),
        _ => _ = store.delete(&id, Expected::Any).expect("it exists"),
    }
}

fn decide_in_fork(fork: &Store, query: &Query) {
    let is_held = !found(fork, query.clone()).is_empty();
    let append = || {
        vec![Append::new(
            stream("mutex"),
            Expected::Any,
            vec![noted(1).tag("mutex").user("mutex")],
        )]
    };
    let condition = Condition::none(query.clone());
    assert_eq!(fork.append_if(&condition, append()).is_err(), is_held, "{query:?}");
    assert!(fork.append_if(&condition, append()).is_err(), "{query:?}");
    assert_eq!(found(fork, query.clone()).len(), 1);
}

#[test]
fn a_condition_is_a_mutex_beside_deletions_forks_and_compactions() {
    let queries = [
        Query::all().tag("mutex"),
        Query::all().aggregate("mutex"),
        Query::all().tag("mutex").user("mutex"),
    ];
    for (number, query) in queries.into_iter().enumerate() {
        let store = Store::in_memory();
        let (held, wins) = (AtomicBool::new(false), AtomicU64::new(0));
        run_on(
            8,
            &store,
            |worker| {
                let own = format!("mutex-{worker}");
                // Between two limits of an aggregate that all write to, an event is dropped as it comes.
                let (id, ways) = if number == 1 {
                    ("mutex", &WAYS[..2])
                } else {
                    (&*own, &WAYS[..])
                };
                let mut turn = 0;
                while turn < 25 {
                    if hold(&store, &query, id, ways[turn % ways.len()], &held) {
                        turn += 1;
                        wins.fetch_add(1, Ordering::Relaxed);
                    } else {
                        fill(&store, &format!("other-{worker}"), 1);
                    }
                }
            },
            |round| disturb(&store, round, &query),
        );
        assert_eq!(wins.load(Ordering::Relaxed), 8 * 25, "{query:?}");
        assert_eq!(found(&store, query), [0_u64; 0]);
    }
}

#[test]
fn odd_positions_and_names_are_no_panic_of_a_condition() {
    let store = Store::in_memory();
    fill(&store, "a", 5_000);
    let long = "x".repeat(100_000);
    for after in [0, 1, 4_999, 5_000, 5_001, 1 << 50, u64::MAX - 1, u64::MAX] {
        for until in [0, 1, 5_000, u64::MAX] {
            for query in [
                Query::all(),
                Query::all().aggregate("a"),
                Query::all().aggregates(["", &long, "$a", "a", "a"]),
                Query::all().aggregates([""; 0]),
                Query::all().event_type("Noted"),
                Query::all().tag("").user(long.as_str()),
                Query::all().include_system().aggregate("a"),
            ] {
                let query = query.until(Position(until)).after(Position(1));
                let matches = found(&store, query.clone())
                    .into_iter()
                    .any(|position| position > after);
                let condition = Condition::none_after(query.clone(), Position(after));
                let nothing: Vec<Append<'_>> = vec![Append::new(stream("b"), Expected::Any, vec![])];
                for appends in [vec![], nothing] {
                    assert_eq!(store.append_if(&condition, appends).is_err(), matches, "{condition:?}");
                }
            }
        }
    }
    assert_eq!(store.stats().aggregates, 1);
}
