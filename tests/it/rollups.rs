//! What a store has counted outlasts the events, against a store that drops none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::analytics::{Bucket, Measure, MeasuredRow, TimeZone};
use annals::journal::file::FileJournal;
use annals::{
    Budget, Builder, Error, Expected, Field, ManualClock, NewEvent, Position, Query, Settings, Store, StreamLimits,
    Timestamp, Version, WhenFull,
};
use proptest::prelude::*;

use crate::support::{START, TempFolder, stream};

fn daily() -> Measure {
    Measure::of("/ms").by(Field::User).every(Bucket::Day, &TimeZone::UTC)
}

fn hourly() -> Measure {
    Measure::of("/ms").every(Bucket::Hour, &TimeZone::UTC)
}

/// A builder with two rollups: of all events by user and day, and of one type by hour.
fn rolled(budget: Budget, clock: &Arc<ManualClock>) -> Builder {
    let settings = Settings::default().budget(budget);
    Store::builder()
        .settings(settings)
        .clock(Arc::clone(clock) as _)
        .rollup("users", Query::all(), daily())
        .rollup("views", Query::all().event_type("Viewed"), hourly())
}

fn dropping(events: u64) -> Budget {
    Budget::default().events(events).when_full(WhenFull::DropOldest)
}

fn viewed(user: u8, ms: u16) -> NewEvent<'static> {
    NewEvent::new("Viewed")
        .user(format!("user-{user}"))
        .data(format!(r#"{{"ms": {ms}}}"#))
}

fn rows(store: &Store, name: &str) -> Vec<MeasuredRow> {
    store.rollup(name).expect("it is registered").rows
}

/// The number of events of each row.
fn counts(store: &Store, name: &str) -> BTreeMap<(Option<String>, Option<String>), u64> {
    let key = |row: MeasuredRow| ((row.group, row.label), row.values.events());
    rows(store, name).into_iter().map(key).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends as many events to an aggregate.
    Append(u8, u8),
    Wait(u32),
    Limit(u8, u64),
    LimitAge(u8, u32),
    Truncate(u8, u64),
    Delete(u8),
    Query,
    Compact,
    Fork,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u8, 1..12_u8).prop_map(|(aggregate, count)| Step::Append(aggregate, count)),
        3 => (0..200_000_u32).prop_map(Step::Wait),
        1 => (0..5_u8, 0..6_u64).prop_map(|(aggregate, count)| Step::Limit(aggregate, count)),
        1 => (0..5_u8, 0..90_000_u32).prop_map(|(aggregate, seconds)| Step::LimitAge(aggregate, seconds)),
        1 => (0..5_u8, 0..40_u64).prop_map(|(aggregate, version)| Step::Truncate(aggregate, version)),
        1 => (0..5_u8).prop_map(Step::Delete),
        1 => Just(Step::Query),
        1 => Just(Step::Compact),
        1 => Just(Step::Fork),
    ]
}

fn id(aggregate: u8) -> String {
    format!("session-{aggregate}")
}

/// Does the step in the store, and its appends in the other one, which drops nothing.
fn take(store: &mut Store, whole: &Store, clock: &Arc<ManualClock>, step: &Step, number: u16) {
    match step {
        Step::Append(aggregate, count) => {
            let events: Vec<_> = (0..*count).map(|place| viewed(place % 3, number)).collect();
            for store in [&*store, whole] {
                store
                    .append(&stream(&id(*aggregate)), Expected::Any, &events)
                    .expect("there is room");
            }
        }
        Step::Wait(seconds) => clock.advance(Duration::from_secs(u64::from(*seconds))),
        Step::Limit(aggregate, count) => {
            drop(store.set_limits(&id(*aggregate), StreamLimits::default().max_count(*count)));
        }
        Step::LimitAge(aggregate, seconds) => {
            let age = Duration::from_secs(u64::from(*seconds));
            drop(store.set_limits(&id(*aggregate), StreamLimits::default().max_age(age)));
        }
        Step::Truncate(aggregate, version) => {
            drop(store.truncate_before(&id(*aggregate), Version(*version)));
        }
        Step::Delete(aggregate) => {
            drop(store.delete(&id(*aggregate), Expected::Any));
        }
        Step::Query => assert_eq!(rows(store, "views").len(), rows(whole, "views").len()),
        Step::Compact => {
            store.compact();
        }
        Step::Fork => *store = store.fork_with_clock(Arc::clone(clock) as _),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_a_store_that_drops_nothing(
        steps in prop::collection::vec(step(), 0..60),
        events in prop::option::of(1..60_u64),
        age in prop::option::of(0..300_000_u64),
    ) {
        let clock = Arc::new(ManualClock::at(START));
        let mut budget = Budget::default().when_full(WhenFull::DropOldest);
        budget.events = events;
        budget.age = age.map(Duration::from_secs);
        let mut store = rolled(budget, &clock).open().expect("the settings are in range");
        let whole = rolled(Budget::default(), &clock).open().expect("the settings are in range");
        for (step, number) in steps.iter().zip(0..) {
            take(&mut store, &whole, &clock, step, number);
        }
        for name in ["users", "views"] {
            prop_assert_eq!(rows(&store, name), rows(&whole, name));
        }
    }
}

#[test]
fn events_that_threads_append_while_others_are_dropped_count_once() {
    let clock = Arc::new(ManualClock::at(START));
    let store = rolled(dropping(500), &clock).open().expect("the settings are in range");
    let total = |store: &Store| counts(store, "users").values().sum::<u64>();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..1_000 {
                    let stream = stream(&format!("session-{}", (number + thread) % 7));
                    let appended = store.append(&stream, Expected::Any, [viewed(0, 1), viewed(1, 2)]);
                    appended.expect("the oldest make room");
                }
            });
        }
        let mut seen = 0;
        while seen < 8_000 {
            let now = total(&store);
            assert!(now >= seen && now % 2 == 0, "{now} after {seen}");
            seen = now;
        }
    });
    assert_eq!(total(&store), 8_000);
    assert!(store.stats().events <= 500);
    let fork = store.fork();
    assert_eq!(total(&fork), 8_000);
}

