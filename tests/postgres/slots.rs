//! Slots and publications belong to the whole server, or to anyone who may alter them: no change is lost by that, and no other's is taken.

use annals::journal::JournalErrorKind;
use annals::journal::postgres::PostgresSettings;
use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
use annals::{Event, Expected, StoreUrl};

use crate::cdc::{Reader, drain, everything, store, write};
use crate::cluster::Cluster;
use crate::follow::url_at;
use crate::support::{Schema, sql};

fn positions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.position().0).collect()
}

fn publication(schema: &Schema) -> String {
    format!("\"{}_events\"", schema.name.replace('"', "\"\""))
}

/// Whatever is done with a slot behind the reader's back, all events come: by a reader that is opened then, and by one that was open.
fn check_all_come(name: &str, meddle: impl Fn(&Schema, &Reader<'_>)) {
    for is_open in [false, true] {
        let schema = Schema::new();
        let reader = Reader::new(&schema, &format!("{name}_{is_open}"));
        let store = store(&schema);
        write(&store, 3);
        let mut capture = reader.open();
        let mut seen = drain(&mut capture);
        write(&store, 2);
        meddle(&schema, &reader);
        if !is_open {
            capture = reader.open();
        }
        seen.extend(drain(&mut capture));
        assert_eq!(positions(&seen), (1..=5).collect::<Vec<_>>(), "{name}, open: {is_open}");
        write(&store, 2);
        meddle(&schema, &reader);
        write(&store, 2);
        seen.extend(drain(&mut capture));
        assert_eq!(positions(&seen), (1..=9).collect::<Vec<_>>(), "{name}, open: {is_open}");
        assert_eq!(seen, everything(&store), "{name}, open: {is_open}");
        assert_eq!(drain(&mut reader.open()), [], "{name}, open: {is_open}");
    }
}

#[test]
fn changes_were_skipped_when_another_process_advanced_the_slot() {
    check_all_come("advanced", |schema, reader| {
        let slot = &reader.slot;
        schema.sql(&format!(
            "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
        ));
    });
    check_all_come("consumed", |schema, reader| {
        let (slot, publication) = (&reader.slot, publication(schema));
        schema.sql(&format!(
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', \
             'publication_names', '{publication}')"
        ));
    });
    check_all_come("remade", |schema, reader| {
        let slot = &reader.slot;
        schema.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        schema.sql(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ));
    });
}

#[test]
fn a_dropped_publication_stops_change_capture_silently() {
    // Since version 18 the server only warns, and the reader creates the publication with the next event.
    check_all_come("dropped", |schema, _| {
        schema.sql(&format!("DROP PUBLICATION IF EXISTS {}", publication(schema)));
    });
    check_all_come("made_anew", |schema, _| {
        let name = publication(schema);
        schema.sql(&format!(
            "DROP PUBLICATION IF EXISTS {name}; CREATE PUBLICATION {name} FOR TABLE events"
        ));
    });
    check_all_come("renamed", |schema, reader| {
        let name = publication(schema);
        let count = schema.value("SELECT count(*) FROM pg_publication");
        let is_there = schema.value(&format!(
            "SELECT count(*) FROM pg_publication WHERE quote_ident(pubname) = '{name}'"
        ));
        if is_there == "1" {
            schema.sql(&format!("ALTER PUBLICATION {name} RENAME TO {}_{count}", reader.slot));
        }
    });
}

#[test]
fn a_publication_that_others_altered_told_of_nothing() {
    check_all_come("without", |schema, _| {
        let name = publication(schema);
        schema.sql(&format!("ALTER PUBLICATION {name} SET TABLE head"));
    });
    check_all_come("updates", |schema, _| {
        schema.sql(&format!(
            "ALTER PUBLICATION {} SET (publish = 'update')",
            publication(schema)
        ));
    });
    check_all_come("all_tables", |schema, _| {
        let name = publication(schema);
        schema.sql(&format!(
            "DROP PUBLICATION {name}; CREATE PUBLICATION {name} FOR ALL TABLES WITH (publish = 'truncate')"
        ));
    });
    let filter = |schema: &Schema, _: &Reader<'_>| {
        let name = publication(schema);
        // Row filters came with version 15.
        drop(schema.try_sql(&format!(
            "ALTER PUBLICATION {name} SET TABLE events WHERE (position % 2 = 0)"
        )));
    };
    check_all_come("filtered", filter);
}

