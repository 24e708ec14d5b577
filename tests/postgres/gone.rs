//! Rows of events that are gone leave the table: what is left is as it was, for the store, for others, and whatever is cut on the way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::journal::postgres::PostgresJournal;
use annals::journal::{CompactionStep, Compactor, Journal, JournalError, JournalErrorKind, PurgeSet};
use annals::{
    Budget, ContentType, Delivery, Durability, Error, Event, Expected, GapReason, NewEvent, Position, Query, Settings,
    Store, StreamInfo, StreamLimits, Timestamp, Version, WhenFull,
};

use crate::cdc::{Reader, drain};
use crate::cluster::Cluster;
use crate::follow::{append_in_sql, follow, note, noted, url_at};
use crate::proxy::{Cut, Proxy};
use crate::support::{Schema, Taker, batch, last_error, recovered};

fn open_with(schema: &Schema, budget: Budget) -> Store {
    let settings = Settings::default().budget(budget);
    let journal = schema.journal().expect("it opens");
    let opened = Store::builder().settings(settings).journal(journal).open();
    opened.expect("it can be read")
}

fn open(schema: &Schema) -> Store {
    open_with(schema, Budget::default())
}

/// So many events more of an aggregate.
fn fill(store: &Store, id: &str, count: u64) {
    let events = (0..count).map(noted).collect::<Vec<_>>();
    store.append(&note(id), Expected::Any, events).expect("any");
}

fn wait(store: &Store) {
    let last = store.reached(Durability::Volatile);
    store.wait_durable(last).expect("the server is there");
}

fn rows(schema: &Schema) -> u64 {
    schema.value("SELECT count(*) FROM events").parse().expect("a number")
}

/// What can be asked of a store, in which aggregates of these ids are.
#[derive(Debug, PartialEq)]
struct Asked {
    log: Vec<Event>,
    count: u64,
    first: Vec<Event>,
    streams: Vec<Option<StreamInfo>>,
    gaps: BTreeMap<String, u64>,
}

fn ask(store: &Store) -> Asked {
    let mut gaps = BTreeMap::new();
    for gap in store.gaps() {
        *gaps.entry(format!("{:?}", gap.reason)).or_default() += gap.count;
    }
    Asked {
        log: store.read_all().include_system().events(),
        count: store.query(Query::all()).count().expect("a count"),
        first: store.query(Query::all().limit(3)).events().expect("the first"),
        streams: IDS.iter().map(|id| store.stream_info(id)).collect(),
        gaps,
    }
}

const IDS: [&str; 7] = [
    "truncated",
    "deleted",
    "again",
    "tombstoned",
    "limited",
    "twice",
    "whole",
];

/// Aggregates of which something is gone in every way: too few events for the store to delete rows by itself.
fn drop_in_every_way(store: &Store) {
    for _ in 0..12 {
        for id in IDS {
            fill(store, id, 10);
        }
        wait(store);
    }
    store.truncate_before("truncated", Version(110)).expect("truncated");
    store.delete("deleted", Expected::Any).expect("deleted");
    store.delete("again", Expected::Any).expect("deleted");
    fill(store, "again", 2);
    store.tombstone("tombstoned", Expected::Any).expect("tombstoned");
    let limits = |max_count| StreamLimits::default().max_count(max_count);
    store.set_limits("limited", limits(3)).expect("limited");
    store.set_limits("twice", limits(50)).expect("limited");
    fill(store, "twice", 20);
    store.delete("twice", Expected::Any).expect("deleted");
    wait(store);
}

#[test]
fn what_is_gone_has_no_row_and_what_is_left_is_as_it_was() {
    for schema in [Schema::new(), Schema::partitioned()] {
        let store = open(&schema);
        drop_in_every_way(&store);
        let before = ask(&store);
        let done = store.compact_journal().expect("compacted");
        assert!(done.parts == 1 && done.bytes_after * 3 < done.bytes_before, "{done:?}");
        assert_eq!(rows(&schema), before.log.len() as u64);
        assert_eq!(ask(&store), before);
        let again = store.compact_journal().expect("compacted");
        assert_eq!((again.parts, again.bytes_after), (0, done.bytes_after));
        store.close().expect("closed");
        drop(store);

        let store = open(&schema);
        assert_eq!(ask(&store), before);
        assert_eq!(store.recovery().events, before.log.len() as u64);
        check_goes_on(&store);
        // What has come since is in the same part, and some of it is gone too.
        store.truncate_before("whole", Version(100)).expect("truncated");
        let before = ask(&store);
        store.compact_journal().expect("compacted");
        assert_eq!(rows(&schema), before.log.len() as u64);
        drop(store);
        assert_eq!(ask(&open(&schema)), before);
    }
}

