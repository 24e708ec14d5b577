//! Appends that do not wait for their flush, and what survives when the server crashes under them.
//!
//! `pg_ctl -m immediate` ends a server as a kill does: what it had not written to its log is lost, and what it had given to the system is not. The loss
//! of power to a machine is not among the tests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use annals::{Delivery, Position, Query, Store, Tail};
use parking_lot::Mutex;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::follow::follow;
use crate::support::{Schema, prepared};

/// Settings with which the server flushes when a commit asks for it, and hardly by itself.
const LAZY: [&str; 4] = [
    "wal_writer_delay = 10s",
    "wal_writer_flush_after = 1GB",
    "wal_buffers = 16MB",
    "checkpoint_timeout = 1h",
];
const EVENT: &str = "[{\"eventType\": \"Noted\"}]";

fn lazy() -> (Cluster, Schema) {
    let cluster = Cluster::start(&LAZY, &[]);
    let schema = Schema::on(cluster.url());
    drop(schema.journal().expect("the tables are made"));
    (cluster, schema)
}

fn restart_after_a_crash(cluster: &Cluster) {
    cluster.crash();
    cluster.begin();
}

fn append(schema: &Schema, function: &str) -> String {
    schema.value(&format!(
        "SELECT last_position FROM {function}('note-1', 'Note', NULL, '{EVENT}')"
    ))
}

/// Waits until a follower has read up to `last`. One that had shown an event that was lost never reads again.
fn catch_up(schema: &Schema, store: &Store, last: u64) {
    store.wait_visible(Position(last));
    for _ in 0..200 {
        if store.fault().is_none() {
            return;
        }
        schema.sql("SELECT pg_sleep(0.1)");
    }
    panic!("the follower has not recovered: {:?}", store.fault());
}

/// The position of the head, and how many events there are.
fn found(schema: &Schema) -> String {
    schema.value("SELECT position || ' ' || (SELECT count(*) FROM events) FROM head")
}

#[test]
fn what_is_not_flushed_is_lost_in_a_crash() {
    let (cluster, schema) = lazy();
    assert_eq!(append(&schema, "append_events"), "1");
    assert_eq!(append(&schema, "append_unsynced"), "2");
    restart_after_a_crash(&cluster);
    assert_eq!(
        found(&schema),
        "1 1",
        "the server flushed by itself: these tests prove nothing"
    );
}

#[test]
fn what_was_waited_for_survives_a_crash() {
    let (cluster, schema) = lazy();
    append(&schema, "append_unsynced");
    append(&schema, "append_unsynced");
    assert_eq!(schema.value("SELECT wait_synced(1)"), "2");
    restart_after_a_crash(&cluster);
    assert_eq!(found(&schema), "2 2");
    // In one transaction, the wait is the commit.
    schema.sql(&format!(
        "BEGIN; SELECT append_unsynced('note-1', 'Note', 2, '{EVENT}'); SELECT wait_synced(3); COMMIT"
    ));
    restart_after_a_crash(&cluster);
    assert_eq!(found(&schema), "3 3");
    // A session that never waits by itself.
    schema.sql(&format!(
        "SET synchronous_commit = off; SELECT append_events('note-1', 'Note', 3, '{EVENT}')"
    ));
    schema.sql("SET synchronous_commit = off; SELECT wait_synced(4)");
    restart_after_a_crash(&cluster);
    assert_eq!(found(&schema), "4 4");
    // An append that waits flushes those before it.
    append(&schema, "append_unsynced");
    append(&schema, "append_events");
    restart_after_a_crash(&cluster);
    assert_eq!(found(&schema), "6 6");
}

#[test]
fn a_follower_showed_an_event_that_a_crash_took_back() {
    let (cluster, schema) = lazy();
    let store = follow(&schema);
    let appends = [
        "SELECT append_unsynced('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')",
        "SET synchronous_commit = off; SELECT append_events('note-1', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')",
        "SET synchronous_commit = off; SELECT count(*) FROM append_many(\
         '[{\"aggregateId\": \"note-2\", \"aggregateType\": \"Note\", \"events\": [{\"eventType\": \"Noted\"}]}]')",
        "SET synchronous_commit = off; SELECT append_events('note-1', 'Note', 2, '[{\"eventType\": \"Noted\"}, {\"eventType\": \"Noted\"}]')",
    ];
    for (append, last) in appends.into_iter().zip([1, 2, 3, 5]) {
        schema.sql(append);
        store.wait_visible(Position(last));
        restart_after_a_crash(&cluster);
        assert_eq!(found(&schema), format!("{last} {last}"), "{append}");
    }
    let last = append(&schema, "append_events").parse().expect("a position");
    catch_up(&schema, &store, last);
}

