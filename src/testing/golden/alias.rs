//! Aliases of what differs from run to run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde_json::Value;
use uuid::Uuid;

use crate::Timestamp;

/// The length of a UUID as text.
const UUID_CHARACTERS: usize = 36;

/// Numbers the ids of a history in the order in which they occur.
#[derive(Default)]
pub(super) struct Aliases {
    ids: HashMap<Uuid, usize>,
}

impl Aliases {
    pub(super) fn id(&mut self, id: Uuid) -> String {
        let next = self.ids.len() + 1;
        format!("id-{}", self.ids.entry(id).or_insert(next))
    }

    /// A text with its UUIDs aliased, wherever they stand in it.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut aliased = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let id = rest.get(..UUID_CHARACTERS).filter(|part| has_dashes(part));
            if let Some(id) = id.and_then(|part| Uuid::try_parse(part).ok()) {
                aliased.push_str(&self.id(id));
                rest = &rest[UUID_CHARACTERS..];
            } else {
                aliased.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        aliased
    }

    /// A payload as JSON, with its ids and times aliased; other text as a string, other bytes in hexadecimal.
    pub(super) fn payload(&mut self, bytes: &[u8]) -> Value {
        match serde_json::from_slice(bytes) {
            Ok(value) => self.value(value),
            Err(_) => match std::str::from_utf8(bytes) {
                Ok(text) => self.value(text.into()),
                Err(_) => hexadecimal(bytes).into(),
            },
        }
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) if is_time(&text) => "<time>".into(),
            Value::String(text) => self.text(&text).into(),
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(fields) => {
                // Sorted, whether or not another crate of the build has maps of JSON keep their order.
                let fields: BTreeMap<_, _> = fields.into_iter().collect();
                let fields = fields.into_iter();
                let aliased = fields.map(|(name, value)| (self.text(&name), self.value(value)));
                // Once more: names that are ids are sorted by what they are called now.
                let aliased: BTreeMap<_, _> = aliased.collect();
                aliased.into_iter().collect()
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn has_dashes(text: &str) -> bool {
    let bytes = text.as_bytes();
    [8, 13, 18, 23].into_iter().all(|at| bytes.get(at) == Some(&b'-'))
}

/// A date with a time and a zone, as RFC 3339 has it.
fn is_time(text: &str) -> bool {
    let begins_as_one =
        text.len() >= 20 && text.as_bytes()[4] == b'-' && matches!(text.as_bytes()[10], b'T' | b't' | b' ');
    begins_as_one && text.parse::<Timestamp>().is_ok()
}
