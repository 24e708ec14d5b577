//! The journal in PostgreSQL beside the same rows written and read by hand.
//!
//! `cargo bench --bench postgres --features postgres`. A private server with its defaults (`fsync` on) is started for it. Rows carry 128
//! bytes of JSON, a type, a correlation and a user, and go into tables with the same columns and indexes. *By hand* is one transaction a
//! batch: `COPY` in binary, or `INSERT` from arrays (`UNNEST`); it keeps no lease and checks nothing.
//!
//! Appends in SQL and the lag of followers are printed after the rest; a filter that matches nothing leaves the rest out.

mod appends;
#[path = "../../tests/postgres/cluster.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    reason = "it is the tests': they use more of it, and fail where it does not work"
)]
mod cluster;
mod followers;
mod hand;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use annals::journal::postgres::{PostgresJournal, PostgresSettings};
use annals::journal::{Batch, Journal, JournalError, Record, Recover};
use annals::{Delivery, Expected, NewEvent, Position, Query, Store, StreamId, Timestamp, Version};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use uuid::Uuid;

use self::cluster::Cluster;
use self::hand::Hand;

/// 128 bytes of JSON.
const PAYLOAD: &[u8; 128] = br#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;
const ROWS: u64 = 20_000;
const BATCHES: [u64; 4] = [10, 100, 1_000, 10_000];
const RECOVERED: u64 = 200_000;
const APPENDS: usize = 3_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let cluster = Cluster::start(&["shared_buffers = 256MB", "max_wal_size = 4GB"], &[]);
    for events in BATCHES {
        flush(&mut criterion, &cluster, events);
    }
    recovery(&mut criterion, &cluster);
    criterion.final_summary();
    // Criterion has no percentiles.
    if !std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        appends::appends(&cluster);
        lag(&cluster);
        followers::followers(&cluster);
    }
}

