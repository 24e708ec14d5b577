//! Envelopes of changes: an event as one line of JSON in the formats of other programs.

use std::io::Write;

use annals::journal::postgres::cdc::Lsn;
use annals::{EventRef, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::exit::Outcome;
use crate::output::payload::{Fidelity, on_one_line};
use crate::output::wire::Wire;

/// The format of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// As `events` writes them.
    Json,
    /// `CloudEvents` 1.0 in JSON, of <https://github.com/cloudevents/spec>.
    CloudEvents,
    /// The format of Debezium's connector for PostgreSQL without schemas: `before`, `after`, `source` and `op`.
    Debezium,
}

/// The source of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The store: `postgres://host:port/database` without a password.
    pub(crate) store: &'a str,
    /// The slot.
    pub(crate) slot: &'a str,
    pub(crate) lsn: Option<Lsn>,
    pub(crate) now: Timestamp,
}

impl Envelope {
    /// Writes an event and a line end.
    pub(crate) fn write(self, event: EventRef<'_>, origin: &Origin<'_>, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Json => {
                let mut line = Vec::new();
                Wire::from(event).write_json(&mut line, Fidelity::Readable)?;
                out.write_all(&line)?;
            }
            Self::CloudEvents => serde_json::to_writer(&mut *out, &CloudEvent::of(event, origin))?,
            Self::Debezium => serde_json::to_writer(&mut *out, &Debezium::of(event, origin))?,
        }
        Ok(out.write_all(b"\n")?)
    }
}

/// Names of extensions consist of lower-case letters and digits.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: String,
    /// The position as text: it orders the lines of a source.
    sequence: String,
    aggregatetype: &'a str,
    version: u64,
    schemaversion: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    userid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organizationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> CloudEvent<'a> {
    fn of(event: EventRef<'a>, origin: &Origin<'a>) -> Self {
        let data = json(event.data());
        let bytes = (data.is_none() && !event.data().is_empty()).then(|| base64(event.data()));
        Self {
            specversion: "1.0",
            id: event.id().to_string(),
            source: origin.store,
            event_type: event.event_type(),
            subject: event.aggregate_id(),
            time: event.timestamp(),
            datacontenttype: event.data_type().as_str().to_owned(),
            sequence: event.position().to_string(),
            aggregatetype: event.aggregate_type(),
            version: event.version().0,
            schemaversion: event.schema_version(),
            correlationid: event.correlation_id(),
            causationid: event.causation_id(),
            userid: event.user_id(),
            organizationid: event.organization_id(),
            data,
            data_base64: bytes,
        }
    }
}

#[derive(Serialize)]
struct Debezium<'a> {
    before: Option<()>,
    after: Row<'a>,
    source: Source<'a>,
    /// `c` for an inserted row, `r` for a row that existed before.
    op: char,
    ts_ms: i64,
}

/// The columns of the table, in the forms that Debezium gives them.
#[derive(Serialize)]
struct Row<'a> {
    position: u64,
    event_id: String,
    aggregate_id: &'a str,
    aggregate_type: &'a str,
    event_type: &'a str,
    schema_version: u32,
    version: u64,
    occurred_at: Timestamp,
    recorded_at: Timestamp,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    user_id: Option<&'a str>,
    organization_id: Option<&'a str>,
    tags: Vec<&'a str>,
    /// JSON as text, other data in base64.
    metadata: Option<String>,
    data: Option<String>,
    metadata_type: String,
    data_type: String,
}

#[derive(Serialize)]
struct Source<'a> {
    version: &'static str,
    connector: &'static str,
    name: &'a str,
    ts_ms: i64,
    snapshot: bool,
    db: &'a str,
    table: &'static str,
    lsn: Option<u64>,
}

impl<'a> Debezium<'a> {
    fn of(event: EventRef<'a>, origin: &Origin<'a>) -> Self {
        let is_snapshot = origin.lsn.is_none();
        Self {
            before: None,
            after: Row::of(event),
            source: Source {
                version: env!("CARGO_PKG_VERSION"),
                connector: "postgresql",
                name: origin.slot,
                ts_ms: event.recorded_at().as_micros().div_euclid(1000),
                snapshot: is_snapshot,
                db: origin.store.rsplit('/').next().unwrap_or_default(),
                table: "events",
                lsn: origin.lsn.map(|lsn| lsn.0),
            },
            op: if is_snapshot { 'r' } else { 'c' },
            ts_ms: origin.now.as_micros().div_euclid(1000),
        }
    }
}

impl<'a> Row<'a> {
    fn of(event: EventRef<'a>) -> Self {
        let text = |bytes: &[u8]| {
            let text = || json(bytes).map_or_else(|| base64(bytes), |json| json.get().to_owned());
            (!bytes.is_empty()).then(text)
        };
        Self {
            position: event.position().0,
            event_id: event.id().to_string(),
            aggregate_id: event.aggregate_id(),
            aggregate_type: event.aggregate_type(),
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            version: event.version().0,
            occurred_at: event.timestamp(),
            recorded_at: event.recorded_at(),
            correlation_id: event.correlation_id(),
            causation_id: event.causation_id(),
            user_id: event.user_id(),
            organization_id: event.organization_id(),
            tags: event.tags().collect(),
            metadata: text(event.metadata()),
            data: text(event.data()),
            metadata_type: event.metadata_type().as_str().to_owned(),
            data_type: event.data_type().as_str().to_owned(),
        }
    }
}

fn json(bytes: &[u8]) -> Option<Box<RawValue>> {
    on_one_line(str::from_utf8(bytes).ok()?)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use annals::{ContentType, Expected, NewEvent, Query, Store, StreamId};

    use super::*;

    /// The change that `event` is, in `envelope`.
    fn change(envelope: Envelope, event: NewEvent<'_>) -> serde_json::Value {
        let (store, mut line) = (Store::in_memory(), Vec::new());
        store
            .append(&StreamId::new("A", "a"), Expected::Any, vec![event])
            .unwrap();
        let origin = Origin {
            store: "postgres://host/db",
            slot: "annals",
            lsn: None,
            now: Timestamp::from_micros(0),
        };
        let write = |event: EventRef<'_>| envelope.write(event, &origin, &mut line).unwrap();
        store.query(Query::all()).for_each(write).unwrap();
        assert_eq!(line.pop(), Some(b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_change_of_bytes_that_are_no_text_had_replacement_characters() {
        let event = || {
            NewEvent::new("T")
                .data([0xff, 0])
                .content_type(ContentType::Bytes)
                .metadata([0xfe])
                .user("u")
        };
        let json = change(Envelope::Json, event());
        assert_eq!(json["eventDataHex"], "ff00");
        assert_eq!(json["eventDataType"], "application/octet-stream");
        assert_eq!((&json["metadataHex"], &json["userId"]), (&"fe".into(), &"u".into()));
        assert!(
            json.get("eventData").is_none() && json.get("metadata").is_none(),
            "{json}"
        );
        // Text stays text, and JSON stays JSON.
        let text = change(Envelope::Json, NewEvent::new("T").data("text").metadata("{\"a\":\n1}"));
        assert_eq!(
            (&text["eventData"], &text["metadata"]["a"]),
            (&"text".into(), &1.into())
        );
        assert!(
            text.get("eventDataHex").is_none() && text.get("eventDataType").is_none(),
            "{text}"
        );
        assert_eq!(change(Envelope::CloudEvents, event())["data_base64"], "/wA=");
        assert_eq!(change(Envelope::Debezium, event())["after"]["data"], "/wA=");
    }
}
