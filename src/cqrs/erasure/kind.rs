//! The kinds of JSON values, and what an erased value of each is read as.

use serde_json::Value;

/// The kind of a JSON value. It is stored beside the encrypted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Flag,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Null, "null"),
        (Self::Flag, "flag"),
        (Self::Number, "number"),
        (Self::Text, "text"),
        (Self::List, "list"),
        (Self::Object, "object"),
    ];

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Flag,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Object,
        }
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    pub(super) fn redacted(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag => Value::Bool(false),
            Self::Number => Value::from(0),
            Self::Text => Value::from("[erased]"),
            Self::List => Value::Array(Vec::new()),
            Self::Object => Value::Object(serde_json::Map::new()),
        }
    }
}
