//! Whether one event answers a query: the conditions of a query, made ready to be tried on many events.

use std::sync::Arc;

use super::index::{Indexer, Indexes};
use crate::query::{AsOf, Query};
use crate::{Error, EventRef, Field, Filter, Name, Result, Timestamp};

/// Filters within filters, at most.
const DEPTH_MAX: usize = 16;

/// Conditions and values of a query, at most.
const SIZE_MAX: usize = 100_000;

/// The conditions of a query.
#[derive(Clone)]
pub(crate) struct Matcher {
    tests: Vec<Test>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    recorded_until: Option<Timestamp>,
    system: bool,
}

#[derive(Clone)]
enum Test {
    /// The values are sorted.
    Is(Field, Vec<Name>),
    /// Days since 1970-01-01, sorted.
    Day(Vec<i64>),
    Index(Arc<Indexer>, Vec<Name>),
    All(Vec<Test>),
    Any(Vec<Test>),
    #[cfg(feature = "json")]
    Metadata(String, serde_json::Value),
    #[cfg(feature = "json")]
    Data(String, serde_json::Value),
    Text(Needle),
}

impl Matcher {
    /// # Errors
    ///
    /// [`Error::Invalid`] when a filter is too deep or too large, or names an index that was not registered.
    pub(crate) fn new(query: &Query, indexes: &Indexes) -> Result<Self> {
        let mut size_left = SIZE_MAX;
        let tests = compile_all(&query.filters, indexes, 0, &mut size_left)?;
        let recorded_until = match query.as_of {
            Some(AsOf::Time(time)) => Some(time),
            Some(AsOf::Position(_)) | None => None,
        };
        Ok(Self {
            tests,
            since: query.since,
            before: query.before,
            recorded_until,
            system: query.system,
        })
    }

    pub(crate) fn matches(&self, event: EventRef<'_>) -> bool {
        self.matches_times(event)
            && self.tests.iter().all(|test| test.matches(event))
            && (self.system || !event.is_system())
    }

    fn matches_times(&self, event: EventRef<'_>) -> bool {
        self.since.is_none_or(|since| event.timestamp() >= since)
            && self.before.is_none_or(|before| event.timestamp() < before)
            && self.recorded_until.is_none_or(|until| event.recorded_at() <= until)
    }
}

fn compile_all(filters: &[Filter], indexes: &Indexes, depth: usize, size_left: &mut usize) -> Result<Vec<Test>> {
    filters
        .iter()
        .map(|filter| compile(filter, indexes, depth, size_left))
        .collect()
}

fn compile(filter: &Filter, indexes: &Indexes, depth: usize, size_left: &mut usize) -> Result<Test> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!(
            "the query's filters are more than {DEPTH_MAX} deep"
        )));
    }
    let size = if let Filter::Is(_, values) = filter {
        values.len() + 1
    } else {
        1
    };
    *size_left = size_left
        .checked_sub(size)
        .ok_or_else(|| Error::invalid(format!("the query has more than {SIZE_MAX} conditions and values")))?;
    Ok(match filter {
        Filter::Is(field, values) => compile_is(field, values, indexes)?,
        Filter::All(filters) => Test::All(compile_all(filters, indexes, depth + 1, size_left)?),
        Filter::Any(filters) => Test::Any(compile_all(filters, indexes, depth + 1, size_left)?),
        #[cfg(feature = "json")]
        Filter::Metadata(pointer, value) => Test::Metadata(check_pointer(pointer)?, value.clone()),
        #[cfg(feature = "json")]
        Filter::Data(pointer, value) => Test::Data(check_pointer(pointer)?, value.clone()),
        Filter::Text(text) => Test::Text(Needle::new(text)),
    })
}

fn compile_is(field: &Field, values: &[Name], indexes: &Indexes) -> Result<Test> {
    let mut values = values.to_vec();
    values.sort_unstable();
    match field {
        Field::Index(name) => {
            let registered = indexes.indexer(name).ok_or_else(|| {
                Error::invalid(format!(
                    "no index '{name}' is registered: register it with Builder::indexer"
                ))
            })?;
            Ok(Test::Index(Arc::clone(registered), values))
        }
        Field::Day => {
            let day = |text: &Name| {
                parse_day(text)
                    .ok_or_else(|| Error::invalid(format!("'{text}' is not a day: write it like 2026-01-31")))
            };
            let mut days = values.iter().map(day).collect::<Result<Vec<_>>>()?;
            days.sort_unstable();
            Ok(Test::Day(days))
        }
        Field::EventType
        | Field::AggregateType
        | Field::Aggregate
        | Field::Correlation
        | Field::Causation
        | Field::User
        | Field::Organization
        | Field::Tag => Ok(Test::Is(field.clone(), values)),
    }
}

