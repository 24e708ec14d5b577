//! A payment system: commands, an aggregate, a read model, a saga, and a test. Queries are in `queries.rs`. `cargo run --example payment`
#![expect(clippy::print_stdout, reason = "an example prints")]
mod queries;
use std::error::Error;
use std::sync::Arc;

use annals::cqrs::{Action, Aggregate, Aggregates, Context, HandlerError, Processors, Projection, Route, Saga, Table};
use annals::{Event, ManualClock, Store};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PaymentEvent {
    Created(u64),
    Authorized,
    Completed,
    Cancelled,
}
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Create(u64),
    Authorize,
    Complete,
    Cancel,
}
/// The aggregate: its state is its last event, which determines the commands that it accepts.
#[derive(Debug, PartialEq)]
struct Payment(Option<PaymentEvent>);
impl Aggregate for Payment {
    const TYPE: &'static str = "Payment";
    type Event = PaymentEvent;
    type Command = Command;
    type Rejection = String;
    fn initial() -> Self {
        Self(None)
    }
    fn decide(&self, command: &Command) -> Result<Vec<PaymentEvent>, String> {
        Ok(vec![match (command, &self.0) {
            (Command::Create(cents), None) => PaymentEvent::Created(*cents),
            (Command::Authorize, Some(PaymentEvent::Created(_))) => PaymentEvent::Authorized,
            (Command::Complete, Some(PaymentEvent::Authorized)) => PaymentEvent::Completed,
            (Command::Cancel, Some(PaymentEvent::Created(_) | PaymentEvent::Authorized)) => PaymentEvent::Cancelled,
            (command, last) => return Err(format!("{command:?} is not possible after {last:?}")),
        }])
    }
    fn evolve(&mut self, event: PaymentEvent) {
        self.0 = Some(event);
    }
}
/// The read model: one row per payment, indexed by its status.
#[derive(Default)]
struct Summary(Table<String, queries::Line>);
impl Projection for Summary {
    type Event = PaymentEvent;
    fn apply(&mut self, event: PaymentEvent, record: &Event) -> Result<(), HandlerError> {
        let id = record.aggregate_id().to_owned();
        if let PaymentEvent::Created(cents) = event {
            self.0.insert(id, queries::Line::new(cents, record));
        } else {
            self.0.update(&id, |line| line.update(record));
        }
        Ok(())
    }
}
/// The saga: cancels a payment that is not completed within an hour.
#[derive(Default, Serialize, Deserialize)]
struct Expiry;
impl Saga for Expiry {
    const TYPE: &'static str = "Expiry";
    type Event = PaymentEvent;
    type Command = Command;
    fn route(_: &PaymentEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }
    fn react(&mut self, event: PaymentEvent) -> Vec<Action<Command>> {
        match event {
            PaymentEvent::Created(_) => vec![Action::timer_after("expiry", queries::HOUR)],
            PaymentEvent::Authorized => Vec::new(),
            PaymentEvent::Completed | PaymentEvent::Cancelled => vec![Action::Complete],
        }
    }
    fn timeout(&mut self, _: &str) -> Vec<Action<Command>> {
        vec![Action::send(Command::Cancel)]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse()?));
    let store = Store::builder().clock(Arc::<ManualClock>::clone(&clock)).open()?;
    let payments = Aggregates::<Payment>::new(&store);
    let processors = Processors::new(&store);
    let summary = processors.project("payments", Summary::default()).start()?;
    let cancelling = payments.clone();
    let expiry = processors.saga::<Expiry>(move |command, sending| {
        let payments = cancelling.with_context(sending.context.clone());
        payments.execute_once(sending.command_id, &sending.key, command)?;
        Ok(())
    });
    expiry.start()?;
    for (id, user, command) in queries::COMMANDS {
        clock.advance(queries::HOUR / 40);
        let payments = payments.with_context(Context::new().user(user).correlation(id));
        if let Err(rejected) = payments.execute(id, &command) {
            println!("{id}: {rejected}");
        }
    }
    queries::report("three payments", &processors, &summary)?;
    clock.advance(2 * queries::HOUR);
    queries::report("two hours later", &processors, &summary)?;
    queries::history(&store, &payments)?;
    summary.rebuild(Summary::default())?;
    queries::report("the read model, after a replay", &processors, &summary)
}

#[cfg(feature = "testing")]
#[test]
fn an_authorized_payment_is_completed() {
    let payment = annals::testing::Scenario::<Payment>::given([PaymentEvent::Created(5), PaymentEvent::Authorized]);
    payment.when(Command::Complete).then([PaymentEvent::Completed]);
}
