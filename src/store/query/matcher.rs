//! Whether an event matches a query: the conditions of a query, compiled to be tested on many events.

use std::sync::Arc;

#[cfg(feature = "json")]
use crate::json::{self, Pattern};
use crate::query::{AsOf, Query};
use crate::store::index::{Indexer, Indexes};
use crate::{Between, Error, EventRef, Field, Filter, Name, Position, Result, Timestamp, Version};

/// Maximum depth of nested filters.
const DEPTH_MAX: usize = 16;

/// Maximum number of conditions and values of a query.
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
    Metadata(String, Pattern),
    #[cfg(feature = "json")]
    Data(String, Pattern),
    Text(Needle),
    Not(Box<Test>),
    Prefix(Field, Name),
    /// Of a registered index.
    IndexPrefix(Arc<Indexer>, Name),
    Versions(Between<Version>),
    Positions(Between<Position>),
    Times(Between<Timestamp>),
}

impl Matcher {
    /// # Errors
    ///
    /// [`Error::Invalid`] if a filter is too deep or too large, or names an unregistered index.
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
        Filter::Metadata(pointer, value) => Test::Metadata(check_pointer(pointer)?, Pattern::new(value)?),
        #[cfg(feature = "json")]
        Filter::Data(pointer, value) => Test::Data(check_pointer(pointer)?, Pattern::new(value)?),
        Filter::Text(text) => Test::Text(Needle::new(text)),
        Filter::Not(filter) => Test::Not(Box::new(compile(filter, indexes, depth + 1, size_left)?)),
        Filter::Prefix(Field::Index(name), prefix) => Test::IndexPrefix(registered(name, indexes)?, prefix.clone()),
        Filter::Prefix(field, prefix) => Test::Prefix(field.clone(), prefix.clone()),
        Filter::Versions(versions) => Test::Versions(*versions),
        Filter::Positions(positions) => Test::Positions(*positions),
        Filter::Times(times) => Test::Times(*times),
    })
}

pub(super) fn registered(name: &Name, indexes: &Indexes) -> Result<Arc<Indexer>> {
    indexes.indexer(name).map(Arc::clone).ok_or_else(|| {
        Error::invalid(format!(
            "no index '{name}' is registered: register it with Builder::indexer"
        ))
    })
}

fn compile_is(field: &Field, values: &[Name], indexes: &Indexes) -> Result<Test> {
    let mut values = values.to_vec();
    values.sort_unstable();
    match field {
        Field::Index(name) => Ok(Test::Index(registered(name, indexes)?, values)),
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

/// Parses a day that is written exactly as the index writes it.
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
            Self::Is(field, values) => has_value(event, field, |text| is_listed(text, values)),
            Self::Day(days) => days.binary_search(&event.timestamp().day()).is_ok(),
            Self::Index(indexer, values) => finds(event, &**indexer, |value| values.binary_search(value).is_ok()),
            Self::All(tests) => tests.iter().all(|test| test.matches(event)),
            Self::Any(tests) => tests.iter().any(|test| test.matches(event)),
            #[cfg(feature = "json")]
            Self::Metadata(pointer, value) => has_json(event.metadata(), pointer, value),
            #[cfg(feature = "json")]
            Self::Data(pointer, value) => has_json(event.data(), pointer, value),
            Self::Text(needle) => needle.is_in(event.data()) || needle.is_in(event.metadata()),
            Self::Not(test) => !test.matches(event),
            Self::Prefix(field, prefix) => has_value(event, field, |text| text.starts_with(prefix.as_str())),
            Self::IndexPrefix(indexer, prefix) => finds(event, &**indexer, |value| value.starts_with(prefix.as_str())),
            Self::Versions(versions) => versions.contains(event.version()),
            Self::Positions(positions) => positions.contains(event.position()),
            Self::Times(times) => times.contains(event.timestamp()),
        }
    }
}

fn finds(event: EventRef<'_>, indexer: &Indexer, is_wanted: impl Fn(&Name) -> bool) -> bool {
    let mut found = Vec::new();
    indexer(event, &mut found);
    found.iter().any(is_wanted)
}

fn is_listed(text: &str, values: &[Name]) -> bool {
    values.binary_search_by(|value| value.as_str().cmp(text)).is_ok()
}

