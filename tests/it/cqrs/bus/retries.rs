//! Retries of commands by middleware.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use annals::cqrs::middleware::{Outcome, retry, validate};
use annals::cqrs::{Aggregate, Aggregates, CommandBus, CommandError, Context, DispatchError, Executed, Message, Retry};
use annals::{Expected, NewEvent, Position, Store, StreamId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Calls, ForAccount, Outer, Try, TryError, attempts, handle_try, transient, unwrapped};
use crate::cqrs::{Account, AccountCommand};

#[test]
fn a_business_rejection_was_retried() {
    for (message, predicate, expected) in [
        (Try::UntilAttempt(3), transient as fn(&Outcome) -> bool, 3),
        (Try::UntilAttempt(9), transient, 4),
        (Try::Reject, transient, 1),
        (Try::Panic, transient, 1),
        // Neither a panic nor a refusal is put to the predicate.
        (Try::Panic, |_| true, 1),
        (Try::UntilAttempt(0), |_| true, 0),
    ] {
        let calls = Calls::default();
        let bus = CommandBus::builder()
            .layer(retry(attempts(4), predicate))
            .layer(validate(|message: &Try| match message {
                Try::UntilAttempt(0) => Err("attempts count from 1".to_owned()),
                Try::UntilAttempt(_) | Try::Reject | Try::Panic => Ok(()),
            }))
            .handle(handle_try(&calls))
            .build()
            .expect("a handler");
        let reply = bus.dispatch(&message, &Context::new());
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{reply:?}");
        assert_eq!(reply.is_ok(), expected == 3, "{reply:?}");
    }
}

#[test]
fn a_retry_without_attempts_attempts_once() {
    for (retries, expected) in [
        (vec![0], 1),
        (vec![1], 1),
        (vec![2, 3], 3),
        (vec![3, 2], 3),
        (vec![3, 3, 3], 3),
    ] {
        let calls = Calls::default();
        let mut builder = CommandBus::builder().handle(handle_try(&calls));
        for retries in &retries {
            builder = builder.layer(retry(attempts(*retries), transient));
        }
        let failed = builder
            .build()
            .expect("a handler")
            .dispatch(&Try::UntilAttempt(99), &Context::new());
        assert_eq!(failed, Err(DispatchError::Failed(TryError::Transient)));
        assert_eq!(
            calls.load(Ordering::Relaxed),
            expected,
            "layers of {retries:?} attempts"
        );
    }
}

/// A bus whose handler of [`Outer`] dispatches the message inside: on `inner`, or on the same bus.
fn nesting(outer: u32, calls: &Calls, inner: Option<CommandBus>) -> CommandBus {
    CommandBus::builder()
        .layer(retry(attempts(outer), transient))
        .handle(handle_try(calls))
        .handle_with_bus(move |bus, message: &Outer, context| {
            let reply = inner.as_ref().unwrap_or(bus).dispatch(&message.0, context);
            reply.map_err(|error| {
                if let DispatchError::Failed(error) = error {
                    return error;
                }
                TryError::Rejected("nested")
            })
        })
        .build()
        .expect("every message has a handler")
}

#[test]
fn attempts_of_nested_dispatches_were_multiplied() {
    let message = Outer(Try::UntilAttempt(99));
    for outer in [1, 3] {
        let calls = Calls::default();
        let same = nesting(outer, &calls, None);
        let failed = same.dispatch(&message, &Context::new()).map_err(unwrapped);
        assert_eq!(failed, Err(TryError::Transient));
        assert_eq!(calls.swap(0, Ordering::Relaxed), outer, "on the same bus");
        for inner in [1, 5] {
            let other = nesting(outer, &calls, Some(nesting(inner, &calls, None)));
            let failed = other.dispatch(&message, &Context::new()).map_err(unwrapped);
            assert_eq!(failed, Err(TryError::Transient));
            assert_eq!(calls.swap(0, Ordering::Relaxed), outer, "on another bus");
        }
    }
}

#[test]
fn a_nested_dispatch_that_panics_leaves_the_next_one_outermost() {
    let calls = Calls::default();
    let bus = nesting(3, &calls, None);
    for _ in 0..100 {
        let failed = bus.dispatch(&Outer(Try::Panic), &Context::new()).map_err(unwrapped);
        assert_eq!(failed, Err(TryError::Rejected("nested")));
    }
    calls.store(0, Ordering::Relaxed);
    assert_eq!(bus.dispatch(&Try::UntilAttempt(3), &Context::new()), Ok(3));
}

#[test]
fn a_dispatch_on_another_thread_is_not_nested() {
    let calls = Calls::default();
    let (entered, has_entered) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let may_leave = Mutex::new(may_leave);
    let bus = CommandBus::builder()
        .layer(retry(attempts(2), transient))
        .handle(handle_try(&calls))
        .handle(move |_: &Outer, _| {
            entered.send(()).expect("the test waits");
            may_leave.lock().recv().expect("the test goes on");
            Ok(0)
        })
        .build()
        .expect("every message has a handler");
    std::thread::scope(|scope| {
        scope.spawn(|| bus.dispatch(&Outer(Try::Reject), &Context::new()));
        has_entered.recv().expect("the handler runs");
        assert_eq!(bus.dispatch(&Try::UntilAttempt(2), &Context::new()), Ok(2));
        leave.send(()).expect("the handler waits");
    });
}

/// A command whose handler dispatches it again.
struct Endless;