fn check_goes_on(store: &Store) {
    let append = |id: &str, expected| store.append(&note(id), expected, vec![noted(1)]);
    let appended = append("deleted", Expected::NoStream).expect("it was deleted");
    assert_eq!(appended.last_version, Version(121));
    assert!(matches!(
        append("tombstoned", Expected::Any),
        Err(Error::Deleted { .. })
    ));
    let refused = append("limited", Expected::exactly(3)).expect_err("a conflict");
    assert!(refused.to_string().contains("is at version 120"), "{refused}");
}

fn keeping(events: u64) -> Budget {
    Budget::default().events(events).when_full(WhenFull::DropOldest)
}

/// Sessions come and go, over several parts of the table.
#[test]
fn aggregates_of_which_no_row_is_left_keep_their_versions() {
    let schema = Schema::new();
    let store = open_with(&schema, keeping(50));
    for number in 0..3000 {
        fill(&store, &format!("session-{number}"), 3);
    }
    fill(&store, "session-1", 1);
    wait(&store);
    store.compact_journal().expect("compacted");
    drop(store);
    for _ in 0..2 {
        let store = open(&schema);
        assert_eq!(store.visible(), Position(9001));
        assert!(rows(&schema) < 200, "{} rows", rows(&schema));
        let gone: u64 = store.gaps().iter().map(|gap| gap.count).sum();
        assert_eq!(gone + store.read_all().events().len() as u64, 9001);
        assert!(store.gaps().iter().all(|gap| gap.reason == GapReason::Budget));
        for number in [0, 1, 2000, 2999] {
            let id = format!("session-{number}");
            let refused = store.append(&note(&id), Expected::NoStream, vec![noted(1)]);
            assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        }
        store.compact_journal().expect("compacted");
    }
    // One for each aggregate, wherever its events were.
    assert_eq!(
        schema.value("SELECT count(*) = count(DISTINCT aggregate_id) FROM marks"),
        "t"
    );
    assert_eq!(append_in_sql(&schema, "session-0"), 9002);
    assert_eq!(
        schema.value("SELECT max(version) FROM events WHERE aggregate_id = 'session-0'"),
        "4"
    );
}

/// Without a request, since enough was dropped.
#[test]
fn rows_leave_by_themselves() {
    let schema = Schema::new();
    let store = open(&schema);
    for _ in 0..20 {
        fill(&store, "long", 100);
        fill(&store, "other", 100);
    }
    wait(&store);
    store.delete("long", Expected::Any).expect("deleted");
    while rows(&schema) > 2001 {
        std::thread::yield_now();
    }
    let before = store.read_all().include_system().events();
    drop(store);
    assert_eq!(open(&schema).read_all().include_system().events(), before);
}

#[test]
fn a_store_that_was_archived_is_read_without_what_went() {
    let schema = Schema::partitioned();
    let store = open(&schema);
    let at = |seconds: i64| noted(1).timestamp(Timestamp::from_micros(seconds * 1_000_000));
    for number in 0..40 {
        let id = format!("note-{number}");
        store
            .append(&note(&id), Expected::Any, vec![at(1), at(2), at(3)])
            .expect("any");
    }
    let saved = store.archive(Timestamp::from_micros(2_500_000), "old", |_| Ok::<_, Error>(()));
    assert_eq!(saved.expect("archived").events, 80);
    store.compact_journal().expect("compacted");
    assert_eq!(rows(&schema), 40 + 40);
    drop(store);
    let store = open(&schema);
    assert_eq!(store.read_all().events().len(), 40);
    let gaps = store.gaps();
    assert!(
        gaps.iter().all(|gap| gap.reason == GapReason::Archived("old".into())),
        "{gaps:?}"
    );
    assert_eq!(gaps.iter().map(|gap| gap.count).sum::<u64>(), 80);
    let next = store.append(&note("note-7"), Expected::exactly(3), vec![at(4)]);
    assert_eq!(next.expect("it is at that version").last_version, Version(4));
}

