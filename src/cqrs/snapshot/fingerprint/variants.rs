//! Enums, of which each pass takes one variant.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};

use super::error::Refused;
use super::shape::Shape;
use super::state::Names;

type Result<T> = std::result::Result<T, Refused>;

pub(super) struct Variant<'m> {
    shape: Shape<'m>,
    name: &'static str,
}

impl<'m> Variant<'m> {
    /// Reads an enum as one of its variants, and goes on to the next when there is no more to find out about it.
    pub(super) fn explore<'de, V: Visitor<'de>>(shape: &Shape<'m>, variants: Names, visitor: V) -> Result<V::Value> {
        let (memory, path, is_one_enough) = (shape.memory, shape.path.clone(), shape.is_short);
        let name = memory.variant(&path, variants).ok_or(Refused)?;
        let mark = memory.mark();
        let shape = shape.child(&format!("{{{name}}}"));
        let read = visitor.visit_enum(Variant { shape, name });
        let is_accepted = read.is_ok();
        let is_changed = if is_accepted {
            memory.has_changed(mark)
        } else {
            memory.blame(mark)
        };
        if !is_changed {
            memory.explored(&path, is_accepted, is_one_enough);
        }
        read
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let name: StrDeserializer<'_, Refused> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<()> {
        self.shape.visit(format_args!("unit variant"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.shape.visit(format_args!("newtype variant"))?;
        seed.deserialize(self.shape)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.shape.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: Names, visitor: V) -> Result<V::Value> {
        self.shape.deserialize_struct(self.name, fields, visitor)
    }
}
