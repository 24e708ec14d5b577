//! Giving the journal's room back: what is gone takes none, what is left is as it was, and no crash on the way loses anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use annals::journal::JournalErrorKind;
use annals::journal::file::{self, FileJournal, FileSettings};
use annals::testing::crash::Numbers;
use annals::testing::disk::{Fault, SimulatedDisk};
use annals::testing::operation::Choices;
use annals::testing::storage::MemoryStorage;
use annals::{
    Budget, Durability, Error, Event, Expected, FlushSettings, GapReason, NewEvent, Position, Query, Settings, Store,
    StreamInfo, StreamLimits, Version, WhenFull,
};

use crate::support::{TempFolder, events, fill, noted, stream};

fn settings() -> FileSettings {
    FileSettings::default().segment_bytes(4096).preallocate_bytes(0)
}

fn open_with(folder: &Path, budget: Budget) -> Store {
    let settings_of_store = Settings::default().budget(budget);
    let journal = FileJournal::open_with(folder, settings()).expect("a journal");
    Store::builder()
        .settings(settings_of_store)
        .journal(journal)
        .open()
        .expect("a store")
}

fn open(folder: &Path) -> Store {
    open_with(folder, Budget::default())
}

fn keeping(events: u64) -> Budget {
    Budget::default().events(events).when_full(WhenFull::DropOldest)
}

fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    // A file may be renamed meanwhile.
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|file| file.len()).sum()
}

/// What can be asked of a store, in which aggregates of these ids are.
#[derive(Debug, PartialEq)]
struct Asked {
    log: Vec<Event>,
    count: u64,
    first: Vec<Event>,
    streams: Vec<Option<StreamInfo>>,
    gaps: BTreeMap<String, u64>,
}

fn ask(store: &Store, ids: &[&str]) -> Asked {
    let mut gaps = BTreeMap::new();
    for gap in store.gaps() {
        *gaps.entry(format!("{:?}", gap.reason)).or_default() += gap.count;
    }
    Asked {
        log: store.read_all().include_system().events(),
        count: store.query(Query::all()).count().expect("a count"),
        first: store.query(Query::all().limit(3)).events().expect("the first"),
        streams: ids.iter().map(|id| store.stream_info(id)).collect(),
        gaps,
    }
}

const IDS: [&str; 6] = ["truncated", "deleted", "again", "tombstoned", "limited", "whole"];

/// Aggregates of which something is gone in every way, 150 events of each of six: too few for the store to compact by itself.
fn drop_in_every_way(store: &Store) {
    for _ in 0..15 {
        for id in IDS {
            fill(store, id, 10);
        }
        // What waits is written: every round is a batch, and there are segments enough.
        store
            .wait_durable(store.reached(Durability::Volatile))
            .expect("durable");
    }
    store.truncate_before("truncated", Version(140)).expect("truncated");
    store.delete("deleted", Expected::Any).expect("deleted");
    store.delete("again", Expected::Any).expect("deleted");
    fill(store, "again", 2);
    store.tombstone("tombstoned", Expected::Any).expect("tombstoned");
    let limits = StreamLimits::default().max_count(3);
    store.set_limits("limited", limits).expect("limited");
}

/// Nothing was dropped since it was opened, and yet there are positions without an event.
#[test]
fn a_store_opened_after_its_compaction_counted_events_that_were_gone() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    for id in ["gone", "left"] {
        fill(&store, id, 100);
    }
    store.delete("gone", Expected::Any).expect("deleted");
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
    drop(store);
    let store = open(folder.path());
    for store in [&store, &store.fork()] {
        let all = || store.query(Query::all());
        assert_eq!(all().count(), Ok(100));
        assert_eq!(all().positions().map(|positions| positions.len()), Ok(100));
        let page = store.query(Query::all().limit(3)).page().expect("a page");
        assert_eq!(page.events, store.read_stream("left").events()[..3]);
    }
}

#[test]
fn what_is_gone_takes_no_room_and_what_is_left_is_as_it_was() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    drop_in_every_way(&store);
    let before = ask(&store, &IDS);
    let done = store.compact_journal().expect("compacted");
    assert!(done.parts > 3 && done.bytes_after * 3 < done.bytes_before, "{done:?}");
    assert_eq!(ask(&store, &IDS), before);
    let again = store.compact_journal().expect("compacted");
    assert_eq!((again.parts, again.bytes_after), (0, done.bytes_after));
    store.close().expect("closed");
    drop(store);

    let found = file::verify(folder.path(), &mut |_, _| {}).expect("verified");
    assert_eq!((found.damage.len(), found.events), (0, before.log.len() as u64));
    assert_eq!(found.events + found.events_gone, found.position.0);
    let store = open(folder.path());
    assert_eq!(ask(&store, &IDS), before);
    assert_eq!(store.recovery().events, found.events);
    let append = |id: &str, expected| store.append(&stream(id), expected, vec![noted(1)]);
    assert_eq!(
        append("deleted", Expected::NoStream).expect("appended").last_version,
        Version(151)
    );
    assert!(matches!(
        append("tombstoned", Expected::Any),
        Err(Error::Deleted { .. })
    ));
    let refused = append("limited", Expected::Exactly(Version(3))).expect_err("a conflict");
    assert!(refused.to_string().contains("is at version 150"), "{refused}");
}