#[test]
fn appends_in_sql_go_on_where_aggregates_were_whose_rows_are_gone() {
    let schema = Schema::new();
    let store = open(&schema);
    drop_in_every_way(&store);
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
    let call = |id: &str, expected: &str| {
        let event = r#"'[{"eventType": "Noted"}]'"#;
        let rows = schema.try_sql(&format!(
            "SELECT last_version FROM append_events('{id}', 'Note', {expected}, {event})"
        ));
        let state = |error: tokio_postgres::Error| error.code().map(|code| code.code().to_owned());
        rows.map(|rows| rows[0][0].clone()).map_err(state)
    };
    let refused = |state: &str| Err(Some(state.to_owned()));
    let version = |version: &str| Ok(Some(version.to_owned()));
    assert_eq!(call("tombstoned", "NULL"), refused("ZA410"));
    assert_eq!(call("deleted", "-1"), refused("ZA409"));
    assert_eq!(call("deleted", "0"), version("121"));
    assert_eq!(call("truncated", "120"), version("121"));
    assert_eq!(call("limited", "0"), refused("ZA409"));
    assert_eq!(call("twice", "0"), version("141"));
    let other = schema.try_sql("SELECT append_events('twice', 'Order', NULL, '[]')");
    assert!(other.is_err(), "it is of another type");
    let store = open(&schema);
    assert_eq!(
        store.stream_info("deleted").map(|info| info.version),
        Some(Version(121))
    );
}

/// Deletes the rows of positions `first` to `last`, of a table of one part.
pub(crate) fn rewrite(journal: &mut PostgresJournal, first: u64, last: u64) -> Result<CompactionStep, JournalError> {
    let part = journal.parts()[0];
    let there = (part.first.0..=part.last.0).filter(|position| !(first..=last).contains(position));
    let gone = PurgeSet::new((part.first, part.last), there.map(Position), []);
    journal.compact(&part, &gone)
}

/// Cuts the connection before and after each statement: all of it is done, or nothing.
#[test]
fn a_connection_that_is_cut_while_rows_are_deleted_costs_nothing() {
    let statements: [&[u8]; 6] = [
        b"BEGIN",
        b"UPDATE head",
        b"DELETE FROM events",
        b"INTO gaps",
        b"INTO marks",
        b"COMMIT",
    ];
    for (statement, cut) in statements
        .iter()
        .flat_map(|mark| [(*mark, Cut::Before), (*mark, Cut::After)])
    {
        let schema = Schema::new();
        let (proxy, url) = Proxy::to(&schema.url);
        let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        journal.write(&batch(1, 100)).expect("it is written");
        proxy.arm(statement, cut);
        let lost = rewrite(&mut journal, 1, 60);
        if let Err(lost) = &lost {
            assert_eq!(lost.kind(), JournalErrorKind::Retry, "{lost}");
        }
        // It goes on, in whatever order.
        journal.write(&batch(101, 1)).expect("it goes on");
        assert_eq!(rewrite(&mut journal, 1, 60).map(drop), Ok(()), "{cut:?}");
        journal.write(&batch(102, 1)).expect("it goes on");
        assert!(proxy.is_met() || statement == b"UPDATE head", "the cut came");
        drop(journal);
        assert_eq!(rows(&schema), 42);
        let gaps = schema.value(
            "SELECT string_agg(concat_ws(' ', part, kind, first_position, last_position, events), ',') FROM gaps",
        );
        assert!(gaps.ends_with(" 1 60 60") && gaps.starts_with("1 "), "{gaps}");
        assert_eq!(
            schema.value("SELECT string_agg(position || ' ' || version, ',') FROM marks"),
            "60 60"
        );
        let mut taker = Taker::default();
        schema
            .journal()
            .expect("it opens")
            .recover(&mut taker)
            .expect("it can be read");
        assert_eq!(taker.0.len(), 42);
    }
}

