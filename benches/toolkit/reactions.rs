//! What reacts to events and commands: a subscription, a saga, and the bus.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::cqrs::{Action, CommandBus, Context, Delivered, Message, Processors, Route, Saga, middleware};
use annals::{Delivery, Durability, Event, Expected, NewEvent, NewSnapshot, Position, Query, Store, StreamId, Version};
use criterion::{Criterion, Throughput};
use serde::{Deserialize, Serialize};

use crate::domain::{AccountEvent, decode_by_hand, filled, sure};

const SOON: Duration = Duration::from_secs(600);
const EVENTS_EACH: u64 = 10;
const AGGREGATES: usize = 10_000;
const EVENTS: u64 = AGGREGATES as u64 * EVENTS_EACH;
const INSTANCES: usize = 2_000;
/// Deliveries taken at once by hand: as many as the toolkit takes.
const BATCH: usize = 256;

pub(crate) fn benches(criterion: &mut Criterion) {
    subscription(criterion);
    saga(criterion);
    bus(criterion);
}

fn amount(event: &AccountEvent) -> u64 {
    match event {
        AccountEvent::Deposited(movement) | AccountEvent::Withdrawn(movement) => movement.amount,
    }
}

/// A store of its own, as the checkpoint stays in it.
fn subscribe(name: &str, store: &Store) -> Duration {
    let (processors, sum) = (Processors::new(store), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sum);
    let handler = move |delivered: Delivered<'_, AccountEvent>| {
        black_box(&delivered.context);
        counted.fetch_add(amount(&delivered.event), Ordering::Relaxed);
        Ok(())
    };
    let last = store.visible();
    let start = Instant::now();
    let subscription = sure(processors.subscribe(name, handler).start());
    sure(subscription.when_processed(last, SOON));
    let took = start.elapsed();
    assert_eq!(sum.load(Ordering::Relaxed), EVENTS * (EVENTS_EACH - 1) / 2);
    took
}

/// A tail, `serde_json`, the handler, and a checkpoint after each batch.
fn subscribe_by_hand(name: &str, store: &Store) -> Duration {
    let stream = StreamId::new("Subscription", name);
    sure(store.append(&stream, Expected::Any, NewEvent::new("Started")));
    let volatile = sure(store.with_durability(Durability::Volatile));
    let (last, mut sum) = (store.visible(), 0);
    let start = Instant::now();
    let query = Query::all().event_types(["Deposited", "Withdrawn"]);
    let mut tail = sure(store.tail(query, Position(0)));
    while tail.position() < last {
        for delivery in tail.try_batch(BATCH) {
            if let Delivery::Event(event) = delivery {
                sum += amount(&black_box(decode_by_hand(&event)));
            }
        }
        let checkpoint = NewSnapshot::new(Version(1)).data(tail.position().0.to_string());
        sure(volatile.save_snapshot(&stream.aggregate_id, checkpoint));
    }
    let took = start.elapsed();
    assert_eq!(sum, EVENTS * (EVENTS_EACH - 1) / 2);
    took
}

fn subscription(criterion: &mut Criterion) {
    let (store, mut names) = (filled(AGGREGATES, EVENTS_EACH), 0..);
    let mut group = criterion.benchmark_group("a subscription to 100,000 events");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    for (name, work) in [
        ("toolkit", subscribe as fn(&str, &Store) -> Duration),
        ("by hand", subscribe_by_hand),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let names = names.by_ref().take(usize::try_from(times).unwrap_or(0));
                names.map(|number: u32| work(&format!("{name}-{number}"), &store)).sum()
            });
        });
    }
    group.finish();
}

#[derive(Serialize, Deserialize)]
struct Notify {
    amount: u64,
}

/// Sends one command for each account with an event, and completes.
#[derive(Default, Serialize, Deserialize)]
struct Notifying {
    amount: u64,
}

impl Saga for Notifying {
    const TYPE: &'static str = "Notifying";
    type Event = AccountEvent;
    type Command = Notify;

