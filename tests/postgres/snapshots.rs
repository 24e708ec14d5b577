//! Snapshots in PostgreSQL: there again, there for those who follow, and there in SQL.

use annals::{Durability, Expected, NewSnapshot, Position, Store, Version};

use crate::follow::{follow, note, noted};
use crate::support::Schema;

fn open(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

fn kept(store: &Store, id: &str) -> Option<(Version, Vec<u8>)> {
    let snapshot = store.snapshot(id)?;
    Some((snapshot.version, snapshot.data))
}

#[test]
fn a_snapshot_is_there_again_and_for_those_who_follow() {
    let schema = Schema::new();
    let store = open(&schema);
    for id in ["note-1", "note-2"] {
        for number in 1..=3 {
            store
                .append(&note(id), Expected::Any, vec![noted(number)])
                .expect("appended");
            let data = format!("{{\"notes\": {number}}}");
            let snapshot = NewSnapshot::new(Version(number)).data(data).schema_version(2);
            store.save_snapshot(id, snapshot).expect("kept");
        }
    }
    let follower = follow(&schema);
    store.delete("note-2", Expected::Any).expect("deleted");
    store.close().expect("closed");
    let three = Some((Version(3), b"{\"notes\": 3}".to_vec()));
    let again = open(&schema);
    assert_eq!((kept(&again, "note-1"), kept(&again, "note-2")), (three.clone(), None));
    let caught_up = follower.tail(annals::Query::all().include_system(), Position(12));
    caught_up.expect("a query").next().expect("the deletion");
    assert_eq!((kept(&follower, "note-1"), kept(&follower, "note-2")), (three, None));
    let refused = follower.save_snapshot("note-1", NewSnapshot::new(Version(3)));
    assert!(matches!(refused, Err(annals::Error::Invalid { .. })), "{refused:?}");
}

#[test]
fn the_last_of_each_aggregate_is_there_in_sql() {
    let schema = Schema::new();
    let store = open(&schema);
    for (id, versions) in [("note-1", 2), ("note-2", 1), ("note-3", 1)] {
        for number in 1..=versions {
            store
                .append(&note(id), Expected::Any, vec![noted(number)])
                .expect("appended");
            let data = format!("{{\"notes\":{number}}}");
            store
                .save_snapshot(id, NewSnapshot::new(Version(number)).data(data))
                .expect("kept");
        }
    }
    store.delete("note-2", Expected::Any).expect("deleted");
    store.truncate_before("note-3", Version(2)).expect("truncated");
    let rows =
        schema.sql("SELECT aggregate_id, version, data ->> 'notes', data_bytes IS NULL FROM snapshots ORDER BY 1");
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.iter().flatten().map(String::as_str).collect::<Vec<_>>())
        .collect();
    assert_eq!(rows, [["note-1", "2", "2", "t"], ["note-3", "1", "1", "t"]]);
    assert_eq!(
        schema.value("SELECT count(*) FROM live_events WHERE aggregate_id LIKE '%snapshot%'"),
        "0"
    );
}

#[test]
fn snapshots_that_were_replaced_leave_the_table() {
    for schema in [Schema::new(), Schema::partitioned()] {
        let store = open(&schema);
        for (id, last) in [("note-1", 3), ("note-2", 2)] {
            for number in 1..=last {
                store
                    .append(&note(id), Expected::Any, vec![noted(number)])
                    .expect("appended");
                store
                    .save_snapshot(id, NewSnapshot::new(Version(number)).data("1"))
                    .expect("kept");
            }
        }
        store.delete("note-2", Expected::Any).expect("deleted");
        store.compact_journal().expect("compacted");
        store.close().expect("closed");
        let snapshots = "SELECT count(*) FROM events WHERE event_type = '$snapshotted'";
        assert_eq!(schema.value(snapshots), "1");
        assert_eq!(
            schema.value("SELECT string_agg(aggregate_id, ',') FROM snapshots"),
            "note-1"
        );
        let again = open(&schema);
        assert_eq!(kept(&again, "note-1"), Some((Version(3), b"1".to_vec())));
        assert_eq!(kept(&again, "note-2"), None);
        again
            .append(&note("note-2"), Expected::exactly(2), vec![noted(3)])
            .expect("versions go on");
        let position = again.save_snapshot("note-2", NewSnapshot::new(Version(3)).data("3"));
        position.expect("it has had snapshots before");
        again.close().expect("closed");
        assert_eq!(kept(&follow(&schema), "note-2"), Some((Version(3), b"3".to_vec())));
    }
}
