//! The journal in PostgreSQL, against a real server. [`cluster`] says which.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails where what it expects does not hold"
)]
#![cfg(unix)]

#[path = "../anomalies/mod.rs"]
mod anomalies;
mod append_alike;
mod append_many;

#[cfg(feature = "audit")]
mod audit;
mod away;
mod cdc;
mod cluster;
mod conformance;
mod contents;
mod doubt;
#[cfg(all(feature = "cqrs", feature = "erasure"))]
mod erasure;
mod faults;
mod flushes;
mod follow;
mod gather;
mod gone;
mod in_sql;
#[cfg(all(feature = "cqrs", feature = "erasure"))]
mod keys;
mod lease;
mod migration;
mod model;
mod partition;
mod personality;
mod pooler;
mod proxy;
mod queue;
#[cfg(feature = "cqrs")]
mod read_models;
mod renamed;
mod repetition;
mod replica;
mod roles;
mod schema;
mod sessions;
mod slots;
mod snapshots;
mod standby;
mod support;
mod times;
mod tls;
mod toolkit;
mod triggers;
mod wal2json;
