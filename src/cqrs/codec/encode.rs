//! A serializer for variants of enums: the name of the variant becomes the event type, and its fields become the data in a format.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Serialize;
use serde::ser::{
    Error as _, Impossible, SerializeMap, SerializeStruct, SerializeStructVariant, SerializeTupleVariant, Serializer,
};

use super::failure::EncodeError;
use super::format::{Fields, Format};
use super::{CodecError, Encoded};

/// The tag of an internally tagged enum. Serde does not tell a serializer which field the tag is.
pub(super) const TAG: &str = "type";

type Result<T> = std::result::Result<T, EncodeError>;

pub(super) fn encode<F: Format, E: Serialize>(event: &E) -> std::result::Result<Encoded, CodecError> {
    event
        .serialize(EventSerializer::<F>::new(None))
        .map_err(|error| CodecError::Unwritable { message: error.0 })
}

fn not_a_variant<T>(what: &str) -> Result<T> {
    Err(EncodeError::custom(format!(
        "it is {what}: an event is a variant of an enum that serde writes with a tag"
    )))
}

/// Bytes of data that are allocated at first. Most events need no more: data that grows from nothing is moved several times.
const DATA_BYTES: usize = 128;

/// A value as the data of an event.
fn data_of<F: Format, T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut data = Vec::with_capacity(DATA_BYTES);
    F::write(&mut data, value)?;
    Ok(data)
}

/// Data that is written a field at a time.
struct Parts<F> {
    event_type: Cow<'static, str>,
    data: Vec<u8>,
    fields: Fields,
    is_first: bool,
    format: PhantomData<F>,
}

impl<F: Format> Parts<F> {
    fn new(event_type: impl Into<Cow<'static, str>>, fields: Fields) -> Self {
        let mut data = Vec::with_capacity(DATA_BYTES);
        F::begin(&mut data, fields);
        Self {
            event_type: event_type.into(),
            data,
            fields,
            is_first: true,
            format: PhantomData,
        }
    }

    fn add<T: Serialize + ?Sized>(&mut self, key: Option<&str>, value: &T) -> Result<()> {
        F::begin_field(&mut self.data, key, self.is_first)?;
        self.is_first = false;
        F::write(&mut self.data, value)
    }

    fn finish(mut self) -> Encoded {
        F::end(&mut self.data, self.fields);
        Encoded {
            event_type: self.event_type,
            data: self.data,
        }
    }
}

struct EventSerializer<F> {
    /// The enum whose variants without fields are taken alone, if there is one.
    of_enum: Option<&'static str>,
    format: PhantomData<F>,
}

impl<F> EventSerializer<F> {
    fn new(of_enum: Option<&'static str>) -> Self {
        Self {
            of_enum,
            format: PhantomData,
        }
    }
}

/// A serializer's methods for what is not an event.
macro_rules! refuse {
    ($($method:ident($($type:ty),*) => $what:literal),* $(,)?) => { $(
        fn $method(self, $(_: $type),*) -> Result<Self::Ok> {
            not_a_variant($what)
        }
    )* };
}

impl<F: Format> Serializer for EventSerializer<F> {
    type Ok = Encoded;
    type Error = EncodeError;
    type SerializeSeq = Impossible<Encoded, EncodeError>;
    type SerializeTuple = Impossible<Encoded, EncodeError>;
    type SerializeTupleStruct = Impossible<Encoded, EncodeError>;
    type SerializeTupleVariant = Parts<F>;
    type SerializeMap = TaggedMap<F>;
    type SerializeStruct = TaggedStruct<F>;
    type SerializeStructVariant = Parts<F>;

