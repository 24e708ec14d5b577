//! Middleware around the handlers of a bus.

use std::sync::atomic::Ordering;
use std::time::Duration;

use annals::Store;
use annals::cqrs::middleware::{Dispatch, Middleware, Next, Outcome, authorize, log, retry, time, validate};
use annals::cqrs::{Aggregates, Bus, BusBuilder, BusKind, CommandBus, Context, DispatchError, Message, QueryBus};

use super::{Balance, Calls, ForAccount, Lines, Outer, Try, TryError, attempts, handle_try, transient};
use crate::cqrs::{Account, AccountCommand};

fn noting(lines: &Lines, name: &'static str) -> impl Middleware {
    let write = lines.write();
    move |dispatch: &Dispatch<'_>, next: Next<'_>| {
        write(&format!("{name} before {}", dispatch.name()));
        let outcome = next.run(dispatch);
        write(&format!("{name} after {outcome}"));
        outcome
    }
}

#[test]
fn the_first_middleware_is_the_outermost_on_both_buses() {
    fn layered<K: BusKind>(lines: &Lines) -> BusBuilder<K> {
        Bus::builder().layer(noting(lines, "one")).layer(noting(lines, "two"))
    }
    let lines = Lines::default();
    let commands = layered(&lines).handle(handle_try(&Calls::default())).build();
    let queries = layered(&lines).handle(|_: &Balance, _| Ok(3)).build();
    let rejected = commands.expect("a handler").dispatch(&Try::Reject, &Context::new());
    assert_eq!(rejected, Err(DispatchError::Failed(TryError::Rejected("closed"))));
    assert_eq!(
        lines.take(),
        [
            "one before Try",
            "two before Try",
            "two after failed: no: closed",
            "one after failed: no: closed"
        ]
    );
    let balance = queries.expect("a handler").dispatch(&Balance("a"), &Context::new());
    assert_eq!(balance, Ok(3));
    assert_eq!(
        lines.take(),
        [
            "one before Balance",
            "two before Balance",
            "two after ok",
            "one after ok"
        ]
    );
}

#[test]
fn a_refused_message_does_not_reach_its_handler() {
    let calls = Calls::default();
    let bus = CommandBus::builder()
        .layer(authorize(|name, context| match (name, context.user.as_deref()) {
            ("Try", Some("mallory") | None) => Err("not permitted".to_owned()),
            _ => Ok(()),
        }))
        .layer(validate(|message: &Try| match message {
            Try::Panic => Err("it would panic".to_owned()),
            Try::UntilAttempt(_) | Try::Reject => Ok(()),
        }))
        .handle(handle_try(&calls))
        .handle(|_: &Outer, _| Ok(0))
        .build()
        .expect("every message has a handler");
    let refused = |by, reason: &str| {
        let (message, reason) = ("Try", reason.to_owned());
        Err(DispatchError::Refused { message, by, reason })
    };
    let (anna, mallory) = (Context::new().user("anna"), Context::new().user("mallory"));
    assert_eq!(
        bus.dispatch(&Try::UntilAttempt(1), &mallory),
        refused("authorize", "not permitted")
    );
    assert_eq!(
        bus.dispatch(&Try::Panic, &Context::new()),
        refused("authorize", "not permitted")
    );
    assert_eq!(bus.dispatch(&Try::Panic, &anna), refused("validate", "it would panic"));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(bus.dispatch(&Outer(Try::Panic), &mallory), Ok(0), "another message");
    assert_eq!(bus.dispatch(&Try::UntilAttempt(1), &anna), Ok(1));
    let text = bus.dispatch(&Try::Panic, &anna).expect_err("refused").to_string();
    assert_eq!(text, "message 'Try' is refused by 'validate': it would panic");
}

