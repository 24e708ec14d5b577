//! A budget of an aggregate type drops the oldest events of that type, and no other.

use std::collections::BTreeMap;

use annals::journal::file::FileJournal;
use annals::{
    Append, Budget, Builder, Error, Expected, Field, GapReason, Name, NewEvent, Query, Settings, Store, StreamId,
    StreamLimits, Version, WhenFull,
};
use proptest::prelude::*;

use crate::support::{TempFolder, events, noted};

const TYPES: [&str; 3] = ["Metric", "Order", "Session"];

fn builder(budgets: &[(&str, u64)], budget: &Budget) -> Builder {
    let aggregate_types = budgets.iter().map(|(name, max)| (Name::from(*name), *max)).collect();
    Store::builder().settings(Settings::default().budget(budget.clone().aggregate_types(aggregate_types)))
}

fn open(budgets: &[(&str, u64)]) -> Store {
    builder(budgets, &Budget::default())
        .open()
        .expect("the settings are in range")
}

/// The positions of the events of a type.
fn of_type(store: &Store, aggregate_type: &str) -> Vec<u64> {
    let query = Query::all().filter(annals::Filter::is(Field::AggregateType, aggregate_type));
    let found = store.query(query).positions().expect("the query is valid");
    found.into_iter().map(|position| position.0).collect()
}

#[test]
fn the_oldest_events_of_a_type_make_room_and_other_types_stay() {
    let store = open(&[("Metric", 3)]);
    let order = StreamId::new("Order", "order-1");
    store.append(&order, Expected::Any, events(5)).expect("there is room");
    for number in 0..4 {
        let metric = StreamId::new("Metric", format!("metric-{}", number % 2));
        store
            .append(&metric, Expected::Any, events(2))
            .expect("the oldest make room");
    }
    assert_eq!(of_type(&store, "Metric"), [11, 12, 13]);
    assert_eq!(of_type(&store, "Order").len(), 5);
    let gaps = store.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].reason.clone(), gaps[0].count), (GapReason::Budget, 5));
}

#[test]
fn a_type_whose_events_were_dropped_otherwise_is_counted_right() {
    let store = open(&[("Session", 10)]);
    let session = |number: u64| StreamId::new("Session", format!("session-{number}"));
    for number in 0..3 {
        store
            .append(&session(number), Expected::Any, events(3))
            .expect("there is room");
    }
    store.truncate_before("session-0", Version(3)).expect("it exists");
    store.delete("session-1", Expected::Any).expect("it exists");
    let limits = StreamLimits::default().max_count(1);
    store.set_limits("session-2", limits).expect("it exists");
    assert_eq!(of_type(&store, "Session").len(), 2);
    store
        .append(&session(4), Expected::Any, events(8))
        .expect("there is room");
    assert_eq!(of_type(&store, "Session").len(), 10);
    store
        .append(&session(4), Expected::Any, [noted(9)])
        .expect("the oldest make room");
    assert_eq!(of_type(&store, "Session").len(), 10);
}

#[test]
fn a_fork_has_the_budget_and_its_own_events() {
    let store = open(&[("Metric", 4)]);
    let metric = StreamId::new("Metric", "metric-1");
    store.append(&metric, Expected::Any, events(4)).expect("there is room");
    let fork = store.fork();
    fork.append(&metric, Expected::Any, events(2))
        .expect("the oldest make room");
    assert_eq!(
        (of_type(&fork, "Metric").len(), of_type(&store, "Metric").len()),
        (4, 4)
    );
    assert_eq!((of_type(&fork, "Metric")[0], of_type(&store, "Metric")[0]), (3, 1));
}

#[test]
fn a_store_that_is_opened_again_keeps_the_budget() {
    let folder = TempFolder::new();
    let metric = StreamId::new("Metric", "metric-1");
    let order = StreamId::new("Order", "order-1");
    let reopen = |max| {
        let journal = FileJournal::open(folder.path().join("store")).expect("the folder can be made");
        let builder = builder(&[("Metric", max)], &Budget::default());
        builder.journal(journal).open().expect("it opens")
    };
    let store = reopen(5);
    for _ in 0..20 {
        store
            .append(&metric, Expected::Any, events(2))
            .expect("the oldest make room");
        store.append(&order, Expected::Any, [noted(1)]).expect("there is room");
    }
    store.wait_durable(store.visible()).expect("the journal writes");
    store.close().expect("the journal writes");
    let store = reopen(3);
    assert_eq!(of_type(&store, "Metric").len(), 3);
    assert_eq!(of_type(&store, "Order").len(), 20);
    let info = store.stream_info("metric-1").expect("it exists");
    assert_eq!((info.version, info.events), (Version(40), 3));
}

#[test]
fn a_budget_of_system_events_is_refused() {
    for name in ["", "$aggregate"] {
        match builder(&[(name, 3)], &Budget::default()).open() {
            Err(Error::Invalid { message }) => {
                assert_eq!(
                    *message,
                    *format!("budget.aggregate_types has '{name}', which is no type of aggregates")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Appends to an aggregate of a type: its number, and how many events.
type Step = (usize, u8, u8);

fn append_of((kind, aggregate, count): Step) -> (StreamId, Vec<NewEvent<'static>>) {
    let aggregate_type = TYPES[kind];
    (
        StreamId::new(aggregate_type, format!("{aggregate_type}-{aggregate}")),
        events(u64::from(count)),
    )
}

proptest! {
    #[test]
    fn what_is_held_is_the_newest_of_each_type(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, 1..9_u8), 0..80),
        budgets in prop::collection::vec(prop::option::of(0..30_u64), 3),
        whole in prop::option::of(10..100_u64),
    ) {
        let chosen: Vec<_> = TYPES.into_iter().zip(budgets).filter_map(|(name, max)| Some((name, max?))).collect();
        let mut budget = Budget::default().when_full(WhenFull::DropOldest);
        budget.events = whole;
        let store = builder(&chosen, &budget).open().expect("the settings are in range");
        let mut all: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for pair in steps.chunks(2) {
            let appends: Vec<_> = pair.iter().map(|step| append_of(*step)).collect();
            let names: Vec<_> = appends.iter().map(|(stream, _)| &stream.aggregate_id).collect();
            if names.len() == 2 && names[0] == names[1] {
                continue;
            }
            let appends: Vec<_> = appends.iter().map(|(stream, events)| Append::new(stream, Expected::Any, events.clone())).collect();
            let appended = store.append_all(&appends).expect("the oldest make room");
            for (appended, step) in appended.iter().zip(pair) {
                all.entry(TYPES[step.0]).or_default().extend(appended.first_position.0..=appended.last_position.0);
            }
        }
        let mut held = 0;
        for name in TYPES {
            let there = of_type(&store, name);
            let appended = all.remove(name).unwrap_or_default();
            prop_assert!(appended.ends_with(&there), "{}: {:?} of {:?}", name, there, appended);
            let max = chosen.iter().find(|(chosen, _)| *chosen == name).map_or(u64::MAX, |(_, max)| *max);
            prop_assert!(there.len() as u64 <= max, "{}: {} of {}", name, there.len(), max);
            if whole.is_none() && max > 0 {
                prop_assert!(there.len() as u64 + 1 >= max.min(appended.len() as u64));
            }
            held += there.len() as u64;
        }
        prop_assert!(held <= whole.unwrap_or(u64::MAX));
    }
}
