//! The event-sourcing toolkit: aggregates and commands, projections, subscriptions and sagas, on typed events.
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
//! #[derive(Default, Serialize, Deserialize)]
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
//! [`Aggregates::execute_async`] does not wait for the journal: it returns a ticket. A [`Context`] says who acts, for which organization, in
//! which conversation and because of what; the events carry it.
//!
//! # The past, and snapshots
//!
//! [`Aggregates::load_version`] and [`Aggregates::load_as_of`] return an aggregate as it was at a version, at a position of the log, or at a
//! time. A state that serde can write is saved as a snapshot every 100 events, or as [`SnapshotPolicy`] says; a load reads what came since.
//!
//! ```
//! use annals::Store;
//! use annals::cqrs::{Aggregates, SnapshotPolicy};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! let store = Store::in_memory();
//! let accounts = Aggregates::<Account>::new(&store).snapshots(SnapshotPolicy::every(10));
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//! for _ in 0..24 {
//!     accounts.execute("account-1", &AccountCommand::Deposit { amount: 10 })?;
//! }
//! let loaded = accounts.load("account-1")?;
//! assert_eq!((loaded.version.0, loaded.folded, loaded.state.balance), (25, 5, 240));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Events that change their shape
//!
//! What is stored never changes. [`Upcasters`] convert events of older schemas when they are read: one to one, one to many, under another name, or to
//! nothing. [`TypedEvents`] has the codec, the upcasters, and what is done with unknown types; every reader below takes one.
//! [`Aggregates::check`] lists, at the start of a program, the stored schemas without a path to the newest.
//!
//! # Rules over several aggregates
//!
//! [`Together`] executes commands on several aggregates as one append. A [`Decision`] depends on the events of any query: a name that is taken, a
//! course that is full.
//!
//! ```
//! use annals::Store;
//! use annals::cqrs::{Aggregates, CommandError, Together};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! let store = Store::in_memory();
//! let accounts = Aggregates::<Account>::new(&store);
//! for (id, amount) in [("account-1", 100), ("account-2", 0)] {
//!     accounts.execute(id, &AccountCommand::Open { owner: "anna".into() })?;
//!     accounts.execute(id, &AccountCommand::Deposit { amount })?;
//! }
//! let transfer = |amount| {
//!     Together::new(&store).execute(|work| {
//!         work.execute(&accounts, "account-1", &AccountCommand::Withdraw { amount })?;
//!         work.execute(&accounts, "account-2", &AccountCommand::Deposit { amount })
//!     })
//! };
//! transfer(60)?;
//! assert!(matches!(transfer(60), Err(CommandError::Rejected(Rejection::Overdrawn { balance: 40 }))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Read models
//!
//! A [`Projection`] is a state that follows from the events of many aggregates. [`Processors::project`] keeps one up to date on a thread;
//! [`Live`] brings one up to date when it is read; with [`Aggregates::inline`], commands do it, and the projection can refuse their events.
//! A [`Table`] finds rows by more than their key. With the feature `postgres`, `Processors::project_to_postgres` keeps tables of PostgreSQL up to date,
//! whose rows commit in one transaction with the checkpoint.
//!
//! ```
//! use annals::cqrs::{Aggregates, HandlerError, Live, Projection};
//! use annals::{Event, Store};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! /// The money in all accounts.
//! #[derive(Default)]
//! struct Total(u64);
//!
//! impl Projection for Total {
//!     type Event = AccountEvent;
//!
//!     fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
//!         match event {
//!             AccountEvent::Opened { .. } => {}
//!             AccountEvent::Deposited { amount } => self.0 += amount,
//!             AccountEvent::Withdrawn { amount } => self.0 -= amount,
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let store = Store::in_memory();
//! let (accounts, total) = (Aggregates::<Account>::new(&store), Live::new(&store, Total::default()));
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//! accounts.execute("account-1", &AccountCommand::Deposit { amount: 250 })?;
//! assert_eq!(total.read(|total| total.0)?, 250);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Reactions
//!
//! [`Processors::subscribe`] calls a handler with every event, in order, at least once. A [`Group`] hands events out to consumers that compete, each
//! aggregate's in order. Both keep their checkpoint in the store, and park what cannot be handled as dead letters, to be replayed or dropped. Every
//! delivery has a key by which a handler recognizes a repetition.
//!
//! # Sagas
//!
//! A [`Saga`] is a process over several aggregates: it reacts to events with commands and timers, and undoes its steps when it fails. Its state is
//! kept as events, so it goes on after a crash between any two steps, and sends no command twice.
//!
//! ```
//! use std::time::Duration;
//!
//! use annals::cqrs::{Action, Aggregates, Processors, Route, Saga};
//! use annals::{Event, Store};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! /// Thanks every new customer with a gift.
//! #[derive(Default, Serialize, Deserialize)]
//! struct Welcome;
//!
//! impl Saga for Welcome {
//!     const TYPE: &'static str = "Welcome";
//!     type Event = AccountEvent;
//!     type Command = AccountCommand;
//!
//!     fn route(event: &AccountEvent, record: &Event) -> Route {
//!         match event {
//!             AccountEvent::Opened { .. } => Route::start(record.aggregate_id()),
//!             AccountEvent::Deposited { .. } | AccountEvent::Withdrawn { .. } => Route::Ignore,
//!         }
//!     }
//!
//!     fn react(&mut self, _: AccountEvent) -> Vec<Action<AccountCommand>> {
//!         vec![Action::send(AccountCommand::Deposit { amount: 5 }), Action::Complete]
//!     }
//! }
//!
//! let store = Store::in_memory();
//! let (accounts, processors) = (Aggregates::<Account>::new(&store), Processors::new(&store));
//! let gifts = accounts.clone();
//! let welcome = processors.saga::<Welcome>(move |command, sending| {
//!     let gifts = gifts.with_context(sending.context.clone());
//!     gifts.execute_once(sending.command_id, &sending.key, command)?;
//!     Ok(())
//! });
//! welcome.start()?;
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//! processors.when_idle(Duration::from_secs(10))?;
//! assert_eq!(accounts.load("account-1")?.state.balance, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When something fails
//!
//! A processor has a name and a [state](ProcessorState): running, caught up, paused, stopped with the reason and the event, or ended. What one
//! processor meets affects no other, and no append.
//!
//! | what fails | what happens | what to do |
//! |---|---|---|
//! | a handler returns an error | retried with pauses, then the processor stops at the event, or parks it: [`OnFailure`] | fix it and [resume](Processor::resume), or replay the letters |
//! | a handler panics | the processor stops at the event | fix it, and resume |
//! | an event does not decode | it stops at the event, or parks it | add a variant, a default or an upcaster |
//! | events are gone that it has not seen | it stops with the gap, unless it says that it can do without | attach the archive, or skip the gap |
//! | a second processor of the name starts | in one [`Processors`] it is refused; otherwise the first stops: its epoch has passed | end one of them |
//! | the checkpoint is beyond the log | it stops | the store was replaced or restored: rebuild, or use another name |
//! | a command of a saga fails | sent again with pauses; then the instance is [stuck](Sagas::stuck), and others go on | [`Sagas::retry`] or [`Sagas::abandon`] |
//!
//! [`Processor::when_processed`] and [`Processors::when_caught_up`] wait for committed checkpoints; they end at once, with the reason, when a
//! processor does not run.
//!
//! # Buses
//!
//! A [`CommandBus`] dispatches commands to their handlers, and a [`QueryBus`] queries. [`middleware`] runs around the handlers: log, time,
//! validate, authorize, retry, or any function of its signature. Handlers are registered at the start; [`BusBuilder::build`] fails when a
//! required message has none. A handler receives the [`Context`] of the dispatch, and passes it on to the aggregates. [`Bus`] has an example.
//!
//! # What the toolkit stores
//!
//! Beside the events of aggregates, the store has events of the toolkit's own, with types that begin with `annals.`: the starts of subscriptions,
//! groups and sagas, whose checkpoints are snapshots of these streams; dead letters; and what instances of sagas did. Read models in memory store
//! nothing. A store that follows another saves no snapshots, so it runs read models, but no subscriptions, groups and sagas.
//!
//! # Tests
//!
//! With the feature `testing`, `annals::testing` has scenarios that state what a test gives, does and expects: `Scenario` for aggregates,
//! `DecisionScenario`, `ProjectionScenario` and `SagaScenario`, where time moves by hand and fires the timers.

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
#[cfg(feature = "postgres")]
pub use projection::{Rows, SqlError, SqlProjected, SqlProjection, SqlProjectionBuilder};
pub use retry::Retry;
#[cfg(feature = "testing")]
pub(crate) use saga::SagaByHand;
pub use saga::{Action, Due, Route, Saga, SagaBuilder, SagaError, SagaPhase, SagaStatus, Sagas, SendError, Sending};
pub use snapshot::{SnapshotCounts, SnapshotPolicy};
pub use subscription::{Delivered, Subscription, SubscriptionBuilder};
pub use together::{Together, Work};
pub use typed::{ReadError, Recorded, TypedEvents, UnknownEvents};
/// What statements of a [`SqlProjection`] take and return: parameters, rows, and the types of their columns.
#[cfg(feature = "postgres")]
pub mod sql {
    pub use tokio_postgres::Row;
    pub use tokio_postgres::types::{self, FromSql, ToSql};
}
pub use upcast::{MissingPath, MissingPaths, Upcast, Upcasters};
