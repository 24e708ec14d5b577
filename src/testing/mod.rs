//! Support for tests of stores: the reference model, random operations, simulated crashes and the contract of journals.

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
