//! Snapshots: the last of each aggregate is there, whatever becomes of the store, and those before take no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::journal::file::{FileJournal, FileSettings};
use annals::testing::disk::{Fault, SimulatedDisk};
use annals::{
    Budget, Clock, ContentType, Delivery, Durability, Error, Event, Expected, GapReason, Limits, NewEvent, NewSnapshot,
    Position, Query, Settings, Store, StreamId, StreamLimits, Timestamp, Version, WhenFull,
};

use crate::support::{TempFolder, fill, stream, with_budget, with_limits};

fn of_version(version: u64, data: &str) -> NewSnapshot {
    NewSnapshot::new(Version(version)).data(data)
}

/// The version and the data of the snapshot that an aggregate has.
fn kept(store: &Store, id: &str) -> Option<(u64, String)> {
    let snapshot = store.snapshot(id)?;
    Some((snapshot.version.0, String::from_utf8(snapshot.data).expect("text")))
}

fn save(store: &Store, id: &str, version: u64, data: &str) -> Position {
    store.save_snapshot(id, of_version(version, data)).expect("kept")
}

fn open(folder: &std::path::Path) -> Store {
    let settings = FileSettings::default().segment_bytes(4096).preallocate_bytes(0);
    let journal = FileJournal::open_with(folder, settings).expect("a journal");
    Store::open(journal).expect("a store")
}

#[test]
fn the_last_is_kept() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    assert_eq!(store.snapshot("a"), None);
    save(&store, "a", 2, "two");
    let snapshot = NewSnapshot::new(Version(3))
        .schema_version(7)
        .content_type(ContentType::Bytes)
        .data([0, 255]);
    let position = store.save_snapshot("a", snapshot).expect("kept");
    let there = store.snapshot("a").expect("it was kept");
    assert_eq!(position, Position(5));
    assert_eq!(
        (there.aggregate_id.as_str(), there.version, there.position),
        ("a", Version(3), position)
    );
    assert_eq!(
        (there.schema_version, there.data_type, there.data),
        (7, ContentType::Bytes, vec![0, 255])
    );
    let gaps = store.gaps();
    assert_eq!(
        (gaps.len(), gaps[0].first, &gaps[0].reason),
        (1, Position(4), &GapReason::Snapshot)
    );
}

#[test]
fn a_slow_writer_does_not_replace_a_later_one() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    let later = save(&store, "a", 3, "three");
    assert_eq!(save(&store, "a", 2, "two"), later);
    assert_eq!(kept(&store, "a"), Some((3, "three".to_owned())));
    // Another schema of the same version is welcome.
    assert_eq!(save(&store, "a", 3, "tres"), Position(later.0 + 1));
    assert_eq!(kept(&store, "a"), Some((3, "tres".to_owned())));
}

#[test]
fn snapshots_are_no_events_of_their_aggregate() {
    let store = Store::in_memory();
    fill(&store, "a", 2);
    save(&store, "a", 2, "two");
    let next = store.append(&stream("a"), Expected::exactly(2), crate::support::events(1));
    assert_eq!(next.expect("version 2").last_version, Version(3));
    assert_eq!(store.read_stream("a").events().len(), 3);
    assert_eq!(store.read_all().events().len(), 3);
    assert_eq!(store.query(Query::all()).count(), Ok(3));
    let stats = store.stats();
    assert_eq!((stats.events, stats.system_events, stats.aggregates), (3, 1, 1));
}

#[test]
fn what_cannot_stand_for_the_events_is_refused() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    let refused = |id: &str, version: u64| match store.save_snapshot(id, of_version(version, "")) {
        Err(Error::Invalid { message }) => message.to_string(),
        other => panic!("{id} at {version}: {other:?}"),
    };
    assert!(refused("b", 1).contains("not known"));
    assert!(refused("a", 0).contains("versions 1 to 5"));
    assert!(refused("a", 6).contains("versions 1 to 5"));
    store.truncate_before("a", Version(4)).expect("truncated");
    assert!(refused("a", 2).contains("up to version 3 are gone"));
    save(&store, "a", 3, "as far as the truncation");
    store.delete("a", Expected::Any).expect("deleted");
    assert!(refused("a", 5).contains("was deleted"));
    store.tombstone("a", Expected::Any).expect("tombstoned");
    assert_eq!(
        store.save_snapshot("a", of_version(5, "")),
        Err(Error::Deleted {
            aggregate_id: "a".into()
        })
    );
    let small = with_limits(Limits::default().payload_bytes_max(10));
    fill(&small, "a", 1);
    let long = small.save_snapshot("a", of_version(1, "eleven byte"));
    assert!(
        matches!(&long, Err(Error::Invalid { message }) if message.contains("at most 10")),
        "{long:?}"
    );
}

