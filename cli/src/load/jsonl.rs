//! Parses one line of JSON as one event: the wire format, read strictly. Payloads keep their bytes.

use annals::{ContentType, Name, NewEvent, Position, StreamId, Timestamp, Version};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::hex;
use crate::load::elements::Elements;
use crate::load::json_text::{check_depth, on_one_line, without_place};
use crate::load::metadata::{Ids, Metadata, read_metadata};
use crate::load::reader::Line;
use crate::load::{BadLine, Entry, LINE_BYTES_MAX};

/// Parses one line, without its line end, as an event and its stream.
///
/// The store assigns `position` and `version`: they are parsed and ignored. The metadata of a line that has both keep their bytes.
///
/// # Errors
///
/// A [`BadLine`] with the reason and the place in the line.
pub fn parse_line(line: &[u8]) -> Result<(StreamId, NewEvent<'static>), BadLine> {
    parse_entry(line).map(|entry| (entry.stream, entry.event))
}

/// As [`parse_line`], with the fields of a log that are not part of the event.
///
/// # Errors
///
/// The errors of [`parse_line`].
pub fn parse_entry(line: &[u8]) -> Result<Entry, BadLine> {
    let text = text_of(line)?;
    check_object(text)?;
    let mut wire: Wire<'_> = serde_json::from_str(text).map_err(|error| bad_json(&error))?;
    let place = wire.position.map(Position).zip(wire.version.map(Version));
    let metadata = wire.metadata(place.is_some())?;
    let data = wire.data()?;
    let mut event = NewEvent::new(wire.event_type);
    event.id = wire.event_id;
    event.schema_version = wire.event_version.unwrap_or(1);
    event.timestamp = Some(wire.timestamp);
    event.correlation_id = metadata.ids.correlation.map(Into::into);
    event.causation_id = metadata.ids.causation.map(Into::into);
    event.user_id = metadata.ids.user.map(Into::into);
    event.organization_id = metadata.ids.organization.map(Into::into);
    event.tags = wire.tags.unwrap_or_default().into_iter().map(Into::into).collect();
    event.metadata_type = content_type(wire.metadata_type);
    event.metadata = metadata.rest.into();
    event.data_type = content_type(wire.event_data_type);
    event.data = data.into();
    let stream = StreamId::new(wire.aggregate_type, wire.aggregate_id);
    Ok(Entry {
        stream,
        event,
        recorded_at: wire.recorded_at,
        place,
    })
}

/// JSON if the line has no content type.
fn content_type(name: Option<Name>) -> ContentType {
    name.map_or(ContentType::Json, |name| ContentType::from(&*name))
}

/// Rejects an array: serde would read its elements as the fields of an event, in their order.
fn check_object(line: &str) -> Result<(), BadLine> {
    let space = line.bytes().take_while(u8::is_ascii_whitespace).count();
    if line.as_bytes().get(space) == Some(&b'[') {
        return Err(BadLine(format!(
            "column {}: invalid type: an array, expected an event: a JSON object",
            space + 1
        )));
    }
    Ok(())
}

/// The line as text. Checking the whole line costs less than checking each of its strings.
fn text_of(line: &[u8]) -> Result<&str, BadLine> {
    str::from_utf8(line).map_err(|error| {
        let valid = error.valid_up_to();
        BadLine(format!("column {}: {}", valid + 1, not_utf8(line[valid])))
    })
}

pub(crate) fn not_utf8(byte: u8) -> String {
    format!("the byte {byte:#04x} is not UTF-8: convert the file first, with iconv for example")
}

/// Parses a text of JSON values in any layout: arrays of events, consecutive events, or records with separators.
///
/// # Errors
///
/// A [`BadLine`] for the first value that is not an event, with the line in which it begins.
pub fn parse_text(text: &[u8]) -> Result<Vec<(StreamId, NewEvent<'static>)>, BadLine> {
    let mut elements = Elements::new(text);
    let (mut element, mut events) = (Vec::new(), Vec::new());
    let in_line = |(line, reason): (u64, String)| BadLine(format!("line {line}: {reason}"));
    while let Some((line, read)) = elements.next(&mut element).map_err(in_line)? {
        let event = match read {
            Line::Whole => parse_line(&element),
            Line::TooLong => Err(too_long()),
        };
        events.push(event.map_err(|reason| in_line((line, reason.0)))?);
    }
    Ok(events)
}

