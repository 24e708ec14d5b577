//! Events that are relayed as they are stored: nothing is decoded.

use annals::ContentType;
use annals::cqrs::{Codec, CodecError, Encoded};
use serde::Serialize;
use serde::de::value::{Error, UnitDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde_json::Value;

/// Decodes every event to `()`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw;

fn unwritable() -> CodecError {
    CodecError::Unwritable {
        message: "a relay writes no typed events".to_owned(),
    }
}

impl Codec for Raw {
    fn content_type(&self) -> ContentType {
        ContentType::Json
    }

    fn encode<E: Serialize>(&self, _: &E) -> Result<Encoded, CodecError> {
        Err(unwritable())
    }

    fn decode<E: DeserializeOwned>(&self, _: &str, _: &[u8]) -> Result<E, CodecError> {
        let unit: UnitDeserializer<Error> = ().into_deserializer();
        E::deserialize(unit).map_err(|error| CodecError::Unreadable {
            path: ".".to_owned(),
            message: error.to_string(),
        })
    }

    fn to_value(&self, _: &[u8]) -> Result<Value, CodecError> {
        Ok(Value::Null)
    }

    fn from_value(&self, _: &Value) -> Result<Vec<u8>, CodecError> {
        Err(unwritable())
    }

    fn event_types<E: DeserializeOwned>(&self) -> &'static [&'static str] {
        &[]
    }
}
