//! Decodes an event, and finds out where it does not decode.

use std::cell::Cell;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_path_to_error::Track;

use super::CodecError;
use super::event::{EventDeserializer, Reading};
use super::failure::{Failed, Found};
use super::format::Format;
use super::missing::Missing;

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
