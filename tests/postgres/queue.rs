//! Many sessions that append at once queue for the head, also beside what alters the table.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::journal::Journal as _;
use annals::journal::postgres::{Partition, PostgresJournal};

use crate::cluster::Cluster;
use crate::support::{Schema, Taker, batch, prepared, sql};

const SESSIONS: u32 = 8;

/// The states of the errors that sessions get which append until `while_appending` returns, each in transactions of several appends.
fn errors_of_appends(schema: &Schema, while_appending: impl FnOnce()) -> BTreeSet<String> {
    let path = schema.name.replace('"', "\"\"");
    let is_over = AtomicBool::new(false);
    let append = |session: u32| {
        let mut states = BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) {
            // Two sessions share an aggregate, and each has one of its own.
            let appends: String = [session / 2, 100 + session, session / 2]
                .map(|note| {
                    format!("SELECT append_events('note-{note}', 'Note', NULL, '[{{\"eventType\": \"Noted\"}}]');")
                })
                .concat();
            if let Err(error) = sql(&schema.url, &format!("SET search_path TO \"{path}\"; {appends}")) {
                states.insert(
                    error
                        .code()
                        .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
                );
            }
        }
        states
    };
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| scope.spawn(move || append(session)))
            .collect();
        while_appending();
        is_over.store(true, Ordering::SeqCst);
        sessions
            .into_iter()
            .flat_map(|session| session.join().expect("it returns"))
            .collect()
    })
}

fn assert_whole(schema: &Schema) {
    let head =
        "SELECT position = (SELECT count(*) FROM events) AND position = (SELECT max(position) FROM events) FROM head";
    assert_eq!(schema.value(head), "t");
    let versions =
        "SELECT count(*) FROM (SELECT FROM events GROUP BY aggregate_id HAVING max(version) <> count(*)) AS aggregates";
    assert_eq!(schema.value(versions), "0");
}

fn open(schema: &Schema, partition: Partition) {
    let settings = schema.settings().partition(partition);
    drop(PostgresJournal::open_with(&schema.url, settings).expect("it opens"));
}

#[test]
fn sessions_that_append_at_once_have_every_position_once() {
    let schema = prepared();
    let errors = errors_of_appends(&schema, || drop(schema.sql("SELECT pg_sleep(1)")));
    assert_eq!(errors, BTreeSet::new());
    assert_whole(&schema);
}

#[test]
fn sessions_that_append_and_a_store_that_takes_the_lease_wait_for_each_other() {
    let schema = prepared();
    let errors = errors_of_appends(&schema, || (0..10).for_each(|_| open(&schema, Partition::AsItIs)));
    assert!(errors.iter().all(|state| state == "ZA423"), "{errors:?}");
    assert_whole(&schema);
}

#[test]
fn a_table_that_was_partitioned_under_appends_ended_them() {
    let schema = prepared();
    let errors = errors_of_appends(&schema, || {
        schema.sql("SELECT pg_sleep(0.2)");
        open(&schema, Partition::ByMonth);
        schema.sql("SELECT pg_sleep(0.2)");
    });
    assert!(errors.iter().all(|state| state == "ZA423"), "{errors:?}");
    assert_eq!(schema.value("SELECT partitioned_by FROM head"), "month");
    assert_whole(&schema);
}

/// The month has no partition yet: one of the appends makes it.
#[test]
fn the_first_appends_of_a_month_ended_each_other() {
    let schema = Schema::partitioned();
    drop(schema.journal().expect("the tables are made"));
    let errors = errors_of_appends(&schema, || drop(schema.sql("SELECT pg_sleep(0.5)")));
    assert_eq!(errors, BTreeSet::new());
    assert_whole(&schema);
}

/// A store that was partitioning the table crashed, and a month has passed since.
#[test]
fn appends_after_a_conversion_that_crashed_end_its_bound() {
    let schema = prepared();
    schema.sql(
        "ALTER TABLE events ADD CONSTRAINT events_recorded_before CHECK (recorded_at < '2026-01-01 00:00:00+00') NOT VALID; \
         UPDATE head SET lease = gen_random_uuid(), holder = 'another', held_since = now(), lease_expires = now() - interval '1 minute'",
    );
    let errors = errors_of_appends(&schema, || drop(schema.sql("SELECT pg_sleep(0.5)")));
    assert!(errors.iter().all(|state| state == "40P01"), "{errors:?}");
    assert_eq!(
        schema.value("SELECT (lease IS NULL) || ' ' || (bound_of_events() IS NULL) FROM head"),
        "true true"
    );
    assert_whole(&schema);
    let errors = errors_of_appends(&schema, || drop(schema.sql("SELECT pg_sleep(0.2)")));
    assert_eq!(errors, BTreeSet::new());
}

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";