/// Each event that a publication lacks costs a flush of the log and a read of the table.
#[test]
fn a_publication_that_was_altered_stayed_so_while_its_reader_was_open() {
    let alterations = [
        "DROP PUBLICATION {}",
        "ALTER PUBLICATION {} SET TABLE head",
        "ALTER PUBLICATION {} SET (publish = 'update')",
        "DROP PUBLICATION {}; CREATE PUBLICATION {} FOR ALL TABLES WITH (publish = 'truncate')",
        "ALTER PUBLICATION {} SET TABLE events WHERE (position % 2 = 0)",
    ];
    for (number, alteration) in (0..).zip(alterations) {
        let schema = Schema::new();
        let reader = Reader::new(&schema, &format!("stayed_{number}"));
        let store = store(&schema);
        let mut capture = reader.open();
        // Row filters came with version 15.
        drop(schema.try_sql(&alteration.replace("{}", &publication(&schema))));
        write(&store, 3);
        assert_eq!(positions(&drain(&mut capture)), [1, 2, 3], "{alteration}");
        write(&store, 3);
        let changes = capture.take().expect("it is read").expect("there are events");
        let read: Vec<_> = changes.batch.events().map(|event| event.position().0).collect();
        assert_eq!(read, [4, 5, 6], "{alteration}");
        assert_ne!(changes.lsn, None, "{alteration}: they were read from the table");
    }
}

/// Rows that have left are not waited for, and those that stay come.
#[test]
fn a_slot_that_was_advanced_over_events_that_are_gone_tells_of_the_others() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "gone");
    let store = store(&schema);
    write(&store, 5);
    let mut capture = reader.open();
    drain(&mut capture);
    write(&store, 10);
    for id in ["note-1", "note-3"] {
        store.delete(id, Expected::Any).expect("deleted");
    }
    store.compact_journal().expect("compacted");
    let slot = &reader.slot;
    schema.sql(&format!(
        "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
    ));
    assert_eq!(positions(&drain(&mut capture)), [6, 8, 10, 11, 13, 15, 16, 17]);
    write(&store, 1);
    assert_eq!(positions(&drain(&mut capture)), [18]);
}

/// The reader was behind as many events as the new store has.
#[test]
fn a_store_that_replaced_another_was_read_from_where_the_other_was() {
    for is_open in [true, false] {
        let schema = Schema::new();
        let reader = Reader::new(&schema, &format!("replaced_{is_open}"));
        let old = store(&schema);
        write(&old, 5);
        let mut capture = reader.open();
        assert_eq!(drain(&mut capture).len(), 5);
        drop(old);
        schema.sql(&format!("DROP SCHEMA \"{}\" CASCADE", schema.name.replace('"', "\"\"")));
        write(&store(&schema), 7);
        if is_open {
            let error = capture.take().expect_err("it is another store");
            assert!(error.to_string().contains("another store"), "{error}");
        }
        // Its checkpoint is gone with its tables, and so the slot is none of the new store's.
        let message = refused(&schema.url, schema.settings(), &reader.slot);
        assert!(message.contains("did not create the replication slot"), "{message}");
        sql(
            &schema.url,
            &format!("SELECT pg_drop_replication_slot('{}')", reader.slot),
        )
        .expect("it is there");
        assert_eq!(drain(&mut reader.open()).len(), 7);
    }
}

