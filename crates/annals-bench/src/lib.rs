//! Event stores under the same load.

pub mod backends;
mod clock;
mod generate;
pub mod load;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod statistics;
mod store;
pub mod workload;

pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use generate::{Events, Generator, Operation};
pub use store::*;
