//! The queues behind a queue: one for each pause before a message is handled again, and one for dead letters.
//!
//! Messages leave a queue in order, even when one further back expires first. So each pause has a queue of its own, in which all messages wait equally long.
//!
//! A message is published to that queue as a new one, and the original is acknowledged afterwards: RabbitMQ drops a message that returns to a queue by expiry alone. Publishing
//! resets the broker's counts of deaths and deliveries, so a header of our own counts the attempts.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Result};

use super::publish::PERSISTENT;
use super::topology::NAME_BYTES_MAX;
use crate::RelayError;

/// The header with the number of the attempt.
pub(super) const ATTEMPT: &str = "annals-attempt";
/// The headers with the exchange and the routing key of the first publication.
pub(super) const EXCHANGE: &str = "annals-exchange";
pub(super) const KEY: &str = "annals-routing-key";
/// The header with the last error of a dead letter.
pub(super) const REASON: &str = "annals-reason";
pub(super) const PANICKED: &str = "the handler panicked";
/// The longest error in a header, in characters.
const REASON_CHARS_MAX: usize = 1_024;

/// The pauses of a queue.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) queue: String,
    steps: Vec<Duration>,
}

impl Steps {
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for a name that leaves no room for those of the queues behind it.
    pub(super) fn new(queue: String, steps: Vec<Duration>) -> std::result::Result<Self, RelayError> {
        let longest = NAME_BYTES_MAX - ".retry.86400000".len();
        if queue.is_empty() || queue.len() > longest {
            return Err(RelayError::invalid(format!(
                "the queue of a consumer has a name of 1 to {longest} bytes"
            )));
        }
        Ok(Self { queue, steps })
    }

    /// The pause after an attempt, counted from 1; `None` after the last.
    pub(super) fn after(&self, attempt: u32) -> Option<Duration> {
        let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
        self.steps.get(index).copied()
    }

    fn name(&self, step: Option<Duration>) -> String {
        match step {
            Some(step) => format!("{}.retry.{}", self.queue, step.as_millis()),
            None => format!("{}.dead", self.queue),
        }
    }

    /// Declares the queues of the steps and of dead letters.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<()> {
        for step in self.steps.iter().copied().map(Some).chain([None]) {
            let mut arguments = FieldTable::default();
            if let Some(step) = step {
                let ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
                arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ms));
                arguments.insert("x-dead-letter-exchange".into(), text(""));
                arguments.insert("x-dead-letter-routing-key".into(), text(&self.queue));
            }
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(self.name(step).into(), options, arguments)
                .await?;
        }
        Ok(())
    }

    /// Publishes a message to the queue of a step, or to the dead letters, and waits for the confirm.
    ///
    /// # Errors
    ///
    /// The reason when the broker does not confirm, or no queue takes it.
    pub(super) async fn publish(
        &self,
        channel: &Channel,
        delivery: &Delivery,
        step: Option<Duration>,
        attempt: u32,
        reason: &str,
    ) -> std::result::Result<(), String> {
        let name = self.name(step);
        let properties = properties(&delivery.properties).with_headers(headers(delivery, attempt, reason));
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let published = channel.basic_publish("".into(), name.as_str().into(), options, &delivery.data, properties);
        let confirm = published.await.map_err(|error| error.to_string())?;
        match confirm.await {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested) => {
                Err(format!("the queue '{name}' does not take a message"))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The properties of a message that is published again, as one on the disk: an expiration would drop a dead letter, and the broker refuses the user of
/// another connection.
fn properties(before: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Some(value) = before.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = before.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = before.correlation_id() {
        kept = kept.with_correlation_id(value.clone());
    }
    if let Some(value) = before.reply_to() {
        kept = kept.with_reply_to(value.clone());
    }
    if let Some(value) = before.message_id() {
        kept = kept.with_message_id(value.clone());
    }
    if let Some(value) = before.timestamp() {
        kept = kept.with_timestamp(*value);
    }
    if let Some(value) = before.kind() {
        kept = kept.with_type(value.clone());
    }
    if let Some(value) = before.app_id() {
        kept = kept.with_app_id(value.clone());
    }
    kept
}

/// Whether the broker itself sets a header, or publishes to more queues by it.
fn is_of_broker(name: &str) -> bool {
    let begins = ["x-first-death-", "x-last-death-"];
    let names = ["x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC"];
    names.contains(&name) || begins.iter().any(|begin| name.starts_with(begin))
}

/// The headers of a message that is published again. Those of the broker itself are left out.
fn headers(delivery: &Delivery, attempt: u32, reason: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    let before = delivery.properties.headers().as_ref();
    for (name, value) in before.into_iter().flat_map(|headers| headers.inner()) {
        if !is_of_broker(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    if headers.inner().get(EXCHANGE).is_none() {
        headers.insert(EXCHANGE.into(), text(delivery.exchange.as_str()));
        headers.insert(KEY.into(), text(delivery.routing_key.as_str()));
    }
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    headers.insert(ATTEMPT.into(), text(&attempt.saturating_add(1).to_string()));
    headers.insert(REASON.into(), text(&reason));
    headers
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_expired_or_was_refused_for_its_user() {
        let before = BasicProperties::default()
            .with_expiration("5000".into())
            .with_user_id("another".into())
            .with_delivery_mode(1)
            .with_message_id("7".into())
            .with_type("Paid".into());
        let after = properties(&before);
        assert_eq!((after.expiration(), after.user_id()), (&None, &None));
        assert_eq!(*after.delivery_mode(), Some(PERSISTENT));
        assert_eq!((after.message_id(), after.kind()), (before.message_id(), before.kind()));
    }

    #[test]
    fn a_header_of_the_program_was_lost_by_a_retry() {
        let lost = [
            "x-tenant",
            "trace",
            "x-death",
            "x-first-death-queue",
            "x-delivery-count",
            "CC",
        ];
        let kept: Vec<_> = lost.into_iter().filter(|name| !is_of_broker(name)).collect();
        assert_eq!(kept, ["x-tenant", "trace"]);
    }

    #[test]
    fn a_message_was_tried_more_often_than_there_are_steps() {
        let steps = [1, 10].map(Duration::from_secs);
        let of = Steps::new("q".to_owned(), steps.to_vec()).unwrap();
        assert_eq!(
            [0, 1, 2, 3, u32::MAX].map(|attempt| of.after(attempt)),
            [None, Some(steps[0]), Some(steps[1]), None, None]
        );
        assert_eq!(
            (of.name(Some(steps[1])), of.name(None)),
            ("q.retry.10000".to_owned(), "q.dead".to_owned())
        );
        assert!(Steps::new("q".repeat(250), Vec::new()).is_err());
    }
}