#[test]
fn a_panic_is_an_error_that_names_the_message() {
    let calls = Calls::default();
    let lines = Lines::default();
    let bus = CommandBus::builder()
        .layer(log(lines.write()))
        .layer(validate(|message: &Outer| match message.0 {
            Try::Reject => panic!("a literal"),
            Try::Panic => std::panic::panic_any(7),
            Try::UntilAttempt(_) => Ok(()),
        }))
        .handle(handle_try(&calls))
        .handle(|_: &Outer, _| Ok(0))
        .build()
        .expect("every message has a handler");
    let panicked = |message, place, reason: &str| {
        let reason = reason.to_owned();
        Err(DispatchError::Panicked { message, place, reason })
    };
    let dispatch = |message| bus.dispatch(&Outer(message), &Context::new());
    let handler = bus.dispatch(&Try::Panic, &Context::new());
    assert_eq!(handler, panicked("Try", "handler", "call 1"));
    assert_eq!(dispatch(Try::Reject), panicked("Outer", "middleware", "a literal"));
    assert_eq!(
        dispatch(Try::Panic),
        panicked("Outer", "middleware", "the panic has no text")
    );
    assert_eq!(lines.take()[0], "Try, attempt 1: the handler panicked: call 1");
    assert_eq!(
        bus.dispatch(&Try::UntilAttempt(1), &Context::new()),
        Ok(2),
        "the bus is usable"
    );
    let text = handler.expect_err("it panics").to_string();
    assert_eq!(text, "message 'Try': its handler panicked: call 1; fix the handler");
}

#[test]
fn the_context_travels_into_the_events() {
    let store = Store::in_memory();
    let accounts = Aggregates::<Account>::new(&store);
    let bus = CommandBus::builder()
        .layer(|dispatch: &Dispatch<'_>, next: Next<'_>| {
            let context = dispatch.context().clone().correlation("checkout-9");
            next.run(&dispatch.with_context(&context))
        })
        .handle(move |ForAccount(id, command), context| accounts.with_context(context.clone()).execute(id, command))
        // The context is handed on to the next command.
        .handle_with_bus(|bus, _: &Outer, context| {
            let deposit = ForAccount("b", AccountCommand::Deposit(1));
            let done = bus.dispatch(&deposit, context);
            done.map(|done| done.attempts).map_err(|_| TryError::Rejected("nested"))
        })
        .build()
        .expect("every message has a handler");
    let anna = Context::new().user("anna").organization("acme").causation("form-3");
    bus.dispatch(&ForAccount("a", AccountCommand::Exchange(0, 3)), &anna)
        .expect("two events");
    bus.dispatch(&Outer(Try::Reject), &anna).expect("an event");
    let events = store.read_all().events();
    assert_eq!(events.len(), 3);
    for event in &events {
        let names = [
            event.user_id(),
            event.organization_id(),
            event.correlation_id(),
            event.causation_id(),
        ];
        assert_eq!(names, [Some("anna"), Some("acme"), Some("checkout-9"), Some("form-3")]);
    }
}

#[test]
fn a_middleware_replies_in_place_of_the_handler() {
    let bus = QueryBus::builder()
        .layer(|dispatch: &Dispatch<'_>, next: Next<'_>| match dispatch.message() {
            Some(Balance("cached")) => Outcome::Replied(Box::new(5_u64)),
            Some(Balance("wrong reply")) => Outcome::Replied(Box::new("five")),
            Some(Balance("wrong error")) => Outcome::Failed(Box::new("five")),
            Some(Balance("rejected")) => {
                if let Outcome::Replied(reply) = next.run(dispatch) {
                    return Outcome::refused("limit", format!("{:?}", reply.downcast_ref::<u64>()));
                }
                Outcome::refused("limit", "no reply")
            }
            _ => next.run(dispatch),
        })
        .handle(|_: &Balance, _| Ok(1))
        .build()
        .expect("a handler");
    let dispatch = |id| bus.dispatch(&Balance(id), &Context::new());
    assert_eq!(dispatch("cached"), Ok(5));
    assert_eq!(dispatch("a"), Ok(1));
    let error = dispatch("wrong reply").expect_err("not a number");
    assert!(
        matches!(error, DispatchError::OtherType { wanted: "u64", .. }),
        "{error}"
    );
    let error = dispatch("wrong error").expect_err("not its error");
    assert!(
        error.to_string().contains("'Balance': a middleware returned"),
        "{error}"
    );
    let error = dispatch("rejected").expect_err("refused");
    assert_eq!(error.to_string(), "message 'Balance' is refused by 'limit': Some(1)");
}

