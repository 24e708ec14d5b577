//! A fixture for many tests: a fork of a store that has it, beside making the same history again.

use std::hint::black_box;

use annals::Position;
use annals::cqrs::Aggregates;
use criterion::{BenchmarkId, Criterion};

use crate::domain::{Account, filled, id_of, sure};

const EVENTS_OF_ACCOUNT: u64 = 10;

/// Each test appends one event of its own.
pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a fixture, and a command on it");
    for accounts in [100_usize, 5_000] {
        let events = accounts as u64 * EVENTS_OF_ACCOUNT;
        let fixture = filled(accounts, EVENTS_OF_ACCOUNT);
        assert_eq!(fixture.visible(), Position(events));
        let test = |store: &annals::Store| {
            let executed = sure(Aggregates::<Account>::new(store).execute(&id_of(0), &1));
            assert_eq!(executed.version.0, EVENTS_OF_ACCOUNT + 1);
        };
        group.bench_function(BenchmarkId::new("a fork", events), |bencher| {
            bencher.iter(|| test(black_box(&fixture.fork())));
        });
        group.bench_function(BenchmarkId::new("made again", events), |bencher| {
            bencher.iter(|| test(black_box(&filled(accounts, EVENTS_OF_ACCOUNT))));
        });
        assert_eq!(fixture.visible(), Position(events), "no test has changed it");
    }
}
