//! Appends that several threads make with the same ids: one of them stores, whatever else goes on.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::testing::storage::MemoryStorage;
use annals::{
    Append, Appended, Condition, Durability, Expected, NewEvent, Position, Query, Result, Settings, Store, Version,
};
use uuid::Uuid;

use crate::support::{fill, stream};

const THREADS: u64 = 4;
const ROUNDS: u64 = 60;

/// The same events each time: three for a long stream, where the index of ids decides, or one for a short one.
fn events(round: u64) -> Vec<NewEvent<'static>> {
    let count = if round.is_multiple_of(3) { 1 } else { 3 };
    let id = |number: u64| Uuid::from_u128(u128::from(round * 10 + number));
    (1..=count)
        .map(|number| NewEvent::new("Placed").id(id(number)))
        .collect()
}

fn append(store: &Store, thread: u64, round: u64) -> Result<Appended> {
    let to = stream(if round.is_multiple_of(2) { "long" } else { "short" });
    let part = Append::new(to.clone(), Expected::Any, events(round));
    match (thread + round) % 3 {
        0 => store.append(&to, Expected::Any, events(round)),
        1 => Ok(store.append_all(vec![part])?[0]),
        _ => {
            let never = Query::all().event_type("Cancelled").correlation("order-7");
            Ok(store.append_if(&Condition::none_after(never, Position(0)), vec![part])?[0])
        }
    }
}

fn open(visible_when: Durability) -> Store {
    let settings = Settings::default().durability(visible_when);
    let storage = MemoryStorage::new(Durability::Synced);
    let builder = Store::builder().settings(settings);
    builder
        .journal(storage.journal().expect("a journal"))
        .open()
        .expect("a store")
}

/// What others do meanwhile: each takes locks that appends take, in an order of its own.
fn disturb(store: &Store, number: u64, ends: &AtomicBool) {
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        count += 1;
        match number {
            0 => drop(store.event(Uuid::from_u128(u128::from(count % (ROUNDS * 10))))),
            1 => drop(store.compact()),
            2 => drop(append(&store.fork(), count, count % ROUNDS)),
            _ => {
                let other = stream("other");
                store
                    .append(&other, Expected::Any, vec![NewEvent::new("Noted")])
                    .expect("appended");
                store.truncate_before("other", Version(count)).expect("truncated");
            }
        }
    }
}

#[test]
fn several_threads_stored_one_append() {
    for visible_when in [Durability::Volatile, Durability::Written, Durability::Synced] {
        let store = open(visible_when);
        fill(&store, "long", 100);
        let (ends, barrier) = (AtomicBool::new(false), Barrier::new(4));
        let round = |thread: u64, number: u64| {
            barrier.wait();
            append(&store, thread, number).expect("appended")
        };
        let run = |thread: u64| (0..ROUNDS).map(|number| round(thread, number)).collect::<Vec<_>>();
        let run = &run;
        let stored = std::thread::scope(|scope| {
            for number in 0..4 {
                let (store, ends) = (&store, &ends);
                scope.spawn(move || disturb(store, number, ends));
            }
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
            let stored: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ends.store(true, Ordering::Relaxed);
            stored
        });
        let stored: Vec<_> = stored.into_iter().map(|run| run.expect("no panic")).collect();
        for round in 0..ROUNDS as usize {
            let of_round: Vec<_> = stored.iter().map(|run| run[round]).collect();
            let first = of_round.iter().filter(|appended| !appended.repeated).count();
            assert_eq!(first, 1, "round {round}, visible when {visible_when:?}: {of_round:?}");
            let is_same = |appended: &Appended| appended.first_position == of_round[0].first_position;
            assert!(of_round.iter().all(is_same), "round {round}: {of_round:?}");
        }
        store.close().expect("closed");
    }
}

#[test]
fn an_event_was_not_found_by_its_id_while_the_store_was_compacted() {
    let store = Store::in_memory();
    let id = |number: u64| Uuid::from_u128(u128::from(number));
    let all: Vec<_> = (1..=20).map(|number| NewEvent::new("Noted").id(id(number))).collect();
    store.append(&stream("a"), Expected::Any, all).expect("appended");
    let ends = AtomicBool::new(false);
    let look = || {
        let mut missed = 0;
        let mut number = 0;
        while !ends.load(Ordering::Relaxed) {
            number += 1;
            missed += u64::from(store.event(id(number % 20 + 1)).is_none());
        }
        missed
    };
    let missed: u64 = std::thread::scope(|scope| {
        let threads = [scope.spawn(look), scope.spawn(look)];
        for _ in 0..100_000 {
            store.compact();
        }
        ends.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().expect("no panic")).iter().sum()
    });
    assert_eq!(missed, 0, "events that are there");
}
