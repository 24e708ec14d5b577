//! Consumers of a queue of RabbitMQ: attempts, dead letters, and a store that is fed with the events of another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cqrs::HandlerError;
use annals::{Conflict, Error, Expected, NewEvent, Position, Store, StreamId};
use annals_relay::Relay;
use annals_relay::rabbitmq::{Consumer, ConsumerCounts, Queue, RabbitMq};
use parking_lot::Mutex;

use crate::broker::{Broker, shared};
use crate::kills;
use crate::support::{PATIENCE, append_to, published, quick};

/// Publishes to a queue of this name.
fn relay(store: &Store, url: &str, queue: &str) -> Relay {
    let exchange = format!("{queue}.events");
    let target = RabbitMq::builder(url)
        .other_exchange(&exchange)
        .queue(Queue::new(queue).bind(&exchange, "#"));
    let target = target.deadline(Duration::from_secs(5)).build().unwrap();
    Relay::builder(store, queue, target).retry(quick()).start().unwrap()
}

fn wait(consumer: &Consumer, what: &str, is: impl Fn(&ConsumerCounts) -> bool) -> ConsumerCounts {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = consumer.counts();
        if is(&counts) {
            return counts;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {counts:?}, {:?}",
            consumer.last_error()
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_message_that_failed_was_lost_or_tried_without_end() {
    let store = Store::in_memory();
    for data in ["fine", "fails twice", "never works", "panics"] {
        append_to(&store, "Complaint", data, &format!("{{\"data\":\"{data}\"}}"));
    }
    let relay = relay(&store, &shared().url(), "attempts");
    published(&relay, Position(4));
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let steps = [1, 20].map(Duration::from_millis);
    let consumer = Consumer::builder(shared().url(), "attempts")
        .steps(steps)
        .start(move |message| {
            let aggregate = message.headers["aggregate"].clone();
            assert_eq!(
                (message.exchange.as_str(), message.routing_key.as_str()),
                ("attempts.events", "Complaint.Noted")
            );
            seen.lock().push((aggregate.clone(), message.attempt));
            match (aggregate.as_str(), message.attempt) {
                ("fails twice", 1 | 2) => Err(HandlerError::transient("not yet")),
                ("never works", _) => Err(HandlerError::permanent("no")),
                ("panics", _) => std::panic::panic_any("staged"),
                _ => Ok(()),
            }
        });
    let consumer = consumer.unwrap();
    let counts = wait(&consumer, "not all are settled", |counts| {
        counts.handled + counts.dead == 4
    });
    assert_eq!((counts.handled, counts.retried, counts.dead), (2, 4, 2));
    let of = |name: &str| {
        let attempts = attempts.lock();
        let own = attempts.iter().filter(|(aggregate, _)| aggregate == name);
        own.map(|(_, attempt)| *attempt).collect::<Vec<_>>()
    };
    assert_eq!((of("fine"), of("fails twice")), (vec![1], vec![1, 2, 3]));
    assert_eq!((of("never works"), of("panics")), (vec![1], vec![1, 2, 3]));
    consumer.end();
    let mut reasons = Vec::new();
    let dead = Consumer::builder(shared().url(), "attempts.dead");
    let (sent, received) = std::sync::mpsc::channel();
    let dead = dead.start(move |message| {
        drop(sent.send(message.headers["annals-reason"].clone()));
        Ok(())
    });
    reasons.extend((0..2).map(|_| received.recv_timeout(PATIENCE).unwrap()));
    reasons.sort_unstable();
    assert_eq!(reasons, ["no", "the handler panicked"]);
    drop(dead);
}

#[test]
fn an_event_did_not_arrive_in_another_store_when_the_broker_was_killed() {
    let mut broker = Broker::start();
    let (store, other) = (Store::in_memory(), Store::in_memory());
    let relay = relay(&store, &broker.url(), "copies");
    let copies = other.clone();
    let consumer = Consumer::builder(broker.url(), "copies")
        .steps([Duration::from_millis(5)])
        .deadline(Duration::from_secs(5));
    let consumer = consumer.start(move |message| {
        let id = message.id.as_deref().unwrap_or_default().parse()?;
        let stream = StreamId::new("Copy", message.headers["aggregate"].as_str());
        let event = NewEvent::new("Copied").id(id).data(message.body.clone());
        match copies.append(&stream, Expected::Any, event) {
            // The id of the event makes a repeated message recognizable.
            Ok(_) => Ok(()),
            Err(Error::Conflict(conflict)) if matches!(*conflict, Conflict::EventKnown { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    });
    let consumer = consumer.unwrap();
    let mut last = Position(0);
    let rounds = kills::kills().div_ceil(2) as u64;
    for round in 0..rounds {
        for number in 0..200 {
            last = append_to(&store, "Complaint", ["a", "b", "c"][number % 3], "{}");
        }
        wait(&consumer, "nothing arrives", |counts| {
            counts.handled >= round * 200 + 50
        });
        broker.kill();
        broker.restart();
    }
    published(&relay, last);
    let deadline = Instant::now() + PATIENCE;
    while (other.read_all().events().len() as u64) < rounds * 200 {
        assert!(
            Instant::now() < deadline,
            "{} have arrived, {:?}",
            other.read_all().events().len(),
            consumer.last_error()
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(other.read_all().events().len() as u64, rounds * 200);
}
