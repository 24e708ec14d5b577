//! A deserializer that hands a serde enum its variant from the event type, and the fields of the variant from JSON.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde_path_to_error::Track;

use super::CodecError;
use super::encode::TAG;

/// What is wrong, with the variants of the enum where the event type is none of them.
#[derive(Debug)]
pub(super) struct DecodeError {
    message: String,
    unknown: Option<Unknown>,
}

/// The variant that is unknown, and those that are known.
type Unknown = (String, &'static [&'static str]);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            unknown: None,
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            message: format!("unknown variant '{variant}'"),
            unknown: Some((variant.to_owned(), expected)),
        }
    }
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::custom(error)
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

pub(super) fn decode<E: DeserializeOwned>(event_type: &str, data: &[u8]) -> std::result::Result<E, CodecError> {
    decode_with(event_type, data, None)
        .or_else(|error| decode_missing(event_type, data).ok_or(error))
        .map_err(|error| explain::<E>(event_type, data, error))
}

/// Decodes data that is missing as data without a field: the variant was written without fields, and has fields with defaults now.
fn decode_missing<E: DeserializeOwned>(event_type: &str, data: &[u8]) -> Option<E> {
    data.is_empty()
        .then(|| decode_with(event_type, b"{}", None).ok())
        .flatten()
}

fn decode_with<E: DeserializeOwned>(event_type: &str, data: &[u8], track: Option<&mut Track>) -> Result<E> {
    E::deserialize(EventDeserializer {
        event_type,
        data,
        track,
    })
}

/// Decodes once more, with the path to what does not decode.
#[cold]
fn explain<E: DeserializeOwned>(event_type: &str, data: &[u8], error: DecodeError) -> CodecError {
    if let Some((_, known)) = error.unknown.as_ref().filter(|(variant, _)| variant == event_type) {
        return CodecError::UnknownType {
            event_type: event_type.to_owned(),
            known: known.join(", "),
        };
    }
    let mut track = Track::new();
    drop(decode_with::<E>(event_type, data, Some(&mut track)));
    CodecError::Unreadable {
        path: track.path().to_string(),
        message: error.message,
    }
}

struct EventDeserializer<'de, 't> {
    event_type: &'de str,
    data: &'de [u8],
    track: Option<&'t mut Track>,
}

impl<'de> EventDeserializer<'de, '_> {
    /// The fields of the variant.
    fn fields<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        // A variant without fields has no data.
        let data = if self.data.is_empty() { b"null" } else { self.data };
        let mut json = serde_json::Deserializer::from_slice(data);
        let value = match self.track {
            Some(track) => seed.deserialize(serde_path_to_error::Deserializer::new(&mut json, track))?,
            None => seed.deserialize(&mut json)?,
        };
        json.end()?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for EventDeserializer<'de, '_> {
    type Error = DecodeError;

    /// An enum with its tag among the fields.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.data.is_empty() {
            let tag = std::iter::once((TAG, self.event_type));
            return visitor.visit_map(serde::de::value::MapDeserializer::new(tag));
        }
        let (event_type, unknown) = (self.event_type, Cell::new(None));
        let prefixed = Prefixed {
            event_type,
            visitor,
            unknown: &unknown,
        };
        self.fields(prefixed).map_err(|error| DecodeError {
            unknown: unknown.take().or(error.unknown),
            ..error
        })
    }

    /// Serde's default representation.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    /// An enum with its tag beside the content: serde asks for a struct of these two.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let [tag, content] = fields else {
            return Err(DecodeError::custom(
                "the type is a struct: an event is read as a variant of an enum",
            ));
        };
        visitor.visit_map(Beside {
            keys: [tag, content],
            next: 0,
            event: Some(self),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de, 't> EnumAccess<'de> for EventDeserializer<'de, 't> {
    type Error = DecodeError;
    type Variant = EventDeserializer<'de, 't>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let variant: StrDeserializer<'_, DecodeError> = self.event_type.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for EventDeserializer<'de, '_> {
    type Error = DecodeError;

    /// Fields that the variant does not have are ignored, as serde ignores them in a struct.
    fn unit_variant(self) -> Result<()> {
        self.fields(PhantomData::<IgnoredAny>).map(|_| ())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.fields(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.fields(Tuple { len, visitor })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        let data = if self.data.is_empty() { b"{}" } else { self.data };
        Self { data, ..self }.fields(Struct { fields, visitor })
    }
}

struct Tuple<V> {
    len: usize,
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Tuple<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<V::Value, D::Error> {
        deserializer.deserialize_tuple(self.len, self.visitor)
    }
}

struct Struct<V> {
    fields: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Struct<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<V::Value, D::Error> {
        deserializer.deserialize_struct("", self.fields, self.visitor)
    }
}

/// The two fields of an enum with its tag beside the content.
struct Beside<'de, 't> {
    keys: [&'static str; 2],
    next: usize,
    event: Option<EventDeserializer<'de, 't>>,
}

impl<'de> MapAccess<'de> for Beside<'de, '_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let has_next = match self.next {
            0 => true,
            1 => self.event.as_ref().is_some_and(|event| !event.data.is_empty()),
            _ => false,
        };
        if !has_next {
            return Ok(None);
        }
        let key: StrDeserializer<'_, DecodeError> = self.keys[self.next].into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.next += 1;
        match self.event.take() {
            Some(event) if self.next == 1 => {
                let variant = TagBeside(event.event_type);
                self.event = Some(event);
                seed.deserialize(variant)
            }
            Some(event) => event.fields(seed),
            None => Err(DecodeError::custom("the content was read before")),
        }
    }
}

/// The tag of an enum beside the content. Serde's derive asks for an enum there, and a field of a struct for its own type.
struct TagBeside<'de>(&'de str);

impl<'de> Deserializer<'de> for TagBeside<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(DecodeError::custom(
            "the type is a struct: an event is read as a variant of an enum",
        ))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let variant: StrDeserializer<'_, DecodeError> = self.0.into_deserializer();
        variant.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Reads a JSON object as one that begins with the tag.
struct Prefixed<'de, 'u, V> {
    event_type: &'de str,
    visitor: V,
    /// Is told of a tag that is unknown: errors of JSON do not keep it.
    unknown: &'u Cell<Option<Unknown>>,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Prefixed<'de, '_, V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<V::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Prefixed<'de, '_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> std::result::Result<V::Value, A::Error> {
        self.visitor.visit_map(WithTag {
            tag: Some(self.event_type),
            is_value_next: false,
            unknown: self.unknown,
            fields,
        })
    }
}

struct WithTag<'de, 'u, A> {
    tag: Option<&'de str>,
    /// The key of the tag was read, and its value was not.
    is_value_next: bool,
    unknown: &'u Cell<Option<Unknown>>,
    fields: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithTag<'de, '_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<Option<S::Value>, A::Error> {
        if self.tag.is_none() {
            return self.fields.next_key_seed(seed);
        }
        self.is_value_next = true;
        let key: StrDeserializer<'_, A::Error> = TAG.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<S::Value, A::Error> {
        match self.tag.take() {
            Some(tag) if self.is_value_next => {
                let tag: StrDeserializer<'_, DecodeError> = tag.into_deserializer();
                seed.deserialize(tag).map_err(|error| {
                    self.unknown.set(error.unknown);
                    A::Error::custom(error.message)
                })
            }
            _ => self.fields.next_value_seed(seed),
        }
    }
}
