//! The domain: the events and commands of a payment, the aggregate, the read model, and the saga.

use std::time::Duration;

use annals::cqrs::{Action, Aggregate, HandlerError, Projection, Route, Row, Saga, Table};
use annals::{Event, Timestamp};
use serde::{Deserialize, Serialize};

/// The events of a payment: JSON data, with the variant as the event type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PaymentEvent {
    Created(u64),
    Authorized,
    Completed,
    Cancelled,
}
/// The commands to a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    Create(u64),
    Authorize,
    Complete,
    Cancel,
}
/// The aggregate: its state is its last event, which determines the commands that it accepts.
#[derive(Debug, PartialEq)]
pub(crate) struct Payment(pub(crate) Option<PaymentEvent>);
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
pub(crate) type Payments = Table<String, Line>;

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) status: String,
    pub(crate) cents: u64,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
}

impl Row for Line {
    type Secondary = String;

    fn secondary_keys(&self) -> Vec<String> {
        vec![self.status.clone()]
    }
}

#[derive(Default)]
pub(crate) struct Summary(pub(crate) Payments);

impl Projection for Summary {
    type Event = PaymentEvent;

    fn apply(&mut self, event: PaymentEvent, record: &Event) -> Result<(), HandlerError> {
        let (id, status, at) = (
            record.aggregate_id().to_owned(),
            record.event_type().to_owned(),
            record.timestamp(),
        );
        if let PaymentEvent::Created(cents) = event {
            let (created, changed) = (at, at);
            self.0.insert(
                id,
                Line {
                    status,
                    cents,
                    created,
                    changed,
                },
            );
        } else {
            self.0.update(&id, |line| (line.status, line.changed) = (status, at));
        }
        Ok(())
    }
}
/// The saga: cancels a payment that is not completed within an hour.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Expiry;
impl Saga for Expiry {
    const TYPE: &'static str = "Expiry";
    type Event = PaymentEvent;
    type Command = Command;

    fn route(_: &PaymentEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }
    fn react(&mut self, event: PaymentEvent) -> Vec<Action<Command>> {
        match event {
            PaymentEvent::Created(_) => vec![Action::timer_after("expiry", Duration::from_secs(3_600))],
            PaymentEvent::Authorized => Vec::new(),
            PaymentEvent::Completed | PaymentEvent::Cancelled => vec![Action::Complete],
        }
    }
    fn timeout(&mut self, _: &str) -> Vec<Action<Command>> {
        vec![Action::send(Command::Cancel)]
    }
}
