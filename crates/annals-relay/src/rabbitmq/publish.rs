//! Messages, and what becomes of them.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::time::{Instant, timeout_at};

use super::topology::{NAME_BYTES_MAX, Topology};
use crate::{Message, Outcome};

/// A message is written to the disk.
pub(super) const PERSISTENT: u8 = 2;

/// A message of the client.
pub(super) struct Sending {
    exchange: String,
    key: String,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// A message to send, or why it is not sent.
pub(super) fn prepare(message: &Message, topology: &Topology, bytes_max: usize) -> Result<Sending, Outcome> {
    let event = &message.event;
    let key = format!("{}.{}", word(event.aggregate_type()), word(event.event_type()));
    if key.len() > NAME_BYTES_MAX || message.content_type.len() > NAME_BYTES_MAX {
        return Err(Outcome::refused(format!(
            "the routing key or the content type is longer than the {NAME_BYTES_MAX} bytes of the protocol"
        )));
    }
    if message.body.len() > bytes_max {
        return Err(Outcome::refused(format!(
            "the message has {} bytes, and the broker takes {bytes_max} at most: raise max_message_size of the broker, and of the target",
            message.body.len()
        )));
    }
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("aggregate", event.aggregate_id()),
        ("aggregate-type", event.aggregate_type()),
        ("position", &event.position().to_string()),
        ("version", &event.version().0.to_string()),
    ] {
        headers.insert(name.into(), text(value));
    }
    for (name, value) in &message.attributes {
        headers.insert(format!("cloudEvents:{name}").into(), text(value));
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.id().to_string().into())
        .with_content_type(message.content_type.as_str().into())
        // No longer than the routing key, which contains it.
        .with_type(event.event_type().into())
        .with_timestamp(u64::try_from(event.timestamp().as_micros().div_euclid(1_000_000)).unwrap_or_default())
        .with_headers(headers);
    Ok(Sending {
        exchange: topology.exchange(event.aggregate_type()).to_owned(),
        key,
        properties,
        body: message.body.clone(),
    })
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// A type as one word of a routing key.
fn word(name: &str) -> String {
    let mut word = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            word.push(char::from(byte));
        } else {
            word.push('%');
            word.extend([byte >> 4, byte & 15].map(|half| char::from_digit(u32::from(half), 16).unwrap_or_default()));
        }
    }
    word
}

/// Sends messages one after the other, and waits for all confirms.
pub(super) async fn send_all(
    channel: Channel,
    messages: Vec<Result<Sending, Outcome>>,
    deadline: Duration,
) -> Vec<Outcome> {
    let until = Instant::now() + deadline;
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        sent.push(match message {
            Ok(message) => send(&channel, message, until).await,
            Err(refused) => Err(refused),
        });
    }
    let mut outcomes = Vec::with_capacity(sent.len());
    for confirm in sent {
        outcomes.push(match confirm {
            Ok(confirm) => confirmed(confirm, until).await,
            Err(outcome) => outcome,
        });
    }
    outcomes
}

async fn send(channel: &Channel, message: Sending, until: Instant) -> Result<PublisherConfirm, Outcome> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let (exchange, key) = (message.exchange.into(), message.key.into());
    let published = channel.basic_publish(exchange, key, options, &message.body, message.properties);
    match timeout_at(until, published).await {
        Ok(Ok(confirm)) => Ok(confirm),
        Ok(Err(error)) => Err(Outcome::unknown(format!(
            "the connection to the broker is lost: {error}"
        ))),
        Err(_) => Err(Outcome::unknown("the connection does not take the message in time")),
    }
}

async fn confirmed(confirm: PublisherConfirm, until: Instant) -> Outcome {
    match timeout_at(until, confirm).await {
        Ok(Ok(Confirmation::Ack(None))) => Outcome::Delivered,
        Ok(Ok(Confirmation::Ack(Some(returned)))) => Outcome::Retry {
            reason: format!(
                "no queue takes it: {}; bind a queue to the exchange",
                returned.reply_text
            ),
        },
        // One queue may have it, and another not.
        Ok(Ok(Confirmation::Nack(_))) => {
            Outcome::unknown("the broker refuses it (nack): a queue is full, or has failed")
        }
        Ok(Ok(Confirmation::NotRequested)) => Outcome::unknown("the channel has no confirms"),
        Ok(Err(error)) => Outcome::unknown(format!("the connection to the broker is lost: {error}")),
        Err(_) => Outcome::unknown("the broker does not confirm in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_was_several_words() {
        assert_eq!(
            (word("Complaint-1_a"), word("a.b*#")),
            ("Complaint-1_a".to_owned(), "a%2eb%2a%23".to_owned())
        );
    }
}
