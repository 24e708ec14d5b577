//! Filters as JSON: an object with one member, which names the kind of the filter.

use std::collections::BTreeMap;

use annals::{Field, Filter, JsonValue, Name, Position, Timestamp, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields that have a name of their own, in JSON, in parameters and in paths. An index is `index:NAME`.
pub(crate) const FIELDS: [(&str, Field); 9] = [
    ("eventType", Field::EventType),
    ("aggregateType", Field::AggregateType),
    ("aggregate", Field::Aggregate),
    ("correlation", Field::Correlation),
    ("causation", Field::Causation),
    ("user", Field::User),
    ("organization", Field::Organization),
    ("day", Field::Day),
    ("tag", Field::Tag),
];

/// The field of this name.
pub(crate) fn field(name: &str) -> Option<Field> {
    if let Some(index) = name.strip_prefix("index:") {
        return Some(Field::Index(index.into()));
    }
    FIELDS
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, field)| field.clone())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum WireFilter {
    EventType(Values),
    AggregateType(Values),
    Aggregate(Values),
    Correlation(Values),
    Causation(Values),
    User(Values),
    Organization(Values),
    Day(Values),
    Tag(Values),
    Index(Indexed),
    Prefix(Prefix),
    All(Vec<WireFilter>),
    Any(Vec<WireFilter>),
    Not(Box<WireFilter>),
    Data(BTreeMap<String, Box<RawValue>>),
    Metadata(BTreeMap<String, Box<RawValue>>),
    Text(String),
    Versions(Range<u64>),
    Positions(Range<u64>),
    Times(Range<Timestamp>),
}

/// One value, or a list of which one must fit.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub(crate) enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    fn into_names(self) -> Vec<Name> {
        match self {
            Self::One(value) => vec![value.into()],
            Self::Several(values) => values.into_iter().map(Name::from).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Indexed {
    name: String,
    values: Values,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prefix {
    field: String,
    value: String,
}

/// A range with both ends included; one without an end is open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range<T> {
    from: Option<T>,
    to: Option<T>,
}

impl<T> Range<T> {
    fn bounds<U>(self, least: U, most: U, convert: impl Fn(T) -> U) -> std::ops::RangeInclusive<U> {
        self.from.map_or(least, &convert)..=self.to.map_or(most, &convert)
    }
}

impl WireFilter {
    /// # Errors
    ///
    /// The fault of a field or a value.
    pub(crate) fn into_filter(self) -> Result<Filter, String> {
        let is = |field, values: Values| Ok(Filter::Is(field, values.into_names()));
        match self {
            Self::EventType(values) => is(Field::EventType, values),
            Self::AggregateType(values) => is(Field::AggregateType, values),
            Self::Aggregate(values) => is(Field::Aggregate, values),
            Self::Correlation(values) => is(Field::Correlation, values),
            Self::Causation(values) => is(Field::Causation, values),
            Self::User(values) => is(Field::User, values),
            Self::Organization(values) => is(Field::Organization, values),
            Self::Day(values) => is(Field::Day, values),
            Self::Tag(values) => is(Field::Tag, values),
            Self::Index(Indexed { name, values }) => is(Field::Index(name.into()), values),
            Self::Prefix(Prefix { field: name, value }) => {
                let field = field(&name).ok_or_else(|| format!("'{name}' is no field of a filter"))?;
                Ok(Filter::prefix(field, value))
            }
            Self::All(filters) => Ok(Filter::All(several(filters)?)),
            Self::Any(filters) => Ok(Filter::Any(several(filters)?)),
            Self::Not(filter) => Ok(Filter::not(filter.into_filter()?)),
            Self::Data(members) => at_pointers(members, Filter::Data),
            Self::Metadata(members) => at_pointers(members, Filter::Metadata),
            Self::Text(text) => Ok(Filter::Text(text)),
            Self::Versions(range) => Ok(Filter::versions(range.bounds(Version(0), Version(u64::MAX), Version))),
            Self::Positions(range) => Ok(Filter::positions(range.bounds(
                Position(0),
                Position(u64::MAX),
                Position,
            ))),
            Self::Times(range) => Ok(Filter::times(range.bounds(Timestamp::MIN, Timestamp::MAX, |time| time))),
        }
    }
}

fn several(filters: Vec<WireFilter>) -> Result<Vec<Filter>, String> {
    filters.into_iter().map(WireFilter::into_filter).collect()
}

/// All of the values at their pointers.
fn at_pointers(
    members: BTreeMap<String, Box<RawValue>>,
    filter: impl Fn(String, JsonValue) -> Filter,
) -> Result<Filter, String> {
    let filters = members.into_iter().map(|(pointer, value)| {
        let value = JsonValue::parse(value.get()).map_err(|error| error.to_string())?;
        Ok(filter(pointer, value))
    });
    Ok(Filter::All(filters.collect::<Result<_, String>>()?))
}
