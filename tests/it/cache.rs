//! The query cache: what it counts, that it is never stale, and how much it holds.

use std::collections::HashSet;
use std::time::Duration;

use annals::{
    CacheSettings, CacheState, CacheStats, Expected, NewEvent, Order, Position, Query, Settings, Store, Timestamp,
    Version,
};

use crate::support::{START, found, keeping, noted, open, stream};

/// Enough of them that the cache is asked.
const MANY: u64 = 500;

/// `count` events of a few users, the times of which are not in order.
fn add(store: &Store, id: &str, count: u64) {
    let event = |number: u64| {
        let mixed = (number * 7919) % 1000;
        noted(number)
            .user(["anna", "bob", "carl"][usize::try_from(number % 3).expect("it is below 3")])
            .timestamp(START.after(Duration::from_secs(mixed)))
    };
    store
        .append(&stream(id), Expected::Any, (0..count).map(event).collect::<Vec<_>>())
        .expect("anything goes");
}

fn filled() -> Store {
    let store = Store::in_memory();
    add(&store, "a", MANY);
    store
}

fn counters(store: &Store) -> (u64, u64, u64) {
    let CacheStats {
        hits,
        extensions,
        misses,
        ..
    } = store.stats().cache;
    (hits, extensions, misses)
}

fn state(store: &Store, query: &Query) -> CacheState {
    store.query(query.clone()).explain().expect("the query is valid").cache
}

/// Every order, with and without a limit.
fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    for query in [
        Query::all(),
        Query::all().user("anna"),
        Query::all().users(["bob", "carl"]),
    ] {
        for order in [
            Order::Position,
            Order::PositionDescending,
            Order::Time,
            Order::TimeDescending,
        ] {
            for limit in [None, Some(0), Some(1), Some(40), Some(10_000)] {
                let query = query.clone().order(order);
                all.push(limit.map_or(query.clone(), |limit| query.limit(limit)));
            }
        }
    }
    all
}

/// Asks every query with and without the cache, and by pages.
fn check_fresh(store: &Store, when: &str) {
    for query in queries() {
        let fresh = store.query(query.clone()).uncached().positions();
        let kept = store.query(query.clone()).positions();
        assert_eq!(kept, fresh, "{query:?} {when}");
        assert_eq!(
            store.query(query.clone()).count(),
            Ok(fresh.map_or(0, |all| all.len()) as u64),
            "{query:?} {when}"
        );
        let page = store.query(query.clone()).page().expect("the query is valid");
        let uncached = store
            .query(query.clone())
            .uncached()
            .page()
            .expect("the query is valid");
        assert_eq!(page.events, uncached.events, "{query:?} {when}");
        assert_eq!(page.next, uncached.next, "{query:?} {when}");
        if let Some(next) = page.next {
            let rest = query.cursor(next);
            let fresh = store.query(rest.clone()).uncached().positions();
            assert_eq!(store.query(rest.clone()).positions(), fresh, "{rest:?} {when}");
        }
    }
}

#[test]
fn an_answer_is_found_then_kept_then_extended() {
    let store = filled();
    let query = Query::all().user("anna");
    assert_eq!(state(&store, &query), CacheState::Miss);
    assert_eq!(state(&store, &query), CacheState::Hit);
    assert_eq!(counters(&store), (1, 0, 1));
    add(&store, "b", 3);
    assert_eq!(state(&store, &query), CacheState::Extended);
    assert_eq!(state(&store, &query), CacheState::Hit);
    assert_eq!(counters(&store), (2, 1, 1));
}

#[test]
fn what_does_not_concern_an_answer_leaves_it_whole() {
    let store = filled();
    let query = Query::all().user("anna");
    assert_eq!(state(&store, &query), CacheState::Miss);
    store
        .append(&stream("b"), Expected::Any, vec![noted(1).user("dora")])
        .expect("anything goes");
    assert_eq!(state(&store, &query), CacheState::Hit);
    let page = store.query(query).page().expect("the query is valid");
    assert_eq!(page.as_of, store.visible());
}

#[test]
fn an_answer_that_has_its_limit_is_not_extended() {
    let store = filled();
    let query = Query::all().user("anna").limit(10);
    assert_eq!(state(&store, &query), CacheState::Miss);
    add(&store, "b", 3);
    assert_eq!(state(&store, &query), CacheState::Hit);
}

#[test]
fn a_small_question_and_the_past_are_not_kept() {
    let store = filled();
    store
        .append(&stream("b"), Expected::Any, vec![noted(1).user("dora")])
        .expect("anything goes");
    for query in [Query::all().user("dora"), Query::all().as_of(Position(400))] {
        assert_eq!(state(&store, &query), CacheState::Bypassed, "{query:?}");
    }
    assert_eq!(counters(&store), (0, 0, 0));
    assert_eq!(store.query(Query::all()).uncached().count(), Ok(MANY + 1));
    assert_eq!(counters(&store), (0, 0, 0));
}

