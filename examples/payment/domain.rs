//! The domain: what happens to payments, what can be asked of them, the read model, and the saga.

use std::time::Duration;

use annals::cqrs::{Action, Aggregate, HandlerError, Projection, Route, Row, Saga, Table};
use annals::{Event, Timestamp};
use serde::{Deserialize, Serialize};

/// What happens to a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Paying {
    Created(u64),
    Authorized,
    Completed,
    Cancelled,
}
/// What can be asked of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Create(u64),
    Authorize,
    Complete,
    Cancel,
}
/// The aggregate: its state is the last event, and it decides which commands are possible.
#[derive(Debug, PartialEq)]
pub(crate) struct Payment(pub(crate) Option<Paying>);
impl Aggregate for Payment {
    const TYPE: &'static str = "Payment";
    type Event = Paying;
    type Command = Ask;
    type Rejection = String;

    fn initial() -> Self {
        Self(None)
    }
    fn decide(&self, ask: &Ask) -> Result<Vec<Paying>, String> {
        Ok(vec![match (ask, &self.0) {
            (Ask::Create(cents), None) => Paying::Created(*cents),
            (Ask::Authorize, Some(Paying::Created(_))) => Paying::Authorized,
            (Ask::Complete, Some(Paying::Authorized)) => Paying::Completed,
            (Ask::Cancel, Some(Paying::Created(_) | Paying::Authorized)) => Paying::Cancelled,
            (ask, last) => return Err(format!("{ask:?} is not possible after {last:?}")),
        }])
    }
    fn evolve(&mut self, event: Paying) {
        self.0 = Some(event);
    }
}
/// The read model: a row for each payment, found by its status, too.
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
    type Event = Paying;

    fn apply(&mut self, event: Paying, record: &Event) -> Result<(), HandlerError> {
        let (id, status, at) = (
            record.aggregate_id().to_owned(),
            record.event_type().to_owned(),
            record.timestamp(),
        );
        if let Paying::Created(cents) = event {
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
/// The saga: a payment that is not completed within an hour is cancelled.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Expiry;
impl Saga for Expiry {
    const TYPE: &'static str = "Expiry";
    type Event = Paying;
    type Command = Ask;

    fn route(_: &Paying, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }
    fn react(&mut self, event: Paying) -> Vec<Action<Ask>> {
        match event {
            Paying::Created(_) => vec![Action::timer_after("expiry", Duration::from_secs(3_600))],
            Paying::Authorized => Vec::new(),
            Paying::Completed | Paying::Cancelled => vec![Action::Complete],
        }
    }
    fn timeout(&mut self, _: &str) -> Vec<Action<Ask>> {
        vec![Action::send(Ask::Cancel)]
    }
}
