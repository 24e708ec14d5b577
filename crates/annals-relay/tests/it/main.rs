//! Relays to targets: a target of the tests, a small HTTP receiver, and real brokers.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[expect(dead_code, reason = "a free port and apt-get are used, and no PostgreSQL")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;
mod core;
mod kills;
#[path = "../../../annals-bench/tests/servers/process.rs"]
mod process;
mod receiver;
mod redis;
mod support;
mod webhook;