#[test]
fn truncating_leaves_it_and_deleting_drops_it() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    save(&store, "a", 3, "three");
    store.truncate_before("a", Version(4)).expect("truncated");
    store
        .set_limits("a", StreamLimits::default().max_count(1))
        .expect("limited");
    assert_eq!(kept(&store, "a"), Some((3, "three".to_owned())));
    store.delete("a", Expected::Any).expect("deleted");
    assert_eq!(kept(&store, "a"), None);
    fill(&store, "a", 1);
    assert_eq!(kept(&store, "a"), None, "it was of what was deleted");
    save(&store, "a", 4, "four");
    store.tombstone("a", Expected::Any).expect("tombstoned");
    assert_eq!(kept(&store, "a"), None);
}

#[test]
fn an_aggregate_of_any_name_can_have_one() {
    let folder = TempFolder::new();
    let limits = Limits::default().name_bytes_max(1024);
    let ids = ["snapshot:a", ":", "1", &"x".repeat(1024)];
    for reopened in [false, true] {
        let settings = Settings::default().limits(limits.clone());
        let journal = FileJournal::open(folder.path()).expect("a journal");
        let store = Store::builder()
            .settings(settings)
            .journal(journal)
            .open()
            .expect("a store");
        for id in ids {
            if !reopened {
                fill(&store, id, 1);
                save(&store, id, 1, id);
            }
            assert_eq!(kept(&store, id), Some((1, id.to_owned())));
        }
        store.close().expect("closed");
    }
}

#[test]
fn it_is_there_again_and_those_before_take_no_room() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    let long = "x".repeat(2000);
    for version in 1..=20 {
        fill(&store, "a", 1);
        save(&store, "a", version, &format!("{version}{long}"));
    }
    fill(&store, "b", 1);
    save(&store, "b", 1, "gone with b");
    store.delete("b", Expected::Any).expect("deleted");
    store.close().expect("closed");
    for _ in 0..2 {
        let store = open(folder.path());
        assert_eq!(kept(&store, "a"), Some((20, format!("20{long}"))));
        assert_eq!(kept(&store, "b"), None);
        let events: Vec<Event> = store.read_stream("a").events();
        assert_eq!(events.len(), 20);
        let compacted = store.compact_journal().expect("compacted");
        assert!(compacted.bytes_after < 10_000, "{compacted:?}");
        store.close().expect("closed");
    }
    assert!(
        annals::journal::file::verify(folder.path(), &mut |_, _| {})
            .expect("read")
            .damage
            .is_empty()
    );
}

#[test]
fn compaction_of_a_stream_of_snapshots_alone_leaves_its_versions() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    fill(&store, "a", 1);
    save(&store, "a", 1, &"x".repeat(5000));
    store.delete("a", Expected::Any).expect("deleted");
    fill(&store, "a", 1);
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
    let store = open(folder.path());
    assert_eq!(kept(&store, "a"), None);
    save(&store, "a", 2, "two");
    store.close().expect("closed");
    assert_eq!(kept(&open(folder.path()), "a"), Some((2, "two".to_owned())));
}

#[test]
fn readers_of_events_hear_nothing_of_snapshots() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    for _ in 0..3 {
        save(&store, "a", 1, "one");
    }
    fill(&store, "a", 1);
    let deliveries = |query: Query| {
        let mut tail = store.tail(query, Position(0)).expect("valid");
        std::iter::from_fn(move || tail.try_next()).collect::<Vec<_>>()
    };
    let of_users = deliveries(Query::all());
    assert!(
        of_users.iter().all(|delivery| matches!(delivery, Delivery::Event(_))),
        "{of_users:?}"
    );
    let all = deliveries(Query::all().include_system());
    let gaps = all
        .iter()
        .filter(|delivery| matches!(delivery, Delivery::Gap(gap) if gap.count == 2));
    assert_eq!((all.len(), gaps.count()), (4, 1), "{all:?}");
}

#[test]
fn a_budget_counts_their_bytes() {
    let store = with_budget(Budget::default().bytes(10_000).events(1).when_full(WhenFull::Refuse));
    fill(&store, "a", 1);
    let large = "x".repeat(6_000);
    save(&store, "a", 1, &large);
    let full = store.save_snapshot("a", of_version(1, &large));
    assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    for _ in 0..10 {
        save(&store, "a", 1, "small");
    }
    save(&store, "a", 1, &large);
}

