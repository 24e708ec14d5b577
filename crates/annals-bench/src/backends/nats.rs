//! `nats://…`: a stream of NATS `JetStream` with a subject for each aggregate.
//!
//! So that an append is whole, its events are an atomic batch of messages. Before NATS 2.12, which has none, and where the URL says so, they are one message.

use std::sync::Arc;

use annals::{Expected, Position, Version};
use async_nats::Client;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use tokio::runtime::Runtime;

use super::remote::{
    Message, OrFailed as _, Publisher, append_after_read, described, escaped, runtime, without_password,
};
use crate::crash::owner;
use crate::store::{Backend, Description, DurabilityClass, EventStore, Look, NewEvent, Place, Result};

/// The beginning of the URLs of this backend.
pub(super) const SCHEME: &str = "nats://";
/// A client cannot query how often the server syncs. By default it syncs every two minutes, independently of acknowledgements.
const SETTINGS: &str = "storage=file, replicas=1, the server's own sync_interval";
/// The end of a URL with which an append is one message.
const AS_MESSAGE: &str = "?append=message";
/// The first version whose streams take batches.
const BATCHES_SINCE: (i64, i64, i64) = (2, 12, 0);

/// A stream on a server.
#[derive(Debug)]
pub struct Nats {
    runtime: Arc<Runtime>,
    client: Client,
    context: Context,
    has_batches: bool,
    url: String,
    software: String,
    stream: String,
}

impl Nats {
    /// Connects to the server at `url`. With `?append=message` at its end, an append is one message, whatever the server can do.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`](crate::StoreError::Failed) if the URL has a password, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        without_password(url)?;
        let address = url.strip_suffix(AS_MESSAGE);
        let runtime = runtime(2)?;
        let client = runtime
            .block_on(async_nats::connect(address.unwrap_or(url)))
            .or_failed()?;
        let (major, minor, patch) = BATCHES_SINCE;
        // Its context starts a task.
        let inside = runtime.enter();
        let context = jetstream::new(client.clone());
        drop(inside);
        Ok(Self {
            software: format!("JetStream of NATS {}", client.server_info().version),
            has_batches: address.is_none() && client.is_server_compatible(major, minor, patch),
            client,
            context,
            runtime: Arc::new(runtime),
            url: url.to_owned(),
            stream: format!("annals-bench-{}", owner()),
        })
    }
}

impl Backend for Nats {
    fn description(&self) -> Description {
        let (software, durability) = (self.software.clone(), DurabilityClass::ProcessCrashSafe);
        let unit = if self.has_batches { "batch" } else { "message" };
        Description {
            has_queries: false,
            ..described(
                "nats",
                software,
                format!("{SETTINGS}, an append is a {unit}"),
                durability,
            )
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let config = Config {
            name: self.stream.clone(),
            subjects: vec![format!("{}.>", self.stream)],
            allow_direct: true,
            allow_atomic_publish: self.has_batches,
            ..Config::default()
        };
        let stream = self.runtime.block_on(self.context.get_or_create_stream(config));
        Ok(Arc::new(Subjects {
            runtime: Arc::clone(&self.runtime),
            publisher: Publisher::new(&self.runtime, &self.client, &self.context, self.has_batches),
            prefix: self.stream.clone(),
            stream: stream.or_failed()?,
        }))
    }

    fn wipe(&self) -> Result<()> {
        self.runtime.block_on(delete(&self.context, &self.stream))
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }
}

/// Deletes a stream, if there is one.
pub(super) async fn delete(context: &Context, stream: &str) -> Result<()> {
    let deleted = context.delete_stream(stream).await;
    match deleted.as_ref().map_err(|error| error.kind()) {
        Err(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(()),
        _ => deleted.map(drop).or_failed(),
    }
}

/// The subjects of a stream.
struct Subjects {
    runtime: Arc<Runtime>,
    publisher: Publisher,
    prefix: String,
    stream: Stream,
}

impl Subjects {
    /// The subject of an aggregate: one token, and another one for each name.
    fn subject(&self, stream: &str) -> String {
        format!("{}.{}", self.prefix, escaped(stream))
    }

    /// The sequence of the last message of a subject, and the version that it ends at.
    async fn last(&self, subject: &str) -> Result<(u64, u64)> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, 0)),
            last => {
                let last = last.or_failed()?;
                let message: Message<'_> = serde_json::from_slice(&last.payload).or_failed()?;
                Ok((last.sequence, message.last()))
            }
        }
    }

    /// Shows the events after `after`: a request for each message. A consumer would be given many at a time, but a new one of NATS 2.9.10
    /// sometimes gets none of those that it has.
    async fn read(&self, subject: String, after: (Position, Version), limit: usize, look: Look<'_>) -> Result<()> {
        let (mut next, mut left) = (Message::sequence(after.0).max(1), limit);
        while left > 0 {
            let found = match self.stream.direct_get_next_for_subject(&*subject, Some(next)).await {
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(()),
                found => found.or_failed()?,
            };
            let message: Message<'_> = serde_json::from_slice(&found.payload).or_failed()?;
            left -= message.show(found.sequence, after, left, look);
            next = found.sequence + 1;
        }
        Ok(())
    }
}

impl EventStore for Subjects {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let subject = self.subject(stream);
        let mut messages = self.publisher.messages(stream, events)?;
        let last = || match expected {
            Expected::NoStream => Ok((0, 0)),
            Expected::Any | Expected::StreamExists | Expected::Exactly(_) => self.runtime.block_on(self.last(&subject)),
        };
        append_after_read(expected, last, |sequence, version| {
            Message::number(&mut messages, version);
            self.publisher.publish(&subject, sequence, &messages)?;
            Ok(Version(version + 1))
        })
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let read = self.read(self.subject(stream), (Position(0), after), usize::MAX, look);
        self.runtime.block_on(read)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let read = self.read(format!("{}.>", self.prefix), (after, Version(0)), limit, look);
        self.runtime.block_on(read)
    }
}
