//! Appends that depend on what has happened.

use std::time::{Duration, Instant};

use annals::{Append, Condition, Expected, Name, Position, Query, Store};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use parking_lot::Mutex;

use crate::naive::{ByHand as _, Naive, OwnedEvent, Tagged};
use crate::work::{Batch, Log as _, Work, interleaved};
use crate::{long, sure};

const AGGREGATES: usize = 100_000;
const ROUNDS: usize = 10;
const EVENTS: u64 = (AGGREGATES * ROUNDS) as u64;

pub(crate) fn conditions(criterion: &mut Criterion, work: &Work) {
    let never = Name::from("AccountMerged");
    let mut group = long(criterion, "append if, an aggregate's terms and a position", EVENTS);
    row(&mut group, "annals", || by_aggregate(work));
    row(&mut group, "naive", || by_aggregate_naively(work));
    group.finish();

    let mut group = long(criterion, "append if, a type and no position", EVENTS);
    row(&mut group, "annals", || by_type(work, &never));
    row(&mut group, "naive", || by_type_naively(work, &never));
    group.finish();

    let mut group = long(criterion, "append if, one tag and a position", EVENTS);
    row(&mut group, "annals", || by_tag(work));
    row(&mut group, "annals, no condition", || tagged(work));
    row(&mut group, "naive with a map by tag", || by_tag_naively(work));
    group.finish();
}

fn row(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, fill: impl Fn() -> Duration) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| fill()).sum());
    });
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

/// The tag of an event: there are as many as aggregates, and the id of an aggregate serves as one.
fn tag(work: &Work, batch: Batch) -> &Name {
    &work.stream(batch.aggregate).aggregate_id
}

fn by_tag(work: &Work) -> Duration {
    let start = Instant::now();
    let store = Store::in_memory();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let (tag, event) = (tag(work, batch), work.event(batch.first));
        let condition = Condition::none_after(Query::all().tag(tag), Position(known(batch.first) as u64));
        let append = Append::new(work.stream(batch.aggregate), Expected::Any, [event.tag(tag)]);
        sure(store.append_if(&condition, append));
    }
    start.elapsed()
}

/// The same events without a condition.
fn tagged(work: &Work) -> Duration {
    let start = Instant::now();
    let store = Store::in_memory();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let event = work.event(batch.first).tag(tag(work, batch));
        sure(store.append(work.stream(batch.aggregate), Expected::Any, event));
    }
    start.elapsed()
}

fn by_tag_naively(work: &Work) -> Duration {
    let start = Instant::now();
    let naive = Mutex::<Tagged>::default();
    for batch in interleaved(AGGREGATES, ROUNDS, 1) {
        let (stream, event) = (work.stream(batch.aggregate), OwnedEvent::from(&work.event(batch.first)));
        let (tag, known) = (tag(work, batch), known(batch.first));
        assert!(naive.lock().append_if(stream, batch.version as u64, event, tag, known));
    }
    start.elapsed()
}