pub(crate) fn too_long() -> BadLine {
    BadLine(format!("longer than {} MiB", LINE_BYTES_MAX >> 20))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an event: a JSON object")]
struct Wire<'a> {
    event_id: Option<Uuid>,
    aggregate_id: Name,
    aggregate_type: Name,
    event_type: Name,
    event_version: Option<u32>,
    version: Option<u64>,
    position: Option<u64>,
    timestamp: Timestamp,
    recorded_at: Option<Timestamp>,
    #[serde(borrow, default, deserialize_with = "raw")]
    event_data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "data_hex")]
    event_data_hex: Option<Vec<u8>>,
    event_data_type: Option<Name>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "metadata_hex")]
    metadata_hex: Option<Vec<u8>>,
    metadata_type: Option<Name>,
    correlation_id: Option<Name>,
    causation_id: Option<Name>,
    user_id: Option<Name>,
    organization_id: Option<Name>,
    tags: Option<Vec<Name>>,
}

impl Wire<'_> {
    /// Takes the data from the field that has them.
    fn data(&mut self) -> Result<Vec<u8>, BadLine> {
        match (self.event_data, self.event_data_hex.take()) {
            (Some(_), Some(_)) => Err(both("eventData", "eventDataHex")),
            (None, bytes) => Ok(bytes.unwrap_or_default()),
            (Some(json), None) => {
                check_depth(Some(json))?;
                Ok(on_one_line(json.get()).into_owned().into_bytes())
            }
        }
    }

    /// Takes the metadata from the field that has them, and the ids beside them. Only an export has ids there, when the metadata are not an
    /// object that can contain them.
    fn metadata(&mut self, is_exported: bool) -> Result<Metadata, BadLine> {
        let ids = Ids {
            correlation: self.correlation_id.take(),
            causation: self.causation_id.take(),
            user: self.user_id.take(),
            organization: self.organization_id.take(),
        };
        if let (Some((name, _)), false) = (ids.iter().next(), is_exported || self.metadata_hex.is_some()) {
            return Err(BadLine(format!("unknown field `{name}`{METADATA_ADVICE}")));
        }
        match (self.metadata, self.metadata_hex.take()) {
            (Some(_), Some(_)) => Err(both("metadata", "metadataHex")),
            (None, Some(rest)) => Ok(Metadata { ids, rest }),
            (json, None) => read_metadata(json, is_exported)?.with_ids(&ids),
        }
    }
}

fn both(json: &str, hex: &str) -> BadLine {
    BadLine(format!("{json} and {hex} are both there: leave one out"))
}

fn data_hex<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Vec<u8>>, D::Error> {
    hex::field("eventDataHex", field)
}

fn metadata_hex<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Vec<u8>>, D::Error> {
    hex::field("metadataHex", field)
}

/// A value in its original spelling; `null` is a value too.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

const METADATA_ADVICE: &str = concat!(
    ": the ids of correlation, causation, user and organization go inside `metadata`, ",
    "as `correlationId`, `causationId`, `userId` and `organizationId`"
);

fn bad_json(error: &serde_json::Error) -> BadLine {
    let mut text = without_place(error);
    if unknown_field(&text).is_some_and(is_id_of_metadata) {
        text.truncate(text.find(", expected").unwrap_or(text.len()));
        text.push_str(METADATA_ADVICE);
    }
    if error.column() == 0 {
        return BadLine(text);
    }
    if error.line() > 1 {
        // An element of an array may have several lines.
        return BadLine(format!(
            "line {} of it, column {}: {text}",
            error.line(),
            error.column()
        ));
    }
    BadLine(format!("column {}: {text}", error.column()))
}

