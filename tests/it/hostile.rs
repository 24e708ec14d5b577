//! Files with events of the system that no store has written: what opens stays what it is.

use std::collections::HashMap;
use std::path::Path;

use annals::journal::file::{FileJournal, FileSettings, verify};
use annals::journal::{Batch, Journal as _, JournalError, Record, Recover};
use annals::{Event, Position, Query, Result, Snapshot, Store, Version};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::support::TempFolder;

const IDS: &[&str] = &["a", "b", "$a", "$$snapshot:a", "$$snapshot:", "$$17", "$"];
const TYPES: &[&str] = &[
    "Noted",
    "$truncated",
    "$archived",
    "$deleted",
    "$tombstoned",
    "$limited",
    "$lost",
    "$snapshotted",
];
const METADATA: &[&str] = &["", "{\"version\":1}", "{\"version\":99}", "{\"version\":x}"];
const DATA: &[&[u8]] = &[
    b"\xff",
    b"{\"toVersion\":2}",
    b"{\"toVersion\":1,\"archive\":\"x\"}",
    b"{\"maxCount\":1,\"goneTo\":2}",
];

/// The id of a stream, a type, metadata and data.
type Choice = (&'static str, &'static str, &'static str, &'static [u8]);

/// A type in a stream: one that it can have, but for a few.
fn choices() -> impl Strategy<Value = Choice> {
    let any = (select(IDS), select(TYPES), 0..50).prop_map(|(id, event_type, odd)| match (id, event_type) {
        _ if odd == 0 => (id, event_type),
        ("a" | "b", "$snapshotted") => (id, "Noted"),
        ("$$snapshot:a" | "$$snapshot:", "Noted") => (id, "$snapshotted"),
        ("$a" | "$$17" | "$", "Noted" | "$snapshotted") => (id, "$lost"),
        _ => (id, event_type),
    });
    (any, select(METADATA), select(DATA))
        .prop_map(|((id, event_type), metadata, data)| (id, event_type, metadata, data))
}

struct Nobody;

impl Recover for Nobody {
    fn batch(&mut self, _: Batch) -> Result<(), JournalError> {
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

fn journal(folder: &Path) -> FileJournal {
    FileJournal::open_with(folder, FileSettings::default()).expect("a journal")
}

fn write(folder: &Path, events: &[Choice]) {
    let mut journal = journal(folder);
    journal.recover(&mut Nobody).expect("empty");
    let mut versions = HashMap::new();
    for ((id, event_type, metadata, data), position) in events.iter().zip(1..) {
        let version = versions.entry(*id).or_insert(0);
        *version += 1;
        let mut batch = Batch::new();
        let mut record = Record::new(Position(position), Version(*version), Uuid::from_u128(position.into()));
        record.aggregate_id = id;
        record.aggregate_type = "Account";
        record.event_type = event_type;
        record.metadata = metadata.as_bytes();
        record.data = data;
        batch.push(&record);
        journal.write(&batch).expect("written");
    }
    journal.sync().expect("synced");
    Box::new(journal).close().expect("closed");
}

/// What readers see.
fn seen(store: &Store) -> (Vec<Event>, Vec<Option<Snapshot>>, String) {
    let all = store.query(Query::all().include_system()).events().expect("valid");
    let snapshots = ["a", "b"].map(|id| store.snapshot(id));
    let streams = ["a", "b"].map(|id| store.stream_info(id));
    (all, snapshots.into(), format!("{streams:?}"))
}

fn is_whole(folder: &Path) -> bool {
    verify(folder, &mut |_, _| {}).expect("read").damage.is_empty()
}

proptest! {
    /// What was left of an event of another kind than its stream could not be read when it was gone.
    #[test]
    fn what_opens_opens_again_when_its_room_was_given_back(events in prop::collection::vec(choices(), 1..30)) {
        let folder = TempFolder::new();
        write(folder.path(), &events);
        let expected = is_whole(folder.path());
        let opened = Store::open(journal(folder.path()));
        prop_assert_eq!(opened.is_ok(), expected, "{:?}", opened);
        let Ok(store) = opened else { return Ok(()) };
        let before = seen(&store);
        store.compact_journal().expect("compacted");
        store.close().expect("closed");
        drop(store);
        prop_assert!(is_whole(folder.path()));
        prop_assert_eq!(seen(&Store::open(journal(folder.path())).expect("it opens")), before);
    }
}