/// The old connection's transaction has deleted the rows, and its COMMIT is still on its way: it is waited for, and found.
#[test]
fn a_commit_of_deleted_rows_that_comes_late_is_waited_for() {
    let schema = Schema::new();
    let (proxy, url) = Proxy::to(&schema.url);
    let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
    assert_eq!(recovered(&mut journal), 0);
    journal.write(&batch(1, 10)).expect("it is written");
    proxy.arm(b"COMMIT", Cut::Late);
    rewrite(&mut journal, 1, 6).expect_err("it was cut");
    std::thread::scope(|scope| {
        let rewritten = scope.spawn(|| rewrite(&mut journal, 1, 6).map(drop));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT store, position%'";
        while schema.value(waiting) == "0" {
            std::thread::yield_now();
        }
        proxy.release();
        assert_eq!(rewritten.join().expect("no panic"), Ok(()));
    });
    assert_eq!(schema.value("SELECT sum(events) FROM gaps"), "6");
    assert_eq!(rows(&schema), 4);
}

/// Long rows are deleted a few at a time, so that no transaction takes long.
#[test]
fn rows_that_are_long_leave_a_few_at_a_time() {
    let schema = Schema::new();
    let store = open(&schema);
    let mut seed = 1_u32;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    };
    for _ in 0..30 {
        let data: Vec<u8> = (0..1_000_000).map(|_| noise()).collect();
        let event = NewEvent::new("Scanned").data(data).content_type(ContentType::Bytes);
        store.append(&note("long"), Expected::Any, vec![event]).expect("any");
    }
    wait(&store);
    drop(store);
    let mut journal = schema.journal().expect("it opens");
    journal.recover(&mut Taker::default()).expect("it can be read");
    assert_eq!(rewrite(&mut journal, 1, 29), Ok(CompactionStep::More));
    assert_eq!(rows(&schema), 30 - 17);
    assert!(matches!(rewrite(&mut journal, 1, 29), Ok(CompactionStep::Done { .. })));
    assert_eq!(rows(&schema), 1);
    assert_eq!(
        schema.value("SELECT string_agg(position || ' ' || version, ',') FROM marks"),
        "29 29"
    );
    drop(journal);
    assert_eq!(open(&schema).read_stream("long").events().len(), 1);
}

#[test]
fn a_writer_that_lost_its_lease_deletes_no_row() {
    let schema = Schema::new();
    let mut old = schema.journal().expect("it opens");
    assert_eq!(recovered(&mut old), 0);
    old.write(&batch(1, 10)).expect("it is its own");
    schema.sql("UPDATE head SET lease = gen_random_uuid()");
    let refused = rewrite(&mut old, 1, 6).expect_err("the lease is another's");
    assert_eq!(refused.kind(), JournalErrorKind::Failed);
    assert_eq!(rows(&schema), 10);
    assert_eq!(last_error(&mut old, &batch(11, 1)).kind(), JournalErrorKind::Failed);
}

/// A hole is found, beside what is gone too.
#[test]
fn a_row_that_is_missing_beside_those_that_are_gone_is_damage() {
    for (loss, part) in [
        (
            "DELETE FROM events WHERE position = 5",
            "position 5 is missing: position 8 follows 4",
        ),
        (
            "DELETE FROM events WHERE position = 12",
            "position 12 is missing: position 13 follows 11",
        ),
        (
            "DELETE FROM events WHERE position = 20",
            "ends at position 19, and the table head contains 20",
        ),
        (
            "UPDATE gaps SET events = 3",
            "1 events up to position 20 are present, and the table gaps records them as gone",
        ),
        ("DELETE FROM gaps", "position 6 is missing"),
        (
            "UPDATE marks SET position = 9",
            "the table marks has a row for position 9",
        ),
        (
            "UPDATE marks SET version = 4294967296",
            "a row of the table marks is invalid",
        ),
        (
            "UPDATE marks SET aggregate_id = ''",
            "a row of the table marks is invalid",
        ),
    ] {
        let schema = Schema::new();
        let mut journal = schema.journal().expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        journal.write(&batch(1, 20)).expect("it is written");
        rewrite(&mut journal, 6, 7).expect("rows are deleted");
        drop(journal);
        schema.sql(loss);
        let mut journal = schema.journal().expect("it opens");
        let damage = journal.recover(&mut Taker::default()).expect_err(loss);
        assert_eq!(damage.kind(), JournalErrorKind::Corrupt, "{damage}");
        assert!(damage.to_string().contains(part), "{loss}: {damage}");
    }
}

