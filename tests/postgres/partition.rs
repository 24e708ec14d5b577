//! A table that is partitioned by month: the same to all who use it.

use std::sync::Arc;

use annals::journal::postgres::{Partition, PostgresJournal};
use annals::journal::{Batch, Journal as _, JournalError, JournalErrorKind, Record};
use annals::{Durability, Error, Event, Expected, ManualClock, Position, Store, Timestamp, Version};
use uuid::Uuid;

use crate::cdc::{Reader, drain};
use crate::follow::{append_in_sql, assert_same, events, follow, note, noted};
use crate::proxy::{Cut, Proxy};
use crate::support::{Schema, Taker, batch, prepared, recovered};

/// Microseconds since 1970 in the middle of the first months of 2026.
const JANUARY: i64 = 1_768_500_000_000_000;
const FEBRUARY: i64 = JANUARY + MONTH;
const MARCH: i64 = FEBRUARY + MONTH;
const MONTH: i64 = 30 * 86_400_000_000;

fn open(schema: &Schema, partition: Partition, clock: &Arc<ManualClock>) -> Store {
    let settings = schema.settings().partition(partition);
    let journal = PostgresJournal::open_with(&schema.url, settings).expect("it opens");
    let clock = Arc::clone(clock);
    let opened = Store::builder().clock(clock).journal(journal).open();
    let store = opened.expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

fn clock_at(micros: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_micros(micros)))
}

/// Events to one aggregate, of each month.
fn fill(schema: &Schema, months: &[i64]) -> Store {
    fill_as(schema, schema.partition, months)
}

fn fill_as(schema: &Schema, partition: Partition, months: &[i64]) -> Store {
    let clock = clock_at(months[0]);
    let store = open(schema, partition, &clock);
    for month in months {
        clock.set(Timestamp::from_micros(*month));
        for number in 0..70 {
            store
                .append(&note("note-1"), Expected::Any, vec![noted(number)])
                .expect("any");
        }
        let many = (0..100).map(noted).collect::<Vec<_>>();
        store.append(&note("note-2"), Expected::Any, many).expect("any");
    }
    store
}

/// The names of the partitions, and how many rows each has.
fn partitions(schema: &Schema) -> Vec<(String, String)> {
    let rows = schema.sql("SELECT name FROM partitions()");
    let names = rows.into_iter().flatten().flatten();
    let counted = names.map(|name| {
        let count = schema.value(&format!("SELECT count(*) FROM {name}"));
        (name, count)
    });
    counted.collect()
}

fn named(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, count): &(&str, &str)| ((*name).to_owned(), (*count).to_owned());
    names.iter().map(owned).collect()
}

#[test]
fn each_month_is_a_partition() {
    let schema = Schema::partitioned();
    let store = fill(&schema, &[JANUARY, FEBRUARY, MARCH]);
    let of_each = [
        ("events_2026_01", "170"),
        ("events_2026_02", "170"),
        ("events_2026_03", "170"),
    ];
    assert_eq!(partitions(&schema), named(&of_each));
    let before = events(&store);
    drop(store);
    // It stays partitioned for every program that opens it, and a month gets one partition.
    let store = open(&schema, Partition::AsItIs, &clock_at(FEBRUARY));
    assert_eq!(events(&store), before);
    store
        .append(&note("note-1"), Expected::exactly(210), vec![noted(0)])
        .expect("it goes on");
    assert_eq!(partitions(&schema)[1].1, "171");
    let planned = schema.sql("EXPLAIN SELECT FROM events WHERE recorded_at >= '2026-03-01 00:00Z'");
    assert!(
        planned.iter().flatten().flatten().all(|line| !line.contains("2026_01")),
        "{planned:?}"
    );
}

/// A batch whose events come from both sides of the end of a month.
#[test]
fn a_batch_of_two_months_is_written_whole() {
    let schema = Schema::partitioned();
    let mut journal = schema.journal().expect("it opens");
    assert_eq!(recovered(&mut journal), 0);
    for (first, count) in [(1, 2), (3, 1000)] {
        let mut batch = Batch::new();
        for position in first..first + count {
            let recorded = if position % 2 == 0 { JANUARY } else { FEBRUARY };
            push_recorded(&mut batch, position, recorded);
        }
        journal.write(&batch).expect("it is taken");
    }
    assert_eq!(
        partitions(&schema),
        named(&[("events_2026_01", "501"), ("events_2026_02", "501")])
    );
    drop(journal);
    let mut taker = Taker::default();
    schema
        .journal()
        .expect("it opens")
        .recover(&mut taker)
        .expect("it can be read");
    assert_eq!(taker.0.len(), 1002);
}

