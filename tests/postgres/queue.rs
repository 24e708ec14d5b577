//! Many sessions that append at once queue for the head, also beside what alters the table.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::journal::postgres::{Partition, PostgresJournal, PostgresSettings};

use crate::support::{Schema, prepared, sql};

const SESSIONS: u32 = 8;

/// The states of the errors that sessions get which append until `while_appending` returns, each in transactions of several appends.
fn errors_of_appends(schema: &Schema, while_appending: impl FnOnce()) -> BTreeSet<String> {
    let path = schema.name.replace('"', "\"\"");
    let is_over = AtomicBool::new(false);
    let append = |session: u32| {
        let mut states = BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) {
            // By name and by position of the aggregate: two sessions append to the same aggregates, and each to its own.
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
    let settings = PostgresSettings {
        partition,
        ..schema.settings()
    };
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
