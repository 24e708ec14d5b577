//! The test bench: for programs that use a store, and for authors of stores and journals.
//!
//! # For a program
//!
//! | to test | use |
//! |---|---|
//! | an aggregate, a decision, a projection, a saga | [`Scenario`], [`DecisionScenario`], [`ProjectionScenario`], [`SagaScenario`] |
//! | what a program appends | [`Recorder`] with [`event`] and [`assert_appended!`](crate::assert_appended); [`Golden`] compares a whole history with a file |
//! | a failed, slow or conflicting call, a lost acknowledgement | [`faults`] |
//! | a saga that crashes at any step | [`SagaMatrix`] |
//! | what several processes on PostgreSQL do to each other | [`personality`] |
//! | the same run again | [`Seed`], and [`Processors::by_hand`](crate::cqrs::Processors::by_hand) |
//!
//! The guide `docs/testing.md` begins with tests to copy, and says which level of test answers which question.
//!
//! ```
//! use annals::testing::faults::{Effect, Fault, Faults, Operation};
//! use annals::{Error, Expected, NewEvent, Store, StreamId};
//!
//! let store = Store::in_memory();
//! let faults = Faults::new([Fault::new(Operation::Append, Effect::Fail)])?;
//! let order = StreamId::new("Order", "order-1");
//! let place = || store.with_faults(&faults).append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")]);
//!
//! assert!(matches!(place(), Err(Error::Unavailable { .. })));
//! place()?; // The program retries, and the fault acts once.
//! faults.assert_all_fired();
//! # Ok::<(), Error>(())
//! ```
//!
//! # For a store or a journal
//!
//! * [`event_store`]: the trait of event stores and its contract as tests; [`conformance`]: the contract of journals as tests.
//! * [`model`] and [`operation`]: the reference model, and random operations that compare a store with it.
//! * [`disk`], [`storage`], [`crash`] and [`crash_threads`]: a disk and a journal that fail on demand, and seeded crashes.
//! * [`history`] and [`history_check`]: recorded histories of concurrent operations, and whether they are consistent.

#[cfg(feature = "json")]
mod appended;
mod choose;
pub mod conformance;
#[cfg(feature = "file")]
pub mod crash;
#[cfg(feature = "file")]
pub mod crash_threads;
#[cfg(feature = "cqrs")]
mod decision_scenario;
#[cfg(feature = "cqrs")]
mod difference;
#[cfg(feature = "file")]
pub mod disk;
pub mod event_store;
#[cfg(feature = "cqrs")]
mod expect;
#[cfg(any(feature = "json", feature = "cqrs"))]
mod fail;
pub mod faults;
#[cfg(feature = "json")]
mod golden;
pub mod history;
pub mod history_check;
mod history_log;
pub mod model;
pub mod operation;
pub mod personality;
#[cfg(feature = "cqrs")]
mod projection_scenario;
#[cfg(feature = "cqrs")]
mod saga_matrix;
#[cfg(feature = "cqrs")]
mod saga_scenario;
#[cfg(feature = "cqrs")]
mod scenario;
mod seed;
pub mod storage;

#[cfg(feature = "json")]
pub use appended::{EventMatcher, Recorder, event};
#[cfg(feature = "cqrs")]
pub use decision_scenario::{DecisionOutcome, DecisionScenario};
#[cfg(feature = "json")]
pub use golden::Golden;
#[cfg(feature = "cqrs")]
pub use projection_scenario::ProjectionScenario;
#[cfg(feature = "cqrs")]
pub use saga_matrix::{Incident, MatrixRow, SagaMatrix, SagaTable};
#[cfg(feature = "cqrs")]
pub use saga_scenario::SagaScenario;
#[cfg(feature = "cqrs")]
pub use scenario::{Outcome, Scenario};
pub use seed::Seed;
