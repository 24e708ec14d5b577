//! JSON as text: its depth, its lines, and what `serde_json` says of it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::load::{BadLine, JSON_DEPTH_MAX};

/// JSON without ends of lines, as a line of a log has it. They can only be between its words, where a space is as good.
pub(crate) fn on_one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

/// What is passed through unread must still be readable later.
pub(crate) fn check_depth(raw: Option<&RawValue>) -> Result<(), BadLine> {
    let Some(text) = raw.map(RawValue::get) else {
        return Ok(());
    };
    let openings = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
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

/// The message without the place that `serde_json` writes behind it: its line is always 1.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    text
}