fn push_recorded(batch: &mut Batch, position: u64, recorded: i64) {
    let mut record = Record::new(Position(position), Version(position), Uuid::from_u64_pair(1, position));
    record.recorded_at = Timestamp::from_micros(recorded);
    record.aggregate_id = "order-1";
    record.aggregate_type = "Order";
    record.event_type = "OrderPlaced";
    batch.push(&record);
}

#[test]
fn who_does_not_ask_for_partitions_has_none() {
    let schema = prepared();
    drop(fill(&schema, &[JANUARY, FEBRUARY]));
    assert_eq!(partitions(&schema), []);
    let kind = schema.value("SELECT relkind FROM pg_class WHERE oid = 'events'::regclass");
    assert_eq!(kind, "r");
}

/// The table becomes the first partition, without a change for its users.
#[test]
fn a_table_that_is_there_becomes_the_first_partition() {
    let schema = prepared();
    let role = format!("looking_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    schema.sql(&format!(
        "GRANT SELECT ON live_events TO {role}; GRANT SELECT ON events TO {role} WITH GRANT OPTION; \
         CREATE INDEX data ON events USING gin (data jsonb_path_ops)"
    ));
    let reader = Reader::new(&schema, "converted");
    let mut capture = reader.open();
    let store = fill(&schema, &[JANUARY, FEBRUARY]);
    store.delete("note-2", Expected::Any).expect("it is there");
    let follower = follow(&schema);
    drop(store);
    let store = fill_as(&schema, Partition::ByMonth, &[FEBRUARY, MARCH]);
    assert_eq!(
        partitions(&schema),
        named(&[("events_until_2026_02", "511"), ("events_2026_03", "170")])
    );
    follower.wait_visible(store.visible());
    assert_same(&follower, &store);
    // What was written before comes as what was written since.
    let all: Vec<Event> = store.read_all().include_system().events();
    let seen: Vec<_> = drain(&mut capture).iter().map(Event::position).collect();
    assert_eq!(
        seen,
        (1..=all.last().expect("events").position().0)
            .map(Position)
            .collect::<Vec<_>>()
    );
    let count = |what: &str| schema.value(&format!("SELECT count(*) FROM {what}"));
    assert_eq!(count("live_events"), events(&store).len().to_string());
    for right in ["SELECT", "SELECT WITH GRANT OPTION"] {
        let granted = format!("SELECT has_table_privilege('{role}', 'events', '{right}')");
        assert_eq!(schema.value(&granted), "t");
    }
    // `pg_indexes` fails when another test drops one of its own.
    let on_each = "SELECT count(DISTINCT indrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid \
                   JOIN pg_opclass ON pg_opclass.oid = indclass[0] \
                   WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND opcname = 'jsonb_path_ops'";
    assert_eq!(schema.value(on_each), "3");
    store.close().expect("the server is there");
    assert_eq!(append_in_sql(&schema, "note-1"), 682);
    assert_eq!(partitions(&schema).len(), 3);
    schema.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_partitions_would_not_have_is_named() {
    let mut schema = prepared();
    schema.partition = Partition::ByMonth;
    schema.sql("CREATE VIEW mine AS SELECT count(*) FROM events");
    let refused = schema
        .journal()
        .map(drop)
        .expect_err("the view would see the first partition alone");
    assert_eq!(refused.kind(), JournalErrorKind::Unsupported);
    assert!(
        refused
            .to_string()
            .contains("the table of events cannot be partitioned"),
        "{refused}"
    );
    assert!(refused.to_string().contains("the view mine"), "{refused}");
    schema.sql("DROP VIEW mine");
    drop(schema.journal().expect("nothing is in the way"));
    assert_eq!(schema.value("SELECT partitioned_by FROM head"), "month");
}

