//! What is dropped, when, what is told of it, and what memory it gives back.

use std::time::Duration;

use annals::{
    Budget, Conflict, Error, Expected, Field, Gap, GapReason, NewEvent, Position, Query, Store, StreamId, StreamLimits,
    Version, WhenFull,
};

use crate::support::{START, clocked, events, fill, found, keeping, noted, numbers, positions, stream, with_budget};

fn gaps(store: &Store) -> Vec<(u64, u64, u64, GapReason)> {
    let plain = |gap: Gap| (gap.first.0, gap.last.0, gap.count, gap.reason);
    store.gaps().into_iter().map(plain).collect()
}

fn limits(max_count: Option<u64>, max_age_seconds: Option<u64>) -> StreamLimits {
    let mut limits = StreamLimits::default();
    limits.max_count = max_count;
    limits.max_age = max_age_seconds.map(Duration::from_secs);
    limits
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_full_store_refuses() {
    let store = with_budget(Budget::default().events(10));
    fill(&store, "a", 9);
    let refused = store.append(&stream("a"), Expected::Any, events(2));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!((store.visible(), numbers(&store, "a").len()), (Position(9), 9));
    fill(&store, "a", 1);
    // A conflict takes no room, and what is dropped gives it back.
    for _ in 0..100 {
        let refused = store.append(&stream("a"), Expected::NoStream, events(1));
        assert!(refused.is_err());
    }
    store.truncate_before("a", Version(6)).expect("it exists");
    fill(&store, "a", 5);
    let refused = store.append(&stream("a"), Expected::Any, events(1));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!(gaps(&store), [(1, 5, 5, GapReason::Truncated("a".into()))]);
}

#[test]
fn a_repetition_takes_no_room() {
    let store = with_budget(Budget::default().events(10));
    let event = || vec![noted(1).id(uuid::Uuid::from_u128(1))];
    for _ in 0..100 {
        let appended = store.append(&stream("a"), Expected::NoStream, event());
        assert!(appended.is_ok(), "{appended:?}");
    }
    fill(&store, "a", 9);
}

#[test]
fn a_store_full_of_bytes_refuses() {
    let store = with_budget(Budget::default().bytes(100_000));
    let big = || vec![NewEvent::new("Big").data(vec![b' '; 40_000])];
    for _ in 0..2 {
        store.append(&stream("a"), Expected::Any, big()).expect("there is room");
    }
    let refused = store.append(&stream("a"), Expected::Any, big());
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    store.truncate_before("a", Version(2)).expect("it exists");
    assert!(store.append(&stream("a"), Expected::Any, big()).is_ok());
}

#[test]
fn the_oldest_make_room() {
    for batch in [1, 7, 20] {
        let store = keeping(100);
        for _ in 0..50 {
            fill(&store, "a", batch);
            fill(&store, "b", batch);
            let held = store.stats().events;
            assert!(held <= 100, "{held} events");
        }
        let kept = positions(&store.read_all().events());
        let first = kept[0];
        assert_eq!(kept, (first..=store.visible().0).collect::<Vec<_>>());
        if store.visible().0 > 100 {
            assert_eq!(gaps(&store), [(1, first - 1, first - 1, GapReason::Budget)]);
        }
        assert_eq!(found(&store, Query::all()), kept);
        assert_eq!(
            store.read_stream("a").events().len() + store.read_stream("b").events().len(),
            kept.len()
        );
        assert!(
            store
                .read_stream("a")
                .events()
                .iter()
                .all(|event| event.position().0 >= first)
        );
        // The versions go on.
        assert_eq!(
            store.stream_info("a").map(|info| info.version),
            Some(Version(50 * batch))
        );
    }
}

#[test]
fn a_batch_larger_than_the_budget_is_dropped_at_once() {
    let store = keeping(10);
    let appended = fill(&store, "a", 100);
    assert_eq!(appended.last_version, Version(100));
    let held = store.stats().events;
    assert!(held <= 10, "{held} events");
    assert_eq!(store.gaps().iter().map(|gap| gap.count).sum::<u64>(), 100 - held);
}

#[test]
fn bytes_make_room_too() {
    let budget = 1 << 20;
    let store = with_budget(Budget::default().bytes(budget).when_full(WhenFull::DropOldest));
    for number in 0..5_000_u64 {
        let event = noted(number).data(vec![b' '; 2_000]);
        store
            .append(&stream("a"), Expected::Any, vec![event])
            .expect("the oldest make room");
    }
    let stats = store.stats();
    assert!(stats.events * 2_000 <= budget, "{stats:?}");
    assert!(stats.events > 200, "{stats:?}");
    // Bytes are given back a chunk at a time.
    assert!(stats.memory_bytes <= 3 * budget, "{stats:?}");
    assert_eq!(stats.events + store.gaps()[0].count, 5_000);
}

#[test]
fn what_is_too_old_is_never_seen() {
    let (store, clock) = clocked(Budget::default().age(seconds(100)));
    for _ in 0..30 {
        clock.advance(seconds(10));
        fill(&store, "a", 2);
        let now = annals::Clock::now(&*clock);
        for event in store.read_all().events() {
            assert!(event.recorded_at().after(seconds(100)) > now, "{event:?}");
        }
        assert_eq!(
            store.query(Query::all()).count(),
            Ok(store.read_stream("a").events().len() as u64)
        );
    }
    assert_eq!(positions(&store.read_all().events()), (41..=60).collect::<Vec<_>>());
    assert_eq!(gaps(&store), [(1, 40, 40, GapReason::Age)]);
    // Without another append.
    clock.advance(seconds(1_000));
    assert_eq!(store.read_stream("a").events().len(), 0);
    assert_eq!(store.event_at(Position(60)), None);
    assert_eq!(store.stats().events, 0);
    assert_eq!(gaps(&store), [(1, 60, 60, GapReason::Age)]);
}

#[test]
fn an_aggregate_that_the_budget_dropped_whole_is_forgotten() {
    let store = keeping(10);
    fill(&store, "a", 3);
    fill(&store, "b", 20);
    assert!(store.stream_info("a").is_none());
    assert_eq!(fill(&store, "a", 1).first_version, Version(1));
    // What was deleted is remembered.
    fill(&store, "c", 3);
    store.tombstone("c", Expected::Any).expect("it exists");
    fill(&store, "b", 100);
    assert!(store.stream_info("c").is_some_and(|info| info.tombstoned));
}

#[test]
fn an_aggregate_keeps_its_latest() {
    let store = Store::in_memory();
    fill(&store, "a", 10);
    fill(&store, "b", 10);
    store.set_limits("a", limits(Some(4), None)).expect("it exists");
    assert_eq!(numbers(&store, "a"), [7, 8, 9, 10]);
    fill(&store, "a", 2);
    assert_eq!(numbers(&store, "a"), [9, 10, 1, 2]);
    let batch = vec![annals::Append::new(stream("a"), Expected::exactly(12), events(5))];
    store.append_all(batch).expect("the version is right");
    assert_eq!(numbers(&store, "a"), [2, 3, 4, 5]);
    let info = store.stream_info("a").expect("it exists");
    assert_eq!(
        (info.version, info.events, info.dropped_to),
        (Version(17), 4, Version(13))
    );
    assert_eq!(info.limits, limits(Some(4), None));
    assert_eq!(store.read_stream("b").events().len(), 10);
    assert_eq!(store.gaps().iter().map(|gap| gap.count).sum::<u64>(), 13);
    assert!(
        store
            .gaps()
            .iter()
            .all(|gap| gap.reason == GapReason::Limit("a".into()))
    );
    // Without a limit it keeps everything from here on.
    store.set_limits("a", StreamLimits::default()).expect("it exists");
    fill(&store, "a", 10);
    assert_eq!(numbers(&store, "a").len(), 14);
}

#[test]
fn an_aggregate_keeps_what_is_young() {
    let (store, clock) = clocked(Budget::default());
    for _ in 0..10 {
        clock.advance(seconds(10));
        fill(&store, "a", 1);
    }
    fill(&store, "b", 1);
    // The last one happened at 100 s; what happened at 60 s is exactly 40 s old.
    store.set_limits("a", limits(None, Some(40))).expect("it exists");
    assert_eq!(store.read_stream("a").events().len(), 4);
    clock.advance(Duration::from_micros(9_999_999));
    assert_eq!(store.read_stream("a").events().len(), 4);
    clock.advance(Duration::from_micros(1));
    assert_eq!(store.read_stream("a").events().len(), 3);
    clock.advance(seconds(1_000));
    assert_eq!(found(&store, Query::all()), [11]);
    assert_eq!(gaps(&store), [(1, 10, 10, GapReason::Limit("a".into()))]);
    fill(&store, "a", 1);
    assert_eq!(store.read_stream("a").events().len(), 1);
    clock.advance(seconds(40));
    assert_eq!(store.read_stream("a").events().len(), 0);
}

#[test]
fn a_young_event_shields_the_old_ones_behind_it() {
    let (store, clock) = clocked(Budget::default());
    clock.advance(seconds(1_000));
    let at = |seconds: u64| noted(seconds).timestamp(START.after(Duration::from_secs(seconds)));
    store
        .append(&stream("a"), Expected::Any, vec![at(990), at(10), at(995)])
        .expect("anything goes");
    store.set_limits("a", limits(None, Some(100))).expect("it exists");
    assert_eq!(numbers(&store, "a"), [990, 10, 995]);
    clock.advance(seconds(90));
    assert_eq!(numbers(&store, "a"), [995]);
}

#[test]
fn after_a_truncation_the_age_of_the_next_event_was_forgotten() {
    let (store, clock) = clocked(Budget::default());
    fill(&store, "a", 1);
    store.set_limits("a", limits(None, Some(100))).expect("it exists");
    clock.advance(seconds(50));
    fill(&store, "a", 1);
    store.truncate_before("a", Version(2)).expect("it exists");
    assert_eq!(store.read_stream("a").events().len(), 1);
    clock.advance(seconds(99));
    assert_eq!(store.read_stream("a").events().len(), 1);
    clock.advance(seconds(1));
    assert_eq!(store.read_stream("a").events().len(), 0);
}

#[test]
fn after_the_budget_dropped_the_age_of_the_next_event_still_counts() {
    let (store, clock) = clocked(Budget::default().events(10).when_full(WhenFull::DropOldest));
    fill(&store, "a", 1);
    store.set_limits("a", limits(None, Some(100))).expect("it exists");
    clock.advance(seconds(50));
    fill(&store, "a", 3);
    // Drops the first event of `a` and the system's own.
    fill(&store, "b", 7);
    assert_eq!(store.read_stream("a").events().len(), 3);
    clock.advance(seconds(100));
    assert_eq!(store.read_stream("a").events().len(), 0);
    assert_eq!(store.read_stream("b").events().len(), 7);
}

#[test]
fn a_deleted_aggregate_comes_back_where_it_was() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    let told = store.delete("a", Expected::exactly(5)).expect("the version is right");
    assert_eq!(told, Position(6));
    assert_eq!(store.read_stream("a").events().len(), 0);
    let info = store.stream_info("a").expect("it is known");
    assert_eq!(
        (info.version, info.events, info.dropped_to),
        (Version(5), 0, Version(5))
    );
    assert!(!info.tombstoned);
    for position in 1..=5 {
        assert_eq!(store.event_at(Position(position)), None);
    }
    assert_eq!(gaps(&store), [(1, 5, 5, GapReason::Deleted("a".into()))]);
    assert_eq!(fill(&store, "a", 1).first_version, Version(6));
    assert_eq!(numbers(&store, "a"), [1]);
}

