//! Shared parts of backends on servers: errors, descriptions, events as JSON, and appends after a version that was read.

#[cfg(any(feature = "nats", feature = "postgres", feature = "umadb"))]
mod append;
#[cfg(feature = "nats")]
mod batch;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "umadb")]
pub(super) mod dcb;
#[cfg(any(feature = "http", feature = "nats"))]
mod json;
#[cfg(feature = "kurrentdb")]
pub(super) mod kurrent;
#[cfg(feature = "nats")]
mod message;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
mod reader;
#[cfg(feature = "redis")]
pub(super) mod redis;
#[cfg(any(feature = "http", feature = "kurrentdb", feature = "umadb"))]
mod since;
#[cfg(feature = "postgres")]
pub(super) mod table;

use std::fmt;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
use std::time::Duration;

#[cfg(any(feature = "nats", feature = "postgres", feature = "umadb"))]
pub(super) use self::append::append_after_read;
#[cfg(feature = "nats")]
pub(super) use self::batch::Publisher;
#[cfg(feature = "http")]
pub(super) use self::client::Client;
#[cfg(feature = "nats")]
pub(super) use self::json::JsonEvent;
#[cfg(any(feature = "http", feature = "nats"))]
pub(super) use self::json::escaped;
#[cfg(feature = "http")]
pub(super) use self::json::{condition, lines, time};
#[cfg(feature = "nats")]
pub(super) use self::message::Message;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(super) use self::reader::{Pass, Reader};
#[cfg(any(feature = "http", feature = "kurrentdb", feature = "umadb"))]
pub(super) use self::since::Since;
use crate::store::{BatchUnit, ConsistencyCheck, Description, DurabilityClass, Result, StoreError};

/// The time limit for connecting, and for reading the description of the server.
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// No answer is waited for longer.
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(super) const ANSWER: Duration = Duration::from_secs(60);

/// The error message for a server that does not answer.
#[cfg(any(feature = "http", feature = "redis"))]
const LATE: &str = "the server has not answered in time";

/// Tells a failure of a client's library as one of the store.
pub(super) trait OrFailed<T> {
    /// The value, or the failure in the words of the library.
    fn or_failed(self) -> Result<T>;
}

impl<T, E: fmt::Display> OrFailed<T> for std::result::Result<T, E> {
    fn or_failed(self) -> Result<T> {
        self.map_err(|error| StoreError::Failed(error.to_string()))
    }
}

/// A store that keeps events, has a log and queries, and writes an append as one if its stream is at the expected version.
pub(super) fn described(name: &str, software: String, settings: String, durability: DurabilityClass) -> Description {
    Description {
        name: name.to_owned(),
        software,
        settings,
        durability,
        batch_unit: BatchUnit::Append,
        check: ConsistencyCheck::StreamVersion,
        keeps_events: true,
        has_log: true,
        has_queries: true,
    }
}

/// Rejects a URL with a user and a password.
#[cfg(any(
    feature = "http",
    feature = "kurrentdb",
    feature = "nats",
    feature = "redis",
    feature = "umadb"
))]
pub(super) fn without_password(url: &str) -> Result<()> {
    if url.contains('@') {
        let text = "a result would hold the password of the URL: use a server without one";
        return Err(StoreError::Failed(text.to_owned()));
    }
    Ok(())
}

/// A runtime for the clients that are asynchronous.
#[cfg(any(feature = "kurrentdb", feature = "nats", feature = "postgres", feature = "umadb"))]
pub(super) fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().or_failed()
}

/// Returns the result of `work`, or fails if the server does not answer within `time`.
#[cfg(feature = "postgres")]
pub(super) fn answered<T>(
    runtime: &tokio::runtime::Runtime,
    time: Duration,
    work: impl Future<Output = T>,
) -> Result<T> {
    let done = runtime.block_on(async { tokio::time::timeout(time, work).await });
    done.map_err(|_| StoreError::Failed(format!("the server has not answered for {} s", time.as_secs())))
}

/// A payload whose fields another program has put in an order of its own, as `jsonb` does: one of a workload, or one of a log that is imported.
#[cfg(feature = "postgres")]
pub(super) fn in_own_order(text: &str) -> Result<Vec<u8>> {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payload<'a> {
        id: &'a str,
        amount: u64,
        token: &'a str,
        note: &'a str,
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Imported<'a> {
        id: &'a str,
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    if let Ok(payload) = serde_json::from_str::<Payload<'_>>(text) {
        return serde_json::to_vec(&payload).or_failed();
    }
    let payload: Imported<'_> = serde_json::from_str(text).or_failed()?;
    serde_json::to_vec(&payload).or_failed()
}
