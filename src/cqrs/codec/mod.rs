//! Codecs: an event as a variant of a serde enum, and as the type and the data that the store keeps.

#[cfg(feature = "bincode-codec")]
mod bincode;
#[cfg(feature = "bincode-codec")]
mod bounded;
#[cfg(feature = "cbor")]
mod cbor;
#[cfg(feature = "cbor")]
mod cbor_value;
mod decode;
mod encode;
mod event;
mod failure;
mod format;
mod json;
mod missing;
mod value;
mod variants;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::ContentType;

#[cfg(feature = "bincode-codec")]
pub use bincode::Bincode;
#[cfg(feature = "cbor")]
pub use cbor::Cbor;
pub use json::Json;

/// An event as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The name of the variant. It is borrowed where serde has it as a constant.
    pub event_type: Cow<'static, str>,
    /// The fields of the variant; empty for a variant without fields.
    pub data: Vec<u8>,
}

/// The identity of an event that is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEventId<'a> {
    /// The id of the event.
    pub id: Uuid,
    /// The aggregate that it is appended to, as the caller names it.
    pub aggregate_id: &'a str,
}

/// A kind of names that an event carries beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameKind {
    /// The id of a user.
    User,
    /// The id of an aggregate.
    Aggregate,
    /// A correlation id.
    Correlation,
    /// A tag.
    Tag,
}

impl NameKind {
    /// `user`, `aggregate`, `correlation` or `tag`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Aggregate => "aggregate",
            Self::Correlation => "correlation",
            Self::Tag => "tag",
        }
    }
}

/// Protects what the toolkit derives from events and stores: snapshots of aggregates, the reasons of dead letters, and digests of commands.
///
/// A [`Codec`] that hides data of events from the store has one, so that the same data is not stored in clear elsewhere.
pub trait DerivedData: fmt::Debug + Send + Sync {
    /// Returns the present epoch. Data that was derived before the epoch ends must not be stored after it.
    ///
    /// # Errors
    ///
    /// Why there is none now; nothing derived can be stored then.
    fn epoch(&self) -> Result<Uuid, String>;

    /// Encrypts data that was derived in `epoch`, as a text that is at most 4/3 times as long, and 200 bytes.
    ///
    /// # Errors
    ///
    /// Why the data must not be stored, for example because the epoch has ended.
    fn seal(&self, epoch: Uuid, data: &[u8]) -> Result<String, String>;

    /// Decrypts what [`seal`](Self::seal) returned; `None` when its epoch has ended, or it is something else.
    fn open(&self, sealed: &str) -> Option<Vec<u8>>;

    /// Returns a digest of a digest that confirms no guess of what was digested.
    fn blind(&self, digest: Uuid) -> Uuid;
}

