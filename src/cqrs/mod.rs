//! The event-sourcing toolkit: aggregates and commands, projections, subscriptions and sagas, on typed events.
//!
//! It is built on the store's public methods, so it works with every journal: memory, files and PostgreSQL.
//!
//! # From the first event to a command
//!
//! Events are the variants of a serde enum. The variant's name is the event type, and its fields are the event's data. The program needs `serde` with
//! its feature `derive`. A rejection can be any type; this one uses `thiserror`.
//!
//! The other examples of this guide use the types of this one:
//!
//! ```
//! use annals::Store;
//! use annals::cqrs::{Aggregate, Aggregates, CommandError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum AccountEvent {
//!     Opened { owner: String },
//!     Deposited { amount: u64 },
//!     Withdrawn { amount: u64 },
//! }
//!
//! // The traits are for commands that have an id, and for those of sagas.
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum AccountCommand {
//!     Open { owner: String },
//!     Deposit { amount: u64 },
//!     Withdraw { amount: u64 },
//! }
//!
//! #[derive(Debug, PartialEq, thiserror::Error)]
//! enum Rejection {
//!     #[error("the account is already open")]
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
//! // Three functions: the initial state, the events that a command leads to, and the change that an event makes.
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
//! let rejected = accounts.execute("account-1", &AccountCommand::Withdraw { amount: 900 });
//! assert!(matches!(rejected, Err(CommandError::Rejected(Rejection::Overdrawn { balance: 250 }))));
//! assert_eq!(accounts.load("account-1")?.state.balance, 250);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a command is executed
//!
//! [`Aggregates::execute`] loads the aggregate, calls [`decide`](Aggregate::decide), and appends the events at the loaded version. If another
//! append intervened, it loads and decides again after a random pause, at most 10 times in all; [`Retry`] configures attempts and pauses.
//!
//! [`Aggregates::execute_once`] makes a command idempotent: a command with the same id returns the first result, also after a restart. The command
//! must implement `Serialize`.
//! [`Aggregates::execute_async`] returns a ticket instead of waiting until the events are durable. A [`Context`] carries the user, the
//! organization, the correlation id and the causation id; [`Aggregates::with_context`] writes it to the events.
//!
//! # Time travel and snapshots
//!
//! [`Aggregates::load_version`] and [`Aggregates::load_as_of`] return an aggregate as it was at a version, at a position of the log, or at a
//! time. By default a load folds every event. [`Aggregates::snapshots`] saves the state as a snapshot as its [`SnapshotPolicy`] demands, every
//! 100 events by default; a load then folds only the events after the snapshot. The state must implement serde's traits.
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
//! # Schema evolution
//!
//! Stored events never change. [`Upcasters`] convert events of older schema versions on every read: they change the data, rename, split or drop
//! events. [`TypedEvents`] combines the codec, the upcasters, and the policy for unknown event types; every reader below accepts one.
//! Call [`Aggregates::check`] when the program starts: it fails with a list of the stored schema versions that have no path to the newest.
//!
//! # Rules across aggregates
//!
//! [`Together`] executes commands on several aggregates as one atomic append. A [`Decision`] depends on the events of any query, for rules such as
//! "a user name is unique" or "a course has at most 20 students"; it appends on the condition that the query has no newer events.
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
//! A [`Projection`] folds the events of many aggregates into a read model. It runs in one of three ways:
//!
//! * [`Processors::project`] updates it on its own thread: appends do not wait, and reads may lag behind.
//! * [`Live`] updates it when it is read: no thread, and a read sees every visible event.
//! * [`Aggregates::inline`] updates it within each command, and lets it reject the command's events.
//!
//! A [`Table`] indexes rows by secondary keys. With the feature `postgres`, `Processors::project_to_postgres` updates tables in PostgreSQL; rows and
//! checkpoint commit in one transaction.
//!
//! ```
//! use annals::cqrs::{Aggregates, HandlerError, Live, Projection};
//! use annals::{Event, Store};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! /// The sum of all balances.
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
//! # Subscriptions and consumer groups
//!
//! [`Processors::subscribe`] calls a handler with every event, in the order of the log, at least once. A [`Group`] distributes events to competing
//! consumers and keeps the order within each aggregate. Both keep their checkpoint in the store. A group parks an event that it cannot handle as
//! a dead letter; a subscription does so with [`AfterFailure::Park`]. Dead letters are listed, replayed or dropped. Every delivery carries an
//! idempotency key.
//!
//! # Sagas
//!
//! A [`Saga`] coordinates several aggregates: it reacts to events with commands and timers, and compensates its steps when it fails. Its state is
//! stored as events, so it continues after a crash between any two steps. After a crash it may send a command again, with the same id:
//! [`Aggregates::execute_once`] executes it once.
//!
//! ```
//! use std::time::Duration;
//!
//! use annals::cqrs::{Action, Aggregates, Processors, Route, Saga};
//! use annals::{Event, Store};
//! use serde::{Deserialize, Serialize};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! /// Deposits a gift into every new account.
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
//! let targets = accounts.clone();
//! let welcome = processors.saga::<Welcome>(move |command, sending| {
//!     let accounts = targets.with_context(sending.context.clone());
//!     accounts.execute_once(sending.command_id, &sending.key, command)?;
//!     Ok(())
//! });
//! welcome.start()?;
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//! processors.when_idle(Duration::from_secs(10))?;
//! assert_eq!(accounts.load("account-1")?.state.balance, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Failures
//!
//! A processor is the thread of a projection, a subscription or a saga. It has a name and a [state](ProcessorState): running, caught up, paused,
//! stopped with the reason and the event, or ended. The failure of one processor affects no other processor, and no append.
//!
//! | failure | reaction | what to do |
//! |---|---|---|
//! | a handler returns an error | the event is retried, then the processor stops at it or parks it, as [`OnFailure`] says | fix the handler, then [resume](Processor::resume) or replay the dead letters |
//! | a handler panics | the processor stops at the event, without a retry | fix the handler, then resume |
//! | an event does not decode | the processor stops at the event, or parks it; a saga always stops | add a variant, a default or an upcaster |
//! | events were dropped before the processor saw them | it stops with the gap, unless it skips gaps | attach the archive, or skip gaps |
//! | a second processor of the same name starts | an error in the same [`Processors`]; otherwise the first one stops with [`StopReason::Superseded`] | end one of them |
//! | the checkpoint is beyond the end of the log | the processor stops | the store was replaced or restored: rebuild, or use another name |
//! | a command of a saga fails | it is retried, then the instance is [stuck](Sagas::stuck); other instances continue | [`Sagas::retry`] or [`Sagas::abandon`] |
//!
//! [`Processor::when_processed`] and [`Processors::when_caught_up`] wait until events are processed and the checkpoint is committed. When a processor
//! does not run, they fail at once with its status.
//!
//! # Buses
//!
//! A [`CommandBus`] dispatches commands to their handlers, and a [`QueryBus`] dispatches queries. [`middleware`] wraps the handlers: log, time,
//! validate, authorize, retry, or any function with its signature. Handlers are registered at start-up; [`BusBuilder::build`] fails when a
//! required message has no handler. A handler receives the [`Context`] of the dispatch and passes it to the aggregates. [`Bus`] has an example.
//!
//! # Audit
//!
//! With the feature `audit`, `cqrs::audit::CommandLog` records each command with its user, outcome and reason: those of aggregates that it wraps, and those
//! of a bus that has it as a layer. `Trail` writes events and commands of an aggregate, a user, a correlation or a period as JSON lines or CSV.
//! `AuditChain` hashes the log, a signed `Head` of it is kept elsewhere, and `Verify` finds a later change. The module `cqrs::audit` says what is evident
//! and what is not.
//!
//! # Erasure
//!
//! With the feature `erasure`, the module `erasure` encrypts personal fields of events with a key per subject, before they are stored. Erasing the subject
//! destroys the key; the fields then decode as redacted values.
//!
//! # What the toolkit stores
//!
//! The toolkit appends its own events to the same store. Their types begin with `annals.`: one event for each start of a subscription, group or
//! saga; dead letters; and the history of saga instances. Records of commands are system events, `$command`. Checkpoints are snapshots of the processors' streams. Read models in memory store
//! nothing. A store that follows another saves no snapshots, so it runs read models, but no subscriptions, groups or sagas.
//!
//! # Tests
//!
//! With the feature `testing`, `annals::testing` provides given-when-then scenarios: `Scenario` for aggregates, `DecisionScenario`,
//! `ProjectionScenario`, and `SagaScenario`, which advances a manual clock and fires the timers.

mod aggregate;
mod aggregates;
#[cfg(feature = "audit")]
pub mod audit;
mod bus;
mod codec;
mod context;
mod decision;
#[cfg(feature = "erasure")]
pub mod erasure;
mod error;
mod execute;
mod group;
mod loading;
#[cfg(feature = "migration")]
pub mod migration;
mod names;
mod part;
mod process;
mod projection;
mod reasons;
mod retry;
mod saga;
mod snapshot;
mod subscription;
mod together;
mod typed;
mod until;
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
pub use codec::{Codec, CodecError, DerivedData, Encoded, Json, NameKind, NewEventId};
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
pub use saga::{
    Action, Due, Route, Saga, SagaBuilder, SagaCounts, SagaError, SagaPhase, SagaStatus, Sagas, SendCounts, SendError,
    Sending,
};
pub use snapshot::{SnapshotCounts, SnapshotPolicy};
pub use subscription::{Delivered, Subscription, SubscriptionBuilder};
pub use together::{Together, Work};
pub use typed::{ReadError, Recorded, TypedEvents, UnknownEvents};
/// The parameters, rows and column types of a [`SqlProjection`]'s statements.
#[cfg(feature = "postgres")]
pub mod sql {
    pub use tokio_postgres::Row;
    pub use tokio_postgres::types::{self, FromSql, ToSql};
}
pub use upcast::{MissingPath, MissingPaths, Upcast, Upcasters};