/// What is unique in each month is not so in all of them.
#[test]
fn a_unique_index_of_ones_own_was_lost_without_a_word() {
    let mut schema = prepared();
    schema.partition = Partition::ByMonth;
    schema.sql(
        "CREATE UNIQUE INDEX mine ON events (event_id); \
         ALTER TABLE events ADD CONSTRAINT \"not twice\" EXCLUDE (event_id WITH =)",
    );
    let refused = schema.journal().map(drop).expect_err("others would not keep it");
    let named = "the index \"not twice\", the index mine";
    assert!(refused.to_string().contains(named), "{refused}");
    schema.sql("DROP INDEX mine; ALTER TABLE events DROP CONSTRAINT \"not twice\"");
    drop(schema.journal().expect("nothing is in the way"));
}

/// What no row may be is not a month that is missing.
#[test]
fn what_a_check_of_ones_own_forbids_was_tried_again_and_again() {
    for schema in [Schema::new(), Schema::partitioned()] {
        let mut journal = schema.journal().expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        schema.sql("ALTER TABLE events ADD CONSTRAINT mine CHECK (event_type <> 'OrderPlaced')");
        let refused = journal.write(&batch(1, 3));
        assert_eq!(kind_of(&refused), Some(JournalErrorKind::Failed));
    }
}

/// It releases the lease at once, so no writer waits for its end.
#[test]
fn a_store_that_could_not_be_partitioned_kept_the_lease() {
    let mut schema = prepared();
    schema.partition = Partition::ByMonth;
    schema.sql("CREATE VIEW mine AS SELECT count(*) FROM events");
    schema.journal().map(drop).expect_err("the view is in the way");
    assert_eq!(append_in_sql(&schema, "note-1"), 1);
}

/// A crash while a table is partitioned blocks later months until the next store opens it.
#[test]
fn a_table_that_was_left_half_partitioned_took_no_events_of_the_next_month() {
    for partition in [Partition::AsItIs, Partition::ByMonth] {
        let schema = prepared();
        drop(fill(&schema, &[JANUARY]));
        schema.sql("UPDATE head SET lease = gen_random_uuid(); SELECT bound_events(lease) FROM head");
        let store = fill_as(&schema, partition, &[FEBRUARY]);
        assert_eq!(store.visible(), Position(340));
        let bound = "SELECT count(*) FROM pg_constraint WHERE conname = 'events_recorded_before'";
        assert_eq!(schema.value(&format!("{bound} AND conrelid = 'events'::regclass")), "0");
    }
}

/// The table was empty when it was looked at; the lease ends before what is to partition it comes, and others append.
#[test]
fn events_that_came_while_an_empty_table_was_partitioned_were_dropped() {
    let mut schema = prepared();
    schema.partition = Partition::ByMonth;
    let (proxy, url) = Proxy::to(&schema.url);
    proxy.arm(b"partition_by_month", Cut::Hold);
    let refused = std::thread::scope(|scope| {
        let opening = scope.spawn(|| PostgresJournal::open_with(&url, schema.settings()).map(drop));
        while !proxy.is_met() {
            std::thread::yield_now();
        }
        let end = "UPDATE head SET lease_expires = '-infinity'";
        let append = "SELECT FROM append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')";
        schema.sql(&format!("{end}; {append}"));
        proxy.let_through();
        opening.join().expect("no panic")
    });
    assert_eq!(schema.value("SELECT count(*) FROM events"), "1");
    assert_eq!(kind_of(&refused), Some(JournalErrorKind::Retry));
    drop(schema.journal().expect("it can be opened again"));
    assert_eq!(partitions(&schema)[0].1, "1");
}

fn kind_of<T>(result: &Result<T, JournalError>) -> Option<JournalErrorKind> {
    result.as_ref().err().map(JournalError::kind)
}

/// The same, and no store is opened: events come in SQL.
#[test]
fn an_append_in_sql_to_a_table_that_was_left_half_partitioned_was_refused_when_the_month_turned() {
    let schema = prepared();
    drop(fill(&schema, &[JANUARY]));
    schema.sql("UPDATE head SET lease = gen_random_uuid(); SELECT bound_events(lease) FROM head");
    assert_eq!(append_in_sql(&schema, "note-1"), 171);
    assert_eq!(append_in_sql(&schema, "note-1"), 172);
}