    refuse! {
        serialize_bool(bool) => "a boolean", serialize_i8(i8) => "a number", serialize_i16(i16) => "a number",
        serialize_i32(i32) => "a number", serialize_i64(i64) => "a number", serialize_u8(u8) => "a number",
        serialize_u16(u16) => "a number", serialize_u32(u32) => "a number", serialize_u64(u64) => "a number",
        serialize_f32(f32) => "a number", serialize_f64(f64) => "a number", serialize_char(char) => "a character",
        serialize_str(&str) => "a string", serialize_bytes(&[u8]) => "bytes", serialize_none() => "an option",
        serialize_unit() => "a unit", serialize_unit_struct(&'static str) => "a struct",
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Encoded> {
        not_a_variant("an option")
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Encoded> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<Encoded> {
        if self.of_enum.is_some_and(|of_enum| of_enum != name) {
            return not_a_variant("a struct with a field that is an enum");
        }
        Ok(Encoded {
            event_type: variant.into(),
            data: Vec::new(),
        })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Encoded> {
        Ok(Encoded {
            event_type: variant.into(),
            data: data_of::<F, T>(value)?,
        })
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, len: usize) -> Result<Parts<F>> {
        Ok(Parts::new(variant, Fields::List(len)))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts<F>> {
        Ok(Parts::new(variant, Fields::Record))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<TaggedStruct<F>> {
        Ok(TaggedStruct {
            name,
            tagged: Tagged::Begun,
        })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        not_a_variant("a sequence")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        not_a_variant("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct> {
        not_a_variant("a tuple struct")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<TaggedMap<F>> {
        Ok(TaggedMap {
            tagged: Tagged::Begun,
            key: None,
        })
    }

    fn is_human_readable(&self) -> bool {
        F::HUMAN_READABLE
    }
}

impl<F: Format> SerializeTupleVariant for Parts<F> {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.add(None, value)
    }

    fn end(self) -> Result<Encoded> {
        Ok(self.finish())
    }
}

impl<F: Format> SerializeStructVariant for Parts<F> {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.add(Some(key), value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<()> {
        if F::DESCRIBES_ITSELF {
            return Ok(());
        }
        Err(EncodeError::custom(format!(
            "its field '{key}' is skipped, and this format cannot tell which fields are there: remove #[serde(skip_serializing_if = ...)]"
        )))
    }

    fn end(self) -> Result<Encoded> {
        Ok(self.finish())
    }
}

/// An enum with a tag, which serde writes as a struct or a map whose first field is the tag.
enum Tagged<F> {
    Begun,
    /// The tag stands beside the content, which is one field at most.
    Beside {
        encoded: Encoded,
        has_content: bool,
    },
    /// The tag stands among the fields.
    Among(Parts<F>),
}

impl<F: Format> Tagged<F> {
    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        match self {
            Self::Begun => *self = Self::Among(tag_among(key, value)?),
            Self::Beside { has_content: true, .. } => return not_a_variant("a struct with a field that is an enum"),
            Self::Beside { encoded, has_content } => {
                encoded.data = data_of::<F, T>(value)?;
                *has_content = true;
            }
            Self::Among(parts) => parts.add(Some(key), value)?,
        }
        Ok(())
    }

    fn finish(self, what: &str) -> Result<Encoded> {
        match self {
            Self::Begun => not_a_variant(what),
            Self::Beside { encoded, .. } => Ok(encoded),
            Self::Among(parts) => Ok(parts.finish()),
        }
    }
}

/// The variant, where the first field is a tag beside the content: serde writes it as a variant without fields, of an enum with the name of
/// the struct.
fn tag_beside<F: Format, T: Serialize + ?Sized>(name: &'static str, value: &T) -> Option<Encoded> {
    let encoded = value.serialize(EventSerializer::<F>::new(Some(name))).ok()?;
    let is_name = serde_json::to_value(value).is_ok_and(|value| value.is_string());
    is_name.then_some(encoded)
}

/// Begins the object of the fields that stand beside their tag. Serde hands over the tag as a `str`; a text in a field or a map is of a type
/// that has a size, such as `String`.
fn tag_among<F: Format, T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Parts<F>> {
    let is_sized = size_of::<&T>() == size_of::<&()>();
    let name = serde_json::to_value(value).map_err(EncodeError::new)?;
    let Some(name) = name.as_str().filter(|_| !is_sized) else {
        return not_a_variant(&format!("a struct or a map that begins with the field '{key}'"));
    };
    check_tag::<F>()?;
    if key != TAG {
        return Err(EncodeError::custom(format!(
            "the tag of its enum is called '{key}': write #[serde(tag = \"{TAG}\")], or name the content too"
        )));
    }
    Ok(Parts::new(name.to_owned(), Fields::Record))
}

/// # Errors
///
/// When the format does not describe itself: serde has to look at the data of an enum with a tag before it knows what the data is.
fn check_tag<F: Format>() -> Result<()> {
    if F::DESCRIBES_ITSELF {
        return Ok(());
    }
    Err(EncodeError::custom(
        "its enum has a tag, and this format writes enums with a tag that it cannot read: remove #[serde(tag = ...)], or use another codec",
    ))
}

struct TaggedStruct<F> {
    name: &'static str,
    tagged: Tagged<F>,
}

impl<F: Format> SerializeStruct for TaggedStruct<F> {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        if matches!(self.tagged, Tagged::Begun)
            && let Some(encoded) = tag_beside::<F, T>(self.name, value)
        {
            check_tag::<F>()?;
            self.tagged = Tagged::Beside {
                encoded,
                has_content: false,
            };
            return Ok(());
        }
        self.tagged.add(key, value)
    }

    fn end(self) -> Result<Encoded> {
        self.tagged.finish("a struct")
    }
}

/// A variant whose fields serde writes as a map: those with `#[serde(flatten)]`, or of a type that is a map itself.
struct TaggedMap<F> {
    tagged: Tagged<F>,
    key: Option<String>,
}

impl<F: Format> SerializeMap for TaggedMap<F> {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let key = serde_json::to_value(key).map_err(EncodeError::new)?;
        let Some(key) = key.as_str() else {
            return Err(EncodeError::custom(format!(
                "a key of its map is {key}: serde reads texts alone there"
            )));
        };
        self.key = Some(key.to_owned());
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().unwrap_or_default();
        self.tagged.add(&key, value)
    }

    fn end(self) -> Result<Encoded> {
        self.tagged.finish("a map")
    }
}