#[test]
fn a_kept_answer_is_never_stale() {
    let store = filled();
    check_fresh(&store, "at first");
    check_fresh(&store, "from the cache");
    for round in 0..5 {
        add(&store, &format!("b{round}"), 7);
        check_fresh(&store, "after an append");
    }
    store.truncate_before("a", Version(100)).expect("it exists");
    check_fresh(&store, "after a truncation");
    store.delete("b1", Expected::Any).expect("it exists");
    check_fresh(&store, "after a deletion");
    add(&store, "b1", 7);
    check_fresh(&store, "after the deleted one came back");
    store.compact();
    check_fresh(&store, "after compaction");
    store.tombstone("b2", Expected::Any).expect("it exists");
    check_fresh(&store, "after a tombstone");
    store
        .set_limits("a", annals::StreamLimits::default().max_count(150))
        .expect("it exists");
    check_fresh(&store, "after a limit");
    add(&store, "a", 20);
    check_fresh(&store, "after an append past the limit");
}

#[test]
fn a_kept_answer_is_never_stale_after_the_budget_dropped() {
    let store = keeping(600);
    for round in 0..30 {
        add(&store, &format!("a{round}"), 97);
        check_fresh(&store, "after an append");
    }
    assert!(store.stats().events <= 600);
}

#[test]
fn events_of_the_past_are_put_where_their_time_says() {
    let store = filled();
    let query = Query::all().order(Order::Time).limit(100);
    assert_eq!(state(&store, &query), CacheState::Miss);
    let early = NewEvent::new("Early").timestamp(Timestamp::from_micros(1));
    store
        .append(&stream("a"), Expected::Any, vec![early])
        .expect("anything goes");
    assert_eq!(state(&store, &query), CacheState::Extended);
    assert_eq!(found(&store, query)[0], MANY + 1);
}

#[test]
fn queries_that_differ_are_kept_apart() {
    let store = filled();
    let all = queries();
    let answers: Vec<_> = all.iter().map(|query| found(&store, query.clone())).collect();
    let again: Vec<_> = all.iter().map(|query| found(&store, query.clone())).collect();
    assert_eq!(answers, again);
    let distinct: HashSet<_> = answers.iter().collect();
    assert!(distinct.len() > 30, "{} answers", distinct.len());
}

#[test]
fn a_cache_that_is_off_does_nothing() {
    let store = open(Settings::default().cache(CacheSettings::default().bytes(0)));
    add(&store, "a", MANY);
    for _ in 0..3 {
        assert_eq!(state(&store, &Query::all().user("anna")), CacheState::Bypassed);
    }
    assert_eq!(store.stats().cache, CacheStats::default());
}

fn with_time_to_live(time_to_live: Duration) -> Store {
    let store = open(Settings::default().cache(CacheSettings::default().time_to_live(time_to_live)));
    add(&store, "a", MANY);
    store
}

#[test]
fn an_answer_whose_time_is_over_is_computed_again() {
    // No time to live is over at once; the clock of a longer one is not a test's to set.
    let store = with_time_to_live(Duration::ZERO);
    let query = Query::all().user("anna");
    for _ in 0..3 {
        assert_eq!(state(&store, &query), CacheState::Miss);
    }
    add(&store, "b", 3);
    assert_eq!(state(&store, &query), CacheState::Miss);
    check_fresh(&store, "without a time to live");
    assert_eq!((counters(&store).0, counters(&store).1), (0, 0));
}

#[test]
fn an_answer_was_not_to_be_had_with_an_endless_time_to_live() {
    let store = with_time_to_live(Duration::MAX);
    let query = Query::all().user("anna");
    assert_eq!(state(&store, &query), CacheState::Miss);
    assert_eq!(state(&store, &query), CacheState::Hit);
}

#[test]
fn a_cache_holds_about_what_it_may() {
    let bytes = 256 << 10;
    let store = open(Settings::default().cache(CacheSettings::default().bytes(bytes)));
    add(&store, "a", MANY);
    for number in 0..5_000 {
        let query = Query::all().users(["anna".to_owned(), format!("nobody-{number}")]);
        assert_eq!(store.query(query).count(), Ok(MANY.div_ceil(3)));
    }
    let stats = store.stats().cache;
    assert_eq!(stats.misses, 5_000);
    // The bound is kept a little later than the answer is.
    assert!(stats.bytes <= 2 * bytes, "{stats:?}");
}

#[test]
fn an_answer_too_large_for_the_cache_is_not_kept() {
    let store = open(Settings::default().cache(CacheSettings::default().bytes(16 << 10)));
    add(&store, "a", MANY);
    for _ in 0..3 {
        assert_eq!(state(&store, &Query::all()), CacheState::Miss);
    }
    assert_eq!(store.stats().cache.bytes, 0);
}

#[test]
fn a_fork_has_a_cache_of_its_own() {
    let store = filled();
    let query = Query::all().user("anna");
    assert_eq!(state(&store, &query), CacheState::Miss);
    let fork = store.fork();
    add(&fork, "b", 30);
    assert_eq!(state(&fork, &query), CacheState::Miss);
    assert_ne!(found(&fork, query.clone()), found(&store, query.clone()));
    assert_eq!(state(&store, &query), CacheState::Hit);
}
