//! Events as CBOR.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::Value;

use super::cbor_value::DEPTH;
use super::event::Reading;
use super::failure::{EncodeError, Failed, Found};
use super::format::{Fields, Format};
use super::value::unreadable;
use super::{Codec, CodecError, Encoded, cbor_value, decode, encode};
use crate::ContentType;

/// An array of a length below 24, and one whose length follows in eight bytes, in RFC 8949.
const SHORT_LIST: u8 = 0x80;
const LONG_LIST: u8 = 0x9b;

/// A map of unknown length, and its end.
const RECORD: u8 = 0xbf;
const BREAK: u8 = 0xff;

/// An array of three, of which the first element is false or true.
const UNTRACED: [u8; 2] = [0x83, 0xf4];
const TRACED: [u8; 2] = [0x83, 0xf5];

/// Events as CBOR (RFC 8949), with the feature `cbor`: shorter than JSON, with bytes, and with keys of any type.
///
/// CBOR writes `Some(())` and `Some(None)` as it writes `None`. Types that have a short form, such as `Uuid`, use it; some of them, such as
/// `IpAddr`, do not come back from the inside of an enum with its tag among the fields, of a flattened field or of an untagged enum.
/// [`Aggregates::execute`](crate::cqrs::Aggregates::execute) refuses such an event before it is stored. Data that is nested deeper than
/// 128 levels does not decode.
///
/// As a [value](Codec::to_value), bytes are `{"$bytes": "0a0b"}`, and a map whose keys are not texts is `{"$map": [[1, "one"]]}`.
///
/// ```
/// use annals::cqrs::{Cbor, Codec};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Closed,
/// }
///
/// let encoded = Cbor.encode(&AccountEvent::Deposited { amount: 250 })?;
/// assert_eq!((&*encoded.event_type, encoded.data.len()), ("Deposited", 11));
/// let decoded: AccountEvent = Cbor.decode("Deposited", &encoded.data)?;
/// assert_eq!(decoded, AccountEvent::Deposited { amount: 250 });
/// # Ok::<(), annals::cqrs::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cbor;

impl Codec for Cbor {
    fn content_type(&self) -> ContentType {
        ContentType::from("application/cbor")
    }

    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError> {
        encode::encode::<Self, E>(event)
    }

    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError> {
        decode::decode::<Self, E>(event_type, data)
    }

    fn to_value(&self, data: &[u8]) -> Result<Value, CodecError> {
        if data.is_empty() {
            return Ok(Value::Null);
        }
        let value = parse(data, DEPTH).map_err(|message| unreadable(&message))?;
        cbor_value::to_json(value)
    }

    fn from_value(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        if value.is_null() {
            return Ok(Vec::new());
        }
        let mut data = Vec::new();
        let value = cbor_value::of_json(value)?;
        Self::write(&mut data, &value).map_err(|error| CodecError::Unwritable {
            message: error.to_string(),
        })?;
        Ok(data)
    }
}

impl Format for Cbor {
    const DESCRIBES_ITSELF: bool = true;
    const HUMAN_READABLE: bool = false;

    fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
        use ciborium::ser::Error;
        ciborium::into_writer(value, out).map_err(|error| match error {
            Error::Value(message) => EncodeError::new(message),
            Error::Io(error) => EncodeError::new(error),
        })
    }

    fn begin(out: &mut Vec<u8>, fields: Fields) {
        match fields {
            // A tuple is read without a look at the end of its array, so the array cannot have one.
            Fields::List(len) => begin_list(out, len),
            Fields::Record => out.push(RECORD),
        }
    }

    fn begin_field(out: &mut Vec<u8>, key: Option<&str>, _: bool) -> Result<(), EncodeError> {
        key.map_or(Ok(()), |key| Self::write(out, key))
    }

    fn end(out: &mut Vec<u8>, fields: Fields) {
        if fields == Fields::Record {
            out.push(BREAK);
        }
    }

    fn read<E: DeserializeOwned>(event_type: &str, data: &[u8], is_traced: bool) -> Result<E, Failed> {
        let mut document = Vec::with_capacity(data.len() + event_type.len() + 8);
        document.extend(if is_traced { TRACED } else { UNTRACED });
        Self::write(&mut document, event_type).map_err(|error| failed(error.to_string()))?;
        let begin = document.len();
        document.extend_from_slice(data);
        let (Document(event), rest) = parse_first(&document, DEPTH + 1, begin).map_err(failed)?;
        let event = event.map_err(|found| Failed::new(String::new(), found))?;
        check_end(rest).map_err(failed)?;
        Ok(event)
    }
}

