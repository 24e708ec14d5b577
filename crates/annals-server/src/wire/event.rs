//! Events as JSON, in responses. Data that are JSON are passed through unchanged, digit by digit.

use annals::{ContentType, Event, Snapshot, Timestamp};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::hex;

/// An event on the wire. The names are those of the files that the program `annals` writes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireEvent<'a> {
    event_id: Uuid,
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

/// The ids of an event that are members of its metadata on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the wire follow from the fields")]
struct Ids<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
}

impl Ids<'_> {
    fn is_empty(&self) -> bool {
        let ids = [
            self.correlation_id,
            self.causation_id,
            self.user_id,
            self.organization_id,
        ];
        ids.iter().all(Option::is_none)
    }
}

impl<'a> From<&'a Event> for WireEvent<'a> {
    fn from(event: &'a Event) -> Self {
        let ids = Ids {
            correlation_id: event.correlation_id(),
            causation_id: event.causation_id(),
            user_id: event.user_id(),
            organization_id: event.organization_id(),
        };
        let within = metadata_with(&ids, event.metadata());
        // Metadata that are no object cannot hold the ids, which stand beside them then.
        let is_within = within.is_some() || ids.is_empty();
        let beside = |id: Option<&'a str>| id.filter(|_| !is_within);
        let (metadata, metadata_hex) = within.map_or_else(|| payload(event.metadata()), |json| (Some(json), None));
        let (event_data, event_data_hex) = payload(event.data());
        Self {
            event_id: event.id(),
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
            event_data_type: other_type(&event.data_type()),
            metadata,
            metadata_hex,
            metadata_type: other_type(&event.metadata_type()),
            correlation_id: beside(event.correlation_id()),
            causation_id: beside(event.causation_id()),
            user_id: beside(event.user_id()),
            organization_id: beside(event.organization_id()),
            tags: event.tags().collect(),
        }
    }
}

/// A snapshot on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireSnapshot<'a> {
    aggregate_id: &'a str,
    version: u64,
    missing: u64,
    schema_version: u32,
    taken_at: Timestamp,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<String>,
}

impl<'a> From<&'a Snapshot> for WireSnapshot<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        let (data, data_hex) = payload(&snapshot.data);
        Self {
            aggregate_id: &snapshot.aggregate_id,
            version: snapshot.version.0,
            missing: snapshot.missing,
            schema_version: snapshot.schema_version,
            taken_at: snapshot.taken_at,
            position: snapshot.position.0,
            data,
            data_hex,
            data_type: other_type(&snapshot.data_type),
        }
    }
}

/// The event as one line of JSON.
pub(crate) fn to_line(event: &Event) -> Vec<u8> {
    // Texts, numbers and raw values are always serialized.
    serde_json::to_vec(&WireEvent::from(event)).unwrap_or_default()
}

/// The ids and the members of metadata that are an object, or none, as one object.
fn metadata_with(ids: &Ids<'_>, metadata: &[u8]) -> Option<Box<RawValue>> {
    if metadata.is_empty() {
        return Some(ids)
            .filter(|ids| !ids.is_empty())
            .and_then(|ids| to_raw_value(ids).ok());
    }
    let json = on_one_line(metadata).filter(|json| json.get().starts_with('{'))?;
    if ids.is_empty() {
        return Some(json);
    }
    let members = json.get().strip_prefix('{')?;
    let mut object = serde_json::to_string(ids).ok()?;
    object.pop();
    if members.trim_ascii() != "}" {
        object.push(',');
    }
    object.push_str(members);
    RawValue::from_string(object).ok()
}

/// Bytes as JSON if they are JSON, otherwise as hexadecimal digits; nothing for no bytes.
fn payload(bytes: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    match on_one_line(bytes) {
        Some(json) => (Some(json), None),
        None if bytes.is_empty() => (None, None),
        None => (None, Some(hex::encode(bytes))),
    }
}

/// Bytes as JSON on one line, if they are JSON. Line ends between its tokens become spaces.
pub(crate) fn on_one_line(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = str::from_utf8(bytes).ok()?;
    if text.contains(['\n', '\r']) {
        // With a line end within a string, the bytes are not JSON.
        let _: &RawValue = serde_json::from_str(text).ok()?;
        return RawValue::from_string(text.replace(['\n', '\r'], " ")).ok();
    }
    RawValue::from_string(text.to_owned()).ok()
}

/// A content type that the wire must name: any but JSON.
fn other_type(content_type: &ContentType) -> Option<String> {
    (*content_type != ContentType::Json).then(|| content_type.as_str().to_owned())
}