#[test]
fn aggregates_of_which_nothing_is_left_keep_their_versions() {
    let folder = TempFolder::new();
    let store = open_with(folder.path(), keeping(50));
    for number in 0..400 {
        fill(&store, &format!("session-{number}"), 3);
    }
    store.compact_journal().expect("compacted");
    drop(store);
    // What is gone is gone, whatever the budget is now.
    for _ in 0..2 {
        let store = open(folder.path());
        assert_eq!(store.visible(), Position(1200));
        assert!(
            store.read_all().events().len() < 200,
            "{}",
            store.read_all().events().len()
        );
        let gone: u64 = store.gaps().iter().map(|gap| gap.count).sum();
        assert_eq!(gone + store.read_all().events().len() as u64, 1200);
        assert!(
            store.gaps().iter().all(|gap| gap.reason == GapReason::Budget),
            "{:?}",
            store.gaps()
        );
        for number in [0, 1, 200, 399] {
            let refused = store.append(&stream(&format!("session-{number}")), Expected::NoStream, events(1));
            assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        }
        store.compact_journal().expect("compacted");
    }
    let store = open(folder.path());
    assert_eq!(fill(&store, "session-0", 1).first_version, Version(4));
    assert_eq!(fill(&store, "session-0", 1).last_position, Position(1202));
}

#[test]
fn a_store_with_a_budget_does_not_fill_the_disk() {
    let folder = TempFolder::new();
    let store = open_with(folder.path(), keeping(1000));
    let mut largest = 0;
    for number in 0..200_u64 {
        fill(&store, &format!("session-{}", number % 10), 100);
        // What is written can be dropped, and what is dropped need not stay.
        store
            .wait_durable(store.reached(Durability::Volatile))
            .expect("durable");
        largest = largest.max(bytes_of(folder.path()));
    }
    let all = 20_000 * 60;
    assert!(largest < all / 2, "{largest} bytes");
}

#[test]
fn appends_that_wait_for_nothing_do_not_outrun_the_compaction() {
    let folder = TempFolder::new();
    let flush = FlushSettings::default().backlog_bytes(4 << 20);
    let settings_of_store = Settings::default().budget(keeping(1000)).flush(flush);
    let files = settings().segment_bytes(4 << 20);
    let journal = FileJournal::open_with(folder.path(), files).expect("a journal");
    let builder = Store::builder().settings(settings_of_store).journal(journal);
    let store = builder.open().expect("a store");
    let data = "x".repeat(10_000);
    let mut largest = 0;
    for number in 0..20_000 {
        let event = NewEvent::new("Noted").data(data.clone());
        store
            .append(&stream("a"), Expected::Any, vec![event])
            .expect("appended");
        if number % 100 == 0 {
            largest = largest.max(bytes_of(folder.path()));
        }
    }
    assert!(largest < 100_000_000, "{largest} bytes");
}

#[test]
fn repairing_a_compacted_store_changes_nothing() {
    let (folder, new) = (TempFolder::new(), TempFolder::new());
    let store = open(folder.path());
    drop_in_every_way(&store);
    store.compact_journal().expect("compacted");
    let before = ask(&store, &IDS);
    store.close().expect("closed");
    drop(store);
    let to = new.path().join("repaired");
    let repaired = file::repair(folder.path(), &to, &mut |_, _| {}).expect("repaired");
    assert_eq!(
        (repaired.positions_lost, repaired.events_saved),
        (0, before.log.len() as u64)
    );
    assert_eq!(ask(&open(&to), &IDS), before);
}

