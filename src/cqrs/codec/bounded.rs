//! Data of bounded depth and size, in a format that has no bounds: every step that a deserializer takes into the data is counted.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};

/// The number of lists, maps, structs, enums, options and wrappers that may be nested in each other.
const DEPTH: u32 = 256;

/// The number of elements that data may have, besides `ELEMENTS_PER_BYTE`. Elements of a type without fields take no byte.
const ELEMENTS: u64 = 65_536;
const ELEMENTS_PER_BYTE: u64 = 8;

/// Any part of a deserializer, with what is left of the bounds.
#[derive(Clone, Copy)]
pub(super) struct Bounded<'b, T> {
    inner: T,
    depth: u32,
    elements: &'b Cell<u64>,
}

/// The number of elements that data of this size may have.
pub(super) fn elements_of(bytes: usize) -> Cell<u64> {
    Cell::new(ELEMENTS + bytes as u64 * ELEMENTS_PER_BYTE)
}

impl<'b, T> Bounded<'b, T> {
    pub(super) fn new(inner: T, elements: &'b Cell<u64>) -> Self {
        Self {
            inner,
            depth: DEPTH,
            elements,
        }
    }

    /// Another part with the same bounds.
    fn part<U>(&self, inner: U) -> Bounded<'b, U> {
        Bounded {
            inner,
            depth: self.depth,
            elements: self.elements,
        }
    }

    /// A part one level deeper, with what it is part of.
    fn deeper<U, E: Error>(self, inner: U) -> Result<(T, Bounded<'b, U>), E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(E::custom(format!("the data is nested deeper than {DEPTH} levels")));
        };
        let part = Bounded {
            inner,
            depth,
            elements: self.elements,
        };
        Ok((self.inner, part))
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        match self.elements.get().checked_sub(1) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(E::custom(
                "the data claims to have more elements than its size allows for",
            )),
        }
    }
}

/// Methods of a deserializer that read a single value.
macro_rules! plain {
    ($($method:ident => $inner:ident),* $(,)?) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )* };
}

/// Methods of a deserializer that read what has parts.
macro_rules! nested {
    ($($method:ident($($name:ident: $type:ty),*)),* $(,)?) => { $(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let (inner, visitor) = self.deeper(visitor)?;
            inner.$method($($name,)* visitor)
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    // Text and bytes are read in place: a copy is allocated before it is known whether there are as many bytes.
    plain! {
        deserialize_any => deserialize_any, deserialize_bool => deserialize_bool, deserialize_i8 => deserialize_i8,
        deserialize_i16 => deserialize_i16, deserialize_i32 => deserialize_i32, deserialize_i64 => deserialize_i64,
        deserialize_i128 => deserialize_i128, deserialize_u8 => deserialize_u8, deserialize_u16 => deserialize_u16,
        deserialize_u32 => deserialize_u32, deserialize_u64 => deserialize_u64, deserialize_u128 => deserialize_u128,
        deserialize_f32 => deserialize_f32, deserialize_f64 => deserialize_f64, deserialize_char => deserialize_char,
        deserialize_str => deserialize_str, deserialize_string => deserialize_str, deserialize_bytes => deserialize_bytes,
        deserialize_byte_buf => deserialize_bytes, deserialize_unit => deserialize_unit,
        deserialize_identifier => deserialize_identifier, deserialize_ignored_any => deserialize_ignored_any,
    }

    nested! {
        deserialize_option(), deserialize_seq(), deserialize_map(), deserialize_tuple(len: usize),
        deserialize_newtype_struct(name: &'static str), deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.part(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.part(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let elements = self.part(elements);
        self.inner.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let entries = self.part(entries);
        self.inner.visit_map(entries)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.part(variant);
        self.inner.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.part(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.count()?;
        let seed = self.part(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.count()?;
        let seed = self.part(seed);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.part(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (depth, elements) = (self.depth, self.elements);
        let seed = self.part(seed);
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Bounded { inner, depth, elements }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.part(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.part(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.part(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