#[test]
fn a_position_that_no_event_has_is_not_synced() {
    let schema = prepared();
    let ids = [Uuid::from_u128(7), Uuid::from_u128(8)];
    schema.sql(&format!(
        "SELECT append_unsynced('note-1', 'Note', 0, '[{{\"eventType\": \"Noted\", \"eventId\": \"{}\"}}]')",
        ids[0]
    ));
    assert_eq!(schema.value("SELECT unsynced FROM head"), "1");
    assert_eq!(schema.value(&format!("SELECT wait_synced(1, '{}')", ids[0])), "1");
    assert_eq!(schema.value("SELECT wait_synced(0)"), "1");
    for (arguments, message) in [
        ("2".to_owned(), "no event is at position 2: the last is at 1".to_owned()),
        (
            "NULL".to_owned(),
            "no event is at position NULL: the last is at 1".to_owned(),
        ),
        (
            format!("1, '{}'", ids[1]),
            format!("event {} is not at position 1", ids[1]),
        ),
        (
            format!("0, '{}'", ids[0]),
            format!("event {} is not at position 0", ids[0]),
        ),
    ] {
        let error = schema
            .try_sql(&format!("SELECT wait_synced({arguments})"))
            .expect_err(&arguments);
        let said = error.as_db_error().expect("the server says so");
        assert_eq!((said.code().code(), said.message()), ("ZA404", &*message));
    }
    append(&schema, "append_events");
    assert_eq!(schema.value("SELECT position > unsynced FROM head"), "t");
}

#[test]
fn an_append_that_does_not_wait_answers_as_one_that_does() {
    let schema = prepared();
    let answer = |function: &str, rest: &str| {
        let made = schema.try_sql(&format!("SELECT * FROM {function}('note-1', 'Note', {rest})"));
        made.map_err(|error| {
            error
                .as_db_error()
                .map(|said| (said.code().clone(), said.message().to_owned()))
        })
    };
    let own = "'[{\"eventType\": \"Noted\", \"eventId\": \"018f0000-0000-7000-8000-00000000000a\"}]'";
    let first = answer("append_unsynced", &format!("0, {own}")).expect("it is appended");
    assert_eq!(first[0].iter().flatten().collect::<Vec<_>>(), ["1", "1", "1", "1", "f"]);
    for rest in [
        &*format!("0, {own}"),
        "0, '[{\"eventType\": \"Noted\"}]'",
        "-3, '[]'",
        "NULL, '{}'",
        "NULL, NULL",
        "1, '[]'",
    ] {
        assert_eq!(answer("append_unsynced", rest), answer("append_events", rest), "{rest}");
    }
}

/// What the clients of a server know: the events that they were told to be safe, and those of which they were not.
#[derive(Default)]
struct Told {
    safe: Mutex<HashMap<Uuid, u64>>,
    appended: Mutex<HashMap<Uuid, u64>>,
    numbers: AtomicU64,
    is_over: AtomicBool,
}

/// How a client appends.
#[derive(Clone, Copy)]
enum Way {
    Waits,
    WaitsLater,
    NeverWaits,
}

impl Told {
    /// Appends until the server crashes, or it is over for those that wait.
    fn append(&self, schema: &Schema, way: Way) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(async {
            let path = schema.name.replace('"', "\"\"");
            let (client, connection) = tokio_postgres::connect(&schema.url, NoTls).await.expect("it is there");
            tokio::spawn(connection);
            let path = format!("SET search_path TO \"{path}\"");
            client.batch_execute(&path).await.expect("it is a schema");
            while self.append_once(&client, way).await.is_ok() {
                let is_over = self.is_over.load(Ordering::SeqCst);
                if is_over && !matches!(way, Way::NeverWaits) {
                    break;
                }
            }
        });
    }

    async fn append_once(&self, client: &Client, way: Way) -> Result<(), tokio_postgres::Error> {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let id = Uuid::from_u64_pair(7, number);
        let function = match way {
            Way::Waits => "append_events",
            Way::WaitsLater | Way::NeverWaits => "append_unsynced",
        };
        let statement = format!(
            "SELECT last_position FROM {function}('note-{}', 'Note', NULL, '[{{\"eventType\": \"Noted\", \"eventId\": \"{id}\"}}]')",
            number % 50
        );
        let position: i64 = client.query_one_scalar(&statement, &[]).await?;
        let position = position.unsigned_abs();
        self.appended.lock().insert(id, position);
        match way {
            Way::WaitsLater => {
                let wait = format!("SELECT wait_synced({position}, '{id}')");
                client.query_one(&wait, &[]).await?;
            }
            Way::Waits => tokio::time::sleep(Duration::from_millis(20)).await,
            Way::NeverWaits => return Ok(()),
        }
        self.safe.lock().insert(id, position);
        Ok(())
    }

    /// Waits until clients have begun `count` appends more.
    fn wait_for(&self, schema: &Schema, count: u64) {
        let until = self.numbers.load(Ordering::SeqCst) + count;
        while self.numbers.load(Ordering::SeqCst) < until {
            schema.sql("SELECT pg_sleep(0.01)");
        }
    }

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        schema: &'scope Schema,
        way: Way,
    ) -> ScopedJoinHandle<'scope, ()> {
        let client = Builder::new().spawn_scoped(scope, move || self.append(schema, way));
        client.expect("a thread can be started")
    }
}

