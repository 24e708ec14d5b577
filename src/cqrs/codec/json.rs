//! Events as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::de::Read;

use super::event::Reading;
use super::failure::{EncodeError, Failed, Found};
use super::format::{Fields, Format};
use super::{Codec, CodecError, Encoded, decode, encode, value};
use crate::ContentType;

/// Events as JSON. The default.
///
/// JSON writes some values of Rust alike, and reads them back as the other one: `Some(())`, `Some(None)` and a `Some` of a number that is not
/// finite come back as `None`. In an enum with its tag among the fields serde reads no 128-bit integers and no map whose keys are not texts;
/// [`Aggregates::execute`](crate::cqrs::Aggregates::execute) refuses such an event before it is stored.
///
/// ```
/// use annals::cqrs::{Codec, Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Closed,
/// }
///
/// let encoded = Json.encode(&AccountEvent::Deposited { amount: 250 })?;
/// assert_eq!((&*encoded.event_type, encoded.data.as_slice()), ("Deposited", &br#"{"amount":250}"#[..]));
///
/// let decoded: AccountEvent = Json.decode("Deposited", br#"{"amount":250}"#)?;
/// assert_eq!(decoded, AccountEvent::Deposited { amount: 250 });
///
/// let error = Json.decode::<AccountEvent>("Deposited", br#"{"amount":"much"}"#).unwrap_err();
/// assert!(error.to_string().starts_with("the data does not decode at 'amount': invalid type: string"));
/// # Ok::<(), annals::cqrs::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Codec for Json {
    fn content_type(&self) -> ContentType {
        ContentType::Json
    }

    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError> {
        encode::encode::<Self, E>(event)
    }

    #[inline]
    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError> {
        decode::decode::<Self, E>(event_type, data)
    }

    fn to_value(&self, data: &[u8]) -> Result<Value, CodecError> {
        value::of_json(data)
    }

    fn from_value(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        value::to_json(value)
    }
}

impl Format for Json {
    const DESCRIBES_ITSELF: bool = true;
    const HUMAN_READABLE: bool = true;

    fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
        serde_json::to_writer(out, value).map_err(EncodeError::new)
    }

    fn begin(out: &mut Vec<u8>, fields: Fields) {
        out.push(match fields {
            Fields::List(_) => b'[',
            Fields::Record => b'{',
        });
    }

    fn begin_field(out: &mut Vec<u8>, key: Option<&str>, is_first: bool) -> Result<(), EncodeError> {
        if !is_first {
            out.push(b',');
        }
        if let Some(key) = key {
            Self::write(out, key)?;
            out.push(b':');
        }
        Ok(())
    }

    fn end(out: &mut Vec<u8>, fields: Fields) {
        out.push(match fields {
            Fields::List(_) => b']',
            Fields::Record => b'}',
        });
    }

    #[inline]
    fn read<E: DeserializeOwned>(event_type: &str, data: &[u8], is_traced: bool) -> Result<E, Failed> {
        // A text is checked once, and a slice at each of its strings. A string that is skipped is not checked: it is no error there.
        match str::from_utf8(data) {
            Ok(text) if !is_traced => read_from(serde_json::Deserializer::from_str(text), event_type, false),
            _ => read_slice(event_type, data, is_traced),
        }
    }
}

#[cold]
fn read_slice<E: DeserializeOwned>(event_type: &str, data: &[u8], is_traced: bool) -> Result<E, Failed> {
    read_from(serde_json::Deserializer::from_slice(data), event_type, is_traced)
}

#[inline]
fn read_from<'de, E: DeserializeOwned, R: Read<'de>>(
    mut json: serde_json::Deserializer<R>,
    event_type: &str,
    is_traced: bool,
) -> Result<E, Failed> {
    let reading = Reading {
        event_type,
        has_content: true,
        is_traced,
    };
    let event = reading
        .event::<Json, _, _>(&mut json)
        .map_err(|(error, found)| Failed::new(error.to_string(), found))?;
    json.end()
        .map_err(|error| Failed::new(error.to_string(), Found::default()))?;
    Ok(event)
}
