//! Everything the store does in memory, beside a vector and hash maps behind one lock.
//!
//! `cargo bench --bench store`. Events carry 128 bytes of JSON, a type, a correlation, a user and an organization, and the store
//! indexes all of them; the naive store indexes streams and types, and with five maps what Annals does, but days. Their names are
//! made before the clock starts. Making an event of them is part of an append, except where a row says *made before*, and a row of
//! its own: borrowed events for Annals, owned ones for the naive stores, which keep what they are handed. *Cold* is the first fill of a process, *warm* a later one.
//!
//! `ANNALS_BENCH_GROWTH=1 cargo bench --bench store` measures instead how appends slow down in a store of 20,000,000 events.
//! `cargo run --profile bench -p annals-peers --bin memory` measures the longest of 10,000,000 appends.

mod child;
mod conditions;
mod fills;
mod filters;
mod growth;
mod loads;
mod naive;
mod reads;
mod terms;
mod work;

use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use annals::{Expected, NewEvent, Query, Store, StreamId};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use parking_lot::Mutex;

use self::naive::{FiveMaps, Naive, OwnedEvent};
use self::work::{Ids, Log, PAYLOAD, Work, interleaved};

fn main() {
    if child::ran_task() {
        return;
    }
    if growth::is_asked() {
        growth::print();
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let work = Work::new(Ids::Short, 100_000, 1_000_000);
    making(&mut criterion, &work);
    fills::fills(&mut criterion);
    conditions::conditions(&mut criterion, &work);
    hot(&mut criterion, &work);
    loads::loads(&mut criterion, &work);
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
    group.bench_function("naive", |bencher| {
        bencher.iter(|| {
            number += 1;
            OwnedEvent::from(&work.event(number))
        });
    });
    group.finish();
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
    group.bench_function("naive with five maps", |bencher| {
        bencher.iter_with_large_drop(|| filled::<Mutex<FiveMaps>>(work));
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
    drop(store);
    let naive = Mutex::<Naive>::empty();
    work.fill(&naive, interleaved(5_000, 10, 1));
    group.bench_function("naive, clone and drop", |bencher| bencher.iter(|| naive.lock().clone()));
    group.finish();
}
