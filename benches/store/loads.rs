//! Loads of an aggregate of 100 events.

use annals::{Name, Store};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use parking_lot::Mutex;

use crate::naive::Naive;
use crate::short;
use crate::work::{Batch, Log, Work, interleaved};

const AGGREGATES: usize = 1_000;

pub(crate) fn loads(criterion: &mut Criterion, work: &Work) {
    let (store, naive) = filled(work, || interleaved(AGGREGATES, 10, 10));
    let mut group = short(criterion, "load, aggregate of 100", 100);
    borrowed(&mut group, work, &store, &naive);
    let mut next = turns(work);
    group.bench_function("annals, owned", |bencher| {
        bencher.iter(|| store.read_stream(next()).events());
    });
    group.bench_function("naive, owned", |bencher| {
        bencher.iter(|| naive.lock().stream(next()).cloned().collect::<Vec<_>>());
    });
    group.finish();

    let (store, naive) = filled(work, || interleaved(AGGREGATES, 100, 1));
    let mut group = short(criterion, "load, aggregate of 100, appended one by one", 100);
    borrowed(&mut group, work, &store, &naive);
    group.finish();
}

fn filled<B: Iterator<Item = Batch>>(work: &Work, batches: impl Fn() -> B) -> (Store, Mutex<Naive>) {
    let (store, naive) = (Store::empty(), Mutex::<Naive>::empty());
    work.fill(&store, batches());
    work.fill(&naive, batches());
    (store, naive)
}

/// An aggregate at each call, far from the one before.
fn turns<'a>(work: &'a Work) -> impl FnMut() -> &'a Name {
    let mut turn = 0;
    move || {
        turn += 7_919;
        &work.stream(turn % AGGREGATES).aggregate_id
    }
}

fn borrowed(group: &mut BenchmarkGroup<'_, WallTime>, work: &Work, store: &Store, naive: &Mutex<Naive>) {
    let mut next = turns(work);
    group.bench_function("annals, borrowed", |bencher| {
        bencher.iter(|| store.read_stream(next()).fold(0, |sum, event| sum + event.data().len()));
    });
    group.bench_function("naive, borrowed", |bencher| {
        bencher.iter(|| {
            let naive = naive.lock();
            naive.stream(next()).fold(0, |sum, kept| sum + kept.event.data.len())
        });
    });
}