fn wait_until(schema: &Schema, condition: &str) {
    for _ in 0..1000 {
        if schema.value(condition) == "t" {
            return;
        }
        schema.sql("SELECT pg_sleep(0.005)");
    }
    panic!("{condition}: it does not come to that");
}

/// What an append and `alter` return: `second` waits for the head, the append behind it, and `alter` for the table, behind the append.
fn behind_the_head(schema: &Schema, second: impl FnOnce() + Send, alter: &str) -> Vec<String> {
    let code = |statement: &str| match schema.try_sql(statement) {
        Ok(_) => String::new(),
        Err(error) => error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    };
    let hold = format!(
        "BEGIN; SELECT FROM head FOR UPDATE; DO $$ BEGIN FOR n IN 1..2000 LOOP PERFORM pg_stat_clear_snapshot(); \
         EXIT WHEN ({WAITING}) >= 3; PERFORM pg_sleep(0.005); END LOOP; END $$; COMMIT"
    );
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| code(&hold));
        // It sleeps only after it has locked the head.
        let is_held =
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%FROM head FOR%'";
        wait_until(schema, is_held);
        let second = scope.spawn(second);
        wait_until(schema, &format!("SELECT ({WAITING}) >= 1"));
        let append = "SELECT append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')";
        let append = scope.spawn(|| code(append));
        wait_until(schema, &format!("SELECT ({WAITING}) >= 2"));
        let alter = scope.spawn(|| code(alter));
        second.join().expect("it is not ended");
        [holder, append, alter]
            .map(|session| session.join().expect("it returns"))
            .into()
    })
}

/// The server finds that what waits for the table may pass what only waits for it too.
#[test]
fn what_locked_the_head_before_it_opened_the_table_and_what_alters_the_table_ended_each_other() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let schema = Schema::on(cluster.url());
    drop(schema.journal().expect("the tables are made"));
    let many = "SELECT count(*) FROM append_many(\
                '[{\"aggregateId\": \"a\", \"aggregateType\": \"Note\", \"events\": [{\"eventType\": \"Noted\"}]}]')";
    for alter in [
        "CREATE INDEX ON events (user_id)",
        "LOCK TABLE events IN ACCESS EXCLUSIVE MODE",
    ] {
        let answers = behind_the_head(&schema, || drop(schema.sql(many)), alter);
        assert_eq!(answers, ["", "", ""], "append_many, {alter}");
        let answers = behind_the_head(&schema, || drop(schema.journal().expect("it opens")), alter);
        assert!(
            answers[1].is_empty() || answers[1] == "ZA423",
            "a store that opens, {alter}: {answers:?}"
        );
        assert_eq!([&answers[0], &answers[2]], ["", ""], "a store that opens, {alter}");
        for count in [1, 100] {
            let mut journal = schema.journal().expect("it opens");
            let mut taker = Taker::default();
            journal.recover(&mut taker).expect("it can be read");
            let batch = batch(taker.0.len() as u64 + 1, count);
            let answers = behind_the_head(&schema, || journal.write(&batch).expect("it is written"), alter);
            assert_eq!(answers, ["", "ZA423", ""], "a batch of {count}, {alter}");
        }
    }
    let head =
        "SELECT position = (SELECT count(*) FROM events) AND position = (SELECT max(position) FROM events) FROM head";
    assert_eq!(schema.value(head), "t");
}

/// Its plans are of the time when the table was known to be empty, and it has grown since.
#[test]
fn a_session_that_appended_first_read_the_whole_table_in_each_append() {
    let id = "018f0000-0000-7000-8000-00000000000a";
    let many = "SELECT count(*) FROM append_many('[{\"aggregateId\": \"a\", \"aggregateType\": \"Note\", \"events\": [{\"eventType\": \"Noted\"}]}]'); ";
    let once = "SELECT append_events('b', 'Note', NULL, '[{\"eventType\": \"Noted\"}]'); ";
    let known =
        format!("SELECT append_events('d', 'Note', NULL, '[{{\"eventType\": \"Noted\", \"eventId\": \"{id}\"}}]'); ");
    let unsynced = once.replace("append_events", "append_unsynced");
    let wait = format!("SELECT wait_synced(1, '{id}'); ");
    let load = "SELECT append_events('c', 'Note', NULL, (SELECT jsonb_agg('{\"eventType\": \"Noted\"}'::jsonb) FROM generate_series(1, 9000))); ";
    let read = "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_xact_user_tables \
                WHERE relname = 'events' AND schemaname = current_schema()";
    for call in [many, once, &known, &unsynced, &wait] {
        let schema = prepared();
        schema.sql("ANALYZE events");
        let calls = call.repeat(7);
        let rows = schema.sql(&format!("BEGIN; {known} {calls} {load} {calls} {read}; COMMIT"));
        let read = rows.last().expect("a row")[0].clone().expect("a number");
        assert!(
            read.parse::<u64>().expect("a number") < 9000,
            "{call}: {read} rows read"
        );
    }
}
