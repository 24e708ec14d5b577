//! Converts values of foreign JSON to fields of an event. It is lenient if nothing is lost.

use annals::Name;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A text, or an integer in its original spelling.
pub(super) fn name(value: &RawValue) -> Result<Name, String> {
    let json = value.get();
    if json.starts_with('"') {
        let text: String = serde_json::from_str(json).map_err(|error| format!("is no text: {error}"))?;
        return Ok(text.into());
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(json.into());
    }
    Err(expected(json, "a text or an integer"))
}

/// An array of names, or one name.
pub(super) fn names(value: &RawValue) -> Result<Vec<Name>, String> {
    if !value.get().starts_with('[') {
        return Ok(vec![name(value)?]);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
    elements.into_iter().map(name).collect()
}

pub(super) fn uuid(value: &RawValue) -> Result<Uuid, String> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let id = text.and_then(|text| text.parse().ok());
    id.ok_or_else(|| {
        expected(value.get(), "a UUID") + ": without an eventId an event gets one that follows from what it says"
    })
}

pub(super) fn number(value: &RawValue) -> Result<u32, String> {
    let json = value.get().trim_matches('"');
    json.parse()
        .map_err(|_| expected(value.get(), "an integer from 0 to 4294967295"))
}

/// The error message for a value of another type.
pub(super) fn expected(json: &str, what: &str) -> String {
    let is = match json.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        _ => crate::output::text::shorten(json, 60),
    };
    format!("is {is}, expected {what}")
}
