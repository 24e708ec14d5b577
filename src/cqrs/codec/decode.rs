//! Decodes an event, and finds out where it does not decode.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_path_to_error::Track;

use super::CodecError;
use super::event::EventDeserializer;
use super::format::Format;
use super::missing::Missing;

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
    path: Option<String>,
    /// The variants, when the event type is none of them.
    unknown: Option<Unknown>,
}

impl Found {
    fn new(path: Option<String>, unknown: Option<Unknown>) -> Self {
        Self { path, unknown }
    }
}

/// Data that does not decode.
#[derive(Debug)]
pub(super) struct Failed {
    message: String,
    found: Found,
}

impl Failed {
    pub(super) fn new(message: String, found: Found) -> Self {
        Self { message, found }
    }
}

/// An event to decode.
#[derive(Clone, Copy)]
struct Encoded<'a> {
    event_type: &'a str,
    data: &'a [u8],
}

impl Encoded<'_> {
    /// Whether there is no data, where data has at least one byte.
    #[inline]
    fn is_missing<F: Format>(self) -> bool {
        F::DESCRIBES_ITSELF && self.data.is_empty()
    }

    #[inline]
    fn read<F: Format, E: DeserializeOwned>(self, is_traced: bool) -> Result<E, Failed> {
        if self.is_missing::<F>() {
            return self.read_missing::<F, E>(Missing::Unit, is_traced);
        }
        F::read(self.event_type, self.data, is_traced)
    }

    fn read_missing<F: Format, E: DeserializeOwned>(self, missing: Missing, is_traced: bool) -> Result<E, Failed> {
        let reading = Reading {
            event_type: self.event_type,
            has_content: missing == Missing::Object,
            is_traced,
        };
        reading
            .event::<F, _, _>(missing)
            .map_err(|(error, found)| Failed::new(error.message, found))
    }
}

#[inline]
pub(super) fn decode<F: Format, E: DeserializeOwned>(event_type: &str, data: &[u8]) -> Result<E, CodecError> {
    let event = Encoded { event_type, data };
    event
        .read::<F, E>(false)
        .or_else(|failed| decode_missing::<F, E>(event).ok_or(failed))
        .map_err(|failed| explain::<F, E>(event, failed))
}

/// Decodes data that is missing as data without a field: the variant was written without fields, and has fields with defaults now.
fn decode_missing<F: Format, E: DeserializeOwned>(event: Encoded<'_>) -> Option<E> {
    event
        .is_missing::<F>()
        .then(|| event.read_missing::<F, E>(Missing::Object, false).ok())
        .flatten()
}

/// Decodes once more, with the path to what does not decode.
#[cold]
fn explain<F: Format, E: DeserializeOwned>(event: Encoded<'_>, failed: Failed) -> CodecError {
    let Failed { message, mut found } = failed;
    if found.unknown.is_none()
        && let Err(traced) = event.read::<F, E>(true)
    {
        found = traced.found;
    }
    match found.unknown {
        Some(known) => CodecError::UnknownType {
            event_type: event.event_type.to_owned(),
            known: known.join(", "),
        },
        None => CodecError::Unreadable {
            path: found.path.unwrap_or_else(|| ".".to_owned()),
            message,
        },
    }
}

/// How an event is read from a deserializer of its data.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) event_type: &'a str,
    /// Whether a variant beside its content has content.
    pub(super) has_content: bool,
    pub(super) is_traced: bool,
}

impl Reading<'_> {
    #[inline]
    pub(super) fn event<'de, F: Format, E: Deserialize<'de>, D: Deserializer<'de>>(
        self,
        fields: D,
    ) -> Result<E, (D::Error, Found)> {
        let unknown = Cell::new(None);
        if !self.is_traced {
            let event = E::deserialize(EventDeserializer::<F, _>::new(self, fields, &unknown));
            return event.map_err(|error| (error, Found::new(None, unknown.take())));
        }
        let mut track = Track::new();
        let fields = serde_path_to_error::Deserializer::new(fields, &mut track);
        let event = E::deserialize(EventDeserializer::<F, _>::new(self, fields, &unknown));
        event.map_err(|error| (error, Found::new(Some(track.path().to_string()), unknown.take())))
    }
}
