//! `nats://…`: a stream of NATS `JetStream` with a subject for each aggregate. An append is one message, so that it is whole.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};

use super::annals::failed;
use super::naive::holds;
use crate::crash::owner;
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Place, Result,
    StoreError, StoredEvent,
};

/// How the URLs of this backend begin.
pub(super) const SCHEME: &str = "nats://";
/// How often an append without a condition is tried again after it has lost a race.
const TRIES_MAX: usize = 1_000;
/// Messages that are asked for at a time.
const FETCHED: usize = 500;
/// The server removes a consumer that is not used for this long.
const UNUSED: Duration = Duration::from_secs(30);
/// A position is the sequence of a message, and in these bits the place of the event in it, from 1 on.
const PLACE_BITS: u32 = 14;

/// A stream on a server.
#[derive(Debug)]
pub struct Nats {
    runtime: Arc<Runtime>,
    context: Context,
    url: String,
    software: String,
    stream: String,
}

impl Nats {
    /// Connects to the server at `url`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        if url.contains('@') {
            let text = "cannot measure NATS: a result would hold the password; use a server without one";
            return Err(StoreError::Failed(text.to_owned()));
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let client = runtime
            .block_on(async_nats::connect(url))
            .map_err(|error| failed(&error))?;
        // Its context starts a task.
        let inside = runtime.enter();
        let context = jetstream::new(client.clone());
        drop(inside);
        Ok(Self {
            software: format!("JetStream of NATS {}", client.server_info().version),
            context,
            runtime: Arc::new(runtime),
            url: url.to_owned(),
            stream: format!("annals-bench-{}", owner()),
        })
    }
}

impl Backend for Nats {
    fn description(&self) -> Description {
        Description {
            name: "nats".to_owned(),
            software: self.software.clone(),
            // A client does not see how often the server syncs; by default, once in two minutes, and not for an acknowledgement.
            settings: "storage=file, replicas=1, the server's own sync_interval".to_owned(),
            durability: DurabilityClass::ProcessCrashSafe,
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::StreamVersion,
            keeps_events: true,
            has_log: true,
            has_queries: false,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let config = Config {
            name: self.stream.clone(),
            subjects: vec![format!("{}.>", self.stream)],
            ..Config::default()
        };
        let stream = self.runtime.block_on(self.context.get_or_create_stream(config));
        Ok(Arc::new(Subjects {
            runtime: Arc::clone(&self.runtime),
            context: self.context.clone(),
            prefix: self.stream.clone(),
            stream: stream.map_err(|error| failed(&error))?,
        }))
    }

    fn wipe(&self) -> Result<()> {
        let work = async {
            match self.context.get_stream(&self.stream).await {
                Ok(_) => self
                    .context
                    .delete_stream(&self.stream)
                    .await
                    .map(drop)
                    .map_err(|error| failed(&error)),
                Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => Ok(()),
                Err(error) => Err(failed(&error)),
            }
        };
        self.runtime.block_on(work)
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }
}

/// A message: the events of an append.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    /// The version of its first event.
    first: u64,
    #[serde(borrow)]
    events: Vec<Sent<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    correlation: Cow<'a, str>,
    micros: i64,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn sent<'a>(event: &NewEvent<'a>) -> Result<Sent<'a>> {
    Ok(Sent {
        event_type: event.event_type.into(),
        correlation: event.correlation.into(),
        micros: event.micros,
        data: serde_json::from_slice(event.data).map_err(|error| failed(&error))?,
    })
}

impl Message<'_> {
    /// Shows the events after a position and a version, `limit` at most, and returns their number.
    fn show(&self, sequence: u64, after: (Position, Version), limit: usize, look: Look<'_>) -> usize {
        let numbered = (1_u64..).zip(self.first..).zip(&self.events);
        let places =
            numbered.map(|((place, version), sent)| (Position(sequence << PLACE_BITS | place), Version(version), sent));
        let after = places.filter(|(position, version, _)| *position > after.0 && *version > after.1);
        let mut count = 0;
        for (position, version, sent) in after.take(limit) {
            count += 1;
            look(StoredEvent {
                stream: &self.stream,
                version,
                position: Some(position),
                data: sent.data.get().as_bytes(),
            });
        }
        count
    }
}

