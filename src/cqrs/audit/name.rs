//! The name of a command: the variant of its enum, never a value of it.

use std::any::type_name;
use std::fmt::Error;

use serde::{Serialize, Serializer, ser};

/// The variant of an enum as serde writes it, or the name of the type.
pub(super) fn of<T: Serialize>(command: &T) -> String {
    let variant = command.serialize(Variant).ok().flatten();
    variant.unwrap_or_else(own_name::<T>).to_owned()
}

fn own_name<T>() -> &'static str {
    let name = type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

type Name = Option<&'static str>;

/// Takes the name of a variant, and looks at no value: values may be secret, and need not be recorded.
#[derive(Clone, Copy)]
struct Variant;

/// The rest of a variant, or of something else.
struct Rest(Name);

macro_rules! no_variant {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(
            fn $method(self, _: $type) -> Result<Name, Error> {
                Ok(None)
            }
        )*
    };
}

impl Serializer for Variant {
    type Ok = Name;
    type Error = Error;
    type SerializeSeq = Rest;
    type SerializeTuple = Rest;
    type SerializeTupleStruct = Rest;
    type SerializeTupleVariant = Rest;
    type SerializeMap = Rest;
    type SerializeStruct = Rest;
    type SerializeStructVariant = Rest;

    no_variant! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<Name, Error> {
        Ok(None)
    }

    fn serialize_unit(self) -> Result<Name, Error> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Name, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Name, Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Name, Error> {
        Ok(Some(variant))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Name, Error> {
        Ok(Some(variant))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Rest, Error> {
        Ok(Rest(Some(variant)))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Rest, Error> {
        Ok(Rest(Some(variant)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Rest, Error> {
        Ok(Rest(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Rest, Error> {
        Ok(Rest(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Rest, Error> {
        Ok(Rest(None))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Rest, Error> {
        Ok(Rest(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Rest, Error> {
        Ok(Rest(None))
    }
}

macro_rules! rest {
    ($($part:ident: $method:ident($($key:ty)?)),* $(,)?) => {
        $(
            impl ser::$part for Rest {
                type Ok = Name;
                type Error = Error;

                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? _: &T) -> Result<(), Error> {
                    Ok(())
                }

                fn end(self) -> Result<Name, Error> {
                    Ok(self.0)
                }
            }
        )*
    };
}

rest! {
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str),
}

impl ser::SerializeMap for Rest {
    type Ok = Name;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn end(self) -> Result<Name, Error> {
        Ok(self.0)
    }
}