impl Message for Endless {
    type Bus = CommandBus;
    type Reply = u32;
    type Error = String;
    const NAME: &'static str = "Endless";
}

#[test]
fn a_handler_that_leads_back_to_itself_overflowed_the_stack() {
    let calls = Calls::default();
    let counted = Arc::clone(&calls);
    let bus = CommandBus::builder()
        .layer(retry(attempts(3), |_| false))
        .handle_with_bus(move |bus, message: &Endless, context| {
            counted.fetch_add(1, Ordering::Relaxed);
            let reply = bus.dispatch(message, context);
            reply.map_err(|error| error.to_string())
        })
        .handle(handle_try(&Calls::default()))
        .build()
        .expect("a handler");
    let refused = bus.dispatch(&Endless, &Context::new()).map_err(unwrapped);
    let text =
        "message 'Endless' is refused by 'bus': more than 64 dispatches are nested: a handler leads back to itself";
    assert_eq!(refused, Err(text.to_owned()));
    assert_eq!(calls.load(Ordering::Relaxed), 64);
    assert_eq!(bus.dispatch(&Try::UntilAttempt(1), &Context::new()), Ok(1));
}

/// What a command noted, and in which attempt.
#[derive(Debug, Serialize, Deserialize)]
enum RaceEvent {
    Noted { by: String },
}

#[derive(Default)]
struct Raced {
    events: u64,
}

/// A command that another writer overtakes in its first two attempts: it appends an event while the command is decided.
struct Race {
    store: Store,
    decisions: Calls,
}

impl Message for Race {
    type Bus = CommandBus;
    type Reply = Executed;
    type Error = CommandError<String>;
    const NAME: &'static str = "Race";
}

impl Aggregate for Raced {
    const TYPE: &'static str = "Raced";
    type Event = RaceEvent;
    type Command = Race;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, race: &Race) -> Result<Vec<RaceEvent>, String> {
        let decision = race.decisions.fetch_add(1, Ordering::Relaxed) + 1;
        if decision <= 2 {
            let other = NewEvent::new("Noted").data(r#"{"by": "another writer"}"#);
            let appended = race.store.append(&StreamId::new("Raced", "a"), Expected::Any, other);
            appended.map_err(|error| error.to_string())?;
        }
        let by = format!("decision {decision} after {} events", self.events);
        Ok(vec![RaceEvent::Noted { by }])
    }

    fn evolve(&mut self, _: RaceEvent) {
        self.events += 1;
    }
}

#[test]
fn events_of_a_failed_attempt_were_stored_by_the_next() {
    let store = Store::in_memory();
    let race = || Race {
        store: store.clone(),
        decisions: Calls::default(),
    };
    let raced = Aggregates::<Raced>::new(&store).retry(Retry::never());
    let bus = CommandBus::builder()
        .layer(retry(attempts(5), |outcome| {
            matches!(outcome.error(), Some(CommandError::<String>::Contended { .. }))
        }))
        .handle(move |race: &Race, _| raced.execute("a", race))
        .build()
        .expect("a handler");
    bus.dispatch(&race(), &Context::new()).expect("the third attempt");
    let events = store.read_stream("a").events();
    let texts: Vec<_> = events
        .iter()
        .map(|event| String::from_utf8_lossy(event.data()))
        .collect();
    let other = r#"{"by": "another writer"}"#;
    assert_eq!(texts, [other, other, r#"{"by":"decision 3 after 2 events"}"#]);

    // The attempts of the aggregates and of the bus are one number, when one of them retries alone.
    let raced = Aggregates::<Raced>::new(&store).retry(attempts(2));
    let bus = CommandBus::builder().handle(move |race: &Race, _| raced.execute("a", race));
    let race = race();
    let contended = bus
        .build()
        .expect("a handler")
        .dispatch(&race, &Context::new())
        .map_err(unwrapped);
    assert!(
        matches!(contended, Err(CommandError::Contended { attempts: 2, .. })),
        "{contended:?}"
    );
    assert_eq!(race.decisions.load(Ordering::Relaxed), 2);
}

#[test]
fn a_command_with_an_id_that_is_attempted_again_is_stored_once() {
    let store = Store::in_memory();
    let accounts = Aggregates::<Account>::new(&store);
    let calls = Calls::default();
    let counted = Arc::clone(&calls);
    let bus = CommandBus::builder()
        .layer(retry(attempts(3), |outcome| {
            matches!(
                outcome.error(),
                Some(CommandError::<String>::Store(annals::Error::Closed))
            )
        }))
        .handle(move |ForAccount(id, command), _| {
            let done = accounts.execute_once(Uuid::from_u128(1), id, command)?;
            // The acknowledgement is lost.
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => Err(CommandError::Store(annals::Error::Closed)),
                _ => Ok(done),
            }
        })
        .build()
        .expect("a handler");
    // A rejection is not recorded as the result of the command.
    let rejected = bus.dispatch(&ForAccount("a", AccountCommand::Withdraw(1)), &Context::new());
    assert!(
        matches!(rejected, Err(DispatchError::Failed(CommandError::Rejected(_)))),
        "{rejected:?}"
    );
    assert_eq!((calls.load(Ordering::Relaxed), store.visible()), (0, Position(0)));
    let done = bus.dispatch(&ForAccount("a", AccountCommand::Deposit(7)), &Context::new());
    let appended = done.expect("the second attempt").appended.expect("an event");
    assert!(appended.repeated);
    assert_eq!((calls.load(Ordering::Relaxed), store.visible()), (2, Position(1)));
}
