//! Matchers of events.

use std::fmt::{self, Write};

use serde_json::Value;

use crate::{Event, Name};

/// A description of expected events: the type, and other fields if they are set. Fields that are not set match every value.
#[derive(Clone, Debug)]
#[must_use = "a matcher asserts nothing until it is used in an assertion"]
pub struct EventMatcher {
    event_type: Name,
    aggregate_id: Option<Name>,
    correlation: Option<Name>,
    user: Option<Name>,
    tags: Vec<Name>,
    data: Option<Value>,
    times: Option<usize>,
}

/// Matches events of this type; by default, at least one must be there.
pub fn event(event_type: impl Into<Name>) -> EventMatcher {
    EventMatcher {
        event_type: event_type.into(),
        aggregate_id: None,
        correlation: None,
        user: None,
        tags: Vec::new(),
        data: None,
        times: None,
    }
}

impl EventMatcher {
    /// Matches only events of this aggregate.
    pub fn in_stream(mut self, aggregate_id: impl Into<Name>) -> Self {
        self.aggregate_id = Some(aggregate_id.into());
        self
    }

    /// Matches only events with this correlation.
    pub fn correlation(mut self, id: impl Into<Name>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// Matches only events of this user.
    pub fn user(mut self, id: impl Into<Name>) -> Self {
        self.user = Some(id.into());
        self
    }

    /// Matches only events that have this tag. Can be called for several tags.
    pub fn tag(mut self, tag: impl Into<Name>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Matches only events with this JSON as their data. An object matches every object that has at least these fields, at any depth; other values must
    /// be equal. A field of `null` must be present and null.
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// Expects exactly one matching event.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Expects exactly this number of matching events; 0 for none.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    pub(super) fn accepts(&self, count: usize) -> bool {
        self.times.map_or(count > 0, |times| times == count)
    }

    /// The number of events that the matcher stands for in an exact list.
    pub(super) fn times_in_order(&self) -> usize {
        self.times.unwrap_or(1)
    }

    pub(super) fn matches(&self, event: &Event) -> bool {
        self.difference(event).is_none()
    }

    /// In which fields an event differs from what is expected: a line for each.
    pub(super) fn difference(&self, event: &Event) -> Option<String> {
        let mut text = String::new();
        let mut compare = |name: &str, expected: Option<&Name>, actual: Option<&str>| {
            if expected.is_some_and(|expected| Some(expected.as_str()) != actual) {
                let expected = expected.map(Name::as_str).unwrap_or_default();
                // Writing to a string does not fail.
                _ = writeln!(
                    text,
                    "    {name}: expected {expected:?}, is {}",
                    actual.map_or("none".into(), |text| format!("{text:?}"))
                );
            }
        };
        compare("type", Some(&self.event_type), Some(event.event_type()));
        compare("stream", self.aggregate_id.as_ref(), Some(event.aggregate_id()));
        compare("correlation", self.correlation.as_ref(), event.correlation_id());
        compare("user", self.user.as_ref(), event.user_id());
        for tag in &self.tags {
            let actual = event.tags().find(|other| *other == tag.as_str());
            compare("tag", Some(tag), actual);
        }
        if let Some(data) = &self.data {
            match serde_json::from_slice(event.data()) {
                Ok(actual) => compare_values(&mut text, "data", data, &actual),
                Err(error) => _ = writeln!(text, "    data: expected {data}, is not JSON: {error}"),
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// How the event of this type that differs in the fewest fields differs.
    pub(super) fn nearest(&self, events: &[Event]) -> Option<String> {
        let same_type = events
            .iter()
            .filter(|event| event.event_type() == self.event_type.as_str());
        let nearest = same_type
            .filter_map(|event| Some((event, self.difference(event)?)))
            .min_by_key(|(_, difference)| difference.lines().count());
        nearest.map(|(event, difference)| format!("the nearest is at position {}:\n{difference}", event.position()))
    }
}

fn compare_values(text: &mut String, path: &str, expected: &Value, actual: &Value) {
    if let (Value::Object(expected), Value::Object(actual)) = (expected, actual) {
        for (name, expected) in expected {
            let path = format!("{path}.{name}");
            match actual.get(name) {
                Some(actual) => compare_values(text, &path, expected, actual),
                // Writing to a string does not fail.
                None => _ = writeln!(text, "    {path}: expected {expected}, is missing"),
            }
        }
    } else if expected != actual {
        // Writing to a string does not fail.
        _ = writeln!(text, "    {path}: expected {expected}, is {actual}");
    }
}

impl fmt::Display for EventMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            None => write!(f, "an event {}", self.event_type)?,
            Some(0) => write!(f, "no event {}", self.event_type)?,
            Some(times) => write!(f, "{times} x {}", self.event_type)?,
        }
        for (name, value) in [
            ("in", &self.aggregate_id),
            ("of correlation", &self.correlation),
            ("of user", &self.user),
        ] {
            if let Some(value) = value {
                write!(f, " {name} '{value}'")?;
            }
        }
        for tag in &self.tags {
            write!(f, " with tag '{tag}'")?;
        }
        match &self.data {
            Some(data) => write!(f, " with data {data}"),
            None => Ok(()),
        }
    }
}
