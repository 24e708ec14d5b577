//! Handlers, dead letters and consumers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use annals::cqrs::{
    Delivered, Group, HandlerError, OnFailure, Processors, Retry, Subscription, TypedEvents, Upcasters,
};
use annals::{Expected, Position, Query, Store};
use parking_lot::Mutex;

use super::{AccountEvent, HANGS, SOON, amount, deposit, returns};

type OnReplay = dyn Fn(&Subscription<AccountEvent>, Position) -> Result<(), HandlerError> + Send + Sync;

/// A subscription that has parked one event, and does `on_replay` when that is replayed.
fn parked(store: &Store, processors: &Processors, on_replay: Box<OnReplay>) -> (Subscription<AccountEvent>, Position) {
    let own: Arc<Mutex<Option<Subscription<AccountEvent>>>> = Arc::default();
    let handle = Arc::clone(&own);
    let mailer = processors
        .subscribe("mailer", move |delivered: Delivered<'_, AccountEvent>| {
            if delivered.attempt == 1 {
                return Err(HandlerError::transient("out of paper"));
            }
            let own = handle.lock().clone().expect("the subscription");
            on_replay(&own, delivered.record.position())
        })
        .on_failure(OnFailure::park())
        .start()
        .expect("it starts");
    *own.lock() = Some(mailer.clone());
    let position = deposit(store, "anna", 1);
    mailer.when_processed(position, SOON).expect("it is parked");
    (mailer, position)
}

#[test]
fn a_letter_that_was_dropped_during_its_replay_came_back() {
    for fails in [true, false] {
        let store = Store::in_memory();
        let processors = Processors::new(&store);
        let on_replay = move |own: &Subscription<AccountEvent>, position| {
            assert!(own.drop_letter(position).expect("it is stored"));
            if fails {
                return Err(HandlerError::transient("still out of paper"));
            }
            Ok(())
        };
        let (mailer, position) = parked(&store, &processors, Box::new(on_replay));
        mailer.replay_letters().expect("it is stored");
        assert_eq!(mailer.letters().expect("letters"), []);
        assert!(!mailer.drop_letter(position).expect("it is stored"));
        let again = processors.get("mailer").expect("it runs");
        again.when_caught_up(SOON).expect("it runs");
        assert_eq!(again.status().parked, 1);
    }
}

#[test]
fn replays_at_the_same_time_handled_a_letter_twice() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let on_replay = move |own: &Subscription<AccountEvent>, _| {
        if counted.fetch_add(1, Ordering::Relaxed) < 3 {
            let other = own.clone();
            let elsewhere = std::thread::spawn(move || other.replay_letters());
            assert_eq!(elsewhere.join().expect("no panic"), Ok(0), "on another thread");
            assert_eq!(own.replay_letters(), Ok(0), "in the handler");
        }
        Ok(())
    };
    let (mailer, _) = parked(&store, &processors, Box::new(on_replay));
    assert_eq!(mailer.replay_letters(), Ok(1));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(mailer.letters().expect("letters"), []);
}

#[test]
fn a_panic_of_a_handler_in_a_replay_reached_the_caller() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let on_replay = |_: &Subscription<AccountEvent>, _| panic!("no ink");
    let (mailer, _) = parked(&store, &processors, Box::new(on_replay));
    for attempts in 2..4 {
        let replayed = catch_unwind(AssertUnwindSafe(|| mailer.replay_letters()));
        assert_eq!(replayed.expect("no panic"), Ok(0));
        let letters = mailer.letters().expect("letters");
        assert_eq!(letters[0].reason, "the handler panicked: no ink");
        assert_eq!(letters[0].attempts, attempts);
    }
}

#[test]
fn an_event_overtook_a_letter_that_another_owner_had_parked() {
    let store = Store::in_memory();
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let start = |processors: &Processors| {
        let seen = Arc::clone(&seen);
        let handler = move |delivered: Delivered<'_, AccountEvent>| {
            seen.lock().push(amount(&delivered.event));
            if amount(&delivered.event) == 1 {
                return Err(HandlerError::transient("out of paper"));
            }
            Ok(())
        };
        let subscription = processors.subscribe("mailer", handler);
        subscription.on_failure(OnFailure::park()).start().expect("it starts")
    };
    let (one, two) = (Processors::new(&store), Processors::new(&store));
    let first = start(&one);
    one.when_idle(SOON).expect("it runs");
    first.pause();
    let second = start(&two);
    let parked = deposit(&store, "anna", 1);
    second.when_processed(parked, SOON).expect("it is parked");
    two.end();
    first.resume();
    let behind = deposit(&store, "anna", 2);
    first.when_processed(behind, SOON).expect("it runs");
    assert_eq!(*seen.lock(), [1]);
    let positions =
        |letters: Vec<annals::cqrs::Letter>| letters.iter().map(|letter| letter.position).collect::<Vec<_>>();
    assert_eq!(positions(first.letters().expect("letters")), [parked, behind]);
    // The handle of the processor that has ended sees the same.
    assert_eq!(positions(second.letters().expect("letters")), [parked, behind]);
}

#[test]
fn a_message_from_before_a_resume_gave_back_the_event_of_another_consumer() {
    let store = Store::in_memory();
    let group = Group::<AccountEvent>::builder(&store, "billing")
        .open()
        .expect("it opens");
    deposit(&store, "anna", 1);
    let receive = || group.receive(SOON).expect("it runs").expect("a message");
    let first = receive();
    group.resume().expect("it resumes");
    let second = receive();
    first.nack("too late").expect_err("the lease is lost");
    group.resume().expect("it resumes");
    let third = receive();
    drop(second);
    assert!(group.try_receive().expect("it runs").is_none(), "it is handed out once");
    third.ack().expect("the lease holds");
}

