//! Events as JSON, and names as a part of a URL or a subject.

use std::borrow::Cow;

#[cfg(feature = "http")]
use annals::{Expected, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::OrFailed as _;
use crate::store::{NewEvent, Result};

/// An event with the fields that the HTTP API of `annals serve` has.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::backends) struct JsonEvent<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    correlation_id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    causation_id: Cow<'a, str>,
    timestamp: String,
    #[serde(borrow)]
    event_data: &'a RawValue,
}

impl<'a> JsonEvent<'a> {
    pub(in crate::backends) fn new(event: &NewEvent<'a>) -> Result<Self> {
        Ok(Self {
            event_type: event.event_type.into(),
            correlation_id: event.correlation.into(),
            causation_id: event.causation.into(),
            timestamp: time(event.micros)?,
            event_data: serde_json::from_slice(event.data).or_failed()?,
        })
    }

    #[cfg(feature = "nats")]
    pub(in crate::backends) fn data(&self) -> &[u8] {
        self.event_data.get().as_bytes()
    }
}

/// The condition of an append in the form of the API.
#[cfg(feature = "http")]
pub(in crate::backends) fn condition(expected: Expected) -> String {
    match expected {
        Expected::Any => "any".to_owned(),
        Expected::NoStream | Expected::Exactly(Version(0)) => "none".to_owned(),
        Expected::StreamExists => "exists".to_owned(),
        Expected::Exactly(version) => version.0.to_string(),
    }
}

/// The events of an append, one a line.
#[cfg(feature = "http")]
pub(in crate::backends) fn lines(events: &[NewEvent<'_>]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, &JsonEvent::new(event)?).or_failed()?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A time as the API has it.
pub(in crate::backends) fn time(micros: i64) -> Result<String> {
    let time = Timestamp::from_microsecond(micros).or_failed()?;
    Ok(time.to_string())
}

/// A name of letters, digits, `-`, `_` and `%`, and another one for each name.
pub(in crate::backends) fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let escape = |byte| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    name.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_were_one() {
        assert_eq!(escaped("order-1_a"), "order-1_a");
        assert_eq!(escaped("a.b c/ä%"), "a%2Eb%20c%2F%C3%A4%25");
    }
}