/// What it has stays; what it had not read yet when the rows left is a gap.
#[test]
fn a_follower_that_is_behind_when_rows_leave_sees_a_gap() {
    let schema = Schema::new();
    let store = open(&schema);
    fill(&store, "seen", 100);
    fill(&store, "both", 100);
    wait(&store);
    let (proxy, url) = Proxy::to(&schema.url);
    let behind = Store::follow(&url_at(&url, &schema)).expect("it can be followed");
    let ahead = follow(&schema);
    proxy.block();
    fill(&store, "both", 100);
    fill(&store, "unseen", 100);
    store.truncate_before("seen", Version(50)).expect("truncated");
    store.truncate_before("both", Version(150)).expect("truncated");
    store.delete("unseen", Expected::Any).expect("deleted");
    fill(&store, "last", 1);
    wait(&store);
    ahead.wait_visible(store.visible());
    store.compact_journal().expect("compacted");
    assert_eq!(rows(&schema), 51 + 51 + 3 + 1);
    let mut tail = behind.tail(Query::all(), Position(200)).expect("a query");
    proxy.unblock();
    behind.wait_visible(store.visible());
    let late = follow(&schema);
    for follower in [&behind, &ahead, &late] {
        assert_eq!(
            follower.read_all().include_system().events(),
            store.read_all().include_system().events()
        );
        assert_eq!(follower.query(Query::all()).count(), store.query(Query::all()).count());
        for id in ["seen", "both", "unseen", "last"] {
            assert_eq!(follower.stream_info(id), store.stream_info(id), "{id}");
        }
        assert_eq!(follower.gaps().iter().map(|gap| gap.count).sum::<u64>(), 298);
    }
    let told = tail.by_ref().find(|delivery| matches!(delivery, Delivery::Gap(_)));
    assert!(told.is_some(), "a tail is told of it");
    store.close().expect("closed");
    let next = behind.append(&note("unseen"), Expected::NoStream, vec![noted(1)]);
    assert_eq!(next.expect("it was deleted").last_version, Version(101));
}

#[test]
fn rows_that_leave_are_no_changes_and_keep_no_reader_waiting() {
    let schema = Schema::new();
    let reader = Reader::new(&schema, "gone");
    let store = open(&schema);
    // More than is read at once, and all of it gone.
    fill(&store, "long", 9_000);
    wait(&store);
    store.delete("long", Expected::Any).expect("deleted");
    fill(&store, "kept", 3);
    wait(&store);
    store.compact_journal().expect("compacted");
    let mut capture = reader.open();
    let positions = |events: Vec<Event>| -> Vec<u64> { events.iter().map(|event| event.position().0).collect() };
    assert_eq!(positions(drain(&mut capture)), [9001, 9002, 9003, 9004]);
    fill(&store, "kept", 2);
    store.delete("kept", Expected::Any).expect("deleted");
    wait(&store);
    store.compact_journal().expect("compacted");
    assert_eq!(rows(&schema), 2);
    // What was written is told of, though it is gone by now.
    assert_eq!(positions(drain(&mut capture)), [9005, 9006, 9007]);
    assert!(drain(&mut capture).is_empty());
}

/// The server ends and comes back while rows are deleted, and others are written.
#[test]
fn nothing_is_lost_when_the_server_crashes_while_rows_leave() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let schema = Schema::on(cluster.url());
    let store = open(&schema);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                fill(&store, "long", 100);
                fill(&store, &format!("short-{round}"), 10);
                store
                    .truncate_before("long", Version(100 * round - 20))
                    .expect("it is there");
                store
                    .delete(&format!("short-{round}"), Expected::Any)
                    .expect("it is there");
                // While the server is away it cannot be.
                drop(store.compact_journal());
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        for _ in 0..8 {
            cluster.control(&["-m", "immediate", "-w", "restart"]);
            let known = store.visible();
            store.wait_visible(Position(known.0 + 400));
        }
        is_over.store(true, Ordering::SeqCst);
    });
    wait(&store);
    store.compact_journal().expect("the server is there");
    let before = ask(&store);
    assert_eq!(rows(&schema), before.log.len() as u64);
    drop(store);
    assert_eq!(ask(&open(&schema)), before);
}