#[test]
fn a_panic_of_an_upcaster_ended_the_consumers_of_a_group() {
    let store = Store::in_memory();
    let upcasters = Upcasters::new().change("Deposited", 1, |_| panic!("no rule"));
    let events = TypedEvents::<AccountEvent>::new().upcasters(&upcasters);
    let group = Group::<AccountEvent>::builder(&store, "billing").events(&events);
    let group = group.open().expect("it opens");
    deposit(&store, "anna", 1);
    deposit(&store, "bert", 1);
    let received = catch_unwind(AssertUnwindSafe(|| group.try_receive().expect("it runs").is_none()));
    assert!(received.expect("no panic"));
    let letters = group.letters();
    assert_eq!(letters.len(), 2);
    assert!(letters[0].reason.contains("no rule"), "{}", letters[0].reason);
}

#[test]
fn a_pause_hung_when_another_thread_resumed_the_processor() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let gate = Arc::new(Mutex::new(()));
    let (closed, begun) = (gate.lock(), Arc::new(AtomicU64::new(0)));
    let (handled, handler_gate) = (Arc::clone(&begun), Arc::clone(&gate));
    let slow = processors
        .subscribe("slow", move |_: Delivered<'_, AccountEvent>| {
            handled.fetch_add(1, Ordering::Relaxed);
            drop(handler_gate.lock());
            Ok(())
        })
        .start()
        .expect("it starts");
    deposit(&store, "anna", 1);
    while begun.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let (paused, pausing) = (slow.clone(), channel());
    let done = pausing.0;
    std::thread::spawn(move || {
        paused.pause();
        done.send(())
    });
    let returned = pausing.1.recv_timeout(Duration::from_millis(200));
    returned.expect_err("the handler is not done");
    slow.resume();
    drop(closed);
    pausing.1.recv_timeout(HANGS).expect("the pause returns");
    slow.when_caught_up(SOON).expect("it runs");
}

#[test]
fn a_subscription_to_all_events_parked_its_own_letters_without_end() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let start = |name: &str| {
        let all = processors.subscribe(name.to_owned(), |_: Delivered<'_, AccountEvent>| {
            Err(HandlerError::permanent("out of paper"))
        });
        all.query(Query::all())
            .on_failure(OnFailure::park())
            .start()
            .expect("it starts")
    };
    let (one, two) = (start("one"), start("two"));
    let group = Group::<AccountEvent>::builder(&store, "three").query(Query::all());
    let group = group.open().expect("it opens");
    deposit(&store, "anna", 1);
    for _ in 0..3 {
        if let Some(message) = group.try_receive().expect("it runs") {
            message.park("out of paper").expect("it is parked");
        }
        one.when_caught_up(SOON).expect("it runs");
        two.when_caught_up(SOON).expect("it runs");
    }
    for letters in [
        one.letters().expect("letters"),
        two.letters().expect("letters"),
        group.letters(),
    ] {
        assert_eq!(letters.len(), 1, "{letters:?}");
    }
}

#[test]
fn a_processor_whose_stream_is_deleted_stops_and_says_so() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let counts = processors.subscribe("counts", |_: Delivered<'_, AccountEvent>| Ok(()));
    let counts = counts.skip_gaps().start().expect("it starts");
    deposit(&store, "anna", 1);
    counts.when_caught_up(SOON).expect("it runs");
    store
        .delete("annals.processor/counts", Expected::Any)
        .expect("it is deleted");
    deposit(&store, "anna", 2);
    let stopped = counts.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(stopped.contains("annals.processor/counts"), "{stopped}");
    // Without a checkpoint it begins at the first event.
    counts.resume();
    counts.when_caught_up(SOON).expect("it runs");
    assert_eq!(counts.status().handled, 4);
}

#[test]
fn a_handler_may_drop_the_registry_and_close_the_store() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let own = Arc::new(Mutex::new(Some(processors.clone())));
    let closed = store.clone();
    let last = processors.subscribe("last", move |_: Delivered<'_, AccountEvent>| {
        if let Some(processors) = own.lock().take() {
            processors.get("last").expect("itself").pause();
            processors.end();
        }
        closed.close().expect("it closes");
        Ok(())
    });
    let last = last.start().expect("it starts");
    drop(processors);
    deposit(&store, "anna", 1);
    returns("the end", move || last.end());
}

#[test]
fn a_lease_of_no_time_and_a_retry_of_no_attempts_park_each_event_once() {
    let store = Store::in_memory();
    let none = Retry::default()
        .attempts(0)
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::ZERO);
    let group = Group::<AccountEvent>::builder(&store, "billing")
        .lease(Duration::ZERO)
        .retry(none)
        .max_in_flight(0);
    let group = group.open().expect("it opens");
    for id in ["anna", "bert", "anna"] {
        deposit(&store, id, 1);
    }
    let mut kept = Vec::new();
    while let Some(message) = group.try_receive().expect("it runs") {
        kept.push(message);
    }
    for message in kept {
        message.ack().expect_err("the lease is lost");
    }
    assert_eq!(group.letters().len(), 3);
    assert_eq!(group.status().in_flight, 0);
}
