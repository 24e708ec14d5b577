//! New events from JSON: one, a list, or NDJSON. Everything is read before anything is appended.

use std::borrow::Cow;

use annals::{ContentType, NewEvent, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::hex;
use crate::problem::Problem;

/// Maximum nesting depth of data and metadata, which all readers of the project accept.
const DEPTH_MAX: usize = 128;

/// An event of a body, with the aggregate that it names.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) aggregate_id: Option<String>,
    pub(crate) aggregate_type: Option<String>,
    pub(crate) event: NewEvent<'static>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an event: a JSON object")]
struct Wire<'a> {
    event_id: Option<Uuid>,
    aggregate_id: Option<String>,
    aggregate_type: Option<String>,
    event_type: String,
    event_version: Option<u32>,
    timestamp: Option<Timestamp>,
    #[serde(borrow, default, deserialize_with = "raw")]
    event_data: Option<&'a RawValue>,
    event_data_hex: Option<String>,
    event_data_type: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    metadata_hex: Option<String>,
    metadata_type: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    user_id: Option<String>,
    organization_id: Option<String>,
    tags: Option<Vec<String>>,
    // An exported event has the place that it had; the store assigns another.
    #[serde(rename = "position")]
    _position: Option<u64>,
    #[serde(rename = "version")]
    _version: Option<u64>,
    #[serde(rename = "recordedAt")]
    _recorded_at: Option<Timestamp>,
}

/// A value in its original spelling; `null` is a value too.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Wire<'_> {
    fn into_incoming(self) -> Result<Incoming, String> {
        let data = payload("eventData", self.event_data, self.event_data_hex)?;
        let (metadata, within) = match (self.metadata.filter(|raw| raw.get() != "null"), self.metadata_hex) {
            (Some(json), None) if json.get().starts_with('{') => {
                check_depth("metadata", json.get())?;
                let members: Members =
                    serde_json::from_str(json.get()).map_err(|error| format!("metadata: {error}"))?;
                members.split()
            }
            (json, hex) => (payload("metadata", json, hex)?, <[Option<String>; 4]>::default()),
        };
        let [correlation, causation, user, organization] = within;
        let mut event = NewEvent::new(self.event_type);
        event.id = self.event_id;
        event.schema_version = self.event_version.unwrap_or(1);
        event.timestamp = self.timestamp;
        event.correlation_id = either("correlationId", correlation, self.correlation_id)?.map(Into::into);
        event.causation_id = either("causationId", causation, self.causation_id)?.map(Into::into);
        event.user_id = either("userId", user, self.user_id)?.map(Into::into);
        event.organization_id = either("organizationId", organization, self.organization_id)?.map(Into::into);
        event.tags = self.tags.unwrap_or_default().into_iter().map(Into::into).collect();
        event.metadata_type = content_type(self.metadata_type.as_deref());
        event.metadata = metadata.into();
        event.data_type = content_type(self.event_data_type.as_deref());
        event.data = data.into();
        Ok(Incoming {
            aggregate_id: self.aggregate_id,
            aggregate_type: self.aggregate_type,
            event,
        })
    }
}

fn content_type(name: Option<&str>) -> ContentType {
    name.map_or(ContentType::Json, ContentType::from)
}

/// An id that may stand in the metadata or beside them, but not in both.
fn either(name: &str, within: Option<String>, beside: Option<String>) -> Result<Option<String>, String> {
    if within.is_some() && beside.is_some() {
        return Err(format!(
            "{name} is there twice, beside the metadata and in them: leave one out"
        ));
    }
    Ok(within.or(beside))
}

/// The bytes of a field, from JSON or from hexadecimal digits.
pub(crate) fn payload(name: &str, json: Option<&RawValue>, digits: Option<String>) -> Result<Vec<u8>, String> {
    match (json, digits) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}Hex are both there: leave one out")),
        (Some(json), None) => {
            check_depth(name, json.get())?;
            Ok(on_one_line(json.get()).into_owned().into_bytes())
        }
        (None, Some(digits)) => {
            hex::decode(&digits).ok_or_else(|| format!("{name}Hex must be hexadecimal digits, two for each byte"))
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// JSON without line ends, which can only be between tokens, where a space is equivalent.
fn on_one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

/// Raw values are not descended into when they are read, so that their depth is not checked there.
pub(crate) fn check_depth(name: &str, json: &str) -> Result<(), String> {
    // The number of brackets bounds the depth, so most values need no scan of their strings.
    if json
        .bytes()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .take(DEPTH_MAX + 1)
        .count()
        <= DEPTH_MAX
    {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!(
                "{name}: arrays and objects are nested deeper than {DEPTH_MAX} levels"
            ));
        }
    }
    Ok(())
}

