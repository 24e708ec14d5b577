//! The event-sourcing toolkit: aggregates whose state follows from typed events, and commands that decide what happens next.
//!
//! It calls nothing but the store's public methods, so it works on memory, files and PostgreSQL alike.
//!
//! # From the first event to a command
//!
//! Events are variants of a serde enum. The variant is the event type, and its fields are the event's data:
//!
//! ```
//! use annals::Store;
//! use annals::cqrs::{Aggregate, Aggregates, CommandError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum AccountEvent {
//!     Opened { owner: String },
//!     Deposited { amount: u64 },
//!     Withdrawn { amount: u64 },
//! }
//!
//! enum AccountCommand {
//!     Open { owner: String },
//!     Deposit { amount: u64 },
//!     Withdraw { amount: u64 },
//! }
//!
//! #[derive(Debug, PartialEq, thiserror::Error)]
//! enum Rejection {
//!     #[error("the account is open already")]
//!     AlreadyOpen,
//!     #[error("the account is not open")]
//!     NotOpen,
//!     #[error("the balance is {balance}")]
//!     Overdrawn { balance: u64 },
//! }
//!
//! #[derive(Default)]
//! struct Account {
//!     owner: Option<String>,
//!     balance: u64,
//! }
//!
//! // An aggregate is three functions: where it begins, what a command makes happen, and what an event changes.
//! impl Aggregate for Account {
//!     const TYPE: &'static str = "Account";
//!     type Event = AccountEvent;
//!     type Command = AccountCommand;
//!     type Rejection = Rejection;
//!
//!     fn initial() -> Self {
//!         Self::default()
//!     }
//!
//!     fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, Rejection> {
//!         match command {
//!             AccountCommand::Open { .. } if self.owner.is_some() => Err(Rejection::AlreadyOpen),
//!             AccountCommand::Open { owner } => Ok(vec![AccountEvent::Opened { owner: owner.clone() }]),
//!             _ if self.owner.is_none() => Err(Rejection::NotOpen),
//!             AccountCommand::Deposit { amount } => Ok(vec![AccountEvent::Deposited { amount: *amount }]),
//!             AccountCommand::Withdraw { amount } if *amount > self.balance => {
//!                 Err(Rejection::Overdrawn { balance: self.balance })
//!             }
//!             AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount: *amount }]),
//!         }
//!     }
//!
//!     fn evolve(&mut self, event: AccountEvent) {
//!         match event {
//!             AccountEvent::Opened { owner } => self.owner = Some(owner),
//!             AccountEvent::Deposited { amount } => self.balance += amount,
//!             AccountEvent::Withdrawn { amount } => self.balance -= amount,
//!         }
//!     }
//! }
//!
//! let store = Store::in_memory();
//! let accounts = Aggregates::<Account>::new(&store);
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//! accounts.execute("account-1", &AccountCommand::Deposit { amount: 250 })?;
//!
//! // The command is decided on the current state. A rejection appends nothing.
//! let refused = accounts.execute("account-1", &AccountCommand::Withdraw { amount: 900 });
//! assert!(matches!(refused, Err(CommandError::Rejected(Rejection::Overdrawn { balance: 250 }))));
//! assert_eq!(accounts.load("account-1")?.state.balance, 250);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a command does
//!
//! [`Aggregates::execute`] loads the aggregate, decides, and appends at the version that it has loaded. When another append came in between,
//! it loads and decides again, after a random pause that grows with the attempts; [`Retry`] sets how often and how long.
//! [`Aggregates::execute_once`] takes the id of a command, and returns the first result when the same id comes again, also after a restart.
//! A [`Context`] says who acts, for which organization, in which conversation and because of what; the events carry it.
//!
//! # The past
//!
//! [`Aggregates::load_version`] and [`Aggregates::load_as_of`] return an aggregate as it was at a version, at a position of the log, or at a time.
//!
//! # Buses
//!
//! A [`CommandBus`] dispatches commands to their handlers, and a [`QueryBus`] queries. [`middleware`] runs around the handlers: log, time,
//! validate, authorize, retry, or any function of its signature. Handlers are registered at the start; [`BusBuilder::build`] fails when a
//! required message has none. A handler receives the [`Context`] of the dispatch, and passes it on to the aggregates. [`Bus`] has an example.
//!
//! # Tests
//!
//! With the feature `testing`, `annals::testing::Scenario` states what a test gives, does and expects.

mod aggregate;
mod aggregates;
mod bus;
mod codec;
mod context;
mod decision;
mod error;
mod execute;
mod group;
mod loading;
mod part;
mod process;
mod projection;
mod retry;
mod saga;
mod snapshot;
mod subscription;
mod together;
mod typed;
mod upcast;

pub use aggregate::{Aggregate, Loaded};
pub use aggregates::Aggregates;
pub use bus::{
    Bus, BusBuilder, BusError, BusKind, CommandBus, Commands, DispatchError, Message, Queries, QueryBus, Sender,
    middleware,
};
#[cfg(feature = "bincode-codec")]
pub use codec::Bincode;
#[cfg(feature = "cbor")]
pub use codec::Cbor;
pub use codec::{Codec, CodecError, Encoded, Json};
pub use context::Context;
pub use decision::{Decided, Decision, Decisions};
pub use error::{CommandError, LoadError, Undecodable};
pub use execute::{Executed, Pending};
pub use group::{Group, GroupBuilder, GroupError, GroupStatus, LeaseLost, Received};
pub use process::{
    AfterFailure, FailedEvent, HandlerError, Letter, OnFailure, Processor, ProcessorState, ProcessorStatus, Processors,
    StartError, StartFrom, StopReason, WaitError,
};
pub use projection::{Live, LiveError, Projected, Projection, ProjectionBuilder, Row, Table};
pub use retry::Retry;
#[cfg(feature = "testing")]
pub(crate) use saga::SagaByHand;
pub use saga::{Action, Due, Route, Saga, SagaBuilder, SagaError, SagaPhase, SagaStatus, Sagas, SendError, Sending};
pub use snapshot::{SnapshotCounts, SnapshotPolicy};
pub use subscription::{Delivered, Subscription, SubscriptionBuilder};
pub use together::{Together, Work};
pub use typed::{ReadError, Recorded, TypedEvents, UnknownEvents};
pub use upcast::{MissingPath, MissingPaths, Upcast, Upcasters};