#[test]
fn a_line_break_in_a_name_forged_a_log_line() {
    let (each, whole) = (Lines::default(), Lines::default());
    let bus = CommandBus::builder()
        .layer(log(whole.write()))
        .layer(retry(attempts(3), transient))
        .layer(log(each.write()))
        .handle(handle_try(&Calls::default()))
        .build()
        .expect("a handler");
    let forged = Context::new()
        .user("anna\nTry, attempt 1: ok\u{2028}")
        .organization("acme");
    bus.dispatch(&Try::UntilAttempt(2), &forged)
        .expect("the second attempt");
    let names = r"user anna\nTry, attempt 1: ok\u{2028}, organization acme";
    assert_eq!(
        each.take(),
        [
            format!("Try, attempt 1, {names}: failed: try again"),
            format!("Try, attempt 2, {names}: ok")
        ]
    );
    assert_eq!(whole.take(), [format!("Try, attempt 2, {names}: ok")]);
    for long in ["x".repeat(5_000), "\n".repeat(5_000), "ä".repeat(5_000)] {
        bus.dispatch(&Try::UntilAttempt(1), &Context::new().correlation(long))
            .expect("a reply");
        let line = whole.take().pop().expect("a line");
        assert!(
            line.ends_with('…') && line.len() < 2_100 && !line.contains('\n'),
            "{line}"
        );
    }
}

#[test]
fn time_is_reported_once_for_all_attempts() {
    let lines = Lines::default();
    let write = lines.write();
    let bus = CommandBus::builder()
        .layer(time(move |dispatch, took, outcome| {
            write(&format!(
                "{} {} {}",
                dispatch.name(),
                outcome.is_ok(),
                took > Duration::ZERO
            ));
        }))
        .layer(retry(attempts(3), transient))
        .handle(handle_try(&Calls::default()))
        .build()
        .expect("a handler");
    bus.dispatch(&Try::UntilAttempt(3), &Context::new())
        .expect("the third attempt");
    bus.dispatch(&Try::Reject, &Context::new()).expect_err("a rejection");
    assert_eq!(lines.take(), ["Try true true", "Try false true"]);
}

/// A command that fails with itself, and panics where its text is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no text")
    }
}

impl Message for Unprintable {
    type Bus = CommandBus;
    type Reply = ();
    type Error = Self;
    const NAME: &'static str = "Unprintable";
}

#[test]
fn an_error_whose_text_panics_is_returned_unless_a_middleware_wants_the_text() {
    let silent = CommandBus::builder().handle(|command: &Unprintable, _| Err(*command));
    let silent = silent.layer(retry(attempts(2), |outcome| outcome.error() == Some(&Unprintable)));
    let failed = silent
        .build()
        .expect("a handler")
        .dispatch(&Unprintable, &Context::new());
    assert_eq!(failed, Err(DispatchError::Failed(Unprintable)));
    let lines = Lines::default();
    let logged = CommandBus::builder()
        .layer(log(lines.write()))
        .layer(log(|_| ()))
        .handle(|command: &Unprintable, _| Err(*command))
        .build()
        .expect("a handler");
    let panicked = logged
        .dispatch(&Unprintable, &Context::new())
        .expect_err("the inner log panics");
    let place_is_middleware = matches!(
        panicked,
        DispatchError::Panicked {
            place: "middleware",
            ..
        }
    );
    assert!(place_is_middleware);
    assert_eq!(
        lines.take(),
        ["Unprintable, attempt 1: the middleware panicked: no text"]
    );
}
