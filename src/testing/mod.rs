//! For tests of stores: the reference model, and the operations that are tried on both.

mod choose;
pub mod conformance;
#[cfg(feature = "file")]
pub mod crash;
#[cfg(feature = "file")]
pub mod crash_threads;
#[cfg(feature = "file")]
pub mod disk;
pub mod history;
pub mod history_check;
mod history_log;
pub mod model;
pub mod operation;
pub mod storage;