#[test]
fn a_connection_that_is_cut_while_a_partition_is_made_costs_nothing() {
    for cut in [Cut::Before, Cut::After] {
        let schema = Schema::partitioned();
        let (proxy, url) = Proxy::to(&schema.url);
        let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        proxy.arm(b"make_partition", cut);
        let lost = journal.write(&batch(1, 3)).expect_err("it was cut");
        assert_eq!(lost.kind(), JournalErrorKind::Retry);
        journal.write(&batch(1, 3)).expect("it goes on");
        drop(journal);
        assert_eq!(recovered(&mut schema.journal().expect("it opens")), 3);
        assert_eq!(partitions(&schema), named(&[("events_1970_01", "3")]));
    }
}

#[test]
fn a_follower_of_partitions_has_what_is_there_and_what_comes() {
    let schema = Schema::partitioned();
    let store = fill(&schema, &[JANUARY, FEBRUARY]);
    let follower = follow(&schema);
    assert_same(&follower, &store);
    store.close().expect("the server is there");
    let appended = follower.append(&note("note-1"), Expected::exactly(140), vec![noted(0)]);
    assert_eq!(appended.expect("it is at that version").last_position, Position(341));
    let refused = follower.append(&note("note-2"), Expected::exactly(7), vec![noted(0)]);
    assert!(refused.is_err(), "versions are looked up in every partition");
    assert_same(&follower, &open(&schema, Partition::AsItIs, &clock_at(MARCH)));
}

#[test]
fn changes_of_partitions_are_captured() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY]));
    let reader = Reader::new(&schema, "partitions");
    let mut capture = reader.open();
    let store = fill(&schema, &[FEBRUARY, MARCH]);
    store.truncate_before("note-1", Version(10)).expect("it is there");
    let positions: Vec<_> = drain(&mut capture).iter().map(|event| event.position().0).collect();
    assert_eq!(positions, (1..=511).collect::<Vec<_>>());
}

/// A partition without events is dropped on request; a writer that needs the month again creates it.
#[test]
fn a_month_that_is_empty_can_be_dropped() {
    let schema = Schema::partitioned();
    let clock = clock_at(JANUARY);
    let store = open(&schema, Partition::ByMonth, &clock);
    for month in [JANUARY, FEBRUARY, MARCH] {
        clock.set(Timestamp::from_micros(month));
        let event = noted(1).timestamp(Timestamp::from_micros(month));
        let events = vec![event.clone(), event];
        store.append(&note("note-1"), Expected::Any, events).expect("any");
    }
    let dropped = || schema.sql("SELECT drop_empty_partitions()").concat();
    assert_eq!(dropped(), []);
    let saved = store.archive(Timestamp::from_micros(FEBRUARY + 1), "old", |_| Ok::<_, Error>(()));
    assert_eq!(saved.expect("archived").events, 4);
    store.compact_journal().expect("compacted");
    let names = ["events_2026_02", "events_2026_01"].map(|name| Some(name.to_owned()));
    assert_eq!(dropped(), names);
    // The store's clock is set back, and it knows the month as one that is there.
    clock.set(Timestamp::from_micros(JANUARY));
    let late = store.append(&note("note-1"), Expected::exactly(6), vec![noted(1)]);
    assert_eq!(late.expect("it goes on").last_position, Position(8));
    drop(store);
    let store = open(&schema, Partition::AsItIs, &clock);
    assert_eq!(events(&store).len(), 3);
    assert_eq!(partitions(&schema)[0], ("events_2026_01".to_owned(), "1".to_owned()));
}

/// Another session that has done this much of a transaction, until it is dropped.
struct Busy {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Busy {
    fn with(schema: &Schema, statement: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let name = schema.name.replace('"', "\"\"");
        let begin = format!("SET search_path TO \"{name}\"; BEGIN; {statement}");
        let connect = async {
            let (client, connection) = tokio_postgres::connect(&schema.url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&begin).await.map(|()| client)
        };
        let client = runtime.block_on(connect).expect("nobody is in its way");
        Self { runtime, client }
    }