#[test]
fn a_journal_counts_again_what_it_has() {
    let folder = TempFolder::new();
    let clock = Arc::new(ManualClock::at(START));
    let open = || {
        let journal = FileJournal::open(folder.path().join("store")).expect("the folder can be made");
        rolled(dropping(5), &clock).journal(journal).open().expect("it opens")
    };
    let store = open();
    for number in 0..30 {
        let appended = store.append(&stream("session-1"), Expected::Any, [viewed(0, number)]);
        appended.expect("the oldest make room");
    }
    let before = rows(&store, "users");
    store.close().expect("the journal writes");
    let again = open();
    assert_eq!(again.stats().events, 5);
    assert_eq!(rows(&again, "users"), before);
    assert_eq!(before[0].values.events(), 30);
}

#[test]
fn more_rows_than_fit_give_up_the_earliest_hours() {
    let clock = Arc::new(ManualClock::at(START));
    let store = rolled(dropping(1_000), &clock)
        .open()
        .expect("the settings are in range");
    let hour = Duration::from_secs(3_600);
    for _ in 0..10_050 {
        let appended = store.append(&stream("session-1"), Expected::Any, [viewed(0, 7)]);
        appended.expect("the oldest make room");
        clock.advance(hour);
    }
    let views = store.rollup("views").expect("it is registered");
    assert_eq!(views.rows.len(), 10_000);
    let first = Timestamp::from_micros(START.as_micros() + 50 * 3_600_000_000);
    assert_eq!((views.kept_from, views.rows[0].start), (Some(first), Some(first)));
    assert_eq!(views.position, Position(10_050));

    let late = viewed(0, 7).timestamp(START);
    store
        .append(&stream("session-1"), Expected::Any, [late])
        .expect("there is room");
    let views = store.rollup("views").expect("it is registered");
    assert_eq!((views.rows.len(), views.kept_from), (10_000, Some(first)));
}

#[test]
fn a_rollup_that_cannot_be_counted_is_refused_when_the_store_is_opened() {
    let day = || Measure::of("/ms").every(Bucket::Day, &TimeZone::UTC);
    let all = Query::all;
    for (query, measure, why) in [
        (
            all(),
            Measure::of("/ms"),
            "the rollup 'one' is by no time: set one by `Measure::every`, such as by day",
        ),
        (
            all(),
            Measure::of("ms").every(Bucket::Day, &TimeZone::UTC),
            "'ms' is not a JSON pointer: write '/ms'",
        ),
        (
            all().limit(3),
            day(),
            "the rollup 'one' counts every matching event: its query has no limit, no cursor and no `as_of`",
        ),
        (
            all(),
            day().by(Field::Index("city".into())),
            "no index 'city' is registered: register it with Builder::indexer",
        ),
        (
            all().index("city", "Oslo"),
            day(),
            "no index 'city' is registered: register it with Builder::indexer",
        ),
    ] {
        match Store::builder().rollup("one", query, measure).open() {
            Err(Error::Invalid { message, .. }) => assert_eq!(&*message, why),
            other => panic!("{other:?} instead of: {why}"),
        }
    }
    let twice = Store::builder()
        .rollup("one", all(), day())
        .rollup("one", all(), day())
        .open();
    assert!(
        twice
            .unwrap_err()
            .to_string()
            .contains("two rollups have the name 'one'")
    );
    let none = Store::in_memory().rollup("one").unwrap_err();
    assert!(none.to_string().contains("no rollup 'one' is registered"), "{none}");
}

#[test]
fn an_indexer_that_panicked_made_rollups_count_twice_or_not_at_all() {
    let fails = AtomicBool::new(true);
    let store = Store::builder()
        .indexer("kind", move |event, values| {
            let is_due = event.version() == Version(3) && fails.swap(false, Ordering::SeqCst);
            assert!(!is_due, "the indexer fails once");
            values.push("any".into());
        })
        .rollup("users", Query::all().index("kind", "any"), daily())
        .rollup("all", Query::all(), daily())
        .open()
        .expect("the queries are valid");
    let events: Vec<_> = (0..5).map(|ms| viewed(0, ms)).collect();
    store
        .append(&stream("session-1"), Expected::NoStream, &events)
        .expect("anything goes");
    let total = |name: &str| counts(&store, name).values().sum::<u64>();
    // Whether the event at which it failed matches is unknown.
    assert_eq!((total("users"), total("all")), (4, 5));
    store.truncate_before("session-1", Version(4)).expect("it exists");
    assert_eq!((total("users"), total("all")), (4, 5));
}