/// The name of the unknown field in an error message of `serde`.
fn unknown_field(message: &str) -> Option<&str> {
    let (field, _) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some(field)
}

/// Whether `field` is one of the ids in metadata, in any spelling.
fn is_id_of_metadata(field: &str) -> bool {
    let bare = field.replace(['_', '-'], "").to_lowercase();
    matches!(
        bare.as_str(),
        "correlationid" | "causationid" | "userid" | "organizationid"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rest: &str) -> String {
        let mut text =
            r#"{"aggregateId":"a-1","aggregateType":"A","eventType":"T","timestamp":"2026-01-31T12:00:00Z""#.to_owned();
        text.push_str(rest);
        text.push('}');
        text
    }

    fn event(rest: &str) -> NewEvent<'static> {
        parse_line(line(rest).as_bytes()).unwrap().1
    }

    fn refusal(text: &str) -> String {
        parse_line(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_least_is_enough() {
        let (stream, event) = parse_line(line("").as_bytes()).unwrap();
        assert_eq!(stream, StreamId::new("A", "a-1"));
        assert_eq!(
            event,
            NewEvent::new("T").timestamp("2026-01-31T12:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn data_is_kept_to_the_byte() {
        assert_eq!(
            &*event(r#","eventData": { "b":1.50,"a" : [ 1e3 ] } "#).data,
            br#"{ "b":1.50,"a" : [ 1e3 ] }"#
        );
        assert_eq!(&*event(r#","eventData":null"#).data, b"null");
    }

    #[test]
    fn ids_leave_the_metadata_and_the_rest_stays() {
        let event = event(
            r#","metadata":{"ip": "10.0.0.1","userId":"u","correlationId":"c","x\n":{"y": 1},"causationId":null,"organizationId":"o"}"#,
        );
        assert_eq!(event.user_id, Some("u".into()));
        assert_eq!(event.correlation_id, Some("c".into()));
        assert_eq!(event.causation_id, None);
        assert_eq!(event.organization_id, Some("o".into()));
        assert_eq!(
            String::from_utf8_lossy(&event.metadata),
            r#"{"ip":"10.0.0.1","x\n":{"y": 1}}"#
        );
    }

    #[test]
    fn metadata_of_ids_alone_leave_nothing() {
        assert!(event(r#","metadata":{"userId":"u"}"#).metadata.is_empty());
        assert!(event(r#","metadata":null"#).metadata.is_empty());
        assert!(event(r#","metadata":{}"#).metadata.is_empty());
    }

    #[test]
    fn what_a_store_has_given_is_read_again() {
        let text = line(
            r#","eventId":"0197f5d2-7e5b-7000-8000-000000000001","eventVersion":3,"version":7,"position":9,"recordedAt":"2026-01-31T12:00:01Z","tags":["x","y"]"#,
        );
        let entry = parse_entry(text.as_bytes()).unwrap();
        assert_eq!(
            entry.event.id.unwrap().to_string(),
            "0197f5d2-7e5b-7000-8000-000000000001"
        );
        assert_eq!(entry.event.schema_version, 3);
        assert_eq!(entry.event.tags, ["x", "y"]);
        assert_eq!(entry.recorded_at, "2026-01-31T12:00:01Z".parse().ok());
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let cases = [
            (line(r#","colour":"red""#), "unknown field `colour`"),
            (line(r#","eventType":"T""#), "duplicate field `eventType`"),
            (
                line(r#","metadata":{"userId":7}"#),
                "metadata: invalid type: integer `7`",
            ),
            (
                line(r#","metadata":{"userId":"a","userId":"b"}"#),
                "'userId' is there twice",
            ),
            (line(r#","metadata":[]"#), "metadata: invalid type: sequence"),
            (line(r#","eventId":"17""#), "UUID"),
            (line(r#","version":-1"#), "invalid value: integer `-1`"),
            (line("").replace("2026-01-31T", ""), "is not a time"),
            (line("").replace("eventType", "kind"), "unknown field `kind`"),
            (r#"{"aggregateId":"a"}"#.to_owned(), "missing field `aggregateType`"),
            ("[1,2]".to_owned(), "invalid"),
            ("17".to_owned(), "an event: a JSON object"),
            (line("") + "{}", "trailing characters"),
            ("{".to_owned(), "EOF"),
            (String::new(), "EOF"),
        ];
        for (text, expected) in cases {
            let message = refusal(&text);
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }

    #[test]
    fn data_over_several_lines_is_kept_on_one() {
        let text = line(",\"eventData\":{\r\n \"a\": \"\\n\"\n},\"metadata\":{\n\"userId\":\n\"u\",\n\"x\":[1,\n2]}");
        let events = parse_text(text.as_bytes()).unwrap();
        let event = &events[0].1;
        assert_eq!(&*event.data, b"{   \"a\": \"\\n\" }");
        assert_eq!(&*event.metadata, b"{\"x\":[1, 2]}");
        assert_eq!(event.user_id, Some("u".into()));
        assert!(parse_text(line(",\"eventData\":\"a\nb\"").as_bytes()).is_err());
    }

    #[test]
    fn a_text_is_read_in_every_layout() {
        let (a, b) = (line(""), line(r#","eventData":{"a":"],"}"#));
        let both = [parse_line(a.as_bytes()).unwrap(), parse_line(b.as_bytes()).unwrap()];
        for text in [
            format!("[{a},{b}]"),
            format!("{a}\n{b}"),
            format!("\u{1e}{a}\n\u{1e}{b}\n"),
            format!("[{a}]\n[{b}]"),
        ] {
            assert_eq!(parse_text(text.as_bytes()).unwrap(), both);
        }
        for (text, expected) in [
            (format!("[{a},\n17]"), "line 2: column 2: invalid type"),
            (
                format!("[{a}\n"),
                "line 2: the array that begins in line 1 is not closed",
            ),
            (format!("[[{a}]]"), "line 1: column 1: invalid type: an array"),
        ] {
            let message = parse_text(text.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut bytes = line(r#","eventData":"?""#).into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
        bytes[at] = 0xff;
        assert!(parse_line(&bytes).is_err());
    }

    #[test]
    fn an_export_keeps_metadata_to_the_byte() {
        let place = r#","position":1,"version":1"#;
        for (metadata, user, rest) in [
            (r#"{"a": 1 , "a":2}"#, None, r#"{"a": 1 , "a":2}"#),
            ("{}", None, "{}"),
            ("null", None, ""),
            (r#"{"userId":"u"}"#, Some("u"), ""),
            (r#"{"userId":"u", "a": 1 }"#, Some("u"), r#"{ "a": 1 }"#),
            // It is no export that has the ids elsewhere.
            (r#"{"a": 1,"userId":"u"}"#, Some("u"), r#"{"a":1}"#),
            (r#"{ "userId":"u","a": 1}"#, Some("u"), r#"{"a":1}"#),
            (r#"[1],"userId":"u""#, Some("u"), "[1]"),
            (r#"{"a": 1},"userId":"u""#, Some("u"), r#"{"a": 1}"#),
        ] {
            let event = event(&format!(r#"{place},"metadata":{metadata}"#));
            assert_eq!(event.user_id.as_deref(), user, "{metadata}");
            assert_eq!(String::from_utf8_lossy(&event.metadata), rest, "{metadata}");
        }
        let plain = event(r#","metadata":{"a": 1}"#);
        assert_eq!(&*plain.metadata, br#"{"a":1}"#);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!(r#","eventData":{}{}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(parse_line(line(&nested(128)).as_bytes()).is_ok());
        assert!(refusal(&line(&nested(129))).contains("deeper than 128"));
        assert!(parse_line(line(&nested(200_000)).as_bytes()).is_err());
        let wide = format!(r#","eventData":[{}"[[\"[["]"#, "[],".repeat(500));
        assert!(parse_line(line(&wide).as_bytes()).is_ok());
    }
}
