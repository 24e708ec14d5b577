//! From settings to targets.

use std::sync::Arc;
use std::time::Duration;

use super::file::{NatsSettings, QueueSettings, RabbitMqSettings, RedisSettings, Settings, WebhookSettings};
use crate::nats::NatsStream;
use crate::rabbitmq::{Queue, RabbitMq};
use crate::redis::RedisStreams;
use crate::webhook::Webhook;
use crate::{RelayError, Target};

/// The kind of the target, and the target.
pub(super) fn build(settings: &mut Settings) -> Result<(&'static str, Arc<dyn Target>), RelayError> {
    let targets = (
        settings.webhook.take(),
        settings.redis.take(),
        settings.nats.take(),
        settings.rabbitmq.take(),
    );
    match targets {
        (Some(settings), None, None, None) => Ok(("webhook", Arc::new(webhook(&settings)?))),
        (None, Some(settings), None, None) => Ok(("redis", Arc::new(redis(settings)?))),
        (None, None, Some(settings), None) => Ok(("nats", Arc::new(nats(settings)?))),
        (None, None, None, Some(settings)) => Ok(("rabbitmq", Arc::new(rabbitmq(settings)?))),
        _ => Err(RelayError::invalid(
            "it has one target: write one section of [relay.webhook], [relay.redis], [relay.nats] and [relay.rabbitmq]",
        )),
    }
}

/// # Errors
///
/// [`RelayError::Invalid`] for 0.
fn deadline(ms: u64) -> Result<Duration, RelayError> {
    if ms == 0 {
        return Err(RelayError::invalid("deadline_ms is at least 1"));
    }
    Ok(Duration::from_millis(ms))
}

fn webhook(settings: &WebhookSettings) -> Result<Webhook, RelayError> {
    let mut builder = Webhook::builder(settings.url.read()?);
    if settings.secret.is_none() && settings.old_secret.is_some() {
        return Err(RelayError::invalid("`old_secret` is beside a new one: add `secret`"));
    }
    for secret in settings.secret.iter().chain(&settings.old_secret) {
        builder = builder.secret(&secret.read()?)?;
    }
    for (name, value) in &settings.headers {
        builder = builder.header(name, &value.read()?)?;
    }
    if let Some(requests) = settings.requests {
        builder = builder.requests(requests);
    }
    if let Some(ms) = settings.deadline_ms {
        builder = builder.deadline(deadline(ms)?);
    }
    builder.build()
}

fn redis(settings: RedisSettings) -> Result<RedisStreams, RelayError> {
    let mut builder = RedisStreams::builder(settings.url.read()?);
    if let Some(key) = settings.key {
        builder = builder.key(key);
    }
    if settings.stream_per_type {
        builder = builder.stream_per_type();
    }
    if let Some(entries) = settings.max_entries {
        builder = builder.max_entries(entries);
    }
    if let Some(ms) = settings.deadline_ms {
        builder = builder.deadline(deadline(ms)?);
    }
    builder.build()
}

fn nats(settings: NatsSettings) -> Result<NatsStream, RelayError> {
    let mut builder = NatsStream::builder(settings.url.read()?, settings.stream);
    if let Some(prefix) = settings.prefix {
        builder = builder.prefix(prefix);
    }
    if settings.create {
        builder = builder.create();
    }
    if let Some(ms) = settings.deadline_ms {
        builder = builder.deadline(deadline(ms)?);
    }
    builder.build()
}

fn rabbitmq(settings: RabbitMqSettings) -> Result<RabbitMq, RelayError> {
    let mut builder = RabbitMq::builder(settings.url.read()?);
    if let Some(exchange) = settings.exchange {
        builder = builder.other_exchange(exchange);
    }
    for (aggregate_type, exchange) in settings.exchanges {
        builder = builder.exchange(aggregate_type, exchange);
    }
    for settings in settings.queue {
        builder = builder.queue(queue(settings));
    }
    if let Some(bytes) = settings.message_bytes_max {
        builder = builder.message_bytes_max(bytes);
    }
    if let Some(ms) = settings.deadline_ms {
        builder = builder.deadline(deadline(ms)?);
    }
    builder.build()
}

fn queue(settings: QueueSettings) -> Queue {
    let mut queue = Queue::new(settings.name);
    for binding in settings.bindings {
        queue = queue.bind(binding.exchange, binding.key);
    }
    if settings.quorum {
        queue = queue.quorum();
    }
    match settings.dead_letters {
        Some(exchange) => queue.dead_letters(exchange),
        None => queue,
    }
}
