//! Relays to targets: a target of the tests, a small HTTP receiver, and real brokers.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod broker;
#[expect(dead_code, reason = "a free port and apt-get are used, and no PostgreSQL")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;
mod consumer;
mod core;
mod kills;
mod nats;
#[path = "../../../annals-bench/tests/servers/process.rs"]
mod process;
#[path = "../../../annals-bench/tests/servers/python.rs"]
mod python;
mod rabbitmq;
mod receiver;
mod redis;
mod support;
mod webhook;
