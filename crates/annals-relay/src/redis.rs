//! Redis Streams: each event is an entry, whose id is its position.
//!
//! The id of an entry is `POSITION-0`. Redis refuses an id that is not greater than the last one of the stream, so a repeated event is recognized: if the
//! stream has the entry, it counts as delivered. The events of a stream are added one at a time, in the order of the log.
//!
//! A dead letter that is replayed comes after later events. It gets the id behind the last one, `LAST-1`, and its field `position` tells its position. The same holds
//! for an event that is published again after its entry was trimmed: then a consumer gets it twice.
//!
//! The fields are `id`, `position`, `type`, `aggregate`, `aggregate-type`, `content-type` and `body`, and `ce-NAME` for each attribute of `CloudEvents` in binary mode.
//!
//! # What an acknowledgement is worth
//!
//! Redis acknowledges what it has in memory. An entry survives a crash of the server with `appendonly yes` and `appendfsync always`; with `everysec`, the last second may be lost, and
//! the relay does not send it again. A policy of eviction (`maxmemory-policy`) other than `noeviction` and the `volatile-` ones drops whole streams.
//!
//! # Trimming
//!
//! A stream grows without an end unless it is trimmed. [`RedisBuilder::max_entries`] drops the oldest entries, also those that a consumer has not read yet: a reader whose last id is before the first
//! entry goes on behind the gap **without an error**. Set it well above the largest lag, let consumers compare their last id with the first entry (`XINFO STREAM`), or trim with `XTRIM MINID` below the slowest
//! consumer instead.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::{Event, Name};
use parking_lot::Mutex;
use redis::{Client, Cmd, Connection, FromRedisValue, RedisError, RedisResult, Value, cmd};

use crate::{Capacity, Message, Outcome, RelayError, Target};

const DEADLINE: Duration = Duration::from_secs(5);
/// Streams of one call, at most.
const STREAMS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 512;
/// What Redis says to an id that is not greater than the last.
const NOT_GREATER: &str = "equal or smaller";

/// Streams of a Redis server.
pub struct RedisStreams {
    client: Client,
    server: String,
    key: String,
    is_by_type: bool,
    max_entries: Option<u64>,
    deadline: Duration,
    connection: Mutex<Option<Connection>>,
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreams")
            .field("server", &self.server)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The settings of a target of Redis Streams. See [`RedisStreams::builder`].
#[derive(Clone)]
#[must_use = "a target is made by `build`"]
pub struct RedisBuilder {
    url: String,
    key: String,
    is_by_type: bool,
    max_entries: Option<u64>,
    deadline: Duration,
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl RedisBuilder {
    /// Sets the key of the stream. `annals` by default, at most 512 bytes.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Gives each aggregate type a stream, `KEY:TYPE`. By default, all events are in the stream `KEY`.
    pub fn stream_per_type(mut self) -> Self {
        self.is_by_type = true;
        self
    }

    /// Drops the oldest entries of a stream beyond about this number (`MAXLEN ~`), [read or not](crate::redis#trimming). By default, none is dropped.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Sets how long the server may take to connect, and for each command. 5 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks the settings. Does not connect.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid URL or key. The error does not have the URL, which may have a password.
    pub fn build(self) -> Result<RedisStreams, RelayError> {
        let refused = || {
            RelayError::invalid("the URL of a Redis server has the form redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]")
        };
        let client = Client::open(self.url.as_str()).map_err(|_| refused())?;
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX {
            return Err(RelayError::invalid(format!(
                "the key of a stream has 1 to {KEY_BYTES_MAX} bytes"
            )));
        }
        Ok(RedisStreams {
            server: client.get_connection_info().addr().to_string(),
            client,
            key: self.key,
            is_by_type: self.is_by_type,
            max_entries: self.max_entries,
            deadline: self.deadline.max(Duration::from_millis(1)),
            connection: Mutex::default(),
        })
    }
}

impl RedisStreams {
    /// Streams of the server at `redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]`, without TLS.
    pub fn builder(url: impl Into<String>) -> RedisBuilder {
        RedisBuilder {
            url: url.into(),
            key: "annals".to_owned(),
            is_by_type: false,
            max_entries: None,
            deadline: DEADLINE,
        }
    }

    fn key(&self, event: &Event) -> String {
        if self.is_by_type {
            format!("{}:{}", self.key, event.aggregate_type())
        } else {
            self.key.clone()
        }
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(self.deadline)?;
        connection.set_read_timeout(Some(self.deadline))?;
        connection.set_write_timeout(Some(self.deadline))?;
        Ok(connection)
    }

