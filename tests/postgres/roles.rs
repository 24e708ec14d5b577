//! What a role must be granted to write, and to read: docs/postgresql.md says the same.

use annals::journal::Journal as _;
use annals::journal::postgres::PostgresJournal;
use annals::{Durability, Error, Expected, NewEvent, Store, StreamId, Timestamp, Version};

use crate::follow::url_at;
use crate::gone::rewrite;
use crate::support::{Schema, batch, recovered};

pub(crate) const WRITER: &str = "GRANT USAGE ON SCHEMA annals TO writer;
GRANT SELECT ON ALL TABLES IN SCHEMA annals TO writer;
GRANT INSERT ON annals.events, annals.deletions, annals.gaps, annals.marks TO writer;
GRANT DELETE ON annals.events, annals.marks TO writer;
GRANT UPDATE ON annals.head, annals.gaps TO writer;
GRANT EXECUTE ON FUNCTION annals.make_partition, annals.free_events TO writer;";
const READER: &str = "GRANT USAGE ON SCHEMA annals TO reader;
GRANT SELECT ON annals.live_events, annals.snapshots TO reader;";

pub(crate) const APPENDER: &str = "GRANT USAGE ON SCHEMA annals TO appender;
GRANT EXECUTE ON FUNCTION annals.append_events, annals.append_many, annals.append_unsynced, annals.wait_synced TO appender;";

const FOLLOWER: &str = "GRANT USAGE ON SCHEMA annals TO follower;
GRANT SELECT ON annals.events, annals.gaps, annals.marks, annals.head, annals.migrations TO follower;
GRANT EXECUTE ON FUNCTION annals.append_events, annals.append_many, annals.notify_followers TO follower;";

/// The grants, for roles and a schema that no other test has.
fn grant(schema: &Schema, grants: &str, role: &str) {
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    grant_more(schema, grants, role);
}

/// The same for a role that is there.
pub(crate) fn grant_more(schema: &Schema, grants: &str, role: &str) {
    let name = format!("\"{}\"", schema.name.replace('"', "\"\""));
    let grants = grants
        .replace("writer", role)
        .replace("reader", role)
        .replace("appender", role)
        .replace("notify_followers", "NOTIFY")
        .replace("follower", role)
        .replace("NOTIFY", "notify_followers")
        .replace("annals", &name);
    schema.sql(&grants);
}