fn begin_list(out: &mut Vec<u8>, len: usize) {
    if let Ok(len @ 0..24) = u8::try_from(len) {
        out.push(SHORT_LIST + len);
    } else {
        out.push(LONG_LIST);
        out.extend((len as u64).to_be_bytes());
    }
}

fn failed(message: String) -> Failed {
    Failed::new(message, Found::default())
}

/// Parses one value that fills the bytes.
fn parse<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, String> {
    let (value, rest) = parse_first(bytes, depth, 0)?;
    check_end(rest)?;
    Ok(value)
}

/// Parses the value at the beginning of the bytes, of which the first `begin` are ours. Returns the bytes after it too.
fn parse_first<T: DeserializeOwned>(bytes: &[u8], depth: usize, begin: usize) -> Result<(T, &[u8]), String> {
    let mut rest = bytes;
    match ciborium::de::from_reader_with_recursion_limit(&mut rest, depth) {
        Ok(value) => Ok((value, rest)),
        Err(error) => Err(describe(error, begin)),
    }
}

fn check_end(rest: &[u8]) -> Result<(), String> {
    match rest.len() {
        0 => Ok(()),
        more => Err(format!("trailing bytes: {more} after the end of the CBOR")),
    }
}

/// What is wrong, in words: the errors of `ciborium` are displayed as Rust.
fn describe(error: ciborium::de::Error<io::Error>, begin: usize) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the CBOR ends too early".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Syntax(offset) => format!("invalid CBOR at byte {}", offset.saturating_sub(begin)),
        Error::Semantic(_, message) => message,
        Error::RecursionLimitExceeded => format!("the CBOR is nested deeper than {DEPTH} levels"),
    }
}

/// An event with its type in front of its data, in an array of CBOR: `ciborium` deserializes a type, and nothing else from outside reaches it.
///
/// Where the event is traced, it is read as an error that has the path, and the error of `ciborium` is left out.
struct Document<E>(Result<E, Found>);

impl<'de, E: DeserializeOwned> Deserialize<'de> for Document<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(3, DocumentVisitor(PhantomData))
    }
}

struct DocumentVisitor<E>(PhantomData<E>);

impl<'de, E: DeserializeOwned> Visitor<'de> for DocumentVisitor<E> {
    type Value = Document<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Document<E>, A::Error> {
        let missing = || A::Error::custom("the CBOR ends too early");
        let is_traced = parts.next_element()?.ok_or_else(missing)?;
        let event_type: String = parts.next_element()?.ok_or_else(missing)?;
        let data = DataSeed {
            event_type,
            is_traced,
            event: PhantomData,
        };
        parts.next_element_seed(data)?.ok_or_else(missing).map(Document)
    }
}

struct DataSeed<E> {
    event_type: String,
    is_traced: bool,
    event: PhantomData<E>,
}

impl<'de, E: DeserializeOwned> DeserializeSeed<'de> for DataSeed<E> {
    type Value = Result<E, Found>;

    fn deserialize<D: Deserializer<'de>>(self, data: D) -> Result<Self::Value, D::Error> {
        let reading = Reading {
            event_type: &self.event_type,
            has_content: true,
            is_traced: self.is_traced,
        };
        match reading.event::<Cbor, E, D>(data) {
            Ok(event) => Ok(Ok(event)),
            Err((_, found)) if self.is_traced => Ok(Err(found)),
            Err((error, _)) => Err(error),
        }
    }
}