#[test]
fn a_fork_has_its_own() {
    let store = Store::in_memory();
    fill(&store, "a", 2);
    save(&store, "a", 1, "one");
    let fork = store.fork();
    save(&fork, "a", 2, "two");
    assert_eq!(kept(&store, "a"), Some((1, "one".to_owned())));
    assert_eq!(kept(&fork, "a"), Some((2, "two".to_owned())));
}

#[test]
fn one_that_is_not_safe_yet_is_not_seen_and_takes_no_place() {
    let disk = SimulatedDisk::new();
    let journal = FileJournal::on(Arc::new(disk.clone()), FileSettings::default()).expect("a journal");
    let settings = Settings::default().durability(Durability::Synced);
    let store = Store::builder()
        .settings(settings)
        .journal(journal)
        .open()
        .expect("a store");
    fill(&store, "a", 2);
    save(&store, "a", 1, "one");
    // A write, and then the sync.
    disk.fail(2, Fault::Device);
    let failed = store.save_snapshot("a", of_version(2, "two"));
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    assert_eq!(kept(&store, "a"), Some((1, "one".to_owned())));
}

#[test]
fn a_slow_writer_does_not_bring_back_what_was_deleted() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    fill(&store, "a", 5);
    save(&store, "a", 5, "five");
    store.delete("a", Expected::Any).expect("deleted");
    fill(&store, "a", 1);
    let slow = |store: &Store| match store.save_snapshot("a", of_version(5, "five")) {
        Err(Error::Invalid { message }) => assert!(message.contains("up to version 5 were deleted"), "{message}"),
        other => panic!("{other:?}"),
    };
    slow(&store);
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
    let store = open(folder.path());
    slow(&store);
    slow(&store.fork());
    save(&store, "a", 6, "six");
}

#[test]
fn data_that_are_no_text_did_not_open_again() {
    let folder = TempFolder::new();
    let snapshot = NewSnapshot::new(Version(1))
        .content_type(ContentType::Bytes)
        .data([0, 255]);
    let store = open(folder.path());
    fill(&store, "a", 1);
    store.save_snapshot("a", snapshot).expect("kept");
    store.close().expect("closed");
    let found = annals::journal::file::verify(folder.path(), &mut |_, _| {}).expect("read");
    assert_eq!(found.damage, []);
    let there = open(folder.path()).snapshot("a").expect("it was kept");
    assert_eq!(there.data, [0, 255]);
}

/// A clock of somebody who appends while he is asked for the time: as another thread may at any moment.
#[derive(Debug, Default)]
struct Appending {
    store: parking_lot::Mutex<Option<Store>>,
    appended: AtomicU64,
}

impl Clock for Appending {
    fn now(&self) -> Timestamp {
        // Taken meanwhile: the append asks as well.
        let store = self.store.lock().take();
        if let Some(store) = store {
            let number = self.appended.fetch_add(1, Ordering::Relaxed);
            fill(&store, &format!("new-{number}"), 1);
            *self.store.lock() = Some(store);
        }
        Timestamp::from_micros(0)
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        self
    }
}

#[test]
fn an_aggregate_that_comes_while_the_budget_drops_a_snapshot_keeps_its_events() {
    let clock = Arc::new(Appending::default());
    let budget = Budget::default()
        .bytes(10_000)
        .age(Duration::from_secs(1))
        .when_full(WhenFull::DropOldest);
    let settings = Settings::default().shards(1).budget(budget);
    let builder = Store::builder().settings(settings);
    let store = builder.clock(Arc::<Appending>::clone(&clock)).open().expect("a store");
    fill(&store, "a", 1);
    save(&store, "a", 1, "small");
    *clock.store.lock() = Some(store.clone());
    save(&store, "a", 1, &"x".repeat(20_000));
    *clock.store.lock() = None;
    let last = clock.appended.load(Ordering::Relaxed) - 1;
    assert_eq!(store.read_stream(&format!("new-{last}")).events().len(), 1);
}

#[test]
fn a_reader_found_none_while_another_took_its_place() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    save(&store, "a", 1, "one");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..50_000 {
                save(&store, "a", 1, "one");
            }
        });
        while !writer.is_finished() {
            assert_eq!(kept(&store, "a"), Some((1, "one".to_owned())));
        }
    });
}

