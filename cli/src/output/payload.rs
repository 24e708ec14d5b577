//! Data and metadata as fields of a line of JSON: as JSON, or as hexadecimal digits where JSON does not preserve the bytes.

use serde_json::value::{RawValue, to_raw_value};

use crate::exit::Outcome;
use crate::hex;
use crate::load::json_text::check_depth;
use crate::load::metadata::{Ids, read_metadata};

/// The fidelity with which data and metadata are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// For readers: JSON on one line, other text as a JSON string, and only bytes that are not UTF-8 as hexadecimal digits.
    Readable,
    /// For an import: payloads whose bytes JSON would not preserve are written as hexadecimal digits.
    Exact,
}

/// A field of a line; absent for an empty payload.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) json: Option<Box<RawValue>>,
    pub(crate) hex: Option<String>,
}

impl Payload {
    /// The data of an event.
    pub(crate) fn of_data(data: &[u8], fidelity: Fidelity) -> Outcome<Self> {
        let Some(json) = readable(data)? else {
            return Ok(Self::of_bytes(data));
        };
        let is_same = || json.get().as_bytes() == data && check_depth(Some(&json)).is_ok();
        if fidelity == Fidelity::Exact && !is_same() {
            return Ok(Self::of_bytes(data));
        }
        Ok(Self::of_json(json))
    }

    fn of_json(json: Box<RawValue>) -> Self {
        Self {
            json: Some(json),
            hex: None,
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            json: None,
            hex: (!bytes.is_empty()).then(|| hex::encode(bytes)),
        }
    }
}

/// The metadata of an event, and the ids that the metadata object does not contain.
#[derive(Debug)]
pub(crate) struct Metadata<'a> {
    pub(crate) payload: Payload,
    /// The ids beside the metadata.
    pub(crate) beside: Ids<&'a str>,
}

impl<'a> Metadata<'a> {
    /// `is_stored`: whether the line has a position and a version. Only then are metadata parsed that are not an object.
    pub(crate) fn of(metadata: &[u8], ids: Ids<&'a str>, is_stored: bool, fidelity: Fidelity) -> Outcome<Self> {
        let written = match readable(metadata)? {
            Some(json) if json.get().starts_with('{') => Some((within(&json, &ids)?, Ids::default())),
            Some(json) => Some((json, ids)),
            None if metadata.is_empty() && ids.iter().next().is_some() => Some((to_raw_value(&ids)?, Ids::default())),
            None => None,
        };
        let is_kept = |json: &RawValue, beside: &Ids<&str>| {
            let read = read_metadata(Some(json), is_stored).and_then(|read| read.with_ids(&beside.to_names()));
            read.is_ok_and(|read| read.rest == metadata && read.ids == ids.to_names())
        };
        match written {
            Some((json, beside)) if fidelity == Fidelity::Readable || is_kept(&json, &beside) => Ok(Self {
                payload: Payload::of_json(json),
                beside,
            }),
            _ => Ok(Self {
                payload: Payload::of_bytes(metadata),
                beside: ids,
            }),
        }
    }
}

/// The metadata object with the ids before its members.
fn within(json: &RawValue, ids: &Ids<&str>) -> Outcome<Box<RawValue>> {
    let members = json.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    Ok(RawValue::from_string(ids.before(members.unwrap_or_default())?)?)
}

/// JSON on one line, other text as a string of JSON; `None` for no bytes and for bytes that are not UTF-8.
fn readable(bytes: &[u8]) -> Outcome<Option<Box<RawValue>>> {
    let Some(text) = str::from_utf8(bytes).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match on_one_line(text) {
        Some(json) => Ok(Some(json)),
        None => Ok(Some(to_raw_value(text)?)),
    }
}

/// `text` as JSON on one line, if it is JSON. Line ends between its tokens become spaces.
pub(crate) fn on_one_line(text: &str) -> Option<Box<RawValue>> {
    let json = RawValue::from_string(text.to_owned()).ok()?;
    if !json.get().contains(['\n', '\r']) {
        return Some(json);
    }
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_several_lines_broke_the_line() {
        let json = |text: &str| on_one_line(text).map(|json| json.get().to_owned());
        assert_eq!(json("{\n  \"a\": 1\r\n}").as_deref(), Some("{   \"a\": 1  }"));
        assert_eq!(json("\"a\\nb\"").as_deref(), Some("\"a\\nb\""));
        // Not JSON, neither before nor after its lines are joined.
        assert_eq!(json("\"a\nb\""), None);
    }
}
