//! Tables that an earlier program has made are brought up to date, with what is in them.

use annals::journal::postgres::PostgresJournal;
use annals::{Durability, Expected, Position, Store, StreamId};

use crate::follow::{append_in_sql, follow, noted, url_at};
use crate::roles::{APPENDER, WRITER, grant_more, revoke};
use crate::support::Schema;

/// What was run for the first tables of all.
const FIRST: [&str; 3] = [
    include_str!("../../src/journal/postgres/migrations/0001-events.sql"),
    include_str!("../../src/journal/postgres/migrations/0002-append-events.sql"),
    include_str!("../../src/journal/postgres/migrations/0003-checkpoints.sql"),
];

/// A schema as the first program has left it, with an event.
pub(crate) fn first_tables() -> Schema {
    let schema = Schema::new();
    let name = schema.name.replace('"', "\"\"");
    schema.sql(&format!("CREATE SCHEMA \"{name}\""));
    let note = "CREATE TABLE migrations (number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()); \
                INSERT INTO migrations SELECT number, 'old' FROM generate_series(1, 3) AS number";
    schema.sql(&format!("BEGIN; {}; {note}; COMMIT", FIRST.join(";")));
    append_in_sql(&schema, "note-1");
    schema
}

/// What was run before the functions found their schema by its number.
const SIXTH: [&str; 3] = [
    include_str!("../../src/journal/postgres/migrations/0004-snapshots.sql"),
    include_str!("../../src/journal/postgres/migrations/0005-partitions.sql"),
    include_str!("../../src/journal/postgres/migrations/0006-gone.sql"),
];

/// Grants stay, a time that a follower has appended is read as before, and what comes then is in the column for SQL too.
#[test]
fn functions_of_an_earlier_program_are_brought_up_to_date() {
    let schema = first_tables();
    let note = "INSERT INTO migrations SELECT number, 'old' FROM generate_series(4, 6) AS number";
    schema.sql(&format!("BEGIN; {}; {note}; COMMIT", SIXTH.join(";")));
    let role = format!("appending_old_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    grant_more(
        &schema,
        &APPENDER.replace(", annals.append_many, annals.append_unsynced, annals.wait_synced", ""),
        &role,
    );
    let event = r#"[{"eventType": "Noted", "timestampMicros": 1000000}]"#;
    let append = format!("SELECT last_position FROM append_events('note-1', 'Note', NULL, '{event}')");
    assert_eq!(schema.value(&append), "2");
    drop(schema.journal().expect("it may change them"));
    let as_role = schema.sql(&format!("SET ROLE {role}; {append}"));
    assert_eq!(as_role.last(), Some(&vec![Some("3".to_owned())]));
    // Functions that are new are granted with the one that was there.
    let others =
        "SELECT * FROM append_many('[]'); SELECT append_unsynced('note-1', 'Note', NULL, '[]'); SELECT wait_synced(3)";
    schema.sql(&format!("SET ROLE {role}; {others}"));
    let follower = follow(&schema);
    let times: Vec<_> = follower
        .read_all()
        .events()
        .iter()
        .map(|event| event.timestamp().as_micros())
        .collect();
    assert_eq!(times[1..], [1_000_000; 2]);
    let finite = "SELECT string_agg(isfinite(occurred_at)::text, ' ' ORDER BY position) FROM events WHERE position > 1";
    assert_eq!(schema.value(finite), "false true");
    revoke(&schema, &role);
}

#[test]
fn tables_of_an_earlier_program_are_brought_up_to_date() {
    let schema = first_tables();
    let store = Store::open(schema.journal().expect("it may change them")).expect("it can be read");
    let store = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    let stream = StreamId::new("Note", "note-1");
    let appended = store.append(&stream, Expected::exactly(1), vec![noted(1)]);
    assert_eq!(appended.expect("it is at that version").last_position, Position(2));
    store.delete("note-1", Expected::Any).expect("it is there");
    store.compact_journal().expect("compacted");
    store.close().expect("the server is there");
    assert_eq!(append_in_sql(&schema, "note-1"), 4);
    assert_eq!(follow(&schema).read_all().events().len(), 1);
}

/// The rights of a writer of the first program; the owner brings the tables up to date, and grants again what docs/postgresql.md says.
#[test]
fn a_writer_of_an_earlier_program_goes_on_when_it_is_granted_the_rest() {
    const FIRST_WRITER: &str = "GRANT USAGE ON SCHEMA annals TO writer; GRANT SELECT ON ALL TABLES IN SCHEMA annals TO writer; \
                                GRANT INSERT ON annals.events, annals.deletions TO writer; GRANT UPDATE ON annals.head TO writer;";
    let schema = first_tables();
    let role = format!("writing_old_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    grant_more(&schema, FIRST_WRITER, &role);
    let url = schema.url_with(&format!("options=-c%20role%3D{role}"));
    let open = || PostgresJournal::open_with(&url, schema.settings()).map_err(|error| error.to_string());
    open().map(drop).expect_err("it may not change the tables");
    drop(schema.journal().expect("its owner may"));
    grant_more(&schema, WRITER, &role);
    let store = Store::open(open().expect("it was granted enough")).expect("it can be read");
    let store = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    let stream = StreamId::new("Note", "note-1");
    let appended = store.append(&stream, Expected::exactly(1), vec![noted(1)]);
    assert_eq!(appended.expect("it is at that version").last_position, Position(2));
    store.delete("note-1", Expected::Any).expect("it is there");
    store.compact_journal().expect("it was granted enough");
    store.close().expect("the server is there");
    assert_eq!(schema.value("SELECT sum(events) FROM gaps"), "2");
    revoke(&schema, &role);
}

/// Who may not bring them up to date is told what is missing, and not that a table is.
#[test]
fn a_follower_of_tables_that_are_too_old_says_so() {
    let schema = first_tables();
    let role = format!("following_old_{}", std::process::id());
    let name = schema.name.replace('"', "\"\"");
    schema.sql(&format!(
        "CREATE ROLE {role} NOLOGIN; GRANT USAGE ON SCHEMA \"{name}\" TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA \"{name}\" TO {role}"
    ));
    let url = schema.url_with(&format!("options=-c%20role%3D{role}"));
    let refused = Store::follow(&url_at(&url, &schema)).expect_err("it may not change them");
    assert!(
        refused
            .to_string()
            .contains("the tables of the store cannot be created"),
        "{refused}"
    );
    schema.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