/// A gap of users' events counted snapshots that lay between.
#[test]
fn gaps_of_events_count_no_snapshots() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    save(&store, "a", 1, "one");
    save(&store, "a", 1, "one more");
    fill(&store, "b", 1);
    store.truncate_before("b", Version(2)).expect("truncated");
    let mut tail = store.tail(Query::all(), Position(0)).expect("valid");
    let gaps = std::iter::from_fn(|| tail.try_next()).filter_map(|delivery| match delivery {
        Delivery::Gap(gap) => Some((gap.first, gap.count, gap.reason)),
        Delivery::Event(_) => None,
    });
    let truncated = GapReason::Truncated("b".into());
    assert_eq!(gaps.collect::<Vec<_>>(), [(Position(4), 1, truncated)]);
}

/// What is done to an aggregate of five events with a snapshot of version 2.
type Change = fn(&Store, StreamLimits);

#[test]
fn a_snapshot_did_not_say_that_events_after_it_are_gone() {
    let limit = |max_count| StreamLimits::default().max_count(max_count);
    let changes: [(&str, u64, Change); 4] = [
        ("nothing", 0, |_, _| {}),
        ("limited", 2, |store, limits| {
            store.set_limits("a", limits).map(drop).expect("limited");
        }),
        ("truncated", 1, |store, _| {
            store.truncate_before("a", Version(4)).map(drop).expect("truncated");
        }),
        ("truncated to the snapshot", 0, |store, _| {
            store.truncate_before("a", Version(3)).map(drop).expect("truncated");
        }),
    ];
    for (what, missing, change) in changes {
        let store = Store::in_memory();
        fill(&store, "a", 2);
        store.save_snapshot("a", of_version(2, "2")).expect("saved");
        fill(&store, "a", 3);
        change(&store, limit(1));
        let snapshot = store.snapshot("a").expect("it is kept");
        assert_eq!((snapshot.version, snapshot.missing), (Version(2), missing), "{what}");
        let after = store.read_stream("a").after(snapshot.version).events();
        assert_eq!(after.len() as u64 + snapshot.missing, 3, "{what}");
        assert_eq!(store.fork().snapshot("a"), Some(snapshot), "{what}");
        // A later snapshot has it all again.
        store.save_snapshot("a", of_version(5, "5")).expect("saved");
        assert_eq!(store.snapshot("a").expect("it is kept").missing, 0, "{what}");
    }
}

#[test]
fn data_that_cannot_be_read_named_no_event_and_no_snapshot() {
    let store = Store::in_memory();
    let added = NewEvent::new("ItemAdded").data("[1]").correlation("c");
    let stream = StreamId::new("Cart", "cart-1");
    store.append(&stream, Expected::Any, vec![added]).expect("appended");
    let snapshot = NewSnapshot::json(Version(1), &vec![1, 2]).expect("it is JSON");
    store.save_snapshot("cart-1", snapshot).expect("saved");
    let snapshot = store.snapshot("cart-1").expect("it is kept");
    assert_eq!(snapshot.json::<Vec<u8>>(), Ok(vec![1, 2]));
    let event = store.read_stream("cart-1").events().remove(0);
    assert_eq!(event.json::<Vec<u8>>(), Ok(vec![1]));

    let of_event = "ItemAdded (version 1 of 'cart-1', at position 1)";
    let of_snapshot = "the snapshot of 'cart-1' at version 1";
    let mut in_place = Vec::new();
    store
        .read_stream("cart-1")
        .for_each(|event| in_place.push(event.json::<u8>().map_err(|error| error.to_string())));
    for (of, result) in [
        (of_event, event.json::<u8>().map_err(|error| error.to_string())),
        (of_event, in_place.remove(0)),
        (of_snapshot, snapshot.json::<u8>().map_err(|error| error.to_string())),
    ] {
        let error = result.expect_err("a list is no number");
        assert!(
            error.starts_with(&format!("the data of {of} cannot be read as the requested type: ")),
            "{error}"
        );
    }
    // What cannot be written is named too.
    let odd = std::collections::HashMap::from([((1, 2), 3)]);
    for (of, error) in [
        (
            "Odd",
            NewEvent::json("Odd", &odd)
                .map(drop)
                .expect_err("the keys are no texts"),
        ),
        (
            "a snapshot at version 7",
            NewSnapshot::json(Version(7), &odd)
                .map(drop)
                .expect_err("the keys are no texts"),
        ),
    ] {
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("the data of {of} cannot be written as JSON: ")),
            "{error}"
        );
    }
}