    fn route(_: &AccountEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, event: AccountEvent) -> Vec<Action<Notify>> {
        self.amount = amount(&event);
        vec![Action::send(Notify { amount: self.amount }), Action::Complete]
    }
}

/// Every instance starts, sends a command that does nothing, and completes.
fn run_saga(store: &Store) -> Duration {
    let (processors, sent) = (Processors::new(store), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sent);
    let last = store.visible();
    let start = Instant::now();
    let sagas = processors.saga::<Notifying>(move |command, _| {
        counted.fetch_add(1 + command.amount, Ordering::Relaxed);
        Ok(())
    });
    let sagas = sure(sagas.start());
    sure(sagas.when_processed(last, SOON));
    let took = start.elapsed();
    assert_eq!(sent.load(Ordering::Relaxed), INSTANCES as u64);
    took
}

/// The three events of an instance by hand, each appended by itself: it has reacted, sent, and completed.
fn run_saga_by_hand(store: &Store) -> Duration {
    let last = store.visible();
    let start = Instant::now();
    let query = Query::all().event_types(["Deposited", "Withdrawn"]);
    let (mut tail, mut sent) = (sure(store.tail(query, Position(0))), 0);
    while tail.position() < last {
        for delivery in tail.try_batch(BATCH) {
            if let Delivery::Event(event) = delivery {
                let mut saga = Notifying::default();
                let actions = saga.react(decode_by_hand(&event));
                let stream = StreamId::new("Notifying", format!("Notifying/{}", event.aggregate_id()));
                let data = sure(serde_json::to_vec(&saga));
                sure(store.append(&stream, Expected::NoStream, NewEvent::new("Reacted").data(data)));
                sent += u64::from(matches!(actions.first(), Some(Action::Send { .. })));
                sure(store.append(
                    &stream,
                    Expected::exactly(1),
                    NewEvent::new("Sent").data("{\"step\":1}"),
                ));
                sure(store.append(&stream, Expected::exactly(2), NewEvent::new("Completed")));
            }
        }
    }
    let took = start.elapsed();
    assert_eq!(sent, INSTANCES as u64);
    took
}

fn saga(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("2,000 instances of a saga that send a command and complete");
    group.sample_size(10).throughput(Throughput::Elements(INSTANCES as u64));
    for (name, work) in [
        ("toolkit", run_saga as fn(&Store) -> Duration),
        ("appends by hand", run_saga_by_hand),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| work(&filled(INSTANCES, 1))).sum());
        });
    }
    group.finish();
}

struct Add(u64);

impl Message for Add {
    type Bus = CommandBus;
    type Reply = u64;
    type Error = String;
    const NAME: &'static str = "Add";
}

fn add(add: &Add, _: &Context) -> Result<u64, String> {
    add.0.checked_add(1).ok_or_else(|| "too much".to_owned())
}

fn bus(criterion: &mut Criterion) {
    let context = Context::new();
    let plain = sure(CommandBus::builder().handle(add).build());
    let validates = middleware::validate(|add: &Add| {
        if add.0 > 0 {
            Ok(())
        } else {
            Err("nothing to add".to_owned())
        }
    });
    let layered = sure(CommandBus::builder().layer(validates).handle(add).build());
    let sender = sure(plain.sender::<Add>());
    assert_eq!(plain.dispatch(&Add(1), &context).ok(), Some(2));
    assert_eq!(layered.dispatch(&Add(1), &context).ok(), Some(2));
    assert_eq!(sender.send(&Add(1), &context).ok(), Some(2));
    let mut group = criterion.benchmark_group("dispatch a command that adds one");
    group.bench_function("the handler by hand", |bencher| {
        bencher.iter(|| add(black_box(&Add(1)), &context));
    });
    group.bench_function("bus", |bencher| {
        bencher.iter(|| plain.dispatch(black_box(&Add(1)), &context));
    });
    group.bench_function("sender", |bencher| {
        bencher.iter(|| sender.send(black_box(&Add(1)), &context));
    });
    group.bench_function("bus, one middleware", |bencher| {
        bencher.iter(|| layered.dispatch(black_box(&Add(1)), &context));
    });
    group.finish();
}
