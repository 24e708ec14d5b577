//! The program as a whole: its output, its messages and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod again;
mod archive;
mod audit;
mod backup;
mod bad_input;
#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "bench")]
mod bench_hostile;
#[cfg(all(unix, feature = "bench-servers"))]
mod bench_stopped;
mod colours;
mod commands;
#[cfg(feature = "serve")]
mod daily;
mod documents;
mod durable;
mod exits;
mod file_systems;
mod files;
mod flags;
mod foreign;
mod formats;
mod interrupted;
mod lists;
mod looks;
mod mcp;
mod otlp;
mod packages;
mod paged;
mod payloads;
#[path = "../../../crates/annals-server/tests/it/php.rs"]
mod php;
mod pipes;
mod real_data;
#[cfg(feature = "serve")]
mod remote;
mod repair;
#[cfg(feature = "serve")]
mod sending;
mod serve;
mod support;
mod tables;
mod tail;
mod times;
