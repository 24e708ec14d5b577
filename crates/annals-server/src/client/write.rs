//! Events, queries and snapshots as JSON, and queries as parameters.

use std::borrow::Cow;

use annals::{
    Append, AsOf, Between, Condition, ContentType, Error, Expected, Field, Filter, Name, NewEvent, NewSnapshot, Order,
    Query, Timestamp,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::wire::filter::FIELDS;
use crate::wire::hex;
use crate::wire::new_event::check_depth;

type Raw = Box<RawValue>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent<'a> {
    event_type: &'a str,
    event_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data_type: Option<&'a str>,
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [Cow<'a, str>],
}

impl<'a> From<&'a NewEvent<'_>> for WireEvent<'a> {
    fn from(event: &'a NewEvent<'_>) -> Self {
        let (event_data, event_data_hex) = payload(&event.data);
        Self {
            event_type: &event.event_type,
            event_version: event.schema_version,
            event_id: event.id,
            timestamp: event.timestamp,
            event_data,
            event_data_hex,
            event_data_type: other_type(&event.data_type),
            // As JSON, the server would move ids out of the object and change its spaces.
            metadata_hex: (!event.metadata.is_empty()).then(|| hex::encode(&event.metadata)),
            metadata_type: other_type(&event.metadata_type),
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            user_id: event.user_id.as_deref(),
            organization_id: event.organization_id.as_deref(),
            tags: &event.tags,
        }
    }
}

/// Bytes as JSON if the server stores these bytes then, otherwise as hexadecimal digits.
fn payload(bytes: &[u8]) -> (Option<&RawValue>, Option<String>) {
    let text = str::from_utf8(bytes).ok().filter(|text| !text.contains(['\n', '\r']));
    let json = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let json = json.filter(|json| json.get().len() == bytes.len() && check_depth("", json.get()).is_ok());
    let digits = json.is_none() && !bytes.is_empty();
    (json, digits.then(|| hex::encode(bytes)))
}

fn other_type(content_type: &ContentType) -> Option<&str> {
    (*content_type != ContentType::Json).then(|| content_type.as_str())
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Invalid {
        message: error.to_string().into(),
    })
}

fn raw(value: &impl Serialize) -> Result<Raw, Error> {
    to_raw_value(value).map_err(|error| Error::Invalid {
        message: error.to_string().into(),
    })
}

/// An object with one member.
fn object(name: &str, value: &impl Serialize) -> Result<Raw, Error> {
    raw(&std::collections::BTreeMap::from([(name, value)]))
}

pub(super) fn events(events: &[NewEvent<'_>]) -> Result<String, Error> {
    json(&events.iter().map(WireEvent::from).collect::<Vec<_>>())
}

pub(super) fn expected(expected: Expected) -> String {
    match expected {
        Expected::Any => "any".to_owned(),
        Expected::NoStream => "none".to_owned(),
        Expected::StreamExists => "exists".to_owned(),
        Expected::Exactly(version) => version.to_string(),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAppend<'a> {
    aggregate_id: &'a str,
    aggregate_type: &'a str,
    expected_version: serde_json::Value,
    events: Vec<WireEvent<'a>>,
}

#[derive(Debug, Serialize)]
struct WireCondition<'a> {
    query: WireQuery<'a>,
    after: u64,
}

#[derive(Debug, Serialize)]
struct WireAppends<'a> {
    appends: Vec<WireAppend<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<WireCondition<'a>>,
}

