//! A message that a consumer gets.

use std::collections::BTreeMap;

use lapin::message::Delivery;
use lapin::types::AMQPValue;

use super::steps::ATTEMPT;

/// A message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// Its id: that of the event. A handler that stores it with its effect recognizes a repeated message.
    pub id: Option<String>,
    /// The exchange that it was published to, also after a retry.
    pub exchange: String,
    /// Its routing key, also after a retry.
    pub routing_key: String,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The headers that are texts: `aggregate`, `version`, `cloudEvents:type` and others.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// The number of the attempt, counted from 1. A message that was being handled when a connection or a process ended has the same number again.
    pub attempt: u32,
}

impl ReceivedMessage {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let headers = delivery.properties.headers().as_ref();
        let texts = headers.into_iter().flat_map(|headers| headers.inner());
        let texts: BTreeMap<String, String> = texts
            .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
            .collect();
        let of = |own: &str, now: String| texts.get(own).cloned().unwrap_or(now);
        Self {
            id: delivery.properties.message_id().as_ref().map(ToString::to_string),
            exchange: of(super::steps::EXCHANGE, delivery.exchange.to_string()),
            routing_key: of(super::steps::KEY, delivery.routing_key.to_string()),
            content_type: delivery.properties.content_type().as_ref().map(ToString::to_string),
            attempt: texts.get(ATTEMPT).and_then(|number| number.parse().ok()).unwrap_or(1),
            headers: texts,
            body: delivery.data.clone(),
        }
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    let text = value.as_long_string()?;
    str::from_utf8(text.as_bytes()).ok().map(ToOwned::to_owned)
}
