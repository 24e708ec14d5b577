//! The event-sourcing toolkit.

mod attacks;
#[cfg(feature = "audit")]
mod audit;
mod bus;
mod codec;
mod commands;
mod decisions;
mod effects;
#[cfg(feature = "erasure")]
mod erasure;
#[cfg(all(feature = "cbor", feature = "bincode-codec"))]
mod formats;
mod groups;
mod hostile;
mod inline;
mod loading;
mod migration;
mod past;
mod projections;
mod sagas;
mod scenarios;
mod shapes;
mod snapshots;
mod subscriptions;
mod together;
mod upcasting;
mod values;

use annals::cqrs::Aggregate;
use serde::{Deserialize, Serialize};

/// An account, the domain of these tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    balance: u64,
    events: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Clone, Debug, Serialize)]
pub(crate) enum AccountCommand {
    Deposit(u64),
    Withdraw(u64),
    /// Two events.
    Exchange(u64, u64),
    /// No event.
    Audit,
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, String> {
        let (withdraw, deposit) = match *command {
            AccountCommand::Deposit(amount) => (None, Some(amount)),
            AccountCommand::Withdraw(amount) => (Some(amount), None),
            AccountCommand::Exchange(withdraw, deposit) => (Some(withdraw), Some(deposit)),
            AccountCommand::Audit => (None, None),
        };
        if withdraw > Some(self.balance) {
            return Err(format!("the balance is {}", self.balance));
        }
        let withdrawn = withdraw.map(|amount| AccountEvent::Withdrawn { amount });
        let deposited = deposit.map(|amount| AccountEvent::Deposited { amount });
        Ok(withdrawn.into_iter().chain(deposited).collect())
    }

    fn evolve(&mut self, event: AccountEvent) {
        self.events += 1;
        match event {
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
        }
    }
}