/// The members of an object of metadata, in their order and as they are written.
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// The bytes without the four ids, and these. An id that is no text stays a member.
    fn split(self) -> (Vec<u8>, [Option<String>; 4]) {
        let mut ids = <[Option<String>; 4]>::default();
        let mut rest = Vec::new();
        for (name, value) in self.0 {
            let place = ["correlationId", "causationId", "userId", "organizationId"]
                .iter()
                .position(|id| *id == name);
            let id = place.zip(serde_json::from_str::<String>(value.get()).ok());
            if let Some((place, id)) = id.filter(|(place, _)| ids[*place].is_none()) {
                ids[place] = Some(id);
                continue;
            }
            rest.push(if rest.is_empty() { b'{' } else { b',' });
            rest.extend(serde_json::Value::from(name).to_string().as_bytes());
            rest.push(b':');
            rest.extend(on_one_line(value.get()).as_bytes());
        }
        if !rest.is_empty() {
            rest.push(b'}');
        }
        (rest, ids)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Reads one event.
///
/// # Errors
///
/// The fault.
pub(crate) fn parse_one(json: &str) -> Result<Incoming, String> {
    // An array of the fields in their order would be taken for the object.
    if !json.trim_ascii_start().starts_with('{') {
        return Err("an event is a JSON object".to_owned());
    }
    let wire: Wire<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    wire.into_incoming()
}

fn utf8(body: &[u8]) -> Result<&str, Problem> {
    str::from_utf8(body)
        .map_err(|error| Problem::invalid(format!("byte {} of the body is not UTF-8", error.valid_up_to() + 1)))
}

/// Reads one event, or a list of events.
///
/// # Errors
///
/// A [`Problem`] that says what is wrong, and with which event.
pub(crate) fn parse_json(body: &[u8]) -> Result<Vec<Incoming>, Problem> {
    let text = utf8(body)?;
    if !text.trim_ascii_start().starts_with('[') {
        return Ok(vec![parse_one(text).map_err(Problem::invalid)?]);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| Problem::invalid(error.to_string()))?;
    parse_list(&elements)
}

/// Reads the events of a list.
///
/// # Errors
///
/// A [`Problem`] that names the first that is invalid.
pub(crate) fn parse_list(elements: &[&RawValue]) -> Result<Vec<Incoming>, Problem> {
    let numbered = (1_u64..).zip(elements);
    let events = numbered.map(|(number, raw)| {
        parse_one(raw.get())
            .map_err(|reason| Problem::invalid(format!("event {number}: {reason}")).with("event", number))
    });
    events.collect()
}

/// Reads one event from each line. Empty lines are skipped; a line with anything behind its event is invalid.
///
/// # Errors
///
/// A [`Problem`] that names the first line that is invalid.
pub(crate) fn parse_lines(body: &[u8]) -> Result<Vec<Incoming>, Problem> {
    let lines = (1_u64..).zip(utf8(body)?.split('\n'));
    let events = lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| {
            parse_one(line).map_err(|reason| {
                let text = format!("line {number}: {reason}; 0 events of the request were stored");
                Problem::invalid(text).with("line", number)
            })
        });
    events.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_object_on_a_line_was_dropped() {
        for text in [
            "{\"eventType\":\"A\"}{\"eventType\":\"B\"}\n",
            "{\"eventType\":\"A\"}\n{\"eventType\":\"B\"} x",
            "{\"eventType\":\"A\"}\n{\"event",
        ] {
            assert!(parse_lines(text.as_bytes()).is_err(), "{text}");
        }
        let text = "\r\n{\"eventType\":\"A\"}\r\n\n {\"eventType\":\"B\"}";
        assert_eq!(parse_lines(text.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_big_number_was_rounded() {
        let json = br#"{"eventType":"A","eventData":{"n":73314510714175488,"z":-0,"f":1.0,"n":1e400}}"#;
        let read = parse_json(json).unwrap();
        assert_eq!(
            &*read[0].event.data,
            br#"{"n":73314510714175488,"z":-0,"f":1.0,"n":1e400}"#
        );
    }

    #[test]
    fn an_id_in_the_metadata_hid_the_one_beside() {
        let within = br#"{"eventType":"A","metadata":{"userId":"anna","ip":"::1"},"correlationId":"c"}"#;
        let event = &parse_json(within).unwrap()[0].event;
        assert_eq!(
            (event.user_id.as_deref(), event.correlation_id.as_deref()),
            (Some("anna"), Some("c"))
        );
        assert_eq!(&*event.metadata, br#"{"ip":"::1"}"#);
        let both = br#"{"eventType":"A","metadata":{"userId":"anna"},"userId":"bob"}"#;
        assert!(parse_json(both).is_err());
    }

    #[test]
    fn nesting_without_end_reached_a_reader() {
        let deep = format!(
            r#"{{"eventType":"A","eventData":{}1{}}}"#,
            "[".repeat(129),
            "]".repeat(129)
        );
        assert!(parse_json(deep.as_bytes()).is_err());
    }

    #[test]
    fn an_array_was_taken_for_an_event() {
        assert!(parse_lines(b"[null,null,null,\"A\"]").is_err());
        assert!(parse_json(b"[[null]]").is_err());
        assert!(parse_json(b"\xff").is_err());
        assert!(parse_json(b"").is_err());
    }
}