#[test]
fn a_store_without_a_journal_has_none_to_compact() {
    let refused = Store::in_memory().compact_journal();
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[test]
fn what_an_interrupted_compaction_left_is_removed() {
    let folder = TempFolder::new();
    fill(&open(folder.path()), "a", 3);
    let left = folder.path().join("00000000000000000001.rewrite");
    std::fs::write(&left, "half a segment").expect("written");
    assert_eq!(fill(&open(folder.path()), "a", 1).last_version, Version(4));
    assert!(!left.exists());
}

/// A store on a disk, driven by its caller alone, so that calls of the disk can be counted.
fn on_disk(disk: &SimulatedDisk) -> annals::Result<Store> {
    let journal = FileJournal::on(Arc::new(disk.clone()), settings())?;
    let flush = FlushSettings::default().retry_for(std::time::Duration::ZERO);
    let settings = Settings::default().flush(flush);
    Store::builder()
        .settings(settings)
        .journal(journal)
        .journal_by_hand()
        .open()
}

/// Fails each call of the disk in turn, and asks what is there after the crash that follows.
#[test]
fn no_failure_of_any_step_loses_an_event() {
    for fault in [Fault::PowerLoss, Fault::Device, Fault::Full] {
        let failed = (1..60).filter(|call| fails_at(*call, fault)).count();
        assert!(failed > 20, "{fault:?}: {failed} calls mattered");
    }
}

/// Answers whether that was told.
fn fails_at(call: u64, fault: Fault) -> bool {
    let disk = SimulatedDisk::new();
    let store = on_disk(&disk).expect("a store");
    drop_in_every_way(&store);
    store.wait_durable(store.visible()).expect("durable");
    let before = ask(&store, &IDS);
    disk.fail(call, fault);
    let compacted = store.compact_journal();
    assert_eq!(ask(&store, &IDS), before);
    let goes_on = store.append(&stream("whole"), Expected::Any, events(1)).is_ok();
    let safe = goes_on && store.wait_durable(store.reached(Durability::Volatile)).is_ok();
    disk.crash(&mut Choices::new(Numbers::new(call)));
    drop(store);
    let store = on_disk(&disk).unwrap_or_else(|error| panic!("{fault:?} at call {call}: {error}"));
    let mut after = ask(&store, &IDS);
    if safe {
        assert_eq!(
            after.log.pop().expect("an event").position(),
            Position(before.log.last().expect("an event").position().0 + 1)
        );
        assert!(store.compact_journal().is_ok());
    } else if after.log.len() > before.log.len() {
        after.log.pop();
    }
    assert_eq!(after.log, before.log, "{fault:?} at call {call}");
    assert_eq!(after.gaps, before.gaps, "{fault:?} at call {call}");
    if let Err(Error::Unavailable { cause: error }) = &compacted {
        assert!(
            safe || fault == Fault::PowerLoss,
            "{fault:?} at call {call}: the store goes on after {error}"
        );
    }
    compacted.is_err()
}

#[test]
fn damage_ends_a_compaction_and_nothing_else() {
    let folder = TempFolder::new();
    let store = open(folder.path());
    drop_in_every_way(&store);
    store.wait_durable(store.visible()).expect("durable");
    let first = folder.path().join("00000000000000000001.segment");
    let mut bytes = std::fs::read(&first).expect("a segment");
    bytes[200] ^= 1;
    std::fs::write(&first, &bytes).expect("written");
    let refused = store.compact_journal().expect_err("the segment is damaged");
    assert!(
        refused.to_string().contains("00000000000000000001.segment at byte 64"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&first).expect("a segment"), bytes);
    fill(&store, "whole", 1);
    store.close().expect("closed");
    let kind = |error: &annals::JournalError| error.kind();
    let opened = FileJournal::open(folder.path()).map(Store::open).expect("a journal");
    assert!(
        matches!(&opened, Err(Error::Corrupt { cause: error }) if kind(error) == JournalErrorKind::Corrupt),
        "{opened:?}"
    );
}

/// What has dropped an event is safe before the event is given up.
#[test]
fn events_are_not_given_up_for_a_truncation_that_a_crash_can_lose() {
    let disk = SimulatedDisk::new();
    let store = on_disk(&disk).expect("a store");
    for _ in 0..20 {
        fill(&store, "a", 100);
        store.wait_durable(store.visible()).expect("durable");
    }
    store.truncate_before("a", Version(1991)).expect("truncated");
    // Half of every segment is dropped by now: a thread that waits for a write does the work.
    let written = store.with_durability(Durability::Written).expect("a handle");
    written
        .append(&stream("b"), Expected::Any, events(1))
        .expect("appended");
    disk.crash(&mut Choices::new(std::iter::empty()));
    drop((store, written));
    let store = on_disk(&disk).expect("a store");
    let log = store.read_all().include_system().events();
    let is_truncated = log.iter().any(|event| event.event_type() == "$truncated");
    let left = store.read_stream("a").events().len();
    assert_eq!(left, if is_truncated { 10 } else { 2000 });
}

/// The default methods of a journal made it look as if it could be compacted, and had nothing to purge.
#[test]
fn a_journal_without_a_compactor_reported_an_empty_compaction() {
    for durability in [Durability::Volatile, Durability::Written, Durability::Synced] {
        let journal = MemoryStorage::new(durability).journal().expect("a journal");
        let store = Store::builder().journal(journal).open().expect("a store");
        fill(&store, "gone", 3_000);
        store.delete("gone", Expected::Any).expect("deleted");
        for _ in 0..2 {
            let refused = store.compact_journal().expect_err("nothing purges its events");
            assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
            assert!(refused.to_string().contains("compact its journal"), "{refused}");
        }
        fill(&store, "left", 3);
        store.close().expect("the journal works on");
    }
    let refused = Store::in_memory().compact_journal();
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}