/// Writes the variants of a serde enum as events, and reads them back.
///
/// The variant is the event type, and its fields are the data. The tag of the enum is not stored: the store has a field for it. All three
/// representations of enums with a tag work: serde's default, `#[serde(tag = "type", content = "data")]` with any two names, and
/// `#[serde(tag = "type")]` with this name alone. Structs, maps, and untagged enums of either are refused: they have no variant that could be the
/// event type.
///
/// A variant without fields decodes whatever fields the data has, except in an enum with `content`. A variant that was stored without fields and
/// has fields now decodes when all of them have defaults.
pub trait Codec: Clone + Send + Sync + fmt::Debug + 'static {
    /// Whether the data depends on the id of the event. The toolkit then assigns the ids of new events before it encodes them.
    const BINDS_ID: bool = false;

    /// Whether [`stored_name`](Self::stored_name) may return another name.
    const HIDES_NAMES: bool = false;

    /// What the bytes of the data are.
    fn content_type(&self) -> ContentType;

    /// Writes an event.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when `event` is not a variant of an enum, or its fields cannot be written in this format.
    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError>;

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`CodecError::UnknownType`] when the enum has no variant `event_type`; [`CodecError::Unreadable`] when the data is not that of the variant.
    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError>;

    /// Writes an event whose id is known. By default as [`encode`](Self::encode).
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn encode_new<E: Serialize>(&self, event: &E, new: NewEventId<'_>) -> Result<Encoded, CodecError> {
        let NewEventId { .. } = new;
        self.encode(event)
    }

    /// Reads the event with this id. By default as [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    #[inline]
    fn decode_of<E: DeserializeOwned>(&self, event_type: &str, data: &[u8], event_id: Uuid) -> Result<E, CodecError> {
        let _: Uuid = event_id;
        self.decode(event_type, data)
    }

    /// Checks a new event beyond that it decodes now. By default there is nothing to check.
    ///
    /// # Errors
    ///
    /// Why the event must not be appended.
    fn check_new<E: DeserializeOwned>(&self, encoded: &Encoded, event_id: Uuid) -> Result<(), CodecError> {
        let _: (&Encoded, Uuid) = (encoded, event_id);
        Ok(())
    }

    /// The data of the event with this id as a value, for upcasters. By default as [`to_value`](Self::to_value).
    ///
    /// # Errors
    ///
    /// As [`to_value`](Self::to_value).
    fn to_value_of(&self, event_type: &str, data: &[u8], event_id: Uuid) -> Result<Value, CodecError> {
        let _: (&str, Uuid) = (event_type, event_id);
        self.to_value(data)
    }

    /// The name to store instead of `name`. By default names are stored as they are. A stored name that is passed again stays the same.
    ///
    /// Aggregates and decisions pass each name that they write, load by, or query by.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when there is none. The error must not contain the name.
    #[inline]
    fn stored_name<'a>(&self, kind: NameKind, name: &'a str) -> Result<Cow<'a, str>, CodecError> {
        let _: NameKind = kind;
        Ok(Cow::Borrowed(name))
    }

    /// Whether something may be stored by a name. Where it is not, a load finds nothing, and need not ask for the
    /// [stored name](Self::stored_name), which may have to be made. True by default.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when it cannot be found out.
    #[inline]
    fn knows_name(&self, kind: NameKind, name: &str) -> Result<bool, CodecError> {
        let _: (NameKind, &str) = (kind, name);
        Ok(true)
    }

    /// What protects the data that the toolkit derives from events; `None` by default.
    fn derived_data(&self) -> Option<Arc<dyn DerivedData>> {
        None
    }

    /// The data of an event as a value, of which a change of the schema makes the value of a newer one. Missing data is [`Value::Null`].
    ///
    /// # Errors
    ///
    /// [`CodecError::Unreadable`] when the data is not of this format, when a value cannot represent it, or when the format does not describe
    /// itself.
    fn to_value(&self, data: &[u8]) -> Result<Value, CodecError>;

    /// Writes a value as the data of an event: the reverse of [`to_value`](Self::to_value).
    ///
    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when the format cannot represent the value.
    #[expect(
        clippy::wrong_self_convention,
        reason = "it is a pair with `to_value`, and makes data, not a codec"
    )]
    fn from_value(&self, value: &Value) -> Result<Vec<u8>, CodecError>;

    /// The event types of `E`: the names of its variants, in the order of the enum. A variant with aliases is listed with each of its names.
    ///
    /// Empty when `E` is not an enum that serde writes with a tag, and when `#[serde(tag = "type")]` and `#[serde(other)]` come together: such an
    /// enum reads every event type, and serde does not list its variants.
    fn event_types<E: DeserializeOwned>(&self) -> &'static [&'static str] {
        variants::variants::<E>()
    }
}

/// Why an event cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The enum has no variant with the name of the event type.
    #[error("unknown event type '{event_type}': the enum has the variants {known}")]
    UnknownType {
        /// The event type.
        event_type: String,
        /// The variants of the enum, as a list to read.
        known: String,
    },
    /// The data is not that of the variant.
    #[error("the data does not decode at '{path}': {message}")]
    Unreadable {
        /// Where in the data, such as `lines[2].price`; `.` for the whole, and in an enum with its tag among the fields.
        path: String,
        /// What serde says.
        message: String,
    },
    /// The event is of an older schema, and cannot be converted to the newest.
    #[error("type '{event_type}' in schema version {schema_version} cannot be upcast: {why}")]
    NotUpcast {
        /// The event type.
        event_type: String,
        /// The schema version.
        schema_version: u32,
        /// What is missing, or what the upcaster says.
        why: String,
    },
    /// The query has a prefix of names of which the codec stores pseudonyms.
    #[error("{} names cannot be found by a prefix: the codec stores pseudonyms of them; query by whole names", kind.as_str())]
    HiddenNames {
        /// The kind of the names.
        kind: NameKind,
    },
    /// The value cannot be written as an event.
    #[error("the value cannot be written as an event: {message}")]
    Unwritable {
        /// What the format or the codec says.
        message: String,
    },
}