/// The table of another schema has rows with positions that the store's come to.
#[test]
fn rows_of_another_table_of_the_same_name_do_not_come() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "same_name");
    let store = store(&schema);
    write(&store, 2);
    let mut capture = reader.open();
    let mut seen = drain(&mut capture);
    let other = Schema::new();
    drop(crate::cdc::store(&other));
    let name = other.name.replace('"', "\"\"");
    schema.sql(&format!(
        "ALTER PUBLICATION {} ADD TABLE \"{name}\".events",
        publication(&schema)
    ));
    write(&crate::cdc::store(&other), 5);
    write(&store, 2);
    seen.extend(drain(&mut capture));
    assert_eq!(seen, everything(&store));
}

#[test]
fn a_slot_whose_log_the_server_has_discarded_stopped_change_capture() {
    let cluster = Cluster::start(
        &["fsync = off", "max_slot_wal_keep_size = 1MB", "max_wal_size = 32MB"],
        &[],
    );
    let schema = Schema::on(cluster.url());
    let reader = Reader::new(&schema, "lost");
    let store = store(&schema);
    write(&store, 2);
    let mut capture = reader.open();
    let mut seen = drain(&mut capture);
    write(&store, 2);
    for _ in 0..4 {
        schema.sql("SELECT pg_switch_wal()");
        schema.sql("CREATE TABLE filler (); DROP TABLE filler");
    }
    schema.sql("CHECKPOINT");
    assert!(capture.status().expect("a status").is_lost);
    seen.extend(drain(&mut capture));
    assert_eq!(seen, everything(&store));
    assert!(!capture.status().expect("a status").is_lost);
}

/// What `--status` and `--drop-slot` ask.
fn without_making(schema: &Schema, slot: &str) -> ChangeCapture {
    let url: StoreUrl = url_at(&schema.url, schema).parse().expect("a URL");
    let settings = CaptureSettings::default().slot(slot.to_owned());
    url.slot(settings).expect("the name may be one")
}

/// The message with which a reader is refused.
fn refused(url: &str, postgres: PostgresSettings, slot: &str) -> String {
    let settings = CaptureSettings::default().slot(slot.to_owned());
    let refused = ChangeCapture::open_with(url, postgres, settings).expect_err("the slot is another's");
    assert_eq!(refused.kind(), JournalErrorKind::Unsupported, "{refused}");
    refused.to_string()
}

#[test]
fn two_stores_read_from_one_slot_and_each_skipped_events_of_its_own() {
    let (one, two) = (Schema::new(), Schema::new());
    let (first, second) = (store(&one), store(&two));
    write(&first, 2);
    write(&second, 2);
    let reader = Reader::new(&one, "shared");
    assert_eq!(drain(&mut reader.open()).len(), 2);
    let message = refused(&two.url, two.settings(), &reader.slot);
    for part in ["this store did not create the replication slot", &reader.slot, "--slot"] {
        assert!(message.contains(part), "{message}");
    }
    // Nothing was made, and the other's slot stays where it is.
    assert_eq!(two.value("SELECT count(*) FROM checkpoints"), "0");
    let mut capture = without_making(&two, &reader.slot);
    assert_eq!(capture.status().expect("a status").lag_bytes, None);
    capture.drop_slot().expect("there is none of this store");
    write(&first, 1);
    assert_eq!(drain(&mut reader.open()).len(), 1);

    // As an earlier program has left it.
    two.sql(&format!(
        "INSERT INTO checkpoints (name, position, copied_to) VALUES ('{}', 2, 2)",
        reader.slot
    ));
    let message = refused(&two.url, two.settings(), &reader.slot);
    assert!(
        message.contains(&one.name) && message.contains("each skips"),
        "{message}"
    );
    // One of them gives it up, and the other goes on.
    let mut capture = without_making(&two, &reader.slot);
    capture.drop_slot().expect("it is noted here");
    write(&first, 2);
    let mut capture = reader.open();
    assert_eq!(positions(&drain(&mut capture)), [4, 5]);
    capture.drop_slot().expect("it is its own");
    check_reused(&one, &two, &reader.slot);
}

