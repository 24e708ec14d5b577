//! RabbitMQ: each event is a persistent message to the topic exchange of its aggregate type.
//!
//! The routing key is `TYPE.EVENT`, the aggregate type and the event type; bytes of a type other than letters, digits, `-` and `_` are written as `%` and two digits, so that a type is one
//! word. The message has the id of the event as `message_id`, the event type as `type`, and headers: `aggregate`, `position`, `version`, and `cloudEvents:NAME` for each attribute of `CloudEvents` in binary
//! mode.
//!
//! # What an acknowledgement is worth
//!
//! Messages are published with confirms and as mandatory. An event is delivered when the broker confirms its message **and** has not returned it: a message that no queue takes is confirmed too, and is
//! not delivered. The broker confirms a persistent message when every queue has it on the disk, or a majority of a quorum queue. A queue with `max-length` and without
//! `reject-publish` drops old messages after it has confirmed them.
//!
//! | answer | the event |
//! |---|---|
//! | confirmed | is delivered |
//! | confirmed and returned: no queue takes it | is sent again, at most as often as [`RelayBuilder::retry`](crate::RelayBuilder::retry) says, then it is a dead letter |
//! | refused (nack), or no confirm within the deadline | is sent again, without a limit; queues may have it twice |
//! | no connection, or the broker has blocked it (memory or disk alarm) | all wait |
//!
//! A target has its own connection, on which it publishes alone: an alarm of the broker stops no consumer of another connection. Its exchanges, queues and bindings are durable, and are declared when it connects; what is
//! there with other settings is refused by the broker, and the relay waits.
//!
//! A [`Consumer`] feeds a handler, and acknowledges, tries again or parks. It or any other consumer recognizes a repeated message by `message_id`, and an older one of an aggregate by `version`: after a lost connection, an earlier message may come once more behind later ones.

mod consumer;
mod publish;
mod received;
mod steps;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use parking_lot::Mutex;

pub use self::consumer::{Consumer, ConsumerBuilder, ConsumerCounts};
pub use self::received::ReceivedMessage;
pub use self::topology::Queue;
use self::topology::Topology;
use crate::tasks::Tasks;
use crate::{Capacity, Message, Outcome, RelayError, Target};

const DEADLINE: Duration = Duration::from_secs(10);
/// Messages of one call, at most.
const BATCH: usize = 256;
/// The default of a broker since 4.0.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Exchanges of a RabbitMQ broker.
pub struct RabbitMq {
    settings: Arc<Settings>,
    tasks: Tasks,
    connected: Mutex<Option<Connected>>,
}

struct Settings {
    uri: AMQPUri,
    topology: Topology,
    deadline: Duration,
    message_bytes_max: usize,
}

struct Connected {
    connection: Connection,
    channel: Channel,
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq")
            .field("topology", &self.settings.topology)
            .finish_non_exhaustive()
    }
}

/// The settings of a target of RabbitMQ. See [`RabbitMq::builder`].
#[derive(Clone)]
#[must_use = "a target is made by `build`"]
pub struct RabbitMqBuilder {
    url: String,
    topology: Topology,
    deadline: Duration,
    message_bytes_max: usize,
}

impl fmt::Debug for RabbitMqBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqBuilder")
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

impl RabbitMqBuilder {
    /// Publishes the events of an aggregate type to this topic exchange: `("Complaint", "complaints.events")`.
    pub fn exchange(mut self, aggregate_type: impl Into<String>, exchange: impl Into<String>) -> Self {
        self.topology.exchanges.insert(aggregate_type.into(), exchange.into());
        self
    }

    /// Publishes the events of all other types to this topic exchange. `annals.events` by default.
    pub fn other_exchange(mut self, exchange: impl Into<String>) -> Self {
        self.topology.other = exchange.into();
        self
    }