#[test]
fn a_tombstone_is_for_good() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    store.tombstone("a", Expected::StreamExists).expect("it exists");
    let info = store.stream_info("a").expect("it is known");
    assert!(info.tombstoned);
    let deleted = Error::Deleted {
        aggregate_id: "a".into(),
    };
    for expected in [
        Expected::Any,
        Expected::NoStream,
        Expected::exactly(5),
        Expected::exactly(0),
    ] {
        assert_eq!(store.append(&stream("a"), expected, events(1)), Err(deleted.clone()));
    }
    assert_eq!(store.truncate_before("a", Version(1)), Err(deleted.clone()));
    assert_eq!(store.delete("a", Expected::Any), Err(deleted.clone()));
    assert_eq!(store.tombstone("a", Expected::Any), Err(deleted.clone()));
    assert_eq!(store.set_limits("a", StreamLimits::default()), Err(deleted));
    store.compact();
    assert!(store.stream_info("a").is_some_and(|info| info.tombstoned));
}

#[test]
fn a_change_that_conflicts_changes_nothing() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    for changed in [
        store.delete("a", Expected::exactly(4)),
        store.delete("a", Expected::NoStream),
        store.tombstone("a", Expected::exactly(6)),
    ] {
        let Err(Error::Conflict(conflict)) = changed else {
            panic!("{changed:?} is no conflict");
        };
        let Conflict::Version { actual, position, .. } = *conflict else {
            panic!("{conflict:?} is no conflict of versions");
        };
        assert_eq!((actual, position), (Version(5), Position(5)));
    }
    for unknown in [
        store.delete("z", Expected::Any),
        store.tombstone("z", Expected::Any),
        store.truncate_before("z", Version(1)),
        store.set_limits("z", StreamLimits::default()),
    ] {
        assert!(matches!(unknown, Err(Error::Invalid { .. })), "{unknown:?}");
    }
    assert_eq!(
        (store.visible(), store.read_stream("a").events().len()),
        (Position(5), 5)
    );
}

