//! Projections: on a thread of their own, on demand, and inline.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use annals::cqrs::{Aggregates, HandlerError, Live, Processors, Projection, Row, Table};
use annals::{Delivery, Event, Position, Query, Store};
use criterion::{BatchSize, Criterion, Throughput};
use parking_lot::Mutex;

use crate::domain::{Account, AccountEvent, decode_by_hand, filled, id_of, sure};

const AGGREGATES: usize = 10_000;
const EVENTS_EACH: u64 = 20;
const EVENTS: u64 = AGGREGATES as u64 * EVENTS_EACH;
const SOON: Duration = Duration::from_secs(600);
/// Deliveries taken at once by hand: as many as the toolkit takes.
const BATCH: usize = 256;

/// The balances by account.
#[derive(Default)]
struct Balances(HashMap<String, u64>);

impl Projection for Balances {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        self.add(event, record.aggregate_id());
        Ok(())
    }
}

impl Balances {
    fn add(&mut self, event: AccountEvent, id: &str) {
        let balance = match self.0.get_mut(id) {
            Some(balance) => balance,
            None => self.0.entry(id.to_owned()).or_default(),
        };
        match event {
            AccountEvent::Deposited(movement) => *balance += movement.amount,
            AccountEvent::Withdrawn(movement) => *balance -= movement.amount,
        }
    }

    fn check(&self) {
        let sum: u64 = self.0.values().sum();
        assert_eq!(
            (self.0.len(), sum),
            (AGGREGATES, AGGREGATES as u64 * EVENTS_EACH * (EVENTS_EACH - 1) / 2)
        );
    }
}

/// A row found by its tens, which change with every other event.
struct Balance(u64);

impl Row for Balance {
    type Secondary = u64;

    fn secondary_keys(&self) -> Vec<u64> {
        vec![self.0 / 10]
    }
}

#[derive(Default)]
struct BalanceTable(Table<String, Balance>);

impl Projection for BalanceTable {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        let amount = match event {
            AccountEvent::Deposited(movement) | AccountEvent::Withdrawn(movement) => movement.amount,
        };
        let id = record.aggregate_id().to_owned();
        if self.0.update(&id, |balance| balance.0 += amount).is_none() {
            self.0.insert(id, Balance(amount));
        }
        Ok(())
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    throughput(criterion);
    inline(criterion);
}

/// Runs the projection of the whole log on a thread of its own, and returns it and the time.
fn project<P: Projection>(store: &Store, fresh: P, look: impl Fn(&P)) -> Duration {
    let processors = Processors::new(store);
    let start = Instant::now();
    let projected = sure(processors.project("balances", fresh).start());
    sure(projected.when_processed(store.visible(), SOON));
    let took = start.elapsed();
    projected.read(look);
    took
}

/// The same by hand: a tail, `serde_json`, and the handler.
fn project_by_hand<P: Projection<Event = AccountEvent>>(store: &Store, mut fresh: P, look: impl Fn(&P)) -> Duration {
    let start = Instant::now();
    let mut tail = sure(store.tail(Query::all().event_types(["Deposited", "Withdrawn"]), Position(0)));
    while !tail.is_caught_up() {
        for delivery in tail.try_batch(BATCH) {
            if let Delivery::Event(event) = delivery {
                sure(
                    fresh
                        .apply(decode_by_hand(&event), &event)
                        .map_err(|error| error.to_string()),
                );
            }
        }
    }
    let took = start.elapsed();
    look(&fresh);
    took
}

fn live(store: &Store) -> Duration {
    let start = Instant::now();
    let live = Live::new(store, Balances::default());
    sure(live.catch_up());
    let took = start.elapsed();
    sure(live.read(Balances::check));
    took
}

fn check_table(table: &BalanceTable) {
    let balance = EVENTS_EACH * (EVENTS_EACH - 1) / 2;
    assert_eq!(table.0.count(&(balance / 10)), AGGREGATES);
}

fn throughput(criterion: &mut Criterion) {
    let store = filled(AGGREGATES, EVENTS_EACH);
    let mut group = criterion.benchmark_group("project 200,000 events");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    let map = || project(&store, Balances::default(), Balances::check);
    let map_by_hand = || project_by_hand(&store, Balances::default(), Balances::check);
    let table = || project(&store, BalanceTable::default(), check_table);
    let table_by_hand = || project_by_hand(&store, BalanceTable::default(), check_table);
    let live = || live(&store);
    for (name, work) in [
        ("own thread, HashMap", &map as &dyn Fn() -> Duration),
        ("on demand, HashMap", &live),
        ("by hand, HashMap", &map_by_hand),
        ("own thread, Table", &table),
        ("by hand, Table", &table_by_hand),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| work()).sum());
        });
    }
    group.finish();
    let live = Live::new(&store, Balances::default());
    sure(live.catch_up());
    criterion.bench_function("read a projection on demand that is up to date", |bencher| {
        bencher.iter(|| black_box(sure(live.read(|balances| balances.0.len()))));
    });
}

/// A command on each of the accounts, and what `after` does with the position of its event.
fn execute(accounts: &Aggregates<Account>, ids: &[String], mut after: impl FnMut(&str, Position)) {
    for id in ids {
        if let Some(appended) = sure(accounts.execute(id, &5)).appended {
            after(id, appended.last_position);
        }
    }
}

fn inline(criterion: &mut Criterion) {
    let ids: Vec<_> = (0..AGGREGATES).map(id_of).collect();
    let without = |store: &Store| {
        execute(&Aggregates::new(store), &ids, |_, _| {});
        AGGREGATES
    };
    let inline = |store: &Store| {
        let live = Live::new(store, Balances::default());
        execute(&Aggregates::new(store).inline(&live), &ids, |_, _| {});
        sure(live.read(|balances| balances.0.len()))
    };
    let by_hand = |store: &Store| {
        let balances = Mutex::new(Balances::default());
        execute(&Aggregates::new(store), &ids, |_, position| {
            if let Some(event) = store.event_at(position) {
                let applied = balances.lock().apply(decode_by_hand(&event), &event);
                sure(applied.map_err(|error| error.to_string()));
            }
        });
        balances.into_inner().0.len()
    };
    let with_record = |store: &Store| {
        let balances = Mutex::new(Balances::default());
        execute(&Aggregates::new(store), &ids, |_, position| {
            if let Some(record) = store.event_at(position) {
                let event = AccountEvent::Deposited(crate::domain::Movement::of(5));
                let applied = balances.lock().apply(event, &record);
                sure(applied.map_err(|error| error.to_string()));
            }
        });
        balances.into_inner().0.len()
    };
    let handler_alone = |store: &Store| {
        let balances = Mutex::new(Balances::default());
        execute(&Aggregates::new(store), &ids, |id, _| {
            let event = AccountEvent::Deposited(crate::domain::Movement::of(5));
            balances.lock().add(event, id);
        });
        balances.into_inner().0.len()
    };
    let mut group = criterion.benchmark_group("a command and its projection, 10,000 aggregates");
    group.throughput(Throughput::Elements(AGGREGATES as u64));
    for (name, work) in [
        ("no projection", &without as &dyn Fn(&Store) -> usize),
        ("inline", &inline),
        ("read back, decoded and applied by hand", &by_hand),
        ("applied by hand from the event at hand and its record", &with_record),
        ("applied by hand from the event at hand", &handler_alone),
    ] {
        assert_eq!(work(&Store::in_memory()), AGGREGATES, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(Store::in_memory, |store| work(store), BatchSize::PerIteration);
        });
    }
    group.finish();
}
