//! Reads of a store of 1,000,000 events.

use annals::{Name, Position, Query, Store};
use criterion::{Criterion, Throughput};
use parking_lot::Mutex;

use crate::filters::filters;
use crate::naive::Naive;
use crate::terms::terms;
use crate::work::{Log as _, Work, interleaved};
use crate::{short, sure};

const EVENTS: u64 = 1_000_000;

pub(crate) fn reads(criterion: &mut Criterion, work: &Work) {
    let store = Store::in_memory();
    work.fill(&store, interleaved(100_000, 10, 1));
    report(&store);
    let naive = Mutex::<Naive>::empty();
    work.fill(&naive, interleaved(100_000, 10, 1));
    replays(criterion, &store, &naive);
    by_type(criterion, work, &store, &naive);
    drop(naive);
    terms(criterion, work, &store);
    filters(criterion, work, &store);
    tail(criterion, &store);
}

#[expect(clippy::print_stdout, reason = "a figure that is not a time")]
fn report(store: &Store) {
    let stats = store.stats();
    let beyond = stats.memory_bytes - stats.payload_bytes;
    println!(
        "memory of {EVENTS} events in 100,000 aggregates, bytes an event: {} payload, {} records, {} aggregates, {} index; {} beyond \
         the payload",
        stats.payload_bytes / EVENTS,
        stats.record_bytes / EVENTS,
        stats.stream_bytes / EVENTS,
        stats.index_bytes / EVENTS,
        beyond / EVENTS
    );
}

/// Reads every byte.
fn sum(data: &[u8]) -> u64 {
    let (words, _) = data.as_chunks::<8>();
    words
        .iter()
        .fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

fn replays(criterion: &mut Criterion, store: &Store, naive: &Mutex<Naive>) {
    let mut group = short(criterion, "replay of 1,000,000", EVENTS);
    group.bench_function("annals, headers", |bencher| {
        bencher.iter(|| store.read_all().fold(0, |sum, event| sum + event.version().0));
    });
    group.bench_function("naive, headers", |bencher| {
        bencher.iter(|| naive.lock().events.iter().fold(0, |sum, kept| sum + kept.version));
    });
    group.bench_function("annals, payloads", |bencher| {
        bencher.iter(|| {
            store
                .read_all()
                .fold(0, |all: u64, event| all.wrapping_add(sum(event.data())))
        });
    });
    group.bench_function("naive, payloads", |bencher| {
        bencher.iter(|| {
            let naive = naive.lock();
            let events = naive.events.iter();
            events.fold(0, |all: u64, kept| all.wrapping_add(sum(&kept.event.data)))
        });
    });
    group.finish();
}

fn by_type(criterion: &mut Criterion, work: &Work, store: &Store, naive: &Mutex<Naive>) {
    let query = || Query::all().event_type(work.event_type(3));
    let matches = sure(store.query(query()).uncached().count());
    let mut group = short(criterion, "query by type, an eighth of 1,000,000", matches);
    group.bench_function("annals, borrowed", |bencher| {
        bencher.iter(|| {
            let answer = store.query(query()).uncached();
            sure(answer.fold(0, |sum, event| sum + event.position().0 + event.data().len() as u64))
        });
    });
    group.bench_function("naive, borrowed", |bencher| {
        bencher.iter(|| {
            let naive = naive.lock();
            let events = naive.of_type(work.event_type(3));
            events.fold(0, |sum, kept| sum + kept.version + kept.event.data.len() as u64)
        });
    });
    group.bench_function("annals, owned", |bencher| {
        bencher.iter_with_large_drop(|| sure(store.query(query()).uncached().events()));
    });
    group.bench_function("naive, owned", |bencher| {
        bencher.iter_with_large_drop(|| naive.lock().of_type(work.event_type(3)).cloned().collect::<Vec<_>>());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("annals, count, uncached", |bencher| {
        bencher.iter(|| sure(store.query(query()).uncached().count()));
    });
    group.bench_function("annals, count, from the cache", |bencher| {
        bencher.iter(|| sure(store.query(query()).count()));
    });
    group.finish();

    let never = Name::from("AccountMerged");
    let mut group = short(criterion, "a type that never occurred", 1);
    group.bench_function("annals", |bencher| {
        bencher.iter(|| sure(store.query(Query::all().event_type(&never)).events()));
    });
    group.bench_function("naive", |bencher| {
        bencher.iter(|| naive.lock().of_type(&never).cloned().collect::<Vec<_>>());
    });
    group.finish();
}

fn tail(criterion: &mut Criterion, store: &Store) {
    let mut group = short(criterion, "tail of 1,000,000", EVENTS);
    group.sample_size(10);
    group.bench_function("annals", |bencher| {
        bencher.iter(|| {
            let mut tail = sure(store.tail(Query::all(), Position(0)));
            let mut events = 0;
            while tail.try_next().is_some() {
                events += 1;
            }
            assert_eq!(events, EVENTS);
        });
    });
    group.finish();
}
