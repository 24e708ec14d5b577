//! The command bus and the query bus.

mod middleware;
mod retries;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals::Store;
use annals::cqrs::middleware::{Outcome, log};
use annals::cqrs::{
    Aggregates, CommandBus, CommandError, Context, DispatchError, Executed, LoadError, Message, QueryBus, Retry, Sender,
};
use parking_lot::Mutex;

use super::{Account, AccountCommand};

/// A command for one account.
struct ForAccount(&'static str, AccountCommand);

impl Message for ForAccount {
    type Bus = CommandBus;
    type Reply = Executed;
    type Error = CommandError<String>;
    const NAME: &'static str = "ForAccount";
}

/// A command that fails until a number of attempts were made, with an error or a panic.
#[derive(Clone, Copy)]
enum Try {
    UntilAttempt(u32),
    Reject,
    Panic,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
enum TryError {
    #[error("try again")]
    Transient,
    #[error("no: {0}")]
    Rejected(&'static str),
}

impl Message for Try {
    type Bus = CommandBus;
    type Reply = u32;
    type Error = TryError;
    const NAME: &'static str = "Try";
}

/// A command that dispatches another.
struct Outer(Try);

impl Message for Outer {
    type Bus = CommandBus;
    type Reply = u32;
    type Error = TryError;
    const NAME: &'static str = "Outer";
}

struct Balance(&'static str);

impl Message for Balance {
    type Bus = QueryBus;
    type Reply = u64;
    type Error = LoadError;
    const NAME: &'static str = "Balance";
}

type Calls = Arc<AtomicU32>;

/// Handles [`Try`], and counts the calls.
fn handle_try(calls: &Calls) -> impl Fn(&Try, &Context) -> Result<u32, TryError> + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move |message, _| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        match message {
            Try::UntilAttempt(attempt) if call >= *attempt => Ok(call),
            Try::UntilAttempt(_) => Err(TryError::Transient),
            Try::Reject => Err(TryError::Rejected("closed")),
            Try::Panic => panic!("call {call}"),
        }
    }
}

fn attempts(attempts: u32) -> Retry {
    Retry::default()
        .attempts(attempts)
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::ZERO)
}

fn transient(outcome: &Outcome) -> bool {
    outcome.error() == Some(&TryError::Transient)
}

fn unwrapped<E>(error: DispatchError<E>) -> E {
    let DispatchError::Failed(error) = error else {
        panic!("the handler has to fail");
    };
    error
}

/// Lines that middleware writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn write(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let lines = self.clone();
        move |line| lines.0.lock().push(line.to_owned())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

#[test]
fn a_message_reaches_the_handler_of_its_type() {
    let store = Store::in_memory();
    let accounts = Aggregates::<Account>::new(&store);
    let loading = accounts.clone();
    let commands = CommandBus::builder()
        .handle(handle_try(&Calls::default()))
        .handle(move |ForAccount(id, command), _| accounts.execute(id, command))
        .build()
        .expect("every message has a handler");
    let queries = QueryBus::builder()
        .handle(move |query: &Balance, _| loading.load(query.0).map(|loaded| loaded.state.balance))
        .build()
        .expect("every query has a handler");
    let context = Context::new();
    let deposit = ForAccount("a", AccountCommand::Deposit(5));
    assert!(commands.dispatch(&deposit, &context).is_ok());
    assert_eq!(commands.dispatch(&Try::UntilAttempt(1), &context), Ok(1));
    assert_eq!(queries.dispatch(&Balance("a"), &context), Ok(5));
    let rejected = commands.dispatch(&ForAccount("a", AccountCommand::Withdraw(6)), &context);
    let error = rejected.expect_err("the balance is 5");
    assert_eq!(error.to_string(), "the command is rejected: the balance is 5");
    assert_eq!(unwrapped(error), CommandError::Rejected("the balance is 5".to_owned()));
}

#[test]
fn a_message_without_a_handler_is_an_error_at_the_start() {
    let error = CommandBus::builder()
        .require::<Try>()
        .handle(|_: &ForAccount, _| Err(CommandError::Rejected(String::new())))
        .require::<Outer>()
        .require::<ForAccount>()
        .build()
        .expect_err("two messages have no handler");
    assert_eq!(error.unhandled, ["Outer", "Try"]);
    assert_eq!(
        error.to_string(),
        "command bus: no handler for 'Outer', 'Try' (register one with `handle` before `build`)"
    );
    let bus = QueryBus::builder().build().expect("nothing is required");
    let error = bus.sender::<Balance>().expect_err("it has no handler");
    assert_eq!((error.bus, &error.unhandled[..]), ("query bus", &["Balance"][..]));
    let error = bus.dispatch(&Balance("a"), &Context::new()).expect_err("no handler");
    let text = "query bus: no handler for 'Balance': register one with `handle` before `build`";
    assert_eq!(error.to_string(), text);
}

/// Another type with the name of [`Try`].
struct AlsoTry;

impl Message for AlsoTry {
    type Bus = CommandBus;
    type Reply = ();
    type Error = String;
    const NAME: &'static str = "Try";
}

#[test]
fn a_second_handler_or_a_second_type_of_one_name_is_an_error_at_the_start() {
    let calls = Calls::default();
    let error = CommandBus::builder()
        .handle(handle_try(&calls))
        .handle(handle_try(&calls))
        .require::<AlsoTry>()
        .build()
        .expect_err("the registration contradicts itself");
    assert_eq!(error.handled_twice, ["Try"]);
    assert_eq!(error.ambiguous, ["Try"]);
    assert_eq!(error.unhandled, ["Try"]);
    assert!(
        error.to_string().contains("; more than one handler for 'Try'"),
        "{error}"
    );
    let required_twice = CommandBus::builder()
        .require::<Try>()
        .require::<Try>()
        .handle(handle_try(&calls));
    assert!(required_twice.build().is_ok());
}

#[test]
fn a_sender_sends_one_type_of_message_through_the_middleware() {
    fn shareable<T: Clone + Send + Sync + 'static>(_: &T) {}
    let calls = Calls::default();
    let lines = Lines::default();
    let bus = CommandBus::builder()
        .layer(log(lines.write()))
        .handle(handle_try(&calls))
        .build();
    let bus = bus.expect("a handler");
    let sender: Sender<Try> = bus.sender().expect("a handler");
    shareable(&bus);
    shareable(&sender);
    drop(bus);
    std::thread::scope(|scope| {
        for sender in [sender.clone(), sender] {
            scope.spawn(move || sender.send(&Try::UntilAttempt(1), &Context::new()).expect("it replies"));
        }
    });
    assert_eq!(lines.take(), ["Try, attempt 1: ok"; 2]);
}