/// The subjects of a stream.
struct Subjects {
    runtime: Arc<Runtime>,
    context: Context,
    prefix: String,
    stream: Stream,
}

impl Subjects {
    /// The subject of an aggregate: one token, and another one for each name.
    fn subject(&self, stream: &str) -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let escape = |byte| {
            if is_plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        let token: String = stream.bytes().map(escape).collect();
        format!("{}.{token}", self.prefix)
    }

    /// The sequence of the last message of a subject, and the version that it ends at.
    async fn last(&self, subject: &str) -> Result<(u64, u64)> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(last) => {
                let message: Message<'_> = serde_json::from_slice(&last.payload).map_err(|error| failed(&error))?;
                Ok((last.sequence, message.first + message.events.len() as u64 - 1))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, 0)),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn publish(&self, subject: &str, last: (u64, u64), message: &mut Message<'_>) -> Result<Version> {
        message.first = last.1 + 1;
        let payload = serde_json::to_vec(message).map_err(|error| failed(&error))?;
        let publish = PublishMessage::build()
            .payload(payload.into())
            .expected_last_subject_sequence(last.0);
        let sent = self
            .context
            .send_publish(subject.to_owned(), publish)
            .await
            .map_err(|error| failed(&error))?;
        match sent.await {
            Ok(_) => Ok(Version(message.first)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(StoreError::Conflict),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Shows the events after `after` by a consumer of their own, which is removed.
    async fn read(&self, subject: String, after: (Position, Version), limit: usize, look: Look<'_>) -> Result<()> {
        let config = pull::Config {
            filter_subject: subject,
            deliver_policy: match after.0.0 >> PLACE_BITS {
                0 => DeliverPolicy::All,
                start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: UNUSED,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = self
            .stream
            .create_consumer(config)
            .await
            .map_err(|error| failed(&error))?;
        let (mut pending, mut left) = (consumer.cached_info().num_pending, limit);
        while pending > 0 && left > 0 {
            let wanted = usize::try_from(pending).unwrap_or(FETCHED).min(FETCHED);
            let mut batch = consumer
                .fetch()
                .max_messages(wanted)
                .messages()
                .await
                .map_err(|error| failed(&error))?;
            let before = pending;
            while let Some(found) = batch.next().await {
                let found = found.map_err(|error| StoreError::Failed(error.to_string()))?;
                let sequence = found
                    .info()
                    .map_err(|error| StoreError::Failed(error.to_string()))?
                    .stream_sequence;
                let message: Message<'_> = serde_json::from_slice(&found.payload).map_err(|error| failed(&error))?;
                left -= message.show(sequence, after, left, look);
                pending = pending.saturating_sub(1);
            }
            if pending == before {
                return Err(StoreError::Failed("the server did not deliver what it has".to_owned()));
            }
        }
        let name = consumer.cached_info().name.clone();
        self.stream
            .delete_consumer(&name)
            .await
            .map(drop)
            .map_err(|error| failed(&error))
    }
}

impl EventStore for Subjects {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let subject = self.subject(stream);
        let mut message = Message {
            stream: stream.into(),
            first: 0,
            events: events.iter().map(sent).collect::<Result<_>>()?,
        };
        let is_any = matches!(expected, Expected::Any | Expected::StreamExists);
        self.runtime.block_on(async {
            for _ in 0..TRIES_MAX {
                let last = match expected {
                    Expected::NoStream => (0, 0),
                    Expected::Any | Expected::StreamExists | Expected::Exactly(_) => self.last(&subject).await?,
                };
                if !holds(expected, last.1) {
                    return Err(StoreError::Conflict);
                }
                match self.publish(&subject, last, &mut message).await {
                    Err(StoreError::Conflict) if is_any => {}
                    done => return done,
                }
            }
            Err(StoreError::Conflict)
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
