//! `CloudEvents` 1.0: in JSON (one event or a batch), and in the headers of a request (binary mode).

use std::collections::BTreeMap;

use annals::{ContentType, Event, NewEvent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event::on_one_line;
use super::new_event::{Incoming, check_depth};
use crate::problem::Problem;

/// The namespace of event ids that are derived from a `CloudEvent` whose id is not a UUID: its source and id identify it.
const NAMESPACE: Uuid = Uuid::from_u128(0x91f2_6b0c_4d37_4e58_b1a9_7c30_5ee2_d846);
/// Attributes of an event, at most.
const ATTRIBUTES_MAX: usize = 128;

/// The attributes of an event by their names, without its data.
type Attributes = BTreeMap<String, String>;

/// Reads one event in JSON.
///
/// # Errors
///
/// A [`Problem`] that says what is wrong.
pub(crate) fn parse_one(body: &[u8]) -> Result<Vec<Incoming>, Problem> {
    Ok(vec![structured(utf8(body)?).map_err(Problem::invalid)?])
}

/// Reads a batch: a list of events in JSON.
///
/// # Errors
///
/// A [`Problem`] that names the first event that is invalid.
pub(crate) fn parse_batch(body: &[u8]) -> Result<Vec<Incoming>, Problem> {
    let list: Vec<&RawValue> = serde_json::from_str(utf8(body)?)
        .map_err(|error| Problem::invalid(format!("the batch is invalid: {error}")))?;
    let events = (1_u64..).zip(list).map(|(number, event)| {
        structured(event.get())
            .map_err(|reason| Problem::invalid(format!("event {number}: {reason}")).with("event", number))
    });
    events.collect()
}

/// Reads an event whose attributes are headers and whose data is the body.
///
/// # Errors
///
/// A [`Problem`] that says what is wrong.
pub(crate) fn parse_binary(
    attributes: &[(String, String)],
    media: &str,
    body: &[u8],
) -> Result<Vec<Incoming>, Problem> {
    let mut attributes: Attributes = attributes.iter().cloned().collect();
    if !media.is_empty() {
        attributes.insert("datacontenttype".to_owned(), media.to_owned());
    }
    Ok(vec![incoming(attributes, body.to_vec()).map_err(Problem::invalid)?])
}

fn utf8(body: &[u8]) -> Result<&str, Problem> {
    str::from_utf8(body).map_err(|_| Problem::invalid("the body is not UTF-8"))
}

fn structured(json: &str) -> Result<Incoming, String> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|error| format!("an event is a JSON object: {error}"))?;
    let (mut attributes, mut data, mut encoded) = (Attributes::new(), None, None);
    for (name, value) in members {
        match name.as_str() {
            "data" => data = Some(value.get()),
            "data_base64" => encoded = Some(text_of(&name, value.get())?),
            _ if value.get() == "null" => {}
            _ => drop(attributes.insert(name.clone(), text_of(&name, value.get())?)),
        }
    }
    let is_json = attributes.get("datacontenttype").is_none_or(|media| is_json(media));
    let data = match (data, encoded) {
        (Some(_), Some(_)) => return Err("data and data_base64 are both there: leave one out".to_owned()),
        (None, None) => Vec::new(),
        (None, Some(encoded)) => STANDARD
            .decode(encoded)
            .map_err(|error| format!("data_base64: {error}"))?,
        (Some(json), None) => match serde_json::from_str::<String>(json) {
            // A text that is no JSON is a string of the envelope.
            Ok(text) if !is_json => text.into_bytes(),
            _ => {
                check_depth("data", json)?;
                json.replace(['\n', '\r'], " ").into_bytes()
            }
        },
    };
    incoming(attributes, data)
}

/// The value of an attribute, which is a text, a number or a boolean.
fn text_of(name: &str, json: &str) -> Result<String, String> {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Number(_) | Value::Bool(_)) => Ok(json.to_owned()),
        Ok(Value::Null | Value::Array(_) | Value::Object(_)) | Err(_) => {
            Err(format!("the attribute {name} must be a text, a number or a boolean"))
        }
    }
}

fn is_json(media: &str) -> bool {
    let name = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name == "application/json" || name == "text/json" || name.ends_with("+json")
}

