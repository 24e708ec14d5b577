//! JSON as text: its depth, its line ends, and the messages of `serde_json`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::load::{BadLine, JSON_DEPTH_MAX};

/// JSON without line ends, as a line of a log contains it. They can only occur between tokens, where a space is equivalent.
pub(crate) fn on_one_line(json: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

/// Rejects JSON that is passed through and could not be parsed later.
pub(crate) fn check_depth(raw: Option<&RawValue>) -> Result<(), BadLine> {
    let Some(text) = raw.map(RawValue::get) else {
        return Ok(());
    };
    let openings = memchr::memchr2_iter(b'[', b'{', text.as_bytes()).count();
    if openings <= JSON_DEPTH_MAX || depth(text) <= JSON_DEPTH_MAX {
        return Ok(());
    }
    Err(BadLine(format!(
        "arrays and objects are nested deeper than {JSON_DEPTH_MAX} levels"
    )))
}

/// The deepest nesting in a JSON text.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut in_text = false;
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// The message without the place that `serde_json` appends: its line is always 1.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    text
}