pub(crate) fn revoke(schema: &Schema, role: &str) {
    schema.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_writer_and_a_reader_need_these_grants() {
    check_writer_and_reader(&Schema::new(), "plain");
    check_writer_and_reader(&Schema::partitioned(), "monthly");
}

fn check_writer_and_reader(schema: &Schema, name: &str) {
    drop(schema.journal().expect("its owner makes the tables"));
    let id = std::process::id();
    let (writer, reader) = (format!("writing_{name}_{id}"), format!("reading_{name}_{id}"));
    grant(schema, WRITER, &writer);
    grant(schema, READER, &reader);
    let as_role = |role: &str| schema.url_with(&format!("options=-c%20role%3D{role}"));
    let settings = schema.settings();
    let open = |role: &str| PostgresJournal::open_with(&as_role(role), settings.clone());
    let mut journal = open(&writer).expect("it was granted enough");
    assert_eq!(recovered(&mut journal), 0);
    journal.write(&batch(1, 3)).expect("it was granted enough");
    journal.write(&batch(4, 1000)).expect("it was granted enough");
    rewrite(&mut journal, 1, 3).expect("it was granted enough");
    drop(journal);
    let refused = open(&reader).map(drop).expect_err("it may read, and not write");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    let reading = Schema {
        url: as_role(&reader),
        name: schema.name.clone(),
        partition: schema.partition,
    };
    assert_eq!(reading.value("SELECT count(*) FROM live_events"), "1000");
    assert!(reading.try_sql("DELETE FROM events").is_err());
    drop(reading);
    revoke(schema, &writer);
    revoke(schema, &reader);
}

/// Its owner began to partition it, and was killed.
#[test]
fn a_writer_of_a_table_that_was_left_half_partitioned_had_to_own_it() {
    let schema = Schema::new();
    let mut journal = schema.journal().expect("its owner makes the tables");
    assert_eq!(recovered(&mut journal), 0);
    journal.write(&batch(1, 3)).expect("it is written");
    drop(journal);
    schema.sql("UPDATE head SET lease = gen_random_uuid(); SELECT bound_events(lease) FROM head");
    let writer = format!("freeing_{}", std::process::id());
    grant(&schema, WRITER, &writer);
    let url = schema.url_with(&format!("options=-c%20role%3D{writer}"));
    let opened = PostgresJournal::open_with(&url, schema.settings()).map(drop);
    revoke(&schema, &writer);
    opened.expect("it was granted enough");
    let bound =
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'events'::regclass AND conname = 'events_recorded_before'";
    assert_eq!(schema.value(bound), "0");
}

#[test]
fn whoever_may_execute_the_function_can_append_and_do_nothing_else() {
    let schema = Schema::new();
    drop(schema.journal().expect("its owner makes the tables"));
    let appender = format!("appending_{}", std::process::id());
    let append = "SELECT last_position FROM append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')";
    let as_appender = |sql: &str| schema.try_sql(&format!("SET ROLE {appender}; {sql}"));
    schema.sql(&format!("CREATE ROLE {appender} NOLOGIN"));
    schema.sql(&format!(
        "GRANT USAGE ON SCHEMA \"{}\" TO {appender}",
        schema.name.replace('"', "\"\"")
    ));
    as_appender(append).expect_err("it was not granted");
    schema.sql(&format!("DROP OWNED BY {appender}; DROP ROLE {appender}"));
    grant(&schema, APPENDER, &appender);
    // Tables of its own in front of the store's change nothing.
    let in_front = "CREATE TEMPORARY TABLE head AS SELECT 7 AS position; SET search_path TO pg_temp, public;";
    let name = schema.name.replace('"', "\"\"");
    let found = append.replace("append_events", &format!("\"{name}\".append_events"));
    let rows = as_appender(&format!("{in_front} {found}")).expect("it was granted enough");
    assert_eq!(rows.last(), Some(&vec![Some("1".to_owned())]));
    for other in [
        "SELECT * FROM events",
        "UPDATE head SET position = 7",
        "SELECT notify_followers()",
    ] {
        as_appender(other).expect_err("it was not granted");
    }
    revoke(&schema, &appender);
}

#[test]
fn a_follower_needs_these_grants() {
    let schema = Schema::new();
    drop(schema.journal().expect("its owner makes the tables"));
    let follower = format!("following_{}", std::process::id());
    grant(&schema, FOLLOWER, &follower);
    let sign = if schema.url.contains('?') { '&' } else { '?' };
    let url = url_at(&format!("{}{sign}options=-c%20role%3D{follower}", schema.url), &schema);
    let store = Store::follow(&url).expect("it was granted enough");
    let appended = store.append(
        &StreamId::new("Note", "note-1"),
        Expected::NoStream,
        vec![NewEvent::new("Noted")],
    );
    assert_eq!(appended.expect("it was granted enough").last_version, Version(1));
    assert_eq!(store.read_stream("note-1").events().len(), 1);
    drop(store);
    revoke(&schema, &follower);
}

#[test]
fn what_was_deleted_is_not_among_the_live_events() {
    let schema = Schema::new();
    let store = Store::open(schema.journal().expect("it opens")).expect("it is empty");
    let store = store.with_durability(Durability::Synced).expect("it can");
    let event = |number: u32| NewEvent::new("Noted").data(number.to_string());
    let append = |id: &str| {
        let appended = store.append(
            &StreamId::new("Note", id),
            Expected::Any,
            (1..=3).map(event).collect::<Vec<_>>(),
        );
        appended.expect("nothing is expected");
    };
    ["truncated", "deleted", "for good", "untouched"]
        .into_iter()
        .for_each(append);
    store.truncate_before("truncated", Version(2)).expect("it is there");
    store.delete("deleted", Expected::Any).expect("it is there");
    store.tombstone("for good", Expected::Any).expect("it is there");
    append("deleted");
    let old = event(1).timestamp(Timestamp::from_micros(0));
    let stream = StreamId::new("Note", "archived");
    store
        .append(&stream, Expected::Any, vec![old, event(2)])
        .expect("nothing is expected");
    let saved = store.archive(Timestamp::from_micros(1), "old", |_| Ok::<_, Error>(()));
    assert_eq!(saved.expect("archived").events, 1);
    let last = store.reached(Durability::Volatile);
    store.wait_durable(last).expect("the server is there");
    let rows = schema.sql("SELECT aggregate_id, version::text FROM live_events ORDER BY position");
    let live: Vec<_> = rows
        .iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
        .collect();
    let mut seen = Vec::new();
    store
        .read_all()
        .for_each(|event| seen.push((event.aggregate_id().to_owned(), event.version().to_string())));
    assert_eq!(live, seen);
    assert_eq!(live.len(), 2 + 3 + 3 + 1);
    assert_eq!(
        schema.value("SELECT string_agg(kind, ' ' ORDER BY position) FROM deletions"),
        "truncated deleted tombstoned archived"
    );
}

/// A role or a database may have commits return before they are on the disk; a store's are waited for.
#[test]
fn a_commit_is_on_the_disk_whatever_the_server_is_set_to() {
    let schema = Schema::new();
    drop(schema.journal().expect("its owner makes the tables"));
    schema.sql(
        "CREATE TABLE seen (setting text); CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
         CREATE TRIGGER look AFTER INSERT ON events EXECUTE FUNCTION look()",
    );
    for (number, set) in (1..).zip(["off", "local", "on", "remote_apply"]) {
        let url = schema.url_with(&format!("options=-c%20synchronous_commit%3D{set}"));
        let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
        recovered(&mut journal);
        journal.write(&batch(number, 1)).expect("it is written");
    }
    let seen = schema.value("SELECT string_agg(setting, ' ' ORDER BY ctid) FROM seen");
    assert_eq!(seen, "on on on remote_apply");
}

#[test]
fn an_open_journal_shows_no_password() {
    let schema = Schema::new();
    let url = schema.url.replacen("postgres@", "postgres:s3cr3t@", 1);
    let journal = PostgresJournal::open_with(&url, schema.settings()).expect("anybody is trusted");
    assert!(!format!("{journal:?} {journal:#?}").contains("s3cr3t"));
}
