//! The data of an event that was stored without data.

use std::iter::Empty;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Visitor};

use super::failure::DecodeError;

/// Data that is missing, in every format that describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing, or an object without a field where one is asked for.
    Unit,
    /// An object without a field: the variant was written without fields, and has fields with defaults now.
    Object,
}

type Result<T> = std::result::Result<T, DecodeError>;

fn no_fields<'de, V: Visitor<'de>>(visitor: V) -> Result<V::Value> {
    let fields: Empty<(&str, &str)> = std::iter::empty();
    visitor.visit_map(MapDeserializer::new(fields))
}

impl<'de> Deserializer<'de> for Missing {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Unit => visitor.visit_unit(),
            Self::Object => no_fields(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Unit => visitor.visit_none(),
            Self::Object => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        no_fields(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        no_fields(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct enum
        identifier ignored_any
    }
}