/// The events of the table, by their ids.
fn stored(schema: &Schema) -> HashMap<Uuid, u64> {
    let rows = schema.sql("SELECT event_id, position FROM events");
    let event = |row: Vec<Option<String>>| {
        let [id, position] = [0, 1].map(|column| row[column].clone().expect("it is not null"));
        (id.parse().expect("an id"), position.parse().expect("a position"))
    };
    rows.into_iter().map(event).collect()
}

/// Notes what a reader has been shown.
fn note(tail: &mut Tail, seen: &mut HashMap<Uuid, u64>) {
    while let Some(delivery) = tail.next_timeout(Duration::ZERO) {
        match delivery {
            Delivery::Event(event) => drop(seen.insert(event.id(), event.position().0)),
            Delivery::Gap(gap) => panic!("the reader is told of {gap:?}"),
        }
    }
}

fn check(what: &str, known: &HashMap<Uuid, u64>, stored: &HashMap<Uuid, u64>) {
    for (id, position) in known {
        assert_eq!(
            stored.get(id),
            Some(position),
            "{what}: event {id} of position {position}"
        );
    }
}

/// `ANNALS_CRASHES` says how many.
#[test]
#[expect(clippy::print_stdout, reason = "they are what a long run is to show")]
fn what_was_acknowledged_or_seen_survives_crashes_under_load() {
    let crashes = std::env::var("ANNALS_CRASHES").map_or(2, |count| count.parse().expect("a number"));
    let (cluster, schema) = lazy();
    let told = Told::default();
    let readers: [Store; 2] = [follow(&schema), follow(&schema)];
    let mut tails = readers
        .each_ref()
        .map(|store| store.tail(Query::all(), Position(0)).expect("it is read"));
    let mut seen = [HashMap::new(), HashMap::new()];
    let mut lost = 0;
    for crash in 1..=crashes {
        told.is_over.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for way in [
                Way::Waits,
                Way::WaitsLater,
                Way::WaitsLater,
                Way::WaitsLater,
                Way::NeverWaits,
                Way::NeverWaits,
            ] {
                told.start(scope, &schema, way);
            }
            told.wait_for(&schema, 200 + crash * 37 % 300);
            // From here on, only readers ask for a flush.
            told.is_over.store(true, Ordering::SeqCst);
            told.wait_for(&schema, 100);
            cluster.crash();
        });
        cluster.begin();
        let stored = stored(&schema);
        let head = schema.value("SELECT position FROM head");
        assert_eq!(head, stored.len().to_string(), "crash {crash}: a position is missing");
        for ((store, tail), seen) in readers.iter().zip(&mut tails).zip(&mut seen) {
            note(tail, seen);
            check("seen before the restart", seen, &stored);
            catch_up(&schema, store, stored.len() as u64);
            note(tail, seen);
            check("seen", seen, &stored);
        }
        check("safe", &told.safe.lock(), &stored);
        let mut appended = told.appended.lock();
        let before = appended.len();
        appended.retain(|id, _| stored.contains_key(id));
        lost += before - appended.len();
    }
    let safe = told.safe.lock().len();
    println!(
        "{crashes} crashes: {safe} events were acknowledged, {} seen, and {lost} others lost",
        seen[0].len()
    );
    assert!(lost > 0, "nothing was lost: the crashes prove nothing");
}

