//! The output plug-in wal2json on the table `events`, where the server has it.

use std::io::Write as _;

use annals::Expected;
use tokio_postgres::error::SqlState;

use crate::cdc::{Reader, store, write};
use crate::support::{Schema, sql};

/// False if the server lacks the plug-in. Any other error fails the test.
fn has_slot(reader: &Reader<'_>, schema: &Schema) -> bool {
    let create = format!(
        "SELECT pg_create_logical_replication_slot('{}', 'wal2json')",
        reader.slot
    );
    match sql(&schema.url, &create) {
        Ok(_) => true,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_FILE) => {
            // Past the capture of the tests' output.
            let line = "\nNOT RUN: wal2json::*, because the server does not have the plug-in wal2json (Debian's postgresql-15-wal2json)\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            false
        }
        Err(error) => panic!("{create}: {error}"),
    }
}

/// The changes that the plug-in writes for the tables of events: action, position of the columns or of the identity, data, bytes.
fn changes(reader: &Reader<'_>, schema: &Schema) -> Vec<[String; 4]> {
    let value = |part: &str, name: &str| {
        format!(
            "(SELECT one ->> 'value' FROM jsonb_array_elements(change -> '{part}') AS one WHERE one ->> 'name' = '{name}')"
        )
    };
    let columns = [
        "change ->> 'action'".to_owned(),
        format!(
            "coalesce({}, {})",
            value("columns", "position"),
            value("identity", "position")
        ),
        value("columns", "data"),
        value("columns", "data_bytes"),
    ];
    let text = format!(
        "SELECT {} FROM (SELECT data::jsonb FROM pg_logical_slot_get_changes('{}', NULL, NULL, 'format-version', '2', 'include-transaction', \
         'false')) AS read (change) WHERE change ->> 'schema' = '{}' AND change ->> 'table' LIKE 'events%'",
        columns.join(", "),
        reader.slot,
        schema.name
    );
    let row = |row: Vec<Option<String>>| [0, 1, 2, 3].map(|column| row[column].clone().unwrap_or_default());
    schema.sql(&text).into_iter().map(row).collect()
}

fn append_in_sql(schema: &Schema) {
    let events = r#"[{"eventType": "Noted", "eventData": {"b": 1, "total": 12.50}}, {"eventType": "Noted", "eventDataHex": "00ff"}]"#;
    schema.sql(&format!("SELECT append_events('note-9', 'Note', NULL, '{events}')"));
}

#[test]
fn every_event_comes_in_the_order_of_positions() {
    for schema in [Schema::new(), Schema::partitioned()] {
        drop(schema.journal().expect("the tables are made"));
        let reader = Reader::new(&schema, "wal2json");
        if !has_slot(&reader, &schema) {
            return;
        }
        append_in_sql(&schema);
        let opened = store(&schema);
        write(&opened, 7);
        opened.close().expect("closed");
        append_in_sql(&schema);
        let seen = changes(&reader, &schema);
        let rows = schema.sql("SELECT 'I', position, data, encode(data_bytes, 'hex') FROM events ORDER BY position");
        let row = |row: Vec<Option<String>>| [0, 1, 2, 3].map(|column| row[column].clone().unwrap_or_default());
        assert_eq!(seen, rows.into_iter().map(row).collect::<Vec<_>>());
        assert_eq!(seen.len(), 11);
        assert_eq!((&*seen[0][2], &*seen[1][3]), (r#"{"b": 1, "total": 12.50}"#, "00ff"));
    }
}

/// A deleted row has its key alone. The events of a partition have the name of its table.
#[test]
fn rows_that_are_deleted_come_with_their_positions() {
    for schema in [Schema::new(), Schema::partitioned()] {
        let opened = store(&schema);
        write(&opened, 5);
        let reader = Reader::new(&schema, "wal2json_deleted");
        if !has_slot(&reader, &schema) {
            return;
        }
        opened.delete("note-2", Expected::Any).expect("deleted");
        opened.compact_journal().expect("compacted");
        let seen = changes(&reader, &schema);
        let actions: Vec<_> = seen.iter().map(|change| (&*change[0], &*change[1])).collect();
        assert_eq!(actions, [("I", "6"), ("D", "3")]);
    }
}
