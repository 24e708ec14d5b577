//! Envelopes: how an event is written into a message.

use std::sync::Arc;

use annals::{ContentType, Event, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Message;
use crate::error::RelayError;

/// The longest source of `CloudEvents`, in bytes.
const SOURCE_BYTES_MAX: usize = 1_024;

/// How an event is written into a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Envelope {
    /// One JSON object with the fields that `annals events --format json` writes: `eventId`, `position`, `aggregateId`, `eventType`, `eventData` and
    /// others. Bytes that are not UTF-8 are hexadecimal digits in `eventDataHex`.
    #[default]
    Json,
    /// `CloudEvents` 1.0 in binary mode: the body is the data of the event, and the attributes are headers.
    CloudEventsBinary {
        /// The attribute `source`: a URI or a path that names the store, such as `/complaints`.
        source: String,
    },
    /// `CloudEvents` 1.0 in structured mode: one JSON object.
    CloudEventsStructured {
        /// The attribute `source`.
        source: String,
    },
}

impl Envelope {
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for a source that is empty, longer than 1,024 bytes, or has other characters than printable ASCII.
    pub(crate) fn check(&self) -> Result<(), RelayError> {
        let (Self::CloudEventsBinary { source } | Self::CloudEventsStructured { source }) = self else {
            return Ok(());
        };
        let is_fine = !source.is_empty() && source.len() <= SOURCE_BYTES_MAX;
        if is_fine && source.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        Err(RelayError::invalid(format!(
            "the source of CloudEvents has 1 to {SOURCE_BYTES_MAX} visible ASCII characters, such as /complaints"
        )))
    }

    /// Writes an event.
    ///
    /// # Errors
    ///
    /// The reason when it cannot be written as JSON.
    pub(crate) fn seal(&self, event: Arc<Event>) -> Result<Message, serde_json::Error> {
        let (content_type, attributes, body) = match self {
            Self::Json => ("application/json".to_owned(), Vec::new(), json(&event)?),
            Self::CloudEventsBinary { source } => (
                event.data_type().as_str().to_owned(),
                attributes(&event, source),
                event.data().to_vec(),
            ),
            Self::CloudEventsStructured { source } => (
                "application/cloudevents+json".to_owned(),
                Vec::new(),
                structured(&event, source)?,
            ),
        };
        Ok(Message {
            event,
            content_type,
            attributes,
            body,
        })
    }
}

/// Bytes as JSON: as they are if they are JSON, else as text, else as digits or base64.
enum Payload {
    None,
    Json(Box<RawValue>),
    Bytes,
}

impl Payload {
    fn of(bytes: &[u8], content_type: &ContentType) -> Result<Self, serde_json::Error> {
        let Ok(text) = str::from_utf8(bytes) else {
            return Ok(Self::Bytes);
        };
        if text.is_empty() {
            return Ok(Self::None);
        }
        if *content_type == ContentType::Json
            && let Ok(json) = RawValue::from_string(text.to_owned())
        {
            return Ok(Self::Json(json));
        }
        serde_json::value::to_raw_value(text).map(Self::Json)
    }

    /// The JSON, and the bytes as a text where there is none.
    fn parts(self, bytes: &[u8], as_text: fn(&[u8]) -> String) -> (Option<Box<RawValue>>, Option<String>) {
        match self {
            Self::None => (None, None),
            Self::Json(json) => (Some(json), None),
            Self::Bytes => (None, Some(as_text(bytes))),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = halves.map(|half| char::from_digit(u32::from(half), 16).unwrap_or_default());
    digits.collect()
}

/// The type, unless it is JSON.
fn other_type(content_type: &ContentType) -> Option<String> {
    (*content_type != ContentType::Json).then(|| content_type.as_str().to_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    event_id: String,
    position: u64,
    aggregate_id: &'a str,
    aggregate_type: &'a str,
    version: u64,
    event_type: &'a str,
    event_version: u32,
    timestamp: Timestamp,
    recorded_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
}

fn json(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    let (data_type, metadata_type) = (event.data_type(), event.metadata_type());
    let (event_data, event_data_hex) = Payload::of(event.data(), &data_type)?.parts(event.data(), hex);
    let (metadata, metadata_hex) = Payload::of(event.metadata(), &metadata_type)?.parts(event.metadata(), hex);
    serde_json::to_vec(&Json {
        event_id: event.id().to_string(),
        position: event.position().0,
        aggregate_id: event.aggregate_id(),
        aggregate_type: event.aggregate_type(),
        version: event.version().0,
        event_type: event.event_type(),
        event_version: event.schema_version(),
        timestamp: event.timestamp(),
        recorded_at: event.recorded_at(),
        event_data,
        event_data_hex,
        event_data_type: other_type(&data_type),
        metadata,
        metadata_hex,
        metadata_type: other_type(&metadata_type),
        correlation_id: event.correlation_id(),
        causation_id: event.causation_id(),
        user_id: event.user_id(),
        organization_id: event.organization_id(),
        tags: event.tags().collect(),
    })
}

/// The attributes of `CloudEvents`, all as text. Names of extensions consist of lower-case letters and digits.
fn attributes(event: &Event, source: &str) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", event.id().to_string()),
        ("source", source.to_owned()),
        ("type", event.event_type().to_owned()),
        ("subject", event.aggregate_id().to_owned()),
        ("time", event.timestamp().to_string()),
        ("sequence", event.position().to_string()),
        ("aggregatetype", event.aggregate_type().to_owned()),
        ("version", event.version().0.to_string()),
        ("schemaversion", event.schema_version().to_string()),
    ];
    let optional = [
        ("correlationid", event.correlation_id()),
        ("causationid", event.causation_id()),
        ("userid", event.user_id()),
        ("organizationid", event.organization_id()),
    ];
    let present = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.to_owned())));
    attributes.extend(present);
    attributes
}