pub(super) fn appends(appends: &[Append<'_>], condition: Option<&Condition>) -> Result<String, Error> {
    let condition = condition.map(|condition| {
        let query = WireQuery::conditions(&condition.query)?;
        let after = condition.after.0;
        Ok::<_, Error>(WireCondition { query, after })
    });
    let parts = appends.iter().map(|append| WireAppend {
        aggregate_id: &append.stream.aggregate_id,
        aggregate_type: &append.stream.aggregate_type,
        expected_version: crate::wire::expected::to_json(append.expected),
        events: append.events.iter().map(WireEvent::from).collect(),
    });
    json(&WireAppends {
        appends: parts.collect(),
        condition: condition.transpose()?,
    })
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireQuery<'a> {
    filter: Option<Raw>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    after: Option<u64>,
    until: Option<u64>,
    order: Option<&'static str>,
    limit: Option<usize>,
    cursor: Option<Cow<'a, str>>,
    as_of: Option<Raw>,
    system: bool,
}

impl WireQuery<'_> {
    /// The conditions on events, without order and page.
    fn conditions(query: &Query) -> Result<Self, Error> {
        let parts = query.parts();
        let filters: Vec<Raw> = parts.filters.iter().map(filter).collect::<Result<_, _>>()?;
        Ok(Self {
            filter: Some(object("all", &filters)?),
            since: parts.since,
            before: parts.before,
            after: Some(parts.after.0),
            until: parts.until.map(|until| until.0),
            as_of: parts.as_of.map(as_of).transpose()?,
            system: parts.includes_system,
            ..Self::default()
        })
    }
}

fn as_of(as_of: AsOf) -> Result<Raw, Error> {
    match as_of {
        AsOf::Position(position) => raw(&position.0),
        AsOf::Time(time) => raw(&time),
        _ => Err(unsupported("read this kind of past through a server")),
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Position => "position",
        Order::PositionDescending => "-position",
        Order::Time => "time",
        Order::TimeDescending => "-time",
    }
}

/// A page of a query. `cursor` counts before that of the query, which is for the first page.
pub(super) fn query(query: &Query, limit: usize, cursor: Option<&str>) -> Result<String, Error> {
    let parts = query.parts();
    let first = || parts.cursor.map(|cursor| cursor.to_string().into());
    json(&WireQuery {
        order: Some(order(parts.order)),
        limit: Some(limit),
        cursor: cursor.map(Into::into).or_else(first),
        ..WireQuery::conditions(query)?
    })
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported { message: what.into() }
}

/// The name of a field, which an index has in front of its own.
fn field_name(field: &Field) -> Result<String, Error> {
    if let Field::Index(name) = field {
        return Ok(format!("index:{name}"));
    }
    let known = FIELDS.iter().find(|(_, own)| own == field);
    let name = known.map(|(name, _)| (*name).to_owned());
    name.ok_or_else(|| unsupported("look for this field through a server"))
}

#[derive(Debug, Serialize)]
struct Range<T> {
    from: T,
    to: T,
}

fn range<T: Copy, U: Serialize>(name: &str, between: &Between<T>, value: impl Fn(T) -> U) -> Result<Raw, Error> {
    let (from, to) = (value(between.from), value(between.to));
    object(name, &Range { from, to })
}

pub(super) fn filter(one: &Filter) -> Result<Raw, Error> {
    let several = |name, filters: &[Filter]| {
        let filters: Vec<Raw> = filters.iter().map(filter).collect::<Result<_, _>>()?;
        object(name, &filters)
    };
    // The text of a value has all of its digits.
    let at = |name, pointer: &str, value: &annals::JsonValue| {
        let value = RawValue::from_string(value.as_str().to_owned());
        let value = value.map_err(|error| Error::Invalid {
            message: error.to_string().into(),
        })?;
        object(name, &object(pointer, &value)?)
    };
    match one {
        Filter::Is(Field::Index(name), values) => {
            object("index", &serde_json::json!({ "name": name, "values": values }))
        }
        Filter::Is(field, values) => object(&field_name(field)?, values),
        Filter::Prefix(field, value) => object(
            "prefix",
            &serde_json::json!({ "field": field_name(field)?, "value": value }),
        ),
        Filter::All(filters) => several("all", filters),
        Filter::Any(filters) => several("any", filters),
        Filter::Not(inner) => object("not", &filter(inner)?),
        Filter::Data(pointer, value) => at("data", pointer, value),
        Filter::Metadata(pointer, value) => at("metadata", pointer, value),
        Filter::Text(text) => object("text", text),
        Filter::Versions(between) => range("versions", between, |version| version.0),
        Filter::Positions(between) => range("positions", between, |position| position.0),
        Filter::Times(between) => range("times", between, |time| time),
        _ => Err(unsupported("look for this kind of filter through a server")),
    }
}

