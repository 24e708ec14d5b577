//! Appends through followers, and the way of appending in SQL that most programs write by hand.

use std::thread;
use std::time::{Duration, Instant};

use annals::journal::Journal as _;
use annals::{Delivery, Expected, NewEvent, Position, Query, Store, StreamId};

use crate::appends::{CLIENTS, rate};
use crate::cluster::Cluster;
use crate::{PAYLOAD, open, sure, tables};

const MEASURED: Duration = Duration::from_secs(8);
const THREADS: usize = 32;
const AGGREGATES: u64 = 100_000;
/// Appends of the thread that is otherwise idle, and the pause between two.
const SINGLE: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Measures and prints each row.
pub(crate) fn followers(cluster: &Cluster) {
    by_hand(cluster);
    single(cluster);
    together(cluster);
}
/// A table with `unique (aggregate_id, version)` and a `bigserial`, beside `append_events`. Its ids have gaps, and a reader by id can skip
/// a row that commits later.
#[expect(clippy::print_stdout, reason = "it is what the benchmark answers")]
fn by_hand(cluster: &Cluster) {
    let data = String::from_utf8_lossy(PAYLOAD);
    tables(cluster, "appended").run(
        "CREATE TABLE IF NOT EXISTS public.by_hand (id bigserial PRIMARY KEY, aggregate_id text NOT NULL, version bigint NOT NULL, \
         event_type text NOT NULL, data jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(), UNIQUE (aggregate_id, version))",
    );
    let insert = format!(
        "INSERT INTO public.by_hand (aggregate_id, version, event_type, data) SELECT 'note-' || $1::bigint % {AGGREGATES}, \
         coalesce(max(version), 0) + 1, 'Noted', '{data}' FROM public.by_hand WHERE aggregate_id = 'note-' || $1::bigint % {AGGREGATES}"
    );
    let append = format!(
        "SELECT append_events('note-' || $1::bigint % {AGGREGATES}, 'Note', NULL, '[{{\"eventType\": \"Noted\", \"eventData\": {data}}}]')"
    );
    for clients in CLIENTS {
        let [insert, append] = [&insert, &append].map(|statement| rate(cluster, clients, &[statement]));
        println!(
            "INSERT by hand, {clients} clients: {insert:.0}/s; append_events {append:.0}/s ({:.0} %)",
            100.0 * append / insert
        );
    }
}

/// How long an append of one thread takes, which pauses between two. It returns when the event is readable there.
#[expect(clippy::print_stdout, reason = "it is what the benchmark answers")]
#[expect(clippy::disallowed_methods, reason = "the store is to be idle before an append")]
fn single(cluster: &Cluster) {
    let [store] = follow(cluster, "single");
    let append = |number| {
        thread::sleep(PAUSE);
        let began = Instant::now();
        append(&store, u64::from(number), String::new());
        began.elapsed()
    };
    let times = Sorted::of((0..SINGLE).map(append).collect());
    println!("a follower with one thread: an append takes {times}");
}

/// How many events threads append that share a follower, and how long after its append began another follower has each.
#[expect(clippy::print_stdout, reason = "it is what the benchmark answers")]
fn together(cluster: &Cluster) {
    let [store, reader] = follow(cluster, "together");
    let mut tail = sure(reader.tail(Query::all(), Position(0)));
    let began = Instant::now();
    let work = |thread: u64| {
        let (store, mut count) = (store.clone(), 0_u32);
        thread::spawn(move || {
            while began.elapsed() < MEASURED {
                let number = (u64::from(count) * THREADS as u64 + thread) % AGGREGATES;
                append(&store, number, began.elapsed().as_nanos().to_string());
                count += 1;
            }
            count
        })
    };
    let threads: Vec<_> = (0..THREADS as u64).map(work).collect();
    let reading = thread::spawn(move || {
        let mut lags = Vec::new();
        // The threads end, and then nothing comes.
        while let Some(Delivery::Event(event)) = tail.next_timeout(Duration::from_secs(2)) {
            let appended = sure(String::from_utf8_lossy(event.data()).parse());
            lags.push(began.elapsed().saturating_sub(Duration::from_nanos(appended)));
        }
        lags
    });
    let count: u32 = threads
        .into_iter()
        .map(|thread| sure(thread.join().map_err(|_| "a writer panicked")))
        .sum();
    let took = began.elapsed();
    let lags = sure(reading.join().map_err(|_| "the reader panicked"));
    assert_eq!(lags.len(), count as usize, "events are missing");
    println!(
        "a follower with {THREADS} threads: {:.0} appends/s; another has an event after {}",
        f64::from(count) / took.as_secs_f64(),
        Sorted::of(lags)
    );
}

/// Makes a new store, and followers of it.
fn follow<const COUNT: usize>(cluster: &Cluster, schema: &str) -> [Store; COUNT] {
    sure(Box::new(open(cluster, schema)).close());
    std::array::from_fn(|_| sure(Store::follow(&format!("{}?schema={schema}", cluster.url()))))
}

fn append(store: &Store, number: u64, data: String) {
    let stream = StreamId::new("Note", format!("note-{number}"));
    sure(store.append(&stream, Expected::Any, vec![NewEvent::new("Noted").data(data)]));
}

/// Durations in ascending order.
struct Sorted(Vec<Duration>);

impl Sorted {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0
            .get(self.0.len().saturating_sub(1) * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Sorted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2?} (p50), {:.2?} (p99), {:.2?} (longest)",
            self.at(50),
            self.at(99),
            self.at(100)
        )
    }
}