fn structured(event: &Event, source: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut object = serde_json::Map::new();
    for (name, value) in attributes(event, source) {
        object.insert(name.to_owned(), value.into());
    }
    object.insert("datacontenttype".to_owned(), event.data_type().as_str().into());
    let (json, bytes) = Payload::of(event.data(), &event.data_type())?.parts(event.data(), base64);
    if let Some(bytes) = bytes {
        object.insert("data_base64".to_owned(), bytes.into());
    }
    let mut body = serde_json::to_vec(&object)?;
    if let Some(json) = json {
        // The data are written as they are: a map would change numbers and drop repeated names.
        body.pop();
        body.extend_from_slice(b",\"data\":");
        body.extend_from_slice(json.get().as_bytes());
        body.push(b'}');
    }
    Ok(body)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use annals::{Expected, NewEvent, Store, StreamId};
    use serde_json::Value;

    use super::*;

    fn sealed(envelope: &Envelope, event: NewEvent<'_>) -> (Message, Value) {
        let store = Store::in_memory();
        let appended = store.append(&StreamId::new("Order", "order-1"), Expected::Any, event);
        let event = store.event_at(appended.unwrap().last_position).unwrap();
        let message = envelope.seal(Arc::new(event)).unwrap();
        let body = serde_json::from_slice(&message.body).unwrap_or_default();
        (message, body)
    }

    fn source() -> String {
        "/orders".to_owned()
    }

    #[test]
    fn data_that_are_json_were_written_as_another_number() {
        let event = || NewEvent::new("Paid").data("{\"total\":1.0,\"total\":12345678901234567890123}");
        let (message, _) = sealed(&Envelope::Json, event());
        let text = String::from_utf8(message.body).unwrap();
        assert!(
            text.contains("\"eventData\":{\"total\":1.0,\"total\":12345678901234567890123}"),
            "{text}"
        );
        let (message, _) = sealed(&Envelope::CloudEventsStructured { source: source() }, event());
        let text = String::from_utf8(message.body).unwrap();
        assert!(
            text.ends_with(",\"data\":{\"total\":1.0,\"total\":12345678901234567890123}}"),
            "{text}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_had_replacement_characters() {
        let event = || NewEvent::new("Seen").data([0xff, 0]).content_type(ContentType::Bytes);
        let (_, json) = sealed(&Envelope::Json, event());
        assert_eq!((&json["eventDataHex"], json.get("eventData")), (&"ff00".into(), None));
        assert_eq!(json["eventDataType"], "application/octet-stream");
        let (_, json) = sealed(&Envelope::CloudEventsStructured { source: source() }, event());
        assert_eq!((&json["data_base64"], json.get("data")), (&"/wA=".into(), None));
        let (message, _) = sealed(&Envelope::CloudEventsBinary { source: source() }, event());
        assert_eq!(
            (message.body, message.content_type.as_str()),
            (vec![0xff, 0], "application/octet-stream")
        );
    }

    #[test]
    fn every_required_attribute_is_there_and_a_text() {
        let event = NewEvent::new("Paid").data("{}").user("anna");
        let (message, _) = sealed(&Envelope::CloudEventsBinary { source: source() }, event.clone());
        for name in ["specversion", "id", "source", "type"] {
            assert!(
                message
                    .attributes
                    .iter()
                    .any(|(own, value)| *own == name && !value.is_empty()),
                "{name}"
            );
        }
        let (_, json) = sealed(&Envelope::CloudEventsStructured { source: source() }, event);
        let object = json.as_object().unwrap();
        assert!(
            object.iter().all(|(name, value)| name == "data" || value.is_string()),
            "{json}"
        );
        assert_eq!(
            (&json["userid"], &json["datacontenttype"]),
            (&"anna".into(), &"application/json".into())
        );
    }

    #[test]
    fn a_source_without_a_character_was_taken() {
        for source in ["", "a b", "ä", "a\nb"] {
            let source = source.to_owned();
            assert!(Envelope::CloudEventsBinary { source }.check().is_err());
        }
        assert_eq!(Envelope::CloudEventsStructured { source: source() }.check(), Ok(()));
    }
}
