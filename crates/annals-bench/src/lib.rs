//! Event stores measured under the same load, and checked.
//!
//! # Shape
//!
//! ```text
//!  Workload (TOML) ─► Generator: operation = f(seed, number)
//!                         │
//!                         ▼                            ┌─ Recording: service, wait, response, lag; 20 parts over time
//!  Schedule ─► Source ─► Worker ─► EventStore ─────────┤
//!                         │                            └─ Entry of each append: condition, outcome, start, end
//!                       Clock                                       │
//!                                                                   ▼
//!  Plan (rounds of rows, shuffled) ─► run: provision, load, settle, warm-up, measure, verify (oracle), drain
//!                                       │
//!                                       ▼
//!                 Summary (figures with intervals) ─► files, report, compare
//! ```
//!
//! * A [`Backend`] opens an [`EventStore`] and says what it is: durability class, batch unit, consistency check. A backend is one file.
//! * A [`Workload`](workload::Workload) is data. An [`Operation`] depends on the seed and its number alone, so that any thread can make it again, the
//!   oracle too.
//! * Workers share one queue of due operations. In an open loop a time begins when the operation was due, so a stall of the store shows in
//!   every operation that it delays.
//! * Time comes from a [`Clock`]. With a [`VirtualClock`], [`load::simulate`] runs a load whose histogram can be computed by hand: tests prove the
//!   harness that way.
//! * The [`oracle`] reads everything back, and matches it with what was acknowledged.
//!
//! # Example
//!
//! ```
//! use annals_bench::backends::{Annals, Naive};
//! use annals_bench::plan::Plan;
//! use annals_bench::results::Summary;
//! use annals_bench::workload::Workload;
//!
//! let workload = "name = 'small'\n[phases]\nwarmup_ms = 0\nmeasure_ms = 20\nrepeats = 1\n[mix]\ncycle = 1";
//! let plan = Plan::new(vec![Box::new(Annals::in_memory()), Box::new(Naive)], vec![Workload::parse(workload)?], 42);
//! let rows = plan.execute(&mut |_| true)?;
//! let summary = Summary::of(&rows);
//! assert!(summary.rows.iter().all(|row| row.is_checked && !row.is_red()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backends;
pub mod child;
mod clock;
pub mod compare;
pub mod crash;
mod expiring;
mod generate;
mod job;
pub mod load;
mod machine;
pub mod oracle;
mod phase;
pub mod plan;
pub mod processes;
pub mod readers;
pub mod record;
pub mod report;
pub mod results;
pub mod run;
pub mod search;
pub mod statistics;
mod status;
mod stoppable;
mod store;
pub mod trace;
pub mod workload;

pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use generate::{Events, Generator, Operation};
pub use machine::{Machine, SelfTest};
pub use status::{Status, status};
pub use store::*;
