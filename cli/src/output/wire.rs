//! The written form of events: the wire format of JSON lines, and the columns of CSV.

use std::io::Write;

use annals::{ContentType, Event, EventRef, NewEvent, StreamId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::exit::Outcome;
use crate::load::metadata::Ids;
use crate::output::payload::{Fidelity, Metadata, Payload};

/// The columns of CSV, in order.
pub(crate) const COLUMNS: [&str; 16] = [
    "position",
    "eventId",
    "aggregateId",
    "aggregateType",
    "version",
    "eventType",
    "eventVersion",
    "timestamp",
    "recordedAt",
    "correlationId",
    "causationId",
    "userId",
    "organizationId",
    "tags",
    "metadata",
    "eventData",
];

/// An event to write. An event that is not from a store has no `place`.
#[derive(Clone, Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) place: Option<Place>,
    pub(crate) id: Option<Uuid>,
    pub(crate) aggregate_id: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: u32,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<&'a str>,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) organization_id: Option<&'a str>,
    pub(crate) tags: Vec<&'a str>,
    pub(crate) metadata_type: ContentType,
    pub(crate) metadata: &'a [u8],
    pub(crate) data_type: ContentType,
    pub(crate) data: &'a [u8],
}

/// The position, version and time that a store assigned to an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) version: u64,
    pub(crate) recorded_at: Timestamp,
}

macro_rules! wire_of_stored {
    ($event:ident) => {
        Wire {
            place: Some(Place {
                position: $event.position().0,
                version: $event.version().0,
                recorded_at: $event.recorded_at(),
            }),
            id: Some($event.id()),
            aggregate_id: $event.aggregate_id(),
            aggregate_type: $event.aggregate_type(),
            event_type: $event.event_type(),
            event_version: $event.schema_version(),
            timestamp: Some($event.timestamp()),
            correlation_id: $event.correlation_id(),
            causation_id: $event.causation_id(),
            user_id: $event.user_id(),
            organization_id: $event.organization_id(),
            tags: $event.tags().collect(),
            metadata_type: $event.metadata_type(),
            metadata: $event.metadata(),
            data_type: $event.data_type(),
            data: $event.data(),
        }
    };
}

impl<'a> From<EventRef<'a>> for Wire<'a> {
    fn from(event: EventRef<'a>) -> Self {
        wire_of_stored!(event)
    }
}

impl<'a> From<&'a Event> for Wire<'a> {
    fn from(event: &'a Event) -> Self {
        wire_of_stored!(event)
    }
}

impl<'a> From<(&'a StreamId, &'a NewEvent<'_>)> for Wire<'a> {
    fn from((stream, event): (&'a StreamId, &'a NewEvent<'_>)) -> Self {
        Self {
            place: None,
            id: event.id,
            aggregate_id: &stream.aggregate_id,
            aggregate_type: &stream.aggregate_type,
            event_type: &event.event_type,
            event_version: event.schema_version,
            timestamp: event.timestamp,
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            user_id: event.user_id.as_deref(),
            organization_id: event.organization_id.as_deref(),
            tags: event.tags.iter().map(|tag| &**tag).collect(),
            metadata_type: event.metadata_type.clone(),
            metadata: &event.metadata,
            data_type: event.data_type.clone(),
            data: &event.data,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    aggregate_id: &'a str,
    aggregate_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    event_type: &'a str,
    event_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    tags: &'a [&'a str],
}

impl Wire<'_> {
    /// Writes the event as one JSON object, without a line end.
    pub(crate) fn write_json(&self, out: &mut impl Write, fidelity: Fidelity) -> Outcome {
        let data = Payload::of_data(self.data, fidelity)?;
        let metadata = Metadata::of(self.metadata, self.ids(), self.place.is_some(), fidelity)?;
        let json = Json {
            event_id: self.id,
            position: self.place.map(|place| place.position),
            aggregate_id: self.aggregate_id,
            aggregate_type: self.aggregate_type,
            version: self.place.map(|place| place.version),
            event_type: self.event_type,
            event_version: self.event_version,
            timestamp: self.timestamp,
            recorded_at: self.place.map(|place| place.recorded_at),
            event_data: data.json,
            event_data_hex: data.hex,
            event_data_type: other_type(&self.data_type),
            metadata: metadata.payload.json,
            metadata_hex: metadata.payload.hex,
            metadata_type: other_type(&self.metadata_type),
            correlation_id: metadata.beside.correlation,
            causation_id: metadata.beside.causation,
            user_id: metadata.beside.user,
            organization_id: metadata.beside.organization,
            tags: &self.tags,
        };
        Ok(serde_json::to_writer(out, &json)?)
    }

    fn ids(&self) -> Ids<&str> {
        Ids {
            correlation: self.correlation_id,
            causation: self.causation_id,
            user: self.user_id,
            organization: self.organization_id,
        }
    }

    /// Writes the event as one CSV record of [`COLUMNS`].
    pub(crate) fn write_csv<W: Write>(&self, out: &mut csv::Writer<W>) -> Outcome {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let tags = if self.tags.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&self.tags)?
        };
        for cell in [
            number(self.place.map(|place| place.position)).as_str(),
            self.id.map(|id| id.to_string()).unwrap_or_default().as_str(),
            self.aggregate_id,
            self.aggregate_type,
            &number(self.place.map(|place| place.version)),
            self.event_type,
            &self.event_version.to_string(),
            &time(self.timestamp),
            &time(self.place.map(|place| place.recorded_at)),
            self.correlation_id.unwrap_or_default(),
            self.causation_id.unwrap_or_default(),
            self.user_id.unwrap_or_default(),
            self.organization_id.unwrap_or_default(),
            &tags,
            &String::from_utf8_lossy(self.metadata),
            &String::from_utf8_lossy(self.data),
        ] {
            out.write_field(cell)?;
        }
        Ok(out.write_record(None::<&[u8]>)?)
    }

    /// Whether a CSV record can represent data and metadata without loss: both are UTF-8, and the metadata are an object.
    pub(crate) fn fits_csv(&self) -> bool {
        let is_text = [self.metadata, self.data]
            .iter()
            .all(|bytes| str::from_utf8(bytes).is_ok());
        is_text && (self.metadata.is_empty() || self.metadata.starts_with(b"{"))
    }
}

