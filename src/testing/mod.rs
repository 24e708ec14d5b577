//! Support for tests of stores: the reference model, random operations, simulated crashes and the contract of journals.

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
#[cfg(feature = "cqrs")]
mod expect;
pub mod history;
pub mod history_check;
mod history_log;
pub mod model;
pub mod operation;
#[cfg(feature = "cqrs")]
mod projection_scenario;
#[cfg(feature = "cqrs")]
mod saga_scenario;
#[cfg(feature = "cqrs")]
mod scenario;
pub mod storage;

#[cfg(feature = "cqrs")]
pub use decision_scenario::{DecisionOutcome, DecisionScenario};
#[cfg(feature = "cqrs")]
pub use projection_scenario::ProjectionScenario;
#[cfg(feature = "cqrs")]
pub use saga_scenario::SagaScenario;
#[cfg(feature = "cqrs")]
pub use scenario::{Outcome, Scenario};
