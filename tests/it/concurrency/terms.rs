//! The terms of the index beside everything that renumbers what they are made from.

use std::collections::BTreeMap;

use annals::{Expected, NewEvent, Query, Store, Version};

use super::run_on;
use crate::support::{found, keeping, stream};

/// A query for one value of a field.
type ByValue = fn(&str) -> Query;

const FIELDS: [(&str, ByValue); 5] = [
    ("user", |value| Query::all().user(value)),
    ("correlation", |value| Query::all().correlation(value)),
    ("organization", |value| Query::all().organization(value)),
    ("tag", |value| Query::all().tag(value)),
    ("type", |value| Query::all().event_type(value)),
];

/// The positions of each value of each field, by looking at all events.
fn by_looking(store: &Store) -> BTreeMap<(&'static str, String), Vec<u64>> {
    let mut terms: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for event in store.read_all().events() {
        let names = [
            ("user", event.user_id()),
            ("correlation", event.correlation_id()),
            ("organization", event.organization_id()),
            ("type", Some(event.event_type())),
        ];
        let tags = event.tags().map(|tag| ("tag", tag.to_owned()));
        let single = names
            .into_iter()
            .filter_map(|(field, name)| Some((field, name?.to_owned())));
        for term in single.chain(tags) {
            let positions = terms.entry(term).or_default();
            if positions.last() != Some(&event.position().0) {
                positions.push(event.position().0);
            }
        }
    }
    terms
}

/// Checks the index of a store that no thread writes to.
fn check(store: &Store) {
    let terms = by_looking(store);
    for ((field, value), positions) in &terms {
        let query = FIELDS
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, query)| query(value));
        assert_eq!(&found(store, query.expect("a field")), positions, "{field} {value}");
    }
    for number in 0..40 {
        for (field, query) in FIELDS {
            let value = format!("n{number}");
            let want = terms.get(&(field, value.clone())).cloned().unwrap_or_default();
            assert_eq!(found(store, query(&value)), want, "{field} {value}");
        }
    }
}

/// An event whose names are texts of other fields of other events, of tags and of aggregates too.
fn event(number: u64) -> NewEvent<'static> {
    let name = |salt: u64| format!("n{}", number.wrapping_mul(salt) % 37);
    let mut event = NewEvent::new(name(3))
        .user(name(5))
        .tag(name(7))
        .tag(name(11))
        .tag(name(7));
    if !number.is_multiple_of(3) {
        event = event.correlation(name(13));
    }
    if number.is_multiple_of(2) {
        event = event.organization(if number.is_multiple_of(10) {
            format!("once-{number}")
        } else {
            name(17)
        });
    }
    event
}

fn work(store: &Store, worker: u64) {
    for round in 0..120 {
        let number = worker * 1_000 + round;
        let id = format!("n{}", number % 50);
        let count = match round % 40 {
            7 => 2_500,
            11 => 2_048,
            _ => 10,
        };
        let events: Vec<_> = (0..count).map(|place| event(number * 31 + place)).collect();
        store
            .append(&stream(&id), Expected::Any, events)
            .expect("anything goes");
        match round % 7 {
            2 => _ = store.delete(&id, Expected::Any).ok(),
            4 => _ = store.truncate_before(&id, Version(5)).ok(),
            _ => {}
        }
    }
}

fn disturb(store: &Store, round: u64) {
    match round % 3 {
        0 => _ = store.compact(),
        1 => {
            let fork = store.fork();
            check(&fork);
            work(&fork, round);
            let second = fork.fork();
            fork.compact();
            check(&fork);
            work(&second, round + 1);
            let third = second.fork();
            second.compact();
            for store in [&second, &third, &fork] {
                check(store);
            }
        }
        _ => _ = found(store, Query::all().tag("n1").user("n2")),
    }
}

#[test]
fn terms_are_those_of_the_events_beside_compactions_forks_and_deletions() {
    let store = Store::in_memory();
    run_on(6, &store, |worker| work(&store, worker), |round| disturb(&store, round));
    check(&store);
    store.compact();
    check(&store);
}

#[test]
fn terms_are_those_of_the_events_beside_a_budget() {
    let store = keeping(5_000);
    run_on(6, &store, |worker| work(&store, worker), |round| disturb(&store, round));
    check(&store);
    let fork = store.fork();
    work(&fork, 9);
    check(&fork);
}