#[test]
fn a_truncation_drops_what_is_before_its_version() {
    for (version, left) in [(0, 5), (1, 5), (2, 4), (5, 1), (6, 0), (100, 0), (u64::MAX, 0)] {
        let store = Store::in_memory();
        fill(&store, "a", 5);
        store.truncate_before("a", Version(version)).expect("it exists");
        assert_eq!(
            numbers(&store, "a"),
            (6 - left..=5).collect::<Vec<_>>(),
            "before {version}"
        );
        assert_eq!(store.gaps().iter().map(|gap| gap.count).sum::<u64>(), 5 - left);
        assert_eq!(fill(&store, "a", 1).first_version, Version(6));
        // Back again is not possible.
        store.truncate_before("a", Version(1)).expect("it exists");
        assert_eq!(store.read_stream("a").events().len() as u64, left + 1);
    }
}

#[test]
fn what_is_dropped_is_nowhere() {
    let store = Store::in_memory();
    for number in 1..=300 {
        let event = noted(number).user("anna").id(uuid::Uuid::from_u128(u128::from(number)));
        store
            .append(
                &stream(["a", "b"][usize::from(number % 2 == 0)]),
                Expected::Any,
                vec![event],
            )
            .expect("anything goes");
    }
    let all = [
        Query::all(),
        Query::all().user("anna"),
        Query::all().aggregate("a"),
        Query::all().text("1"),
    ];
    for query in &all {
        found(&store, query.clone());
    }
    store.delete("a", Expected::Any).expect("it exists");
    let kept: Vec<_> = (1..=300).filter(|position| position % 2 == 0).collect();
    for _ in 0..2 {
        assert_eq!(positions(&store.read_all().events()), kept);
        assert_eq!(found(&store, Query::all()), kept);
        assert_eq!(found(&store, Query::all().user("anna")), kept);
        assert_eq!(found(&store, Query::all().aggregate("a")), [0; 0]);
        assert_eq!(found(&store, Query::all().as_of(Position(3))), [2]);
        assert_eq!(store.event(uuid::Uuid::from_u128(1)), None);
        assert_eq!(store.event_at(Position(1)), None);
        assert_eq!(store.terms(&Field::User), [("anna".into(), 150)]);
        assert_eq!(store.terms(&Field::Aggregate), [("b".into(), 150)]);
        store.compact();
    }
}