/// An event that `append_events` appended in a transaction that `append_unsynced` then has commit without a wait.
#[test]
fn a_follower_showed_an_event_of_a_transaction_whose_last_append_wrote_nothing() {
    let (cluster, schema) = lazy();
    let store = follow(&schema);
    let own = "[{\"eventType\": \"Noted\", \"eventId\": \"018f0000-0000-7000-8000-00000000000a\"}]";
    schema.sql(&format!("SELECT append_events('note-2', 'Note', 0, '{own}')"));
    let unsynced = [
        "SELECT append_unsynced('note-1', 'Note', NULL, '[]')".to_owned(),
        format!("SELECT append_unsynced('note-2', 'Note', 0, '{own}')"),
        format!("SAVEPOINT one; SELECT append_unsynced('note-1', 'Note', NULL, '{EVENT}'); ROLLBACK TO one"),
        "DO $$ BEGIN PERFORM append_unsynced('note-1', 'Note', -2, '[{}]'); EXCEPTION WHEN OTHERS THEN NULL; END $$"
            .to_owned(),
        format!(
            "SELECT append_unsynced('note-1', 'Note', NULL, '{EVENT}'); SELECT append_unsynced('note-1', 'Note', NULL, '[]')"
        ),
        format!(
            "SELECT append_unsynced('note-2', 'Note', 0, '{own}'); SELECT append_events('note-1', 'Note', NULL, '{EVENT}')"
        ),
    ];
    for (unsynced, last) in unsynced.iter().zip([2, 3, 4, 5, 7, 9]) {
        schema.sql(&format!(
            "BEGIN; SELECT append_events('note-1', 'Note', NULL, '{EVENT}'); {unsynced}; COMMIT"
        ));
        store.wait_visible(Position(last));
        restart_after_a_crash(&cluster);
        assert_eq!(found(&schema), format!("{last} {last}"), "{unsynced}");
        catch_up(&schema, &store, last);
    }
}

#[test]
fn what_a_transaction_waited_for_was_lost_because_it_appended_once_more() {
    let (cluster, schema) = lazy();
    let unsynced = format!("SELECT append_unsynced('note-1', 'Note', NULL, '{EVENT}')");
    let append = format!("SELECT append_events('note-1', 'Note', NULL, '{EVENT}')");
    let mut last = 0;
    for transaction in [
        format!("{unsynced}; SELECT wait_synced(LAST); {unsynced}"),
        format!("{append}; SELECT wait_synced(LAST); {unsynced}"),
        format!("SELECT wait_synced(0); {unsynced}; {unsynced}"),
        format!("SAVEPOINT one; {append}; SELECT wait_synced(LAST); RELEASE one; {unsynced}"),
        format!("SET LOCAL synchronous_commit = off; {append}; SELECT wait_synced(LAST); {append}"),
        format!("{append}; SET LOCAL synchronous_commit = off; SELECT wait_synced(LAST); {unsynced}"),
    ] {
        let transaction = transaction.replace("LAST", &(last + 1).to_string());
        schema.sql(&format!("BEGIN; {transaction}; COMMIT"));
        last += 2;
        if transaction.contains("RELEASE") || transaction.matches("append").count() == 2 {
            restart_after_a_crash(&cluster);
        }
        assert_eq!(found(&schema), format!("{last} {last}"), "{transaction}");
    }
    // The next transaction of the session, and one that has rolled its wait back, do not wait.
    schema.sql(&format!("BEGIN; SELECT wait_synced(0); COMMIT; {unsynced}"));
    schema.sql(&format!(
        "BEGIN; SAVEPOINT one; SELECT wait_synced(0); ROLLBACK TO one; {unsynced}; COMMIT"
    ));
    restart_after_a_crash(&cluster);
    assert_eq!(found(&schema), format!("{last} {last}"), "the server flushed by itself");
}

/// It may be on its way, or be there: the append must not be repeated.
#[test]
fn wait_synced_asked_for_a_second_append_where_the_first_was_not_visible() {
    let schema = prepared();
    append(&schema, "append_events");
    let error = schema
        .try_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT wait_synced(1); SELECT wait_synced(2)")
        .expect_err("it is not visible");
    let said = error.as_db_error().expect("the server says so");
    assert_eq!(
        (said.code().code(), said.message()),
        ("55000", "position 2 is not visible here: the last is 1")
    );
    // What is appended here is visible here.
    let here = format!(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT append_unsynced('note-1', 'Note', NULL, '{EVENT}'); SELECT wait_synced(2); COMMIT"
    );
    schema.sql(&here);
    let replica = Cluster::start(&LAZY, &[]);
    let on_primary = Schema::on(replica.url());
    drop(on_primary.journal().expect("the tables are made"));
    append(&on_primary, "append_unsynced");
    let standby = replica.standby();
    let path = on_primary.name.replace('"', "\"\"");
    let ask =
        |position: u64| crate::support::sql(&standby.url(), &format!("SELECT \"{path}\".wait_synced({position})"));
    assert_eq!(ask(1).expect("it is there")[0][0].as_deref(), Some("1"));
    let error = ask(2).expect_err("it is not there yet");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("55000"));
}
