//! What the toolkit costs: loading aggregates and executing commands, beside the same written by hand on the store.

#![expect(clippy::expect_used, reason = "a benchmark whose work fails has no figure")]

use std::hint::black_box;

use annals::cqrs::{Aggregate, Aggregates};
use annals::{Expected, NewEvent, Store, StreamId};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Account {
    balance: u64,
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited(Movement),
    Withdrawn(Movement),
}

#[derive(Serialize, Deserialize)]
struct Movement {
    amount: u64,
    reference: String,
}

impl Movement {
    fn of(amount: u64) -> Self {
        Self {
            amount,
            reference: "2026-01-31/0004711".to_owned(),
        }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;
    type Command = u64;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, amount: &u64) -> Result<Vec<AccountEvent>, String> {
        Ok(vec![AccountEvent::Deposited(Movement::of(*amount))])
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Deposited(movement) => self.balance += movement.amount,
            AccountEvent::Withdrawn(movement) => self.balance -= movement.amount,
        }
    }
}

/// A store with one account that has `events` events.
fn filled(events: u64) -> Store {
    let store = Store::in_memory();
    for number in 0..events {
        let data = serde_json::to_vec(&Movement::of(number)).expect("JSON");
        let event = NewEvent::new("Deposited").data(data);
        let stream = StreamId::new("Account", "account");
        store.append(&stream, Expected::Any, event).expect("an append");
    }
    store
}

/// The balance and the version, by hand.
fn load_by_hand(store: &Store, id: &str) -> (u64, u64) {
    store.read_stream(id).fold((0, 0), |(balance, _), event| {
        let movement = event.json::<Movement>().expect("a movement");
        let balance = match event.event_type() {
            "Deposited" => balance + movement.amount,
            _ => balance - movement.amount,
        };
        (balance, event.version().0)
    })
}

fn execute_by_hand(store: &Store, id: &str, amount: u64) {
    let (_, version) = load_by_hand(store, id);
    let expected = if version == 0 {
        Expected::NoStream
    } else {
        Expected::exactly(version)
    };
    let data = serde_json::to_vec(&Movement::of(amount)).expect("JSON");
    let event = NewEvent::new("Deposited").data(data);
    let stream = StreamId::new("Account", id);
    store.append(&stream, expected, event).expect("no other writer");
}

fn rehydration(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load an aggregate");
    for events in [100, 1_000, 10_000] {
        let store = filled(events);
        let accounts = Aggregates::<Account>::new(&store);
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("toolkit", events), |bencher| {
            bencher.iter(|| black_box(accounts.load("account").expect("it is whole").state.balance));
        });
        group.bench_function(BenchmarkId::new("by hand", events), |bencher| {
            bencher.iter(|| black_box(load_by_hand(&store, "account")));
        });
    }
}

const AGGREGATES: usize = 10_000;

fn commands(criterion: &mut Criterion) {
    let ids: Vec<_> = (0..AGGREGATES).map(|number| format!("account-{number}")).collect();
    let mut group = criterion.benchmark_group("a command on each of 10,000 aggregates");
    group.throughput(Throughput::Elements(AGGREGATES as u64));
    group.bench_function("toolkit", |bencher| {
        bencher.iter_batched_ref(
            Store::in_memory,
            |store| {
                let accounts = Aggregates::<Account>::new(store);
                for id in &ids {
                    accounts.execute(id, &5).expect("a deposit");
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("by hand", |bencher| {
        bencher.iter_batched_ref(
            Store::in_memory,
            |store| ids.iter().for_each(|id| execute_by_hand(store, id, 5)),
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = rehydration, commands
}
criterion_main!(benches);