    fn commit(self) {
        let committed = self.runtime.block_on(self.client.batch_execute("COMMIT"));
        committed.expect("it was not in the way");
    }
}

/// Somebody reads the table for long, and the month turns.
#[test]
fn a_partition_does_not_wait_for_readers() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY]));
    let reading = Busy::with(&schema, "SELECT count(*) FROM events");
    drop(fill(&schema, &[FEBRUARY]));
    append_in_sql(&schema, "note-1");
    assert_eq!(partitions(&schema).len(), 3);
    reading.commit();
}

/// `VACUUM` has a month all the while, and so it does when a partition is made, or found.
#[test]
fn an_append_waited_for_a_partition_to_be_vacuumed() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY]));
    let vacuuming = Busy::with(&schema, "LOCK TABLE events_2026_01 IN SHARE UPDATE EXCLUSIVE MODE");
    let append = "SELECT FROM append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')";
    for _ in 0..2 {
        schema
            .try_sql(&format!("SET lock_timeout = '10s'; {append}"))
            .expect("it is not waited for");
    }
    drop(fill(&schema, &[FEBRUARY]));
    assert_eq!(partitions(&schema).len(), 3);
    vacuuming.commit();
}

/// Creating a partition locks the table; existing partitions are found without the lock.
#[test]
fn an_append_to_a_month_that_is_there_waited_for_one_that_was_made() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY]));
    append_in_sql(&schema, "note-1");
    let making = Busy::with(&schema, "SELECT make_partition('2030-01-01 00:00Z')");
    let append = "SELECT FROM append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')";
    schema
        .try_sql(&format!("SET lock_timeout = '10s'; {append}"))
        .expect("it is not waited for");
    making.commit();
}

/// Where no month is empty there is nothing to wait for.
#[test]
fn readers_were_waited_for_to_find_no_month_empty() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY, FEBRUARY]));
    let reading = Busy::with(&schema, "SELECT count(*) FROM events");
    let dropped = schema.try_sql("SELECT drop_empty_partitions()");
    assert_eq!(dropped.expect("nobody is waited for"), Vec::<Vec<_>>::new());
    reading.commit();
}

/// It was found empty, and somebody was about to commit an event to it.
#[test]
fn a_month_that_is_not_empty_any_more_is_not_dropped() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[FEBRUARY]));
    schema.sql("SELECT make_partition('2026-01-15 00:00Z')");
    let appender = Busy::with(
        &schema,
        "UPDATE head SET position = 171; CREATE TEMPORARY TABLE next AS SELECT * FROM events WHERE position = 170; \
         UPDATE next SET position = 171, version = version + 1, recorded_at = '2026-01-15 00:00Z'; \
         INSERT INTO events SELECT * FROM next",
    );
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| schema.sql("SELECT drop_empty_partitions()"));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%drop_empty%' \
                       AND pid <> pg_backend_pid()";
        while schema.value(waiting) == "0" {
            std::thread::yield_now();
        }
        appender.commit();
        assert_eq!(dropping.join().expect("no panic"), Vec::<Vec<_>>::new());
    });
    let of_each = [("events_2026_01", "1"), ("events_2026_02", "170")];
    assert_eq!(partitions(&schema), named(&of_each));
}

/// A transaction that sees the table as it was would drop what has come since.
#[test]
fn months_are_dropped_by_no_transaction_that_sees_the_past() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY]));
    let past = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT drop_empty_partitions()";
    schema.try_sql(past).expect_err("it cannot see what is there");
}

/// No key of the whole table prevents it, so readers check.
#[test]
fn a_position_that_is_in_two_months_is_damage() {
    let schema = Schema::partitioned();
    drop(fill(&schema, &[JANUARY, FEBRUARY]));
    schema.sql(
        "CREATE TEMPORARY TABLE again AS SELECT * FROM events WHERE position = 3; \
         UPDATE again SET recorded_at = recorded_at + interval '1 month'; INSERT INTO events SELECT * FROM again",
    );
    let damage = schema.journal().expect("it opens").recover(&mut Taker::default());
    let damage = damage.expect_err("it is there twice");
    assert_eq!(damage.kind(), JournalErrorKind::Corrupt);
    assert!(
        damage
            .to_string()
            .contains("the row after position 3 has no higher position"),
        "{damage}"
    );
}