/// The day written exactly as the index writes it.
fn parse_day(text: &str) -> Option<i64> {
    let time: Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
    (time.date() == text).then(|| time.day())
}

#[cfg(feature = "json")]
fn check_pointer(pointer: &str) -> Result<String> {
    if pointer.is_empty() || pointer.starts_with('/') {
        return Ok(pointer.to_owned());
    }
    Err(Error::invalid(format!(
        "'{pointer}' is not a JSON pointer: write '/{pointer}'"
    )))
}

impl Test {
    fn matches(&self, event: EventRef<'_>) -> bool {
        match self {
            Self::Is(field, values) => has_value(event, field, values),
            Self::Day(days) => days.binary_search(&event.timestamp().day()).is_ok(),
            Self::Index(indexer, values) => {
                let mut found = Vec::new();
                indexer(event, &mut found);
                found.iter().any(|value| values.binary_search(value).is_ok())
            }
            Self::All(tests) => tests.iter().all(|test| test.matches(event)),
            Self::Any(tests) => tests.iter().any(|test| test.matches(event)),
            #[cfg(feature = "json")]
            Self::Metadata(pointer, value) => has_json(event.metadata(), pointer, value),
            #[cfg(feature = "json")]
            Self::Data(pointer, value) => has_json(event.data(), pointer, value),
            Self::Text(needle) => needle.is_in(event.data()) || needle.is_in(event.metadata()),
        }
    }
}

fn has_value(event: EventRef<'_>, field: &Field, values: &[Name]) -> bool {
    let listed = |text: &str| values.binary_search_by(|value| value.as_str().cmp(text)).is_ok();
    match field {
        Field::EventType => listed(event.event_type()),
        Field::AggregateType => listed(event.aggregate_type()),
        Field::Aggregate => listed(event.aggregate_id()),
        Field::Correlation => event.correlation_id().is_some_and(listed),
        Field::Causation => event.causation_id().is_some_and(listed),
        Field::User => event.user_id().is_some_and(listed),
        Field::Organization => event.organization_id().is_some_and(listed),
        Field::Tag => event.tags().any(listed),
        Field::Day | Field::Index(_) => false,
    }
}

#[cfg(feature = "json")]
fn has_json(bytes: &[u8], pointer: &str, value: &serde_json::Value) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|json| json.pointer(pointer) == Some(value))
}

/// A text to look for, in upper or lower case.
#[derive(Clone, Debug)]
enum Needle {
    /// In lower case.
    Ascii(Vec<u8>),
    /// In lower case.
    Unicode(String),
}

impl Needle {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii(text.to_ascii_lowercase().into_bytes());
        }
        Self::Unicode(text.to_lowercase())
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Ascii(needle) => contains_ascii(bytes, needle),
            Self::Unicode(needle) => String::from_utf8_lossy(bytes).to_lowercase().contains(needle),
        }
    }
}

fn contains_ascii(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return true;
    };
    let Some(last_start) = bytes.len().checked_sub(needle.len()) else {
        return false;
    };
    let candidates = bytes[..=last_start]
        .iter()
        .enumerate()
        .filter(|(_, byte)| byte.eq_ignore_ascii_case(first));
    candidates
        .into_iter()
        .any(|(start, _)| bytes[start + 1..start + needle.len()].eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_any_case() {
        for (text, bytes, found) in [
            ("paid", "{\"state\":\"PAID\"}", true),
            ("PAID", "unpaid", true),
            ("paid", "pai", false),
            ("", "", true),
            ("ü", "M\u{dc}LLER", true),
            ("z", "abc", false),
        ] {
            assert_eq!(Needle::new(text).is_in(bytes.as_bytes()), found, "{text} in {bytes}");
        }
    }

    #[test]
    fn a_day_has_one_way_to_be_written() {
        assert_eq!(parse_day("1970-01-02"), Some(1));
        for text in ["1970-1-2", "1970-02-30", "today", "1970-01-02T00"] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }
}
