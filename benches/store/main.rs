//! Everything the store does in memory, beside a vector and two hash maps behind one lock.
//!
//! `cargo bench --bench store`. Events carry 128 bytes of JSON, a type, a correlation, a user and an organization, and the store
//! indexes all of them; the naive store indexes streams and types, and with five maps what Annals does, but days. Their names are made before the clock starts; making an event
//! of them is part of an append, and a row of its own. *Cold* is the first fill of a process, *warm* a later one.
//!
//! The longest append of ten million is told by `cargo run --release -p annals-peers --bin memory`.

mod child;
mod conditions;
mod naive;
mod reads;
mod work;

use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use annals::{Expected, NewEvent, Query, Store, StreamId};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use parking_lot::Mutex;

use self::child::Way;
use self::naive::{FiveMaps, Naive};
use self::work::{Log, PAYLOAD, Work, interleaved};

fn main() {
    if child::answered() {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let work = Work::new(100_000, 1_000_000);
    making(&mut criterion, &work);
    fills(&mut criterion, &work);
    conditions::conditions(&mut criterion, &work);
    hot(&mut criterion, &work);
    loads(&mut criterion, &work);
    reads::reads(&mut criterion, &work);
    copies(&mut criterion, &work);
    criterion.final_summary();
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no number")]
pub(crate) fn sure<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// A group of short things, done many times.
pub(crate) fn short<'a>(criterion: &'a mut Criterion, name: &str, elements: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements)).sample_size(20);
    group
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    group
}

/// A group of fills: each sample is one.
pub(crate) fn long<'a>(criterion: &'a mut Criterion, name: &str, elements: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(elements))
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat);
    group
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(10));
    group
}

fn making(criterion: &mut Criterion, work: &Work) {
    let mut group = short(criterion, "make an event", 1);
    let mut number = 0;
    group.bench_function("annals", |bencher| {
        bencher.iter(|| {
            number += 1;
            work.event(number)
        });
    });
    group.finish();
}

fn fills(criterion: &mut Criterion, work: &Work) {
    for (way, name) in [
        (Way::Single, "append, 100k aggregates x 10"),
        (Way::TwoThreads, "append, 2 threads"),
        (Way::Batches, "append, batches of 10"),
    ] {
        let mut group = long(criterion, name, 1_000_000);
        for store in ["annals", "naive", "naive with five maps"] {
            group.bench_function(format!("{store}, cold"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| way.fill_in_child(store)).sum());
            });
        }
        group.bench_function("annals, warm", |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| way.fill::<Store>(work)).sum());
        });
        group.bench_function("naive, warm", |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| way.fill::<Mutex<Naive>>(work)).sum());
        });
        group.bench_function("naive with five maps, warm", |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| way.fill::<Mutex<FiveMaps>>(work)).sum());
        });
        group.finish();
    }
}

fn hot(criterion: &mut Criterion, work: &Work) {
    fn filled<L: Log>(work: &Work) -> L {
        let log = L::empty();
        work.fill(&log, interleaved(1, 20_000, 1));
        log
    }
    let mut group = short(criterion, "append, one aggregate of 20,000", 20_000);
    group.bench_function("annals", |bencher| {
        bencher.iter_with_large_drop(|| filled::<Store>(work));
    });
    group.bench_function("naive", |bencher| {
        bencher.iter_with_large_drop(|| filled::<Mutex<Naive>>(work));
    });
    group.finish();
}

fn loads(criterion: &mut Criterion, work: &Work) {
    let store = Store::in_memory();
    work.fill(&store, interleaved(1_000, 10, 10));
    let naive = Mutex::<Naive>::empty();
    work.fill(&naive, interleaved(1_000, 10, 10));
    let mut turn = 0;
    let mut next = move || {
        turn += 7_919;
        &work.stream(turn % 1_000).aggregate_id
    };
    let mut group = short(criterion, "load, aggregate of 100", 100);
    group.bench_function("annals, borrowed", |bencher| {
        bencher.iter(|| store.read_stream(next()).fold(0, |sum, event| sum + event.data().len()));
    });
    group.bench_function("naive, borrowed", |bencher| {
        bencher.iter(|| {
            naive
                .lock()
                .stream(next())
                .fold(0, |sum, kept| sum + kept.event.data.len())
        });
    });
    group.bench_function("annals, owned", |bencher| {
        bencher.iter(|| store.read_stream(next()).events());
    });
    group.bench_function("naive, owned", |bencher| {
        bencher.iter(|| naive.lock().stream(next()).cloned().collect::<Vec<_>>());
    });
    group.finish();
}

fn copies(criterion: &mut Criterion, work: &Work) {
    let mut group = short(criterion, "open and drop", 1);
    group.bench_function("annals", |bencher| bencher.iter(Store::in_memory));
    group.bench_function("naive", |bencher| bencher.iter(Mutex::<Naive>::default));
    group.finish();

    let store = Store::in_memory();
    work.fill(&store, interleaved(5_000, 10, 1));
    let stream = StreamId::new("Account", "account-of-the-test");
    let query = Query::all().correlation(work.correlation(7));
    let mut group = short(criterion, "fork 50,000 events", 1);
    group.bench_function("annals, fork and drop", |bencher| bencher.iter(|| store.fork()));
    group.bench_function("annals, fork, append, query, drop", |bencher| {
        bencher.iter(|| {
            let fork = store.fork();
            let event = NewEvent::new("AccountOpened").data(PAYLOAD);
            sure(fork.append(&stream, Expected::NoStream, vec![event]));
            black_box(sure(fork.query(query.clone()).uncached().events()));
        });
    });
    group.finish();
}