/// How long after an append has begun another store that follows has its event, while one appends event after event.
#[expect(clippy::print_stdout, reason = "it is what the benchmark answers")]
fn lag(cluster: &Cluster) {
    let began = Instant::now();
    sure(Box::new(open(cluster, "followed")).close());
    let url = format!("{}?schema=followed", cluster.url());
    let (writer, reader) = (sure(Store::follow(&url)), sure(Store::follow(&url)));
    let mut tail = sure(reader.tail(Query::all(), Position(0)));
    let writing = std::thread::spawn(move || {
        for number in 0..APPENDS {
            let event = NewEvent::new("Noted").data(began.elapsed().as_nanos().to_string());
            let stream = StreamId::new("Note", format!("note-{}", number % 100));
            sure(writer.append(&stream, Expected::Any, vec![event]));
        }
        began.elapsed()
    });
    let mut lags = Vec::with_capacity(APPENDS);
    while lags.len() < APPENDS
        && let Some(Delivery::Event(event)) = tail.next_timeout(Duration::from_secs(10))
    {
        let appended = sure(String::from_utf8_lossy(event.data()).parse());
        lags.push(began.elapsed().saturating_sub(Duration::from_nanos(appended)));
    }
    let took = sure(writing.join().map_err(|_| "the writer panicked"));
    lags.sort_unstable();
    let lag = |part: usize| lags[(lags.len() - 1) * part / 100];
    println!(
        "followers: {} appends in {took:.1?}; another has the event after {:.2?} (p50), {:.2?} (p99), {:.2?} (longest)",
        lags.len(),
        lag(50),
        lag(99),
        lag(100)
    );
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no number")]
pub(crate) fn sure<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// One row: what is the same in all is left out.
pub(crate) struct Row {
    pub(crate) position: u64,
    pub(crate) id: Uuid,
    pub(crate) aggregate: String,
    pub(crate) event_type: String,
    pub(crate) version: u64,
    pub(crate) time: Timestamp,
    pub(crate) correlation: String,
    pub(crate) user: String,
}

impl Row {
    fn new(position: u64) -> Self {
        Self {
            position,
            id: Uuid::from_u64_pair(position.wrapping_mul(0x9e37_79b9_7f4a_7c15), position),
            aggregate: format!("payment-{}", position % 1_000),
            event_type: format!("Happened-{}", position % 8),
            version: position / 1_000 + 1,
            time: Timestamp::from_micros(1_769_860_800_000_000 + position.cast_signed()),
            correlation: format!("conversation-{}", position / 10),
            user: format!("user-{}", position % 1_000),
        }
    }
}

fn batch_of(rows: &[Row]) -> Batch {
    let mut batch = Batch::new();
    for row in rows {
        let mut record = Record::new(Position(row.position), Version(row.version), row.id);
        record.timestamp = row.time;
        record.recorded_at = row.time;
        record.aggregate_id = &row.aggregate;
        record.aggregate_type = "Payment";
        record.event_type = &row.event_type;
        record.correlation_id = Some(&row.correlation);
        record.user_id = Some(&row.user);
        record.data = PAYLOAD;
        batch.push(&record);
    }
    batch
}

struct Nothing(u64);

impl Recover for Nothing {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.0 += batch.len() as u64;
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// A store of its own, in a schema that is dropped first.
fn open(cluster: &Cluster, schema: &str) -> PostgresJournal {
    Hand::connect(&cluster.url()).run(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
    let settings = PostgresSettings::default().schema(schema.to_owned());
    let mut journal = sure(PostgresJournal::open_with(&cluster.url(), settings));
    sure(journal.recover(&mut Nothing(0)));
    journal
}

/// An empty table like a store's, to write to by hand.
fn tables(cluster: &Cluster, schema: &str) -> Hand {
    sure(Box::new(open(cluster, schema)).close());
    let hand = Hand::connect(&cluster.url());
    hand.run(&format!("SET search_path TO {schema}"));
    hand
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn repeat(samples: u64, mut sample: impl FnMut() -> Duration) -> Duration {
    (0..samples).map(|_| sample()).sum()
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, rows: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(8))
        .throughput(Throughput::Elements(rows));
    group
}

fn flush(criterion: &mut Criterion, cluster: &Cluster, events: u64) {
    let rows: Vec<Row> = (1..=ROWS).map(Row::new).collect();
    let batches: Vec<Batch> = rows.chunks(events as usize).map(batch_of).collect();
    let mut group = group(criterion, "flush", ROWS);
    group.bench_function(BenchmarkId::new("annals", events), |bencher| {
        bencher.iter_custom(|samples| {
            repeat(samples, || {
                let mut journal = open(cluster, "ours");
                let took = timed(|| batches.iter().for_each(|batch| sure(journal.write(batch))));
                sure(Box::new(journal).close());
                took
            })
        });
    });
    group.bench_function(BenchmarkId::new("copy by hand", events), |bencher| {
        bencher.iter_custom(|samples| {
            repeat(samples, || {
                let mut hand = tables(cluster, "by_copy");
                timed(|| rows.chunks(events as usize).for_each(|rows| hand.copy(rows)))
            })
        });
    });
    group.bench_function(BenchmarkId::new("unnest by hand", events), |bencher| {
        bencher.iter_custom(|samples| {
            repeat(samples, || {
                let mut hand = tables(cluster, "by_unnest");
                timed(|| rows.chunks(events as usize).for_each(|rows| hand.unnest(rows)))
            })
        });
    });
    group.finish();
}

fn recovery(criterion: &mut Criterion, cluster: &Cluster) {
    let rows: Vec<Row> = (1..=RECOVERED).map(Row::new).collect();
    let mut journal = open(cluster, "whole");
    rows.chunks(4_096).for_each(|rows| sure(journal.write(&batch_of(rows))));
    sure(Box::new(journal).close());
    let settings = PostgresSettings::default().schema("whole");
    let mut group = group(criterion, "recovery", RECOVERED);
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|samples| {
            repeat(samples, || {
                let mut journal = sure(PostgresJournal::open_with(&cluster.url(), settings.clone()));
                let mut taken = Nothing(0);
                let took = timed(|| {
                    sure(journal.recover(&mut taken));
                });
                assert_eq!(taken.0, RECOVERED);
                sure(Box::new(journal).close());
                took
            })
        });
    });
    group.bench_function("copy out by hand", |bencher| {
        bencher.iter_custom(|samples| {
            let mut hand = Hand::connect(&cluster.url());
            hand.run("SET search_path TO whole");
            repeat(samples, || timed(|| assert!(hand.copy_out() > RECOVERED * 128)))
        });
    });
    group.finish();
}
