//! Events as bincode.

use std::cell::Cell;
use std::marker::PhantomData;

use bincode::config::Config;
use bincode::error::DecodeError;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer};
use serde::ser::Serialize;
use serde_json::Value;

use super::bounded::{Bounded, elements_of};
use super::event::Reading;
use super::failure::{EncodeError, Failed, Found};
use super::format::{Fields, Format};
use super::{Codec, CodecError, Encoded, decode, encode};
use crate::ContentType;

/// More bytes than a store accepts as a payload with any of its settings.
const BYTES: usize = 1 << 30;

fn config() -> impl Config {
    bincode::config::standard().with_limit::<BYTES>()
}

/// Events as bincode 2 in its standard configuration, with the feature `bincode-codec`: the shortest and the fastest format, and the least flexible.
///
/// The data has no names: it is the values of the fields, in their order. A field can be renamed. It cannot be added, removed or moved, which
/// makes old events undecodable or, worse, decodes them as something else. An upcaster cannot help: [`to_value`](Codec::to_value) is an error.
///
/// Only enums in serde's default representation work. An enum with a tag is refused, for bincode writes it and never reads it, and so is a
/// variant of which `skip_serializing_if` leaves out a field. [`Aggregates::execute`](crate::cqrs::Aggregates::execute) refuses other data
/// that bincode writes and does not read, such as an enum with a tag or a `serde_json::Value` inside the fields. Do not use
/// `skip_serializing` or `skip_serializing_if` in structs inside the fields: bincode reads the fields after them as others.
///
/// Data that is nested deeper than 256 levels, or whose lists have more than 65,536 elements beyond 8 for each byte, does not decode.
///
/// ```
/// use annals::cqrs::{Bincode, Codec};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Closed,
/// }
///
/// let encoded = Bincode.encode(&AccountEvent::Deposited { amount: 250 })?;
/// assert_eq!((&*encoded.event_type, encoded.data.as_slice()), ("Deposited", &[250][..]));
/// let decoded: AccountEvent = Bincode.decode("Deposited", &encoded.data)?;
/// assert_eq!(decoded, AccountEvent::Deposited { amount: 250 });
/// # Ok::<(), annals::cqrs::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

/// Why schema upcasting does not work.
const NO_VALUE: &str = "bincode does not describe itself, so its data cannot be upcast: keep the old variant under its event type and \
                        write new events as another, or use another codec";

impl Codec for Bincode {
    fn content_type(&self) -> ContentType {
        ContentType::from("application/x-bincode")
    }

    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError> {
        encode::encode::<Self, E>(event)
    }

    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError> {
        decode::decode::<Self, E>(event_type, data)
    }

    fn to_value(&self, _: &[u8]) -> Result<Value, CodecError> {
        Err(CodecError::Unreadable {
            path: ".".to_owned(),
            message: NO_VALUE.to_owned(),
        })
    }

    fn from_value(&self, _: &Value) -> Result<Vec<u8>, CodecError> {
        Err(CodecError::Unwritable {
            message: NO_VALUE.to_owned(),
        })
    }
}

impl Format for Bincode {
    const DESCRIBES_ITSELF: bool = false;
    const HUMAN_READABLE: bool = false;

    fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
        use bincode::error::EncodeError as Error;
        use bincode::serde::EncodeError as SerdeError;
        match bincode::serde::encode_into_std_write(value, out, config()) {
            Ok(_) => Ok(()),
            Err(Error::OtherString(message)) => Err(EncodeError::new(message)),
            Err(Error::Serde(SerdeError::SequenceMustHaveLength)) => Err(EncodeError::new(
                "a list or map in its fields has no length before it is written, as with #[serde(flatten)], which bincode cannot write",
            )),
            Err(error) => Err(EncodeError::new(error)),
        }
    }

    fn begin(_: &mut Vec<u8>, _: Fields) {}

    fn begin_field(_: &mut Vec<u8>, _: Option<&str>, _: bool) -> Result<(), EncodeError> {
        Ok(())
    }

    fn end(_: &mut Vec<u8>, _: Fields) {}

    fn read<E: DeserializeOwned>(event_type: &str, data: &[u8], is_traced: bool) -> Result<E, Failed> {
        let found = Cell::new(Found::default());
        let seed = DataSeed {
            event_type,
            is_traced,
            bytes: data.len(),
            found: &found,
            event: PhantomData,
        };
        match bincode::serde::seed_decode_from_slice(seed, data, config()) {
            Ok((event, read)) if read == data.len() => Ok(event),
            Ok((_, read)) => Err(Failed::new(
                format!("trailing bytes: {} after the fields of the variant", data.len() - read),
                Found::default(),
            )),
            Err(error) => Err(Failed::new(describe(error), found.take())),
        }
    }
}

/// What is wrong, in words: the errors of `bincode` are displayed as Rust.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other errors name what is invalid")]
fn describe(error: DecodeError) -> String {
    use bincode::serde::DecodeError as SerdeError;
    match error {
        DecodeError::OtherString(message) => message,
        DecodeError::UnexpectedEnd { additional } => format!("the data ends {additional} bytes too early"),
        DecodeError::LimitExceeded => format!("the data claims to have more than {BYTES} bytes"),
        DecodeError::Utf8 { inner } => format!("a text is not UTF-8: {inner}"),
        DecodeError::Serde(
            SerdeError::AnyNotSupported | SerdeError::IgnoredAnyNotSupported | SerdeError::IdentifierNotSupported,
        ) => {
            "a type in its fields reads data that describes itself, such as an enum with a tag or an untagged one: bincode does not".to_owned()
        }
        DecodeError::InvalidBooleanValue(byte) => format!("a boolean is the byte {byte}"),
        error => format!("invalid data: {error:?}"),
    }
}

struct DataSeed<'a, E> {
    event_type: &'a str,
    is_traced: bool,
    bytes: usize,
    found: &'a Cell<Found>,
    event: PhantomData<E>,
}

impl<'de, E: DeserializeOwned> DeserializeSeed<'de> for DataSeed<'_, E> {
    type Value = E;

    fn deserialize<D: Deserializer<'de>>(self, data: D) -> Result<E, D::Error> {
        let elements = elements_of(self.bytes);
        let reading = Reading {
            event_type: self.event_type,
            has_content: true,
            is_traced: self.is_traced,
        };
        let event = reading.event::<Bincode, E, _>(Bounded::new(data, &elements));
        event.map_err(|(error, found)| {
            self.found.set(found);
            error
        })
    }
}