/// A content type that a line must contain: any except JSON.
fn other_type(content_type: &ContentType) -> Option<&str> {
    Some(content_type.as_str()).filter(|name| *name != ContentType::Json.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::random::Random;
    use crate::load::csv::{Columns, parse_text};
    use crate::load::jsonl::parse_line;

    const LINE: &str = concat!(
        r#"{"eventId":"0197f5d2-7e5b-7000-8000-000000000001","aggregateId":"a,\"1\"","aggregateType":"A","#,
        r#""eventType":"T","eventVersion":2,"timestamp":"2026-01-31T12:00:00.5Z","eventData":{ "x":1.50, "y":"\u00e9\n" },"#,
        r#""metadata":{"correlationId":"c","userId":"ü","ip":"10.0.0.1"},"tags":["x","y z"]}"#
    );

    const DIGITS: &str = concat!(
        r#"{"aggregateId":"a","aggregateType":"A","eventType":"T","eventVersion":1,"timestamp":"2026-01-31T12:00:00.5Z","#,
        r#""eventDataHex":"00ff7b0a7d","eventDataType":"text/csv","metadataHex":"7b207d","metadataType":"application/cbor","#,
        r#""correlationId":"c","userId":"ü","tags":["x"]}"#
    );

    #[test]
    fn what_was_read_is_written_to_the_byte() {
        for line in [LINE, DIGITS] {
            let (stream, event) = parse_line(line.as_bytes()).unwrap();
            let (wire, mut out) = (Wire::from((&stream, &event)), Vec::new());
            wire.write_json(&mut out, Fidelity::Exact).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }

    #[test]
    fn csv_keeps_everything_too() {
        let read = parse_line(LINE.as_bytes()).unwrap();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).unwrap();
        Wire::from((&read.0, &read.1)).write_csv(&mut writer).unwrap();
        let text = writer.into_inner().unwrap();
        assert_eq!(parse_text(&text, &Columns::default()).unwrap(), [read]);
    }

    #[test]
    fn an_event_without_anything_is_short() {
        let (stream, event) = (StreamId::new("A", "a"), NewEvent::new("T"));
        let mut out = Vec::new();
        Wire::from((&stream, &event))
            .write_json(&mut out, Fidelity::Exact)
            .unwrap();
        assert_eq!(
            out,
            br#"{"aggregateId":"a","aggregateType":"A","eventType":"T","eventVersion":1}"#
        );
    }

    /// Lines with a few bytes changed, removed or repeated are rejected or parsed, without a panic, and a parsed event is written without loss.
    #[test]
    fn damaged_lines_are_refused_or_kept() {
        for (line, least) in [(LINE, 1_000), (DIGITS, 500)] {
            let mut random = Random::new(11);
            let taken = (0..20_000)
                .filter(|_| is_kept(&damaged(line.as_bytes(), &mut random)))
                .count();
            assert!(taken > least, "{taken}");
        }
    }

    /// Whether `line` is valid. If so, it is written and parsed without loss, before and after an append to a store.
    fn is_kept(line: &[u8]) -> bool {
        let Ok((stream, mut event)) = parse_line(line) else {
            return false;
        };
        let write = |wire: Wire<'_>| {
            let mut out = Vec::new();
            wire.write_json(&mut out, Fidelity::Exact).unwrap();
            parse_line(&out)
        };
        let shown = String::from_utf8_lossy(line);
        let read = write(Wire::from((&stream, &event)));
        assert_eq!(read, Ok((stream.clone(), event.clone())), "{shown}");
        let store = annals::Store::in_memory();
        if store
            .append(&stream, annals::Expected::Any, vec![event.clone()])
            .is_ok()
        {
            let kept = store.event_at(annals::Position(1)).unwrap();
            event.id = Some(kept.id());
            assert_eq!(write(Wire::from(&kept)), Ok((stream, event)), "{shown}");
        }
        true
    }

    #[test]
    fn damaged_csv_is_refused_or_read() {
        let text = b"case_id,activity,time,user_id,tags,note\nc1,Open,2026-01-31,anna,\"[\"\"x\"\"]\",\"a, b\"\nc1,Close,2026-02-01,,,\n";
        let mut random = Random::new(12);
        let read = (0..20_000)
            .filter(|_| parse_text(&damaged(text, &mut random), &Columns::default()).is_ok())
            .count();
        assert!(read > 1_000, "{read}");
    }

    fn damaged(text: &[u8], random: &mut Random) -> Vec<u8> {
        let mut text = text.to_vec();
        for _ in 0..random.between(1, 3) {
            let at = usize::try_from(random.below(text.len() as u64)).unwrap();
            match random.below(4) {
                0 => text[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(text.remove(at)),
                2 => text.insert(at, br#"{}[]",:\0 "#[usize::try_from(random.below(10)).unwrap()]),
                _ => text[at] = b'a' + u8::try_from(random.below(26)).unwrap(),
            }
        }
        text
    }
}
