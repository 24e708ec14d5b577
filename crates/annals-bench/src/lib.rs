//! Event stores under the same load.

pub mod backends;
mod clock;
pub mod compare;
mod generate;
pub mod load;
mod machine;
pub mod oracle;
pub mod plan;
pub mod report;
pub mod results;
pub mod run;
pub mod statistics;
mod status;
mod store;
pub mod workload;

pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use generate::{Events, Generator, Operation};
pub use machine::{Machine, SelfTest};
pub use status::{Status, status};
pub use store::*;
