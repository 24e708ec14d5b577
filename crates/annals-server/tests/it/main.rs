//! The server over real sockets: each answer is checked against the `OpenAPI` document that the server gives.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod appends;
mod backlog;
mod bodies;
mod client;
mod cloud_events;
mod document;
mod faults;
mod group_limits;
mod groups;
mod guide;
mod lifecycle;
mod logs;
mod messages;
mod metrics;
mod operations;
mod pages;
mod php;
mod processors;
mod reads;
#[cfg(feature = "client")]
mod remote;
#[cfg(feature = "client")]
mod remote_bytes;
#[cfg(feature = "client")]
mod remote_groups;
#[cfg(feature = "client")]
mod remote_programs;
mod sagas;
mod security;
mod sockets;
mod states;
mod support;
mod tails;
mod test_api;
mod timelines;
mod tls;
mod tokens;
mod toolkit;
mod waits;
