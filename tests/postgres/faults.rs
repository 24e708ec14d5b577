//! Servers that crash, connections that are ended and servers that are away, under a store at work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::journal::postgres::PostgresJournal;
use annals::{Durability, Error, Expected, FlushSettings, NewEvent, Settings, Store, StreamId, WhenBehind};
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::support::{Schema, sql};

/// Half of them crashes of the server, half ends of its connections.
const ROUNDS: u64 = 40;
pub(crate) const WRITERS: u64 = 4;

fn stream(writer: u64) -> StreamId {
    StreamId::new("Writer", format!("writer-{writer}"))
}

pub(crate) fn open(schema: &Schema, url: &str, flush: FlushSettings) -> Store {
    let journal = PostgresJournal::open_with(url, schema.settings()).expect("the journal opens");
    let settings = Settings::default().flush(flush);
    let opened = Store::builder().settings(settings).journal(journal).open();
    opened.expect("the store opens")
}

/// What was acknowledged as synced: the writer and version at each position.
type Acknowledged = Mutex<BTreeMap<u64, (u64, u64)>>;

/// What the writers and the thread that disturbs them share.
#[derive(Default)]
pub(crate) struct Work {
    acknowledged: Acknowledged,
    count: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

impl Work {
    pub(crate) fn write(&self, store: &Store, writer: u64) {
        let synced = store.with_durability(Durability::Synced).expect("PostgreSQL can");
        for number in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            // Every other append waits for nothing; some are long enough for COPY.
            let handle = if number % 2 == 0 { &synced } else { store };
            let events = if number % 40 == 0 { 400 } else { 1 + number % 3 };
            let event = |part: u64| NewEvent::new("Written").data(format!("\"{part} of {events}\""));
            let appended = handle
                .append(
                    &stream(writer),
                    Expected::Any,
                    (1..=events).map(event).collect::<Vec<_>>(),
                )
                .expect("the server comes back in time");
            if appended.durability == Durability::Synced {
                let mut acknowledged = self.acknowledged.lock();
                acknowledged.insert(appended.last_position.0, (writer, appended.last_version.0));
                self.count.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits until so many more were acknowledged.
    pub(crate) fn await_more(&self, more: u64) {
        let target = self.count.load(Ordering::SeqCst) + more;
        while self.count.load(Ordering::SeqCst) < target {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Nothing that was acknowledged is lost, nothing doubled, and every append whole.
pub(crate) fn check(store: &Store, work: &Work) {
    let (mut position, mut versions, mut left) = (0, [0; WRITERS as usize], [0; WRITERS as usize]);
    let acknowledged = work.acknowledged.lock();
    let mut found = 0;
    store.read_all().for_each(|event| {
        position += 1;
        assert_eq!(event.position().0, position, "positions without gaps");
        let writer: usize = event.aggregate_id()["writer-".len()..].parse().expect("a number");
        versions[writer] += 1;
        assert_eq!(event.version().0, versions[writer], "versions without gaps");
        let text = String::from_utf8_lossy(event.data());
        let mut numbers = text
            .trim_matches('"')
            .split(" of ")
            .map(|number| number.parse::<u64>().expect("a number"));
        let (part, of) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        assert!(part == 1 || left[writer] > 0, "an append has lost its front");
        left[writer] = of - part;
        if let Some(expected) = acknowledged.get(&position) {
            assert_eq!((writer as u64, versions[writer]), *expected, "position {position}");
            found += 1;
        }
    });
    assert_eq!(found, acknowledged.len(), "what was acknowledged is there");
    assert_eq!(left, [0; WRITERS as usize], "the last appends are whole");
}

#[test]
fn what_was_acknowledged_survives_crashes_of_the_server_and_ends_of_connections() {
    // What a process has written outlives it without a sync.
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let schema = Schema::on(cluster.url());
    let flush = FlushSettings::default().retry_for(Duration::from_secs(120));
    let store = open(&schema, &schema.url, flush.clone());
    let work = Work::default();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, work) = (&store, &work);
            scope.spawn(move || work.write(store, writer));
        }
        for round in 0..ROUNDS {
            work.await_more(1 + 5 * (round % 5));
            if round % 2 == 0 {
                cluster.control(&["-m", "immediate", "-w", "restart"]);
            } else {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'annals'";
                sql(&schema.url, end).expect("the server is there");
            }
        }
        work.await_more(20);
        work.is_over.store(true, Ordering::SeqCst);
    });
    store.close().expect("the server is there");
    check(&store, &work);
    drop(store);
    check(&open(&schema, &schema.url, flush), &work);
}

fn note(store: &Store) -> Result<(), Error> {
    let event = NewEvent::new("Noted").data(vec![b' '; 1000]);
    store.append(&stream(0), Expected::Any, vec![event]).map(drop)
}

/// While the server is away appends go on, as far as the backlog may grow; when it is back, all is written.
#[test]
fn appends_that_wait_for_nothing_go_on_while_the_server_is_away() {
    let schema = Schema::new();
    let (proxy, url) = Proxy::to(&schema.url);
    let flush = FlushSettings::default()
        .backlog_bytes(64 << 10)
        .when_behind(WhenBehind::Refuse);
    let store = open(&schema, &url, flush);
    note(&store).expect("the server is there");
    store.wait_durable(store.visible()).expect("the server is there");
    proxy.block();
    let mut taken = 1;
    let refused = loop {
        match note(&store) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Backlog { .. }), "{refused}");
    assert!(taken > 40, "{taken} appends were taken");
    proxy.unblock();
    store.wait_durable(store.visible()).expect("the server is back");
    assert_eq!(schema.value("SELECT count(*) FROM events"), taken.to_string());
}

/// An append that waits for a server that does not come back fails in the end, and the store says why.
#[test]
fn an_append_that_waits_fails_when_the_server_stays_away() {
    let schema = Schema::new();
    let (proxy, url) = Proxy::to(&schema.url);
    let flush = FlushSettings::default().retry_for(Duration::from_millis(200));
    let store = open(&schema, &url, flush);
    let synced = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    note(&synced).expect("the server is there");
    // What is connected is cut, and what connects is not served.
    proxy.refuse();
    proxy.cut();
    let refused = note(&synced).expect_err("the server is away");
    assert!(matches!(refused, Error::Failed { .. }), "{refused}");
    assert!(refused.to_string().contains("postgres://"), "{refused}");
    assert!(matches!(note(&store), Err(Error::Failed { .. })));
    assert_eq!(store.visible().0, 2, "what was appended can still be read");
}

/// A program whose threads are a runtime's own.
#[test]
fn a_store_can_be_opened_and_dropped_within_a_runtime() {
    let schema = Schema::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let store = open(&schema, &schema.url, FlushSettings::default());
        note(&store).expect("the server is there");
        store
            .when_durable(store.visible(), Durability::Synced)
            .expect("it can")
            .await
            .expect("the server is there");
        drop(store);
        assert!(schema.journal().is_ok(), "the lease was given back");
    });
}
