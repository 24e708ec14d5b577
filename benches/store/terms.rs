//! Queries of a store of 1,000,000 events by user, by correlation, and by a type and a correlation.

use annals::{Query, Store};
use criterion::Criterion;
use parking_lot::Mutex;

use crate::naive::{FiveMaps, Kept};
use crate::work::{Log as _, Work, interleaved};
use crate::{short, sure};

/// Events of one user on average.
const USER_EVENTS: u64 = 1_000;

/// `store` has the events of 100,000 aggregates, ten each.
pub(crate) fn terms(criterion: &mut Criterion, work: &Work, store: &Store) {
    let naive = Mutex::<FiveMaps>::empty();
    work.fill(&naive, interleaved(100_000, 10, 1));
    by_user(criterion, work, store, &naive);
    conversation(criterion, work, store, &naive);
    popular_and_rare(criterion, work, store, &naive);
}

/// A number at each call, far from the one before.
fn turns() -> impl FnMut() -> usize {
    let mut turn = 0;
    move || {
        turn += 7_919;
        turn
    }
}

fn data_bytes<'a>(kept: impl Iterator<Item = &'a Kept>) -> usize {
    kept.fold(0, |sum, kept| sum + kept.event.data.len())
}

fn by_user(criterion: &mut Criterion, work: &Work, store: &Store, naive: &Mutex<FiveMaps>) {
    let mut next = turns();
    let mut group = short(criterion, "query by user, about 1,000 of 1,000,000", USER_EVENTS);
    group.bench_function("annals, borrowed", |bencher| {
        bencher.iter(|| {
            let query = store.query(Query::all().user(work.user(next()))).uncached();
            sure(query.fold(0, |sum, event| sum + event.data().len()))
        });
    });
    group.bench_function("naive with five maps, borrowed", |bencher| {
        bencher.iter(|| data_bytes(naive.lock().of_user(work.user(next()))));
    });
    group.finish();
}

fn conversation(criterion: &mut Criterion, work: &Work, store: &Store, naive: &Mutex<FiveMaps>) {
    let mut next = turns();
    let mut group = short(criterion, "conversation of 10, by correlation", 1);
    group.bench_function("annals, borrowed", |bencher| {
        bencher.iter(|| {
            let query = store.query(Query::all().correlation(work.correlation(next())));
            sure(query.fold(0, |sum, event| sum + event.data().len()))
        });
    });
    group.bench_function("naive with five maps, borrowed", |bencher| {
        bencher.iter(|| data_bytes(naive.lock().of_correlation(work.correlation(next()))));
    });
    group.bench_function("annals, owned", |bencher| {
        bencher.iter(|| sure(store.query(Query::all().correlation(work.correlation(next()))).events()));
    });
    group.bench_function("naive with five maps, owned", |bencher| {
        bencher.iter(|| {
            let naive = naive.lock();
            naive
                .of_correlation(work.correlation(next()))
                .cloned()
                .collect::<Vec<_>>()
        });
    });
    group.finish();
}

/// The naive store looks through the rare term.
fn popular_and_rare(criterion: &mut Criterion, work: &Work, store: &Store, naive: &Mutex<FiveMaps>) {
    let mut next = turns();
    let mut group = short(criterion, "a type of 125,000 and a conversation of 10", 1);
    group.bench_function("annals, owned", |bencher| {
        bencher.iter(|| {
            let number = next();
            let query = Query::all()
                .event_type(work.event_type(number))
                .correlation(work.correlation(number));
            sure(store.query(query).events())
        });
    });
    group.bench_function("naive with five maps, owned", |bencher| {
        bencher.iter(|| {
            let (number, naive) = (next(), naive.lock());
            let event_type = work.event_type(number);
            let kept = naive.of_correlation(work.correlation(number));
            kept.filter(|kept| kept.event.event_type == *event_type)
                .cloned()
                .collect::<Vec<_>>()
        });
    });
    group.finish();
}
