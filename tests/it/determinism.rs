//! Histories that are the same every time, and forks that go their own way.

use std::sync::Arc;
use std::time::Duration;

use annals::{Clock, Event, Expected, Field, ManualClock, NewEvent, Query, SeededIds, Store, Version};

use crate::support::{START, drain, fill, found, noted, numbers, positions, stream};

fn seeded(seed: u64) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START));
    let store = Store::builder()
        .clock(Arc::<ManualClock>::clone(&clock))
        .ids(Arc::new(SeededIds::new(seed)))
        .open()
        .expect("the settings are in range");
    (store, clock)
}

/// A history of appends, changes and time.
fn live(store: &Store, clock: &ManualClock, rounds: u64) {
    for round in 0..rounds {
        clock.advance(Duration::from_millis(250));
        let id = format!("a{}", round % 5);
        fill(store, &id, round % 3 + 1);
        if round % 7 == 6 {
            store.truncate_before(&id, Version(2)).expect("it exists");
        }
    }
}

fn history(store: &Store) -> Vec<Event> {
    store.read_all().include_system().events()
}

#[test]
fn one_seed_is_one_history() {
    let histories: Vec<_> = (0..3)
        .map(|_| {
            let (store, clock) = seeded(7);
            live(&store, &clock, 100);
            history(&store)
        })
        .collect();
    assert!(histories[0].len() > 100);
    assert_eq!(histories[0], histories[1]);
    assert_eq!(histories[0], histories[2]);
    let ids: std::collections::HashSet<_> = histories[0].iter().map(Event::id).collect();
    assert_eq!(ids.len(), histories[0].len());
}

#[test]
fn another_seed_is_another_history() {
    let of = |seed| {
        let (store, clock) = seeded(seed);
        live(&store, &clock, 20);
        history(&store)
    };
    let (one, other) = (of(7), of(8));
    assert_eq!(positions(&one), positions(&other));
    assert!(one.iter().zip(&other).all(|(one, other)| one.id() != other.id()));
}

#[test]
fn forks_continue_the_seed_alike() {
    let (template, clock) = seeded(7);
    live(&template, &clock, 30);
    let continued = |store: &Store| {
        fill(store, "b", 10);
        history(store)
    };
    let (one, other) = (continued(&template.fork()), continued(&template.fork()));
    assert_eq!(one, other);
    // The template has not moved, and goes on the same way.
    assert_eq!(continued(&template), one);
}

#[test]
fn a_fork_has_a_time_of_its_own() {
    let (template, clock) = seeded(7);
    let fork = template.fork();
    clock.advance(Duration::from_secs(60));
    fill(&template, "a", 1);
    fill(&fork, "a", 1);
    let recorded = |store: &Store| store.read_stream("a").events()[0].recorded_at();
    assert_eq!(recorded(&template), START.after(Duration::from_secs(60)));
    assert_eq!(recorded(&fork), START);
    let own = Arc::new(ManualClock::at(START));
    let other = template.fork_with_clock(Arc::<ManualClock>::clone(&own));
    own.advance(Duration::from_secs(5));
    fill(&other, "b", 1);
    assert_eq!(other.read_stream("b").events()[0].recorded_at(), own.now());
}

/// 50,000 events of 100 aggregates, of which one was truncated.
fn large() -> Store {
    let (store, _) = seeded(7);
    for round in 0..500_u64 {
        let event = |number: u64| noted(number).user(format!("user-{}", number % 10));
        let id = format!("a{}", round % 100);
        store
            .append(&stream(&id), Expected::Any, (0..100).map(event).collect::<Vec<_>>())
            .expect("anything goes");
    }
    store.truncate_before("a0", Version(101)).expect("it exists");
    store
}

/// What a fork and its template can be told apart by.
type Picture = (Vec<u64>, usize, Vec<u64>, Vec<(annals::Name, u64)>, u64, usize);

fn picture(store: &Store) -> Picture {
    (
        positions(&history(store)),
        numbers(store, "a7").len(),
        found(store, Query::all().user("user-3")),
        store.terms(&Field::EventType),
        store.stats().aggregates,
        store.gaps().len(),
    )
}

fn disturb(store: &Store) {
    fill(store, "new", 3_000);
    fill(store, "a7", 3);
    store
        .append(
            &stream("a8"),
            Expected::Any,
            vec![NewEvent::new("Disturbed").user("user-3")],
        )
        .expect("anything goes");
    store.delete("a9", Expected::Any).expect("it exists");
    store.truncate_before("a10", Version(400)).expect("it exists");
    store.tombstone("a11", Expected::Any).expect("it exists");
    store.compact();
}

#[test]
fn a_fork_and_its_template_do_not_see_each_other() {
    let template = large();
    let before = picture(&template);
    assert_eq!(before.0.len(), 50_000 - 100 + 1);
    let fork = template.fork();
    let still = template.fork();
    assert_eq!(picture(&fork), before);

    disturb(&fork);
    assert_eq!(picture(&template), before, "the fork was written to");
    assert_eq!(picture(&still), before, "another fork was written to");

    let disturbed = picture(&fork);
    disturb(&template);
    fill(&template, "a7", 1);
    assert_eq!(picture(&fork), disturbed, "the template was written to");
    assert_eq!(picture(&still), before, "the template was written to");

    drop(template);
    assert_eq!(picture(&fork), disturbed, "the template is gone");
    fill(&fork, "a7", 1);
    let grandchild = fork.fork();
    fill(&grandchild, "a7", 5);
    assert_eq!(numbers(&grandchild, "a7").len(), numbers(&fork, "a7").len() + 5);
}

#[test]
fn a_tail_follows_its_own_store() {
    let template = large();
    let fork = template.fork();
    let end = fork.visible();
    let mut tail = fork.tail(Query::all(), end).expect("the query is valid");
    fill(&template, "a1", 5);
    assert!(tail.try_next().is_none());
    fill(&fork, "a1", 2);
    assert_eq!(drain(&mut tail), [end.0 + 1, end.0 + 2]);
    template.close().expect("closed");
    assert!(fork.append(&stream("a1"), Expected::Any, vec![noted(1)]).is_ok());
}