    fn xadd(&self, message: &Message, id: &str) -> Cmd {
        let event = &message.event;
        let mut add = cmd("XADD");
        add.arg(self.key(event));
        if let Some(entries) = self.max_entries {
            add.arg("MAXLEN").arg("~").arg(entries);
        }
        add.arg(id);
        for (name, value) in [
            ("id", message.id().to_string().as_str()),
            ("position", &event.position().to_string()),
            ("type", event.event_type()),
            ("aggregate", event.aggregate_id()),
            ("aggregate-type", event.aggregate_type()),
            ("content-type", &message.content_type),
        ] {
            add.arg(name).arg(value);
        }
        for (name, value) in &message.attributes {
            add.arg(format!("ce-{name}")).arg(value);
        }
        add.arg("body").arg(&message.body[..]);
        add
    }

    /// Adds an entry. A repeated one counts as added.
    fn add(&self, connection: &mut Connection, message: &Message) -> Result<Outcome, RedisError> {
        let id = format!("{}-0", message.position());
        match ask::<String>(connection, &self.xadd(message, &id)) {
            Ok(_) => Ok(Outcome::Delivered),
            Err(error) if error.to_string().contains(NOT_GREATER) => self.add_late(connection, message, &id),
            Err(error) => Err(error),
        }
    }

    /// The stream has this entry, or goes on behind it.
    fn add_late(&self, connection: &mut Connection, message: &Message, id: &str) -> Result<Outcome, RedisError> {
        let key = self.key(&message.event);
        let found: Vec<Entry> = ask(connection, cmd("XRANGE").arg(&key).arg(id).arg(id).arg("COUNT").arg(1))?;
        if let Some((_, fields)) = found.first() {
            let own = message.id().to_string();
            if fields.get(1).is_some_and(|id| *id == own.as_bytes()) {
                return Ok(Outcome::Delivered);
            }
            return Ok(Outcome::Stop {
                reason: format!(
                    "the stream '{key}' has another event at position {}: it is of another store; use another key, and resume the relay",
                    message.position()
                ),
            });
        }
        let told: HashMap<String, Value> = ask(connection, cmd("XINFO").arg("STREAM").arg(&key))?;
        let Some(next) = told.get("last-generated-id").and_then(next_id) else {
            return Ok(Outcome::unknown(format!(
                "the server does not tell the last id of the stream '{key}'"
            )));
        };
        ask::<String>(connection, &self.xadd(message, &next)).map(|_| Outcome::Delivered)
    }
}

/// The id of an entry, and its fields with their values one after the other.
type Entry = (String, Vec<Vec<u8>>);

fn ask<T: FromRedisValue>(connection: &mut Connection, command: &Cmd) -> RedisResult<T> {
    command.query(connection)
}

/// The id behind `POSITION-NUMBER`, before that of the next position.
fn next_id(last: &Value) -> Option<String> {
    let Value::BulkString(bytes) = last else { return None };
    let (position, number) = str::from_utf8(bytes).ok()?.split_once('-')?;
    Some(format!("{position}-{}", number.parse::<u64>().ok()?.checked_add(1)?))
}

/// The outcome of a command that failed: the connection is not used again.
fn failure(error: &RedisError, server: &str) -> Outcome {
    if error.is_io_error() && !error.is_connection_refusal() {
        return Outcome::unknown(format!("{server} does not answer: {error}"));
    }
    Outcome::unavailable(format!("{server} does not take it: {error}"))
}

impl Target for RedisStreams {
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome> {
        let mut held = self.connection.lock();
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            let mut connection = match held.take().map_or_else(|| self.connect(), Ok) {
                Ok(connection) => connection,
                Err(error) => {
                    let reason = format!("cannot connect to {}: {error}", self.server);
                    outcomes.resize(messages.len(), Outcome::unavailable(reason));
                    return outcomes;
                }
            };
            match self.add(&mut connection, message) {
                Ok(outcome) => {
                    outcomes.push(outcome);
                    *held = Some(connection);
                }
                Err(error) => outcomes.push(failure(&error, &self.server)),
            }
        }
        outcomes
    }

    /// The stream: its entries are in the order of the log.
    fn lane(&self, event: &Event) -> Name {
        self.key(event).into()
    }

    fn capacity(&self) -> Capacity {
        Capacity::new(STREAMS_MAX, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_entry_came_before_the_last_one_or_in_place_of_the_next_position() {
        let next = |text: &str| next_id(&Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(next("17-0").as_deref(), Some("17-1"));
        assert_eq!(next("17-41").as_deref(), Some("17-42"));
        assert_eq!(
            (next("17"), next("17-x"), next(&format!("17-{}", u64::MAX))),
            (None, None, None)
        );
    }

    #[test]
    fn a_password_was_shown() {
        let builder = RedisStreams::builder("redis://anna:secret@127.0.0.1:1/0");
        assert!(!format!("{builder:?}").contains("secret"));
        let target = builder.build().unwrap();
        assert!(
            !format!("{target:?}").contains("secret") && target.server == "127.0.0.1:1",
            "{target:?}"
        );
        let error = RedisStreams::builder("http://anna:secret@host").build().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(RedisStreams::builder("redis://127.0.0.1").key("").build().is_err());
    }
}
