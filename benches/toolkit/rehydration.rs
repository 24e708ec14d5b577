//! Loading an aggregate, with and without a snapshot.

use std::hint::black_box;

use annals::cqrs::{Aggregates, SnapshotPolicy};
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::domain::{Account, filled, id_of, load_by_hand, sure};

/// Events after the snapshot.
const TAIL: u64 = 10;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load an aggregate");
    for events in [100, 1_000, 10_000] {
        let (store, id) = (filled(1, events), id_of(0));
        let accounts = Aggregates::<Account>::new(&store);
        let balance = sure(accounts.load(&id)).state.balance;
        assert_eq!(
            (balance, balance),
            (events * (events - 1) / 2, load_by_hand(&store, &id).0.balance)
        );
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("toolkit", events), |bencher| {
            bencher.iter(|| black_box(sure(accounts.load(&id)).state.balance));
        });
        group.bench_function(BenchmarkId::new("by hand", events), |bencher| {
            bencher.iter(|| black_box(load_by_hand(&store, &id).0.balance));
        });
        let accounts = with_snapshot(&accounts, &id);
        group.bench_function(BenchmarkId::new("toolkit, snapshot and 10 events", events), |bencher| {
            bencher.iter(|| black_box(sure(accounts.load(&id)).state.balance));
        });
    }
}

/// Saves a snapshot, and appends [`TAIL`] events after it.
fn with_snapshot(accounts: &Aggregates<Account>, id: &str) -> Aggregates<Account> {
    let accounts = accounts.clone().snapshots(SnapshotPolicy::on_demand());
    sure(accounts.save_snapshot(id));
    for _ in 0..TAIL {
        sure(accounts.execute(id, &1));
    }
    assert_eq!(sure(accounts.load(id)).folded, TAIL);
    accounts
}