#[test]
fn a_query_without_filters_on_a_compacted_store_showed_dropped_events() {
    let store = Store::in_memory();
    fill(&store, "a", 5_000);
    fill(&store, "b", 5_000);
    store.delete("a", Expected::Any).expect("it exists");
    store.truncate_before("b", Version(2_501)).expect("it exists");
    store.compact();
    let kept: Vec<_> = (7_501..=10_000).collect();
    assert_eq!(found(&store, Query::all()), kept);
    assert_eq!(store.query(Query::all()).uncached().count(), Ok(2_500));
    assert_eq!(
        positions(&store.query(Query::all()).events().expect("it is valid")),
        kept
    );
}

#[test]
fn compaction_gives_memory_back() {
    let store = Store::in_memory();
    for number in 0..20_000_u64 {
        let event = noted(number)
            .data(vec![b' '; 100])
            .user(format!("user-{number}"))
            .correlation(format!("order-{number}"));
        store
            .append(&stream(&format!("a{}", number % 100)), Expected::Any, vec![event])
            .expect("anything goes");
    }
    assert_eq!(store.terms(&Field::Correlation).len(), 20_000);
    let before = store.stats();
    for number in 0..99 {
        store.delete(&format!("a{number}"), Expected::Any).expect("it exists");
    }
    let compaction = store.compact();
    assert!(compaction.bytes_after < compaction.bytes_before, "{compaction:?}");
    let after = store.stats();
    assert_eq!(compaction.bytes_after, after.memory_bytes);
    assert!(
        after.payload_bytes * 20 < before.payload_bytes,
        "{before:?} became {after:?}"
    );
    assert!(
        after.index_bytes * 4 < before.index_bytes,
        "{before:?} became {after:?}"
    );
    assert_eq!(store.terms(&Field::Correlation).len(), 200);
    assert_eq!(after.events, 200);
}