fn has_value(event: EventRef<'_>, field: &Field, is_wanted: impl Fn(&str) -> bool) -> bool {
    match field {
        Field::EventType => is_wanted(event.event_type()),
        Field::AggregateType => is_wanted(event.aggregate_type()),
        Field::Aggregate => is_wanted(event.aggregate_id()),
        Field::Correlation => event.correlation_id().is_some_and(is_wanted),
        Field::Causation => event.causation_id().is_some_and(is_wanted),
        Field::User => event.user_id().is_some_and(is_wanted),
        Field::Organization => event.organization_id().is_some_and(is_wanted),
        Field::Tag => event.tags().any(is_wanted),
        Field::Day => is_wanted(&event.timestamp().date()),
        Field::Index(_) => false,
    }
}

#[cfg(feature = "json")]
fn has_json(bytes: &[u8], pointer: &str, value: &Pattern) -> bool {
    json::at(bytes, pointer).is_some_and(|found| value.equals(found))
}

/// A text to look for, case-insensitive.
#[derive(Clone, Debug)]
struct Needle {
    folded: String,
}

impl Needle {
    fn new(text: &str) -> Self {
        Self { folded: fold(text) }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let needle = self.folded.as_bytes();
        // Most payloads are ASCII. A match by bytes is always a match.
        if self.folded.is_ascii() && (contains_ascii(bytes, needle) || bytes.is_ascii()) {
            return contains_ascii(bytes, needle);
        }
        fold(&String::from_utf8_lossy(bytes)).contains(&self.folded)
    }
}

/// Folds a text by full case folding, letter by letter. The folding of a letter never depends on its neighbours, so a part of a text folds to a
/// part of the folded text. Lower, upper and lower case again unites all forms of a letter: both sigmas, sharp s and its capital, ligatures.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // Its capital is the I of other languages: Unicode leaves it alone.
            '\u{131}' => folded.push(letter),
            _ => folded.extend(
                letter
                    .to_lowercase()
                    .flat_map(char::to_uppercase)
                    .flat_map(char::to_lowercase),
            ),
        }
    }
    folded
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
    fn words_with_a_final_sigma_were_not_found() {
        for (text, bytes) in [
            ("ΚΩΣ", "{\"n\":\"ΚΩΣΤΑΣ\"}"),
            ("κως", "{\"n\":\"ΚΩΣΤΑΣ\"}"),
            ("κωσ", "{\"n\":\"ΚΩΣΤΑΣ\"}"),
            ("κωσ", "{\"n\":\"ΚΩΣ\"}"),
            ("ΚΩΣ", "Κως"),
            // Letters of other scripts, of another length, and those that fold to ASCII.
            ("STRASSE", "Straße"),
            ("strasse", "STRA\u{1e9e}E"),
            ("stra\u{df}e", "STRASSE"),
            ("k", "273 \u{212a}"),
            ("\u{212a}", "273 k"),
            ("office", "o\u{fb03}ce"),
            ("\u{17f}ea", "SEA"),
            ("sea", "\u{17f}ea"),
            ("привет", "ПРИВЕТ"),
            ("\u{10a0}", "\u{2d00}"),
            ("\u{13a0}", "\u{ab70}"),
            ("İ", "i\u{307}"),
            ("\u{1f88}", "\u{1f00}\u{3b9}"),
            ("\u{b5}", "\u{39c}"),
            ("\u{104}\u{118}", "\u{105}\u{119}"),
        ] {
            assert!(Needle::new(text).is_in(bytes.as_bytes()), "{text} in {bytes}");
        }
        for (text, bytes) in [("i", "\u{131}"), ("σ", "ΚΩ"), ("ss", "s"), ("é", "e"), ("ä", "\u{ff}")] {
            assert!(!Needle::new(text).is_in(bytes.as_bytes()), "{text} in {bytes}");
        }
        // Invalid UTF-8 does not hide the rest.
        assert!(Needle::new("ΣΟΣ").is_in(b"\xff \xcf\x83\xce\xbf\xcf\x82 \xfe"));
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_found_in_any_case(text in "\\PC{0,12}", start in 0_usize..12, length in 0_usize..12) {
            let part: String = text.chars().skip(start).take(length).collect();
            for part in [part.to_uppercase(), part.to_lowercase(), part] {
                for whole in [text.to_uppercase(), text.to_lowercase(), text.clone()] {
                    // Its capital is another letter's too.
                    if !text.contains('\u{131}') {
                        proptest::prop_assert!(Needle::new(&part).is_in(whole.as_bytes()), "{} in {}", part, whole);
                    }
                }
            }
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
