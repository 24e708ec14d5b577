//! Archives: old events leave the store for a place of their own, and can be read there, or in their old places again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::journal::file::{self, ArchiveWriter, FileJournal, FileSettings};
use annals::journal::{Archive, Batch, Compactor, Journal, Recover, Recovered};
use annals::{
    Append, Durability, Error, Event, Expected, Field, Filter, GapReason, JournalError, ListQuery, Name, NewEvent,
    Position, Query, Settings, Store, StreamLimits, Timestamp, Version,
};

use crate::support::{START, TempFolder, stream};

const IDS: [&str; 3] = ["a", "b", "c"];
/// The day on which the events end that are archived.
const DAYS: u64 = 10;

fn open(folder: &Path) -> Store {
    Store::open(journal(folder)).expect("a store")
}

fn journal(folder: &Path) -> FileJournal {
    let settings = FileSettings::default().segment_bytes(4096).preallocate_bytes(0);
    FileJournal::open_with(folder, settings).expect("a journal")
}

fn day(number: u64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + i64::try_from(number).expect("small") * 86_400_000_000)
}

/// Three aggregates with five events a day, for twice the days that are archived.
fn fill(store: &Store) {
    for number in 0..2 * DAYS {
        for id in IDS {
            let event = NewEvent::new("Noted")
                .timestamp(day(number))
                .data(number.to_string())
                .user(id);
            store
                .append(&stream(id), Expected::Any, vec![event; 5])
                .expect("appended");
        }
        store.wait_durable(store.visible()).expect("durable");
    }
}

fn save(store: &Store, to: &Path) -> annals::Result<annals::Archived> {
    store.archive(day(DAYS), "the old days", |outdated| {
        let mut archive = ArchiveWriter::create(to)?;
        outdated.try_for_each(|event| archive.push(event))?;
        assert_eq!(archive.finish()?, outdated.len() as u64);
        Ok::<_, Error>(())
    })
}

fn attach(folder: &Path, archive: &Path) -> annals::Result<Store> {
    let archive = Archive::read(&mut journal(archive))?;
    Store::builder().journal(journal(folder)).attach(archive).open()
}

fn versions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.version().0).collect()
}

#[test]
fn old_events_move_to_the_archive_and_leave_gaps() {
    let (folder, elsewhere) = (TempFolder::new(), TempFolder::new());
    let to = elsewhere.path().join("old");
    let store = open(folder.path());
    fill(&store);
    let before = store.read_all().events();
    let archived = save(&store, &to).expect("archived");
    assert_eq!((archived.events, archived.aggregates), (5 * DAYS * 3, 3));
    let left = store.read_all().events();
    assert_eq!(left, before[before.len() / 2..]);
    let compacted = store.compact_journal().expect("compacted");
    assert!(compacted.bytes_after * 3 < compacted.bytes_before * 2, "{compacted:?}");
    store.close().expect("closed");
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.read_all().events(), left);
    assert_eq!(store.query(Query::all()).count(), Ok(left.len() as u64));
    assert_eq!(
        store.query(Query::all().limit(3)).page().expect("a page").events,
        left[..3]
    );
    let gaps = store.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(
        (gaps[0].count, &gaps[0].reason),
        (150, &GapReason::Archived("the old days".into()))
    );
    let next = store.append(
        &stream("a"),
        Expected::Exactly(Version(100)),
        vec![NewEvent::new("Noted")],
    );
    assert_eq!(next.expect("appended").last_version, Version(101));

    // The archive is a store of its own.
    let old = open(&to);
    assert_eq!(old.read_all().events(), before[..before.len() / 2]);
    assert_eq!(versions(&old.read_stream("b").events()), (1..=50).collect::<Vec<_>>());
    assert!(
        old.gaps().iter().all(|gap| gap.reason == GapReason::Elsewhere),
        "{:?}",
        old.gaps()
    );
    assert!(
        file::verify(folder.path(), &mut |_, _| {}).is_err(),
        "the store is open"
    );
    drop((store, old));
    for folder in [folder.path(), &to] {
        assert_eq!(file::verify(folder, &mut |_, _| {}).expect("verified").damage.len(), 0);
    }
}

