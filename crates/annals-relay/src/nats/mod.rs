//! NATS JetStream: each event is a message on the subject of its aggregate type.
//!
//! The subject is `PREFIX.TYPE`; every byte of a type but letters, digits, `-` and `_` is written as `%` and two digits, so that a type is one token. A message has the headers
//! `Nats-Msg-Id` (the id of the event), `Nats-Expected-Stream` and `content-type`, and those of `CloudEvents` in binary mode.
//!
//! # What an acknowledgement is worth
//!
//! An event is delivered when the stream has acknowledged its message: with replicas, a majority has it. By default a server does not sync each message
//! (`sync_interval`), so a loss of power of one server without replicas may lose the last ones, and the relay does not send them again.
//!
//! # Repeated messages
//!
//! The stream drops a message whose id it has got within its duplicate window, 2 minutes by default, so most repetitions never reach a consumer. After an
//! outage that was longer, an event may be in the stream twice. A consumer recognizes it by `Nats-Msg-Id`. The limits and the retention of the stream
//! (`max_age`, `discard old`) drop messages, read or not.
//!
//! # Large events
//!
//! A message with its headers is compared with `max_payload` of the server and `max_msg_size` of the stream before it is sent: a larger one is a dead letter. The server would end the connection, and
//! with it the messages of other aggregates.

mod connection;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderValue, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use parking_lot::Mutex;

use self::connection::{Connection, Settings};
use crate::tasks::Tasks;
use crate::{Capacity, Message, Outcome, RelayError, Target};

const DEADLINE: Duration = Duration::from_secs(5);
/// Messages of one call, at most.
const BATCH: usize = 256;
/// Bytes of a header beside its name and value, and of the line before all.
const HEADER_BYTES: usize = 16;
const NAME_BYTES_MAX: usize = 255;

/// A stream of NATS JetStream.
pub struct NatsStream {
    settings: Arc<Settings>,
    prefix: String,
    tasks: Tasks,
    connection: Mutex<Option<Connection>>,
}

impl fmt::Debug for NatsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsStream")
            .field("stream", &self.settings.stream)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The settings of a target of NATS. See [`NatsStream::builder`].
#[derive(Clone)]
#[must_use = "a target is made by `build`"]
pub struct NatsBuilder {
    url: String,
    stream: String,
    prefix: String,
    creates: bool,
    deadline: Duration,
}

impl fmt::Debug for NatsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBuilder")
            .field("stream", &self.stream)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl NatsBuilder {
    /// Sets the beginning of the subjects. By default, the name of the stream.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Creates the stream if there is none, with the subjects `PREFIX.>` and one replica. By default, the relay waits until there is one.
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    /// Sets how long the server may take to connect, and to acknowledge. 5 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks the settings, and starts a thread for the client. Does not connect.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid URL, name of a stream or prefix. The error does not have the URL, which may have a password.
    pub fn build(self) -> Result<NatsStream, RelayError> {
        let is_token = |text: &str| {
            !text.is_empty() && !text.contains(['*', '>', ' ', '\t', '\r', '\n']) && text.len() <= NAME_BYTES_MAX
        };
        if !is_token(&self.stream) || self.stream.contains(['.', '/', '\\']) {
            return Err(RelayError::invalid(
                "the name of a stream of NATS has no space, dot, slash, star or greater-than sign",
            ));
        }
        if !self.prefix.split('.').all(is_token) {
            return Err(RelayError::invalid(
                "the prefix of subjects has tokens without space, star and greater-than sign, separated by dots",
            ));
        }
        let settings = Settings {
            address: connection::parse(&self.url)?,
            stream: self.stream,
            subjects: format!("{}.>", self.prefix),
            creates: self.creates,
            deadline: self.deadline,
        };
        Ok(NatsStream {
            settings: Arc::new(settings),
            prefix: self.prefix,
            tasks: Tasks::start("annals-relay-nats")?,
            connection: Mutex::default(),
        })
    }
}

impl NatsStream {
    /// The stream of this name on the server at `nats://[USER:PASSWORD@]HOST[:PORT]`; `tls://` demands TLS.
    pub fn builder(url: impl Into<String>, stream: impl Into<String>) -> NatsBuilder {
        let stream = stream.into();
        NatsBuilder {
            url: url.into(),
            prefix: stream.clone(),
            stream,
            creates: false,
            deadline: DEADLINE,
        }
    }

    fn connect(&self) -> Result<Connection, Outcome> {
        let late = || Outcome::unavailable(format!("{} does not answer in time", self.settings.server()));
        let opened = connection::open(Arc::clone(&self.settings));
        self.tasks
            .wait(opened, self.settings.deadline * 2)
            .unwrap_or_else(|| Err(late()))
    }

