//! The store through its public interface.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails where what it expects does not hold"
)]

#[path = "../anomalies/mod.rs"]
mod anomalies;

mod ages;
mod append;
mod appended;
mod archive;
mod backup;
mod cache;
mod compaction;
mod concurrency;
mod conformance;
mod cqrs;
mod crash;
mod crash_threads;
mod determinism;
mod durable;
mod errors;
mod event_store;
mod faults;
mod filters;
mod flush;
mod folders;
mod following;
mod format;
mod golden;
mod histories;
mod hostile;
#[cfg(unix)]
mod identity;
mod lists;
mod measure;
mod model;
mod mutants;
mod personality;
mod read;
mod read_only;
#[rustfmt::skip] // as the README shows it
mod readme_example;
mod repair;
mod retention;
mod rollups;
mod saga_matrix;
mod seed;
mod several_elsewhere;
mod snapshots;
mod support;
mod tail;
#[cfg(unix)]
mod targets;
mod tidy;
mod type_budgets;