#[test]
fn an_attached_archive_is_in_its_place_again_and_nothing_can_be_added() {
    let (folder, archives) = (TempFolder::new(), TempFolder::new());
    let to = archives.path().join("old");
    let store = open(folder.path());
    fill(&store);
    let before = store.read_all().events();
    save(&store, &to).expect("archived");
    for compacts in [false, true] {
        if compacts {
            open(folder.path()).compact_journal().expect("compacted");
        }
        drop(store.close());
        let whole = attach(folder.path(), &to).expect("a store");
        assert_eq!(whole.read_all().events(), before);
        for id in IDS {
            assert_eq!(versions(&whole.read_stream(id).events()), (1..=100).collect::<Vec<_>>());
        }
        assert_eq!(whole.gaps(), []);
        let refused = whole.append(&stream("a"), Expected::Any, vec![NewEvent::new("Noted")]);
        assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
        assert!(matches!(whole.delete("a", Expected::Any), Err(Error::ReadOnly { .. })));
    }
    let store = open(folder.path());
    store.tombstone("b", Expected::Any).expect("deleted");
    drop(store);
    let whole = attach(folder.path(), &to).expect("a store");
    assert_eq!(
        (
            whole.read_stream("a").events().len(),
            whole.read_stream("b").events().len()
        ),
        (100, 0)
    );
}

/// Values of a field with their numbers of events.
type Listed = Vec<(Name, u64)>;

/// The positions of filters, and the lists of fields.
fn filtered_and_listed(store: &Store) -> (Vec<Vec<Position>>, Vec<Listed>) {
    let filters = [
        Filter::not(Filter::is(Field::Aggregate, "b")),
        Filter::not(Filter::is(Field::User, "b")),
        Filter::prefix(Field::User, ""),
        Filter::prefix(Field::Day, "2026-02"),
        Filter::versions(Version(48)..Version(53)),
        Filter::not(Filter::positions(Position(20)..)),
        Filter::times(day(3)..=day(12)),
    ];
    let found = filters.map(|filter| {
        store
            .query(Query::all().filter(filter))
            .positions()
            .expect("it is valid")
    });
    let lists = [Field::Aggregate, Field::User, Field::Day, Field::EventType].map(|field| {
        let page = store.list(&ListQuery::of(field)).expect("it is valid");
        page.items.into_iter().map(|item| (item.name, item.events)).collect()
    });
    (found.into(), lists.into())
}

#[test]
fn filters_and_lists_see_attached_events_and_no_archived_ones() {
    let (folder, archives) = (TempFolder::new(), TempFolder::new());
    let to = archives.path().join("old");
    let store = open(folder.path());
    fill(&store);
    let before = filtered_and_listed(&store);
    assert_eq!(before.1[0], [("a".into(), 100), ("b".into(), 100), ("c".into(), 100)]);
    save(&store, &to).expect("archived");
    let after = filtered_and_listed(&store);
    assert_eq!(after.1[0], [("a".into(), 50), ("b".into(), 50), ("c".into(), 50)]);
    assert_eq!(after.0[5], []);
    drop(store.close());
    assert_eq!(filtered_and_listed(&open(folder.path())), after);
    assert_eq!(
        filtered_and_listed(&attach(folder.path(), &to).expect("a store")),
        before
    );
}

#[test]
fn an_archive_that_could_not_be_saved_changes_nothing() {
    let (folder, archives) = (TempFolder::new(), TempFolder::new());
    let store = open(folder.path());
    fill(&store);
    let before = store.read_all().include_system().events();
    let failed = store.archive(day(DAYS), "old", |_| {
        Err(Error::from(JournalError::failed("the tape tore")))
    });
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    let to = archives.path().join("old");
    std::fs::create_dir(&to).expect("a folder");
    std::fs::write(to.join("notes.txt"), "mine").expect("written");
    let refused = save(&store, &to).expect_err("the folder is not empty").to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    for name in ["", "a\"b", "a\\b", "a\nb", &"x".repeat(256)] {
        let refused = store.archive(day(DAYS), name, |_| Ok::<_, Error>(()));
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{name}: {refused:?}");
    }
    assert_eq!(store.read_all().include_system().events(), before);
    assert_eq!(std::fs::read_dir(archives.path()).expect("a folder").count(), 1);
    let none = store.archive(START, "old", |_| -> Result<(), Error> {
        panic!("there is nothing to save")
    });
    assert_eq!(none.expect("nothing").events, 0);
}

