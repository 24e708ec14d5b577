//! Support for tests of stores: the reference model, random operations, simulated crashes and the contract of journals.

mod choose;
pub mod conformance;
#[cfg(feature = "file")]
pub mod crash;
#[cfg(feature = "file")]
pub mod crash_threads;
#[cfg(feature = "cqrs")]
mod difference;
#[cfg(feature = "file")]
pub mod disk;
pub mod history;
pub mod history_check;
mod history_log;
pub mod model;
pub mod operation;
#[cfg(feature = "cqrs")]
mod scenario;
pub mod storage;

#[cfg(feature = "cqrs")]
pub use scenario::{Outcome, Scenario};
