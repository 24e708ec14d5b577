//! Appends that depend on what has happened.

use std::time::{Duration, Instant};

use annals::{Append, Condition, Expected, Name, Position, Query, Store};
use criterion::Criterion;
use parking_lot::Mutex;

use crate::naive::{ByHand as _, Naive};
use crate::work::{Log as _, Work, interleaved};
use crate::{long, sure};

const AGGREGATES: usize = 100_000;
const ROUNDS: usize = 10;

pub(crate) fn conditions(criterion: &mut Criterion, work: &Work) {
    let mut group = long(
        criterion,
        "append if, an aggregate's terms and a position",
        (AGGREGATES * ROUNDS) as u64,
    );
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| by_aggregate(work)).sum());
    });
    group.bench_function("naive", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| by_aggregate_naively(work)).sum());
    });
    group.finish();

    let never = Name::from("AccountMerged");
    let mut group = long(
        criterion,
        "append if, a type and no position",
        (AGGREGATES * ROUNDS) as u64,
    );
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| by_type(work, &never)).sum());
    });
    group.bench_function("naive", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| by_type_naively(work, &never)).sum());
    });
    group.finish();
}

/// The position of the last event of the aggregate that event `number` goes to.
fn known(number: usize) -> usize {
    (number + 1).saturating_sub(AGGREGATES)
}

fn by_aggregate(work: &Work) -> Duration {
    let start = Instant::now();
    let store = Store::in_memory();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let stream = work.stream(batch.aggregate);
        let query = Query::all().aggregate(&stream.aggregate_id);
        let condition = Condition::none_after(query, Position(known(batch.first) as u64));
        let append = Append::new(stream, Expected::Any, work.events(batch));
        sure(store.append_if(&condition, append));
    }
    start.elapsed()
}

fn by_aggregate_naively(work: &Work) -> Duration {
    let start = Instant::now();
    let naive = Mutex::<Naive>::empty();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let stream = work.stream(batch.aggregate);
        let events = work.kept(batch);
        let mut naive = naive.lock();
        assert!(!naive.has_aggregate_after(&stream.aggregate_id, known(batch.first)));
        assert!(naive.append(stream, batch.version as u64, events));
    }
    start.elapsed()
}

fn by_type(work: &Work, never: &Name) -> Duration {
    let start = Instant::now();
    let store = Store::in_memory();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let condition = Condition::none(Query::all().event_type(never));
        let append = Append::new(work.stream(batch.aggregate), Expected::Any, work.events(batch));
        sure(store.append_if(&condition, append));
    }
    start.elapsed()
}

fn by_type_naively(work: &Work, never: &Name) -> Duration {
    let start = Instant::now();
    let naive = Mutex::<Naive>::empty();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let events = work.kept(batch);
        let mut naive = naive.lock();
        assert!(!naive.has_type_after(never, 0));
        assert!(naive.append(work.stream(batch.aggregate), batch.version as u64, events));
    }
    start.elapsed()
}