#[test]
fn an_archive_of_another_store_is_refused() {
    let (one, other, archives) = (TempFolder::new(), TempFolder::new(), TempFolder::new());
    let to = archives.path().join("old");
    fill(&open(one.path()));
    let store = open(other.path());
    fill(&store);
    save(&store, &to).expect("archived");
    let refused = attach(one.path(), &to).expect_err("another store");
    assert!(
        refused
            .to_string()
            .contains("the archive belongs to another store: position 1 is"),
        "{refused}"
    );
    let empty = TempFolder::new();
    let refused = attach(empty.path(), &to).expect_err("another store");
    assert!(
        refused.to_string().contains("and the store ends at position 0"),
        "{refused}"
    );
}

#[test]
fn archives_that_have_different_events_at_one_position_are_refused() {
    let (one, other, archives) = (TempFolder::new(), TempFolder::new(), TempFolder::new());
    let mut read = Vec::new();
    for (folder, name) in [(&one, "one"), (&other, "other")] {
        let store = open(folder.path());
        fill(&store);
        save(&store, &archives.path().join(name)).expect("archived");
        store.compact_journal().expect("compacted");
        store.close().expect("closed");
        read.push(Archive::read(&mut journal(&archives.path().join(name))).expect("an archive"));
    }
    let attach = |archives: &[&Archive]| {
        let builder = Store::builder().journal(journal(one.path()));
        let with = archives
            .iter()
            .fold(builder, |builder, archive| builder.attach((*archive).clone()));
        with.open()
    };
    let refused = attach(&[&read[0], &read[1]]).expect_err("two stores").to_string();
    assert!(
        refused.contains("the archives belong to different stores: position 1 is"),
        "{refused}"
    );
    let twice = attach(&[&read[0], &read[0]]).expect("the same twice");
    assert_eq!(twice.read_all().events().len() as u64, 10 * DAYS * 3);
}

/// A journal that counts how often it is synced.
#[derive(Debug)]
struct Counting(FileJournal, Arc<AtomicU64>);

impl Journal for Counting {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        self.0.recover(into)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.0.write(batch)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.sync()
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        self.0.compactor()
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Box::new(self.0).close()
    }
}

#[test]
fn archiving_does_not_wait_for_the_disk_once_for_each_aggregate() {
    let folder = TempFolder::new();
    let syncs = Arc::new(AtomicU64::new(0));
    let settings = Settings::default().durability(Durability::Synced);
    let journal = Counting(journal(folder.path()), Arc::clone(&syncs));
    let builder = Store::builder().settings(settings).journal(journal);
    let store = builder.open().expect("a store");
    let batches = (0..500).map(|number| {
        let event = NewEvent::new("Noted").timestamp(START);
        Append::new(stream(&format!("a-{number}")), Expected::Any, vec![event; 2])
    });
    store.append_all(batches.collect::<Vec<_>>()).expect("appended");
    let before = syncs.load(Ordering::Relaxed);
    let archived = store.archive(day(1), "old", |_| Ok::<_, Error>(()));
    assert_eq!(archived.expect("archived").aggregates, 500);
    assert_eq!(store.read_all().events(), []);
    let took = syncs.load(Ordering::Relaxed) - before;
    assert!(took < 50, "{took} syncs");
}

#[test]
fn attached_events_were_gone_when_an_age_limit_was_changed_after_they_were_archived() {
    let (folder, elsewhere) = (TempFolder::new(), TempFolder::new());
    let to = elsewhere.path().join("old");
    let store = open(folder.path());
    fill(&store);
    let years = |years: u64| StreamLimits::default().max_age(Duration::from_secs(years * 366 * 86_400));
    store.set_limits("a", years(1_000)).expect("limited");
    let before = store.read_all().events();
    save(&store, &to).expect("archived");
    store.set_limits("a", years(2_000)).expect("limited");
    store.close().expect("closed");
    drop(store);
    assert_eq!(attach(folder.path(), &to).expect("a store").read_all().events(), before);
}