    /// Declares a durable queue with its bindings.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.topology.queues.push(queue);
        self
    }

    /// Sets how long the broker may take to connect, and to confirm. 10 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the most bytes of a message: `max_message_size` of the broker, which does not tell it. 16 MiB by default. A larger event is a dead letter: the broker would close the channel, and the
    /// messages of other aggregates would be sent again.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Checks the settings, and starts a thread for the client. Does not connect.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid URL or name. The error does not have the URL, which may have a password.
    pub fn build(self) -> Result<RabbitMq, RelayError> {
        let uri: Option<AMQPUri> = self.url.parse().ok();
        let uri = uri.ok_or_else(|| {
            RelayError::invalid("the URL of RabbitMQ has the form amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://; %2f is the virtual host /")
        })?;
        self.topology.check()?;
        Ok(RabbitMq {
            settings: Arc::new(Settings {
                uri,
                topology: self.topology,
                deadline: self.deadline,
                message_bytes_max: self.message_bytes_max,
            }),
            tasks: Tasks::start("annals-relay-amqp")?,
            connected: Mutex::default(),
        })
    }
}

impl Settings {
    /// The broker, without the user and the password.
    fn broker(&self) -> String {
        format!("RabbitMQ at {}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}

async fn connect(settings: Arc<Settings>) -> Result<Connected, Outcome> {
    let failed =
        |what: &str, error: &lapin::Error| Outcome::unavailable(format!("{what} {}: {error}", settings.broker()));
    let properties = ConnectionProperties::default().with_connection_name("annals-relay".into());
    let connection = Connection::connect_uri(settings.uri.clone(), properties).await;
    let connection = connection.map_err(|error| failed("cannot connect to", &error))?;
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| failed("cannot open a channel of", &error))?;
    let declared = settings.topology.declare(&channel).await;
    declared.map_err(|error| failed("cannot declare exchanges and queues of", &error))?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
    confirms.map_err(|error| failed("there are no confirms of", &error))?;
    Ok(Connected { connection, channel })
}

impl RabbitMq {
    /// A broker at `amqp://USER:PASSWORD@HOST:PORT/VHOST`; `amqps://` demands TLS.
    pub fn builder(url: impl Into<String>) -> RabbitMqBuilder {
        RabbitMqBuilder {
            url: url.into(),
            topology: Topology {
                other: "annals.events".to_owned(),
                ..Topology::default()
            },
            deadline: DEADLINE,
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    fn connect(&self) -> Result<Connected, Outcome> {
        let late = || Outcome::unavailable(format!("{} does not answer in time", self.settings.broker()));
        let connecting = connect(Arc::clone(&self.settings));
        self.tasks
            .wait(connecting, self.settings.deadline)
            .unwrap_or_else(|| Err(late()))
    }
}

impl Target for RabbitMq {
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome> {
        let mut held = self.connected.lock();
        let connected = held
            .take()
            .filter(|held| held.connection.status().connected() && held.channel.status().connected());
        let connected = match connected.map_or_else(|| self.connect(), Ok) {
            Ok(connected) => connected,
            Err(outcome) => return vec![outcome; messages.len()],
        };
        if connected.connection.status().blocked() {
            let reason = format!(
                "{} has blocked publishing: an alarm of memory or disk",
                self.settings.broker()
            );
            *held = Some(connected);
            return vec![Outcome::unavailable(reason); messages.len()];
        }
        let deadline = self.settings.deadline;
        let prepared = messages
            .iter()
            .map(|message| publish::prepare(message, &self.settings.topology, self.settings.message_bytes_max));
        let sending = publish::send_all(connected.channel.clone(), prepared.collect(), deadline);
        // The tasks have the deadline themselves.
        let outcomes = self.tasks.wait(sending, deadline * 2).unwrap_or_default();
        let is_known = |outcome: &Outcome| !matches!(outcome, Outcome::Unknown { .. });
        let is_complete = outcomes.len() == messages.len() && outcomes.iter().all(is_known);
        // A broker tells that it blocks a connection when that has published. Otherwise, after a confirm that did not come, a new connection: what the old
        // one keeps is not mixed with what is sent again.
        if is_complete || connected.connection.status().blocked() {
            *held = Some(connected);
        }
        outcomes
    }

    fn capacity(&self) -> Capacity {
        Capacity::new(BATCH, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_was_shown() {
        let builder =
            RabbitMq::builder("amqp://anna:secret@127.0.0.1:1/%2f").exchange("Complaint", "complaints.events");
        assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("secret"));
        assert_eq!(
            builder.clone().build().unwrap().settings.broker(),
            "RabbitMQ at 127.0.0.1:1"
        );
        let error = RabbitMq::builder("http://anna:secret@host").build().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(builder.clone().other_exchange("").build().is_err());
        assert!(builder.queue(Queue::new("q".repeat(256))).build().is_err());
    }
}