/// The second store has made a slot of the name that the first has dropped.
fn check_reused(first: &Schema, second: &Schema, slot: &str) {
    let reader = Reader::new(second, "shared");
    let mut capture = reader.open();
    drain(&mut capture);
    let mut other = without_making(first, slot);
    assert_eq!(other.status().expect("a status").lag_bytes, None);
    other.drop_slot().expect("there is none of this store");
    assert!(capture.status().expect("a status").lag_bytes.is_some());
    let message = refused(&first.url, first.settings(), slot);
    assert!(message.contains(&second.name), "{message}");
}

#[test]
fn slots_of_other_databases_and_plug_ins_were_dropped_and_read_from() {
    let schema = Schema::new();
    let database = format!("stage_{}", std::process::id());
    sql(&schema.url, &format!("CREATE DATABASE {database}")).expect("the role may make one");
    let (server, ours) = schema.url.rsplit_once('/').expect("it names a database");
    let (url, ours) = (
        format!("{server}/{database}"),
        ours.split('?').next().unwrap_or_default(),
    );
    let part = format!("belongs to the database '{ours}'");
    let stage = Schema::on(url);
    let (ours, theirs) = (store(&schema), store(&stage));
    write(&ours, 2);
    write(&theirs, 2);
    let reader = Reader::new(&schema, "database");
    assert_eq!(drain(&mut reader.open()).len(), 2);
    check_no_slot(&stage, &reader.slot, &part);
    write(&ours, 1);
    assert_eq!(drain(&mut reader.open()).len(), 1);
    drop(theirs);
    let slot = format!("{}_other", reader.slot);
    for (make, part) in [
        (
            format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')"),
            "'test_decoding'",
        ),
        (
            format!("SELECT pg_create_physical_replication_slot('{slot}')"),
            "is a physical one",
        ),
        (
            format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
            "did not create",
        ),
    ] {
        if schema.try_sql(&make).is_ok() {
            check_no_slot(&schema, &slot, part);
            schema.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        }
    }
    let url = schema.url.clone();
    drop(stage);
    sql(&url, &format!("DROP DATABASE {database} WITH (FORCE)")).expect("it was made here");
}

/// The slot is another's: it is refused, there is none in the status, and it is not dropped.
fn check_no_slot(schema: &Schema, slot: &str, part: &str) {
    let message = refused(&schema.url, schema.settings(), slot);
    assert!(message.contains(part) && message.contains("--slot"), "{message}");
    let mut capture = without_making(schema, slot);
    assert_eq!(capture.status().expect("a status").lag_bytes, None);
    capture.drop_slot().expect("there is none of this store");
    let count = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    assert_eq!(schema.value(&count), "1");
}

/// The server keeps no place for the reader then: what was acknowledged would come again after the next start, without a word.
#[test]
fn an_acknowledgement_without_a_checkpoint_was_taken_for_done() {
    for (number, meddle) in [
        "DELETE FROM checkpoints",
        "TRUNCATE checkpoints",
        "UPDATE checkpoints SET name = 'other'",
    ]
    .into_iter()
    .enumerate()
    {
        let schema = Schema::new();
        let reader = Reader::new(&schema, &format!("unnoted_{number}"));
        let store = store(&schema);
        write(&store, 3);
        let mut capture = reader.open();
        drain(&mut capture);
        write(&store, 2);
        let changes = capture.take().expect("it can be read").expect("two events");
        schema.sql(meddle);
        let refused = capture.acknowledge(&changes).expect_err(meddle);
        assert_eq!(refused.kind(), JournalErrorKind::Failed, "{meddle}: {refused}");
        let said = refused.to_string();
        assert!(said.contains("checkpoint") && said.contains(&reader.slot), "{said}");
        let refused = capture
            .take()
            .map(drop)
            .expect_err("the slot is not known to the store");
        assert!(
            refused.to_string().contains("did not create the replication slot"),
            "{refused}"
        );
        schema.sql(&format!("SELECT pg_drop_replication_slot('{}')", reader.slot));
        assert_eq!(positions(&drain(&mut capture)), (1..=5).collect::<Vec<_>>(), "{meddle}");
    }
}
