//! The names of the variants of a serde enum, without a value of it.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::encode::TAG;

/// The names that the derived code of serde lists.
type Names = &'static [&'static str];

/// An event type that no enum has.
const NONE: &str = "\0no variant has this name\0";

/// The names of the variants of `E`, in serde's order. Empty when `E` is not an enum that serde writes with a tag.
pub(super) fn variants<E: DeserializeOwned>() -> Names {
    match E::deserialize(Probe) {
        Err(Answer(Some(names))) => names,
        Ok(_) | Err(Answer(None)) => &[],
    }
}

/// The error that ends a probe, with the names where the type has named its variants.
#[derive(Debug)]
struct Answer(Option<Names>);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the variants of an enum are listed")
    }
}

impl std::error::Error for Answer {}

impl serde::de::Error for Answer {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }

    /// An enum inside the data has this error too, but never with the name `NONE`.
    fn unknown_variant(variant: &str, expected: Names) -> Self {
        Self((variant == NONE).then_some(expected))
    }
}

type Result<T> = std::result::Result<T, Answer>;

struct Probe;

impl<'de> Deserializer<'de> for Probe {
    type Error = Answer;

    /// An enum with its tag among the fields: it reads the tag, and refuses its value.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_map(MapDeserializer::new(std::iter::once((TAG, NONE))))
    }

    /// Serde's default representation.
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, variants: Names, _: V) -> Result<V::Value> {
        Err(Answer(Some(variants)))
    }

    /// An enum with its tag beside the content.
    fn deserialize_struct<V: Visitor<'de>>(self, name: &'static str, fields: Names, visitor: V) -> Result<V::Value> {
        match fields {
            [tag, _] => visitor.visit_map(Beside { name, tag }),
            _ => Err(Answer(None)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Answer(None))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct identifier ignored_any
    }
}

/// The tag of an enum beside the content, in a struct with the name of the enum.
struct Beside {
    name: &'static str,
    tag: &'static str,
}

impl<'de> MapAccess<'de> for Beside {
    type Error = Answer;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        seed.deserialize(self.tag.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(Tag { of_enum: self.name })
    }
}

/// A struct with a field that is another enum is no event.
struct Tag {
    of_enum: &'static str,
}

impl<'de> Deserializer<'de> for Tag {
    type Error = Answer;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Answer(None))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: Names, _: V) -> Result<V::Value> {
        Err(Answer((name == self.of_enum).then_some(variants)))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
