//! Why an event does not decode, or cannot be encoded.

use std::fmt;

use serde::de::Error;

/// What is wrong with an event type or with missing data, with the variants of the enum where the event type is none of them.
#[derive(Debug)]
pub(super) struct DecodeError {
    pub(super) message: String,
    pub(super) unknown: Option<Unknown>,
}

/// The variants of an enum, of which the event type is none.
pub(super) type Unknown = &'static [&'static str];

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            unknown: None,
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            message: format!("unknown variant '{variant}'"),
            unknown: Some(expected),
        }
    }
}

/// What is known about data that does not decode, besides the error of its format.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where it is, if it was traced.
    pub(super) path: Option<String>,
    /// The variants, when the event type is none of them.
    pub(super) unknown: Option<Unknown>,
}

impl Found {
    pub(super) fn new(path: Option<String>, unknown: Option<Unknown>) -> Self {
        Self { path, unknown }
    }
}

/// Data that does not decode.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) message: String,
    pub(super) found: Found,
}

impl Failed {
    pub(super) fn new(message: String, found: Found) -> Self {
        Self { message, found }
    }
}

/// What is wrong, in serde's words.
#[derive(Debug)]
pub(super) struct EncodeError(pub(super) String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl EncodeError {
    pub(super) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}