#[test]
fn compaction_of_what_has_dropped_nothing_harms_nothing() {
    let store = Store::in_memory();
    store.compact();
    fill(&store, "a", 1_000);
    for _ in 0..3 {
        let compaction = store.compact();
        assert!(compaction.bytes_after <= compaction.bytes_before, "{compaction:?}");
        fill(&store, "a", 1);
    }
    assert_eq!(numbers(&store, "a").len(), 1_003);
}

#[test]
fn memory_stays_bounded_while_new_aggregates_come() {
    let store = keeping(10_000);
    let mut early = 0;
    for number in 0..300_000_u64 {
        let event = NewEvent::new("Noted").data("{}").user(format!("user-{}", number % 100));
        let account = StreamId::new("Account", format!("account-{number}"));
        store
            .append(&account, Expected::NoStream, vec![event])
            .expect("the oldest make room");
        if number % 10_000 == 9_999 {
            let bytes = store.stats().memory_bytes;
            if number < 60_000 {
                early = early.max(bytes);
            }
            assert!(
                bytes <= 2 * early,
                "{bytes} bytes after {number} events, {early} early on"
            );
        }
    }
    assert!(early < 100 << 20, "{early} bytes for 10,000 events");
    let stats = store.stats();
    assert!(stats.events <= 10_000, "{stats:?}");
    let gaps = store.gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].count + stats.events, 300_000);
    assert_eq!(found(&store, Query::all().user("user-99")).last(), Some(&300_000));
    let compaction = store.compact();
    assert!(compaction.bytes_after < 10 << 20, "{compaction:?}");
}

#[test]
fn a_limit_of_nothing_keeps_nothing() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    store.set_limits("a", limits(Some(0), None)).expect("it exists");
    assert_eq!(fill(&store, "a", 2).last_version, Version(5));
    assert_eq!(store.read_stream("a").events().len(), 0);
    assert_eq!(fill(&store, "a", 2).last_version, Version(7));
}

#[test]
fn terms_that_had_lost_their_events_piled_up_under_a_budget() {
    let store = keeping(5_000);
    let mut early = 0;
    for number in 0..120_000_u64 {
        let event = noted(number)
            .user(format!("a user that nobody knows {number}"))
            .correlation(format!("a conversation of one event {number}"));
        store
            .append(&stream(&format!("a{number}")), Expected::NoStream, vec![event])
            .expect("the oldest make room");
        if number % 10_000 == 9_999 {
            let bytes = store.stats().memory_bytes;
            early = if number < 40_000 { bytes.max(early) } else { early };
            assert!(
                bytes <= 2 * early,
                "{bytes} bytes after {number} events, {early} early on"
            );
        }
    }
    let compaction = store.compact();
    assert!(compaction.bytes_after < 5 << 20, "{compaction:?}");
}

#[test]
fn deletions_used_up_a_budget_that_refuses() {
    let store = with_budget(Budget::default().events(10));
    for number in 0..50 {
        store
            .append(&stream("a"), Expected::Any, vec![noted(number)])
            .expect("there is room");
        store.delete("a", Expected::Any).expect("it exists");
    }
    assert_eq!(store.stats().events, 0);
}

#[test]
fn a_gap_of_events_from_two_threads_began_after_its_end() {
    let store = Store::in_memory();
    for round in 0..10 {
        std::thread::scope(|scope| {
            scope.spawn(|| fill(&store, "a", 1));
        });
        fill(&store, if round % 2 == 0 { "a" } else { "b" }, 1);
    }
    let last = store.read_stream("a").backwards().limit(1).events()[0].position();
    store.delete("a", Expected::Any).expect("it exists");
    let gaps = store.gaps();
    assert_eq!((gaps[0].first, gaps[0].last, gaps[0].count), (Position(1), last, 15));
}
