//! Commands: one on each of many aggregates, and many on one.

use std::thread;

use annals::Store;
use annals::cqrs::{Aggregates, SnapshotPolicy};
use criterion::{BatchSize, Criterion, Throughput};

use crate::domain::{Account, execute_by_hand, id_of, load_by_hand, sure};

const AGGREGATES: usize = 10_000;
const THREADS: usize = 4;
/// Commands of each thread on the hot aggregate: a load folds 500 events on average.
const HOT: usize = 250;

pub(crate) fn benches(criterion: &mut Criterion) {
    cold(criterion);
    hot(criterion);
}

fn cold(criterion: &mut Criterion) {
    let ids: Vec<_> = (0..AGGREGATES).map(id_of).collect();
    let toolkit = |store: &Store| {
        let accounts = Aggregates::<Account>::new(store);
        for id in &ids {
            sure(accounts.execute(id, &5));
        }
    };
    let by_hand = |store: &Store| {
        for id in &ids {
            execute_by_hand(store, id, 5);
        }
    };
    let mut group = criterion.benchmark_group("a command on each of 10,000 aggregates");
    group.throughput(Throughput::Elements(AGGREGATES as u64));
    for (name, work) in [("toolkit", &toolkit as &dyn Fn(&Store)), ("by hand", &by_hand)] {
        check(work, AGGREGATES as u64);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(Store::in_memory, |store| work(store), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn hot(criterion: &mut Criterion) {
    let id = id_of(0);
    let toolkit = |store: &Store| {
        let accounts = Aggregates::<Account>::new(store);
        on_threads(|| _ = sure(accounts.execute(&id, &5)));
    };
    let with_snapshots = |store: &Store| {
        let accounts = Aggregates::<Account>::new(store).snapshots(SnapshotPolicy::default());
        on_threads(|| _ = sure(accounts.execute(&id, &5)));
    };
    let by_hand = |store: &Store| on_threads(|| _ = execute_by_hand(store, &id, 5));
    let mut group = criterion.benchmark_group("1,000 commands on one aggregate, 4 threads");
    group
        .sample_size(20)
        .throughput(Throughput::Elements((THREADS * HOT) as u64));
    for (name, work) in [
        ("toolkit", &toolkit as &dyn Fn(&Store)),
        ("toolkit, snapshots", &with_snapshots),
        ("by hand", &by_hand),
    ] {
        check(work, (THREADS * HOT) as u64);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(Store::in_memory, |store| work(store), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn on_threads(command: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..HOT).for_each(|_| command()));
        }
    });
}

/// The work appends this number of events, and loses none.
fn check(work: &dyn Fn(&Store), events: u64) {
    let store = Store::in_memory();
    work(&store);
    let last = store.visible().0 - u64::from(store.snapshot(&id_of(0)).is_some());
    assert!(
        last >= events && load_by_hand(&store, &id_of(0)).0.balance.is_multiple_of(5),
        "{last} events"
    );
}