/// A query as parameters, for the resources that take no body.
pub(super) fn parameters(query: &Query) -> Result<Vec<(String, String)>, Error> {
    let parts = query.parts();
    let mut given = Vec::new();
    for filter in parts.filters {
        for (name, value) in parameter(filter)? {
            given.push((name, value));
        }
    }
    alone(&given, parts.filters)?;
    let mut add = |name: &str, value: Option<String>| given.extend(value.map(|value| (name.to_owned(), value)));
    add("since", parts.since.map(|time| time.to_string()));
    add("before", parts.before.map(|time| time.to_string()));
    add("after", Some(parts.after.to_string()));
    add("until", parts.until.map(|position| position.to_string()));
    let past = parts.as_of.map(as_of).transpose()?;
    add("asOf", past.map(|past| past.get().trim_matches('"').to_owned()));
    add("system", parts.includes_system.then(|| "true".to_owned()));
    Ok(given)
}

/// Values of one parameter are alternatives, so two filters must not share one.
fn alone(given: &[(String, String)], filters: &[Filter]) -> Result<(), Error> {
    // A parameter of a field with prefixes is an alternative to the one without.
    let base = |name: &str| name.trim_end_matches("Prefix").to_owned();
    let is_field = |name: &str| !name.contains(':');
    let names: std::collections::BTreeSet<String> = given
        .iter()
        .filter(|(name, _)| is_field(name))
        .map(|(name, _)| base(name))
        .collect();
    let of_fields = filters.iter().filter(|filter| {
        !matches!(
            filter,
            Filter::Data(..) | Filter::Metadata(..) | Filter::Is(Field::Index(_), _)
        )
    });
    if names.len() < of_fields.count() {
        return Err(unsupported("combine two filters on one field without a page of events"));
    }
    Ok(())
}

fn parameter(filter: &Filter) -> Result<Vec<(String, String)>, Error> {
    let nested = || unsupported("combine filters in this way without a page of events");
    let named = |name: String, values: &[Name]| {
        let pairs = values.iter().map(|value| (name.clone(), value.to_string()));
        // An empty list of values matches no event, but an absent parameter matches every event.
        Some(pairs.collect::<Vec<_>>())
            .filter(|pairs| !pairs.is_empty())
            .ok_or_else(nested)
    };
    match filter {
        Filter::Is(field @ Field::Index(_), values) if values.len() == 1 => named(field_name(field)?, values),
        Filter::Is(Field::Index(_), _) => Err(nested()),
        Filter::Is(field, values) => named(field_name(field)?, values),
        Filter::Prefix(field, value) if !matches!(field, Field::Index(_)) => {
            Ok(vec![(format!("{}Prefix", field_name(field)?), value.to_string())])
        }
        Filter::Not(inner) if matches!(&**inner, Filter::Is(..) | Filter::Prefix(..)) => {
            let pairs = parameter(inner)?;
            if pairs.iter().any(|(name, _)| name.contains(':')) {
                return Err(nested());
            }
            Ok(pairs.into_iter().map(|(name, value)| (negated(&name), value)).collect())
        }
        Filter::Data(pointer, value) => Ok(vec![(format!("data:{pointer}"), value.to_string())]),
        Filter::Metadata(pointer, value) => Ok(vec![(format!("metadata:{pointer}"), value.to_string())]),
        Filter::Text(text) => Ok(vec![("text".to_owned(), text.clone())]),
        Filter::Prefix(..)
        | Filter::Not(_)
        | Filter::All(_)
        | Filter::Any(_)
        | Filter::Versions(_)
        | Filter::Positions(_)
        | Filter::Times(_)
        | _ => Err(nested()),
    }
}

fn negated(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("not{}{rest}", first.to_ascii_uppercase())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSnapshot<'a> {
    version: u64,
    schema_version: u32,
    keep: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<&'a str>,
}

pub(super) fn snapshot(snapshot: &NewSnapshot) -> Result<String, Error> {
    let (data, data_hex) = payload(&snapshot.data);
    json(&WireSnapshot {
        version: snapshot.version.0,
        schema_version: snapshot.schema_version,
        keep: snapshot.keep,
        data,
        data_hex,
        data_type: other_type(&snapshot.data_type),
    })
}