    fn headers(&self, message: &Message) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, message.id().to_string());
        headers.insert(NATS_EXPECTED_STREAM, self.settings.stream.as_str());
        let content_type: String = message
            .content_type
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        headers.insert("content-type", content_type);
        for (name, value) in message.headers() {
            headers.insert(name, HeaderValue::from(value));
        }
        headers
    }

    /// A message to send, or why it is not sent.
    fn prepare(&self, message: &Message, bytes_max: usize) -> Result<Sending, Outcome> {
        let subject = subject(&self.prefix, message.event.aggregate_type());
        let headers = self.headers(message);
        let of_headers = headers.iter().flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values
                .iter()
                .map(move |value| name.len() + value.as_str().len() + HEADER_BYTES)
        });
        let bytes = message.body.len() + HEADER_BYTES + of_headers.sum::<usize>();
        if bytes > bytes_max {
            return Err(Outcome::refused(format!(
                "the message has {bytes} bytes with its headers, and the server takes {bytes_max} at most: raise max_payload of the server, or \
                 max_msg_size of the stream"
            )));
        }
        Ok(Sending {
            subject,
            headers,
            body: message.body.clone(),
        })
    }

    fn send(&self, connection: &Connection, messages: &[Arc<Message>]) -> Vec<Outcome> {
        let prepared = messages
            .iter()
            .map(|message| self.prepare(message, connection.bytes_max()));
        let (mut outcomes, mut sending) = (Vec::with_capacity(messages.len()), Vec::new());
        for prepared in prepared {
            match prepared {
                Ok(message) => {
                    outcomes.push(None);
                    sending.push(message);
                }
                Err(refused) => outcomes.push(Some(refused)),
            }
        }
        let sent = send_all(connection.context.clone(), sending, self.settings.deadline);
        // The tasks have the deadline themselves.
        let mut sent = self
            .tasks
            .wait(sent, self.settings.deadline * 2)
            .unwrap_or_default()
            .into_iter();
        let late = || Outcome::unknown("the server does not acknowledge in time");
        let all = outcomes.into_iter();
        all.map(|outcome| outcome.or_else(|| sent.next()).unwrap_or_else(late))
            .collect()
    }
}

/// A message of the client.
struct Sending {
    subject: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Sends messages one after the other, and waits for all acknowledgements.
async fn send_all(context: jetstream::Context, messages: Vec<Sending>, deadline: Duration) -> Vec<Outcome> {
    let until = tokio::time::Instant::now() + deadline;
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        let publish = context.publish_with_headers(message.subject, message.headers, message.body.into());
        sent.push(tokio::time::timeout_at(until, publish).await);
    }
    let mut outcomes = Vec::with_capacity(sent.len());
    for acknowledgement in sent {
        outcomes.push(match acknowledgement {
            Ok(Ok(acknowledgement)) => match tokio::time::timeout_at(until, acknowledgement).await {
                Ok(result) => outcome(result),
                Err(_) => Outcome::unknown("the server does not acknowledge in time"),
            },
            Ok(Err(error)) => outcome(Err(error)),
            Err(_) => Outcome::unknown("the connection does not take the message in time"),
        });
    }
    outcomes
}

/// The outcome of a publish. A message that the stream knows by its id is delivered.
fn outcome(result: Result<PublishAck, PublishError>) -> Outcome {
    let Err(error) = result else {
        return Outcome::Delivered;
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Outcome::refused(error),
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => Outcome::unavailable(error),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Outcome::unknown(error),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
            refused(&error)
        }
    }
}

fn refused(error: &PublishError) -> Outcome {
    let answer = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match answer.map(jetstream::Error::error_code) {
        Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM) => {
            Outcome::refused(error)
        }
        // A full stream, or another stream that has the subject: not of this message.
        Some(_) => Outcome::unavailable(error),
        None => Outcome::unknown(error),
    }
}

/// The subject of an aggregate type: one token for each, and another one for each other type.
fn subject(prefix: &str, aggregate_type: &str) -> String {
    let mut subject = format!("{prefix}.");
    for byte in aggregate_type.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            subject.push(char::from(byte));
        } else {
            subject.push('%');
            subject
                .extend([byte >> 4, byte & 15].map(|half| char::from_digit(u32::from(half), 16).unwrap_or_default()));
        }
    }
    subject
}

impl Target for NatsStream {
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome> {
        let mut held = self.connection.lock();
        let connection = match held.take().map_or_else(|| self.connect(), Ok) {
            Ok(connection) => held.insert(connection),
            Err(outcome) => return vec![outcome; messages.len()],
        };
        if !connection.is_alive() {
            // The client connects again by itself. It would keep messages until then.
            let reason = format!("no connection to {}", self.settings.server());
            return vec![Outcome::unavailable(reason); messages.len()];
        }
        self.send(connection, messages)
    }

    fn capacity(&self) -> Capacity {
        Capacity::new(BATCH, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_was_read_as_several_tokens() {
        assert_eq!(subject("events", "Order_1"), "events.Order_1");
        assert_eq!(subject("a.b", "x.y *>%"), "a.b.x%2ey%20%2a%3e%25");
    }

    #[test]
    fn a_password_was_shown() {
        let builder = NatsStream::builder("nats://anna:secret@127.0.0.1", "events");
        assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("secret"));
        let error = NatsStream::builder("http://anna:secret@host", "events")
            .build()
            .unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        for stream in ["", "a.b", "a b", "a*"] {
            assert!(
                NatsStream::builder("nats://127.0.0.1", stream).build().is_err(),
                "{stream}"
            );
        }
        assert!(builder.prefix("a..b").build().is_err());
    }
}