fn incoming(mut attributes: Attributes, data: Vec<u8>) -> Result<Incoming, String> {
    check_names(&attributes)?;
    let mut required = |name: &str| {
        let value = attributes.remove(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("the attribute {name} is missing or empty"))
    };
    if required("specversion")? != "1.0" {
        return Err("specversion must be 1.0".to_owned());
    }
    let (id, event_type) = (required("id")?, required("type")?);
    let source = attributes.get("source").filter(|source| !source.is_empty());
    let source = source.ok_or("the attribute source is missing or empty")?;
    let own_id = || Uuid::new_v5(&NAMESPACE, format!("{source}\0{id}").as_bytes());
    let mut event = NewEvent::new(event_type);
    event.id = Some(Uuid::try_parse(&id).unwrap_or_else(|_| own_id()));
    let mut take = |name: &str| attributes.remove(name);
    if let Some(time) = take("time") {
        event.timestamp = Some(
            time.parse()
                .map_err(|_| format!("the attribute time is '{time}', not as in RFC 3339"))?,
        );
    }
    if let Some(version) = take("schemaversion") {
        event.schema_version = version
            .parse()
            .map_err(|_| format!("schemaversion is '{version}', but must be a number"))?;
    }
    if let Some(tags) = take("tags") {
        let tags: Vec<String> = serde_json::from_str(&tags).map_err(|_| "tags must be a list of texts in JSON")?;
        event.tags = tags.into_iter().map(Into::into).collect();
    }
    event.correlation_id = take("correlationid").map(Into::into);
    event.causation_id = take("causationid").map(Into::into);
    event.user_id = take("userid").map(Into::into);
    event.organization_id = take("organizationid").map(Into::into);
    event.data_type = take("datacontenttype").map_or(ContentType::Json, |media| ContentType::from(media.as_str()));
    event.data = data.into();
    let (aggregate_id, aggregate_type) = (take("subject"), take("aggregatetype"));
    // The place that the event had in another store.
    drop((take("sequence"), take("version")));
    event.metadata = metadata(attributes).into();
    Ok(Incoming {
        aggregate_id,
        aggregate_type,
        event,
    })
}

/// Names have lower-case letters and digits alone.
fn check_names(attributes: &Attributes) -> Result<(), String> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(format!("the event has more than {ATTRIBUTES_MAX} attributes"));
    }
    let is_plain = |name: &String| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match attributes.keys().find(|name| name.is_empty() || !is_plain(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "'{name}' is no name of an attribute: write lower-case letters and digits"
        )),
    }
}

/// Attributes without a field in an event, such as the source, are kept as metadata.
fn metadata(attributes: Attributes) -> Vec<u8> {
    let members: Map<String, Value> = attributes
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    Value::from(members).to_string().into_bytes()
}

/// An event as a `CloudEvent` of `source`, on one line. Metadata are not in it, but for a source that was kept there.
pub(crate) fn to_line(event: &Event, source: &str) -> Vec<u8> {
    let kept = serde_json::from_slice::<Map<String, Value>>(event.metadata()).unwrap_or_default();
    let source = kept.get("source").and_then(Value::as_str).unwrap_or(source);
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    add("specversion", "1.0".into());
    add("id", event.id().to_string().into());
    add("source", source.into());
    add("type", event.event_type().into());
    add("subject", event.aggregate_id().into());
    add("time", event.timestamp().to_string().into());
    add("datacontenttype", event.data_type().as_str().into());
    add("sequence", event.position().to_string().into());
    add("aggregatetype", event.aggregate_type().into());
    add("version", event.version().0.into());
    add("schemaversion", event.schema_version().into());
    for (name, id) in [
        ("correlationid", event.correlation_id()),
        ("causationid", event.causation_id()),
        ("userid", event.user_id()),
        ("organizationid", event.organization_id()),
    ] {
        if let Some(id) = id {
            add(name, id.into());
        }
    }
    let tags: Vec<&str> = event.tags().collect();
    if !tags.is_empty() {
        add("tags", Value::from(tags).to_string().into());
    }
    let mut line = Value::from(members).to_string();
    line.pop();
    if let Some(json) = on_one_line(event.data()) {
        // As it is: a number of the data must not be rounded.
        line.push_str(",\"data\":");
        line.push_str(json.get());
    } else if !event.data().is_empty() {
        line.push_str(",\"data_base64\":\"");
        line.push_str(&STANDARD.encode(event.data()));
        line.push('"');
    }
    line.push('}');
    line.into_bytes()
}
