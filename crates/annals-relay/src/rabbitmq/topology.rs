//! Exchanges, queues and bindings, which are declared before the first message.

use std::collections::BTreeMap;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind, Result};

use crate::RelayError;

/// The longest name of an exchange or queue, and the longest routing key, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;
const NAMES_MAX: usize = 1_000;

/// A durable queue, and which messages it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The exchanges that it is bound to, each with a pattern of routing keys: `Complaint.*`, `#`.
    pub bindings: Vec<(String, String)>,
    /// Whether it is a quorum queue, which a cluster replicates. Otherwise it is a classic one.
    pub is_quorum: bool,
    /// The exchange that gets what a consumer rejects, or what expires. `None` drops it.
    pub dead_letters: Option<String>,
}

impl Queue {
    /// A classic queue without bindings. What a consumer rejects is dropped.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bindings: Vec::new(),
            is_quorum: false,
            dead_letters: None,
        }
    }

    /// Binds it to an exchange by a pattern of routing keys.
    #[must_use]
    pub fn bind(mut self, exchange: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.bindings.push((exchange.into(), pattern.into()));
        self
    }

    /// Makes it a quorum queue. It must have [dead letters](Self::dead_letters): RabbitMQ 4 drops a message from it after 20 deliveries, which lost connections of a consumer
    /// count as well.
    #[must_use]
    pub fn quorum(mut self) -> Self {
        self.is_quorum = true;
        self
    }

    /// Sends what a consumer rejects to this exchange, which is declared with a queue of the same name that keeps it.
    #[must_use]
    pub fn dead_letters(mut self, exchange: impl Into<String>) -> Self {
        self.dead_letters = Some(exchange.into());
        self
    }
}

/// What is declared.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    /// The exchange of each aggregate type.
    pub(super) exchanges: BTreeMap<String, String>,
    /// The exchange of all other types.
    pub(super) other: String,
    pub(super) queues: Vec<Queue>,
}

impl Topology {
    pub(super) fn exchange(&self, aggregate_type: &str) -> &str {
        self.exchanges.get(aggregate_type).unwrap_or(&self.other)
    }

    /// # Errors
    ///
    /// [`RelayError::Invalid`] for a name that is empty or longer than 255 bytes, for more than 1,000 names, and for a quorum queue without dead letters.
    pub(super) fn check(&self) -> std::result::Result<(), RelayError> {
        if let Some(queue) = self
            .queues
            .iter()
            .find(|queue| queue.is_quorum && queue.dead_letters.is_none())
        {
            return Err(RelayError::invalid(format!(
                "RabbitMQ: the quorum queue '{}' has no dead_letters, and RabbitMQ 4 drops a message that was delivered 20 times: name an exchange for them",
                queue.name
            )));
        }
        let of_queues = self.queues.iter().flat_map(|queue| {
            let bindings = queue
                .bindings
                .iter()
                .flat_map(|(exchange, pattern)| [exchange, pattern]);
            bindings.chain([&queue.name]).chain(&queue.dead_letters)
        });
        let names: Vec<&String> = self.exchanges.values().chain([&self.other]).chain(of_queues).collect();
        if names.len() > NAMES_MAX {
            return Err(RelayError::invalid(format!(
                "RabbitMQ: there are more than {NAMES_MAX} exchanges, queues and bindings"
            )));
        }
        match names.iter().find(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            None => Ok(()),
            Some(_) => Err(RelayError::invalid(format!(
                "RabbitMQ: the names of exchanges and queues, and patterns, have 1 to {NAME_BYTES_MAX} bytes"
            ))),
        }
    }

    /// Declares all. What is there already must be the same.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<()> {
        let of_bindings = self
            .queues
            .iter()
            .flat_map(|queue| queue.bindings.iter().map(|(exchange, _)| exchange));
        let mut topics: Vec<&String> = self
            .exchanges
            .values()
            .chain([&self.other])
            .chain(of_bindings)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        for exchange in topics {
            declare_exchange(channel, exchange, ExchangeKind::Topic).await?;
        }
        for queue in &self.queues {
            declare_queue(channel, queue).await?;
        }
        Ok(())
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<()> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
}

async fn declare_queue(channel: &Channel, queue: &Queue) -> Result<()> {
    let mut arguments = FieldTable::default();
    if queue.is_quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
    }
    if let Some(exchange) = &queue.dead_letters {
        declare_exchange(channel, exchange, ExchangeKind::Fanout).await?;
        declare_durable(channel, exchange, FieldTable::default()).await?;
        bind(channel, exchange, exchange, "").await?;
        arguments.insert("x-dead-letter-exchange".into(), text(exchange));
    }
    declare_durable(channel, &queue.name, arguments).await?;
    for (exchange, pattern) in &queue.bindings {
        bind(channel, &queue.name, exchange, pattern).await?;
    }
    Ok(())
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

async fn declare_durable(channel: &Channel, name: &str, arguments: FieldTable) -> Result<()> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name.into(), options, arguments).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, pattern: &str) -> Result<()> {
    let arguments = FieldTable::default();
    let (queue, exchange, pattern) = (queue.into(), exchange.into(), pattern.into());
    channel
        .queue_bind(queue, exchange, pattern, QueueBindOptions::default(), arguments)
        .await
}
