//! A serializer for variants of enums: the name of the variant becomes the event type, and its fields become JSON.

use serde::Serialize;
use serde::ser::{
    Error as _, Impossible, SerializeMap, SerializeStruct, SerializeStructVariant, SerializeTupleVariant, Serializer,
};

use super::{CodecError, Encoded};

/// The tag of an internally tagged enum. Serde does not tell a serializer which field the tag is.
pub(super) const TAG: &str = "type";

/// What is wrong, in serde's words.
#[derive(Debug)]
pub(super) struct EncodeError(String);

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

type Result<T> = std::result::Result<T, EncodeError>;

pub(super) fn encode<E: Serialize>(event: &E) -> std::result::Result<Encoded, CodecError> {
    event
        .serialize(EventSerializer { of_enum: None })
        .map_err(|error| CodecError::Unwritable(error.0))
}

fn not_a_variant<T>(what: &str) -> Result<T> {
    Err(EncodeError::custom(format!(
        "it is {what}: an event is a variant of an enum that serde writes with a tag"
    )))
}

/// JSON that is written a part at a time: an object or an array.
struct Parts {
    event_type: String,
    json: Vec<u8>,
    end: u8,
}

impl Parts {
    fn new(event_type: &str, begin: u8, end: u8) -> Self {
        Self {
            event_type: event_type.to_owned(),
            json: vec![begin],
            end,
        }
    }

    fn add<T: Serialize + ?Sized>(&mut self, key: Option<&str>, value: &T) -> Result<()> {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        if let Some(key) = key {
            serde_json::to_writer(&mut self.json, key)?;
            self.json.push(b':');
        }
        Ok(serde_json::to_writer(&mut self.json, value)?)
    }

    fn finish(mut self) -> Encoded {
        self.json.push(self.end);
        Encoded {
            event_type: self.event_type,
            data: self.json,
        }
    }
}

struct EventSerializer {
    /// The enum whose variants without fields are taken alone, if there is one.
    of_enum: Option<&'static str>,
}

/// A serializer's methods for what is not an event.
macro_rules! refuse {
    ($($method:ident($($type:ty),*) => $what:literal),* $(,)?) => { $(
        fn $method(self, $(_: $type),*) -> Result<Self::Ok> {
            not_a_variant($what)
        }
    )* };
}

impl Serializer for EventSerializer {
    type Ok = Encoded;
    type Error = EncodeError;
    type SerializeSeq = Impossible<Encoded, EncodeError>;
    type SerializeTuple = Impossible<Encoded, EncodeError>;
    type SerializeTupleStruct = Impossible<Encoded, EncodeError>;
    type SerializeTupleVariant = Parts;
    type SerializeMap = TaggedMap;
    type SerializeStruct = TaggedStruct;
    type SerializeStructVariant = Parts;

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
            event_type: variant.to_owned(),
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
            event_type: variant.to_owned(),
            data: serde_json::to_vec(value)?,
        })
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts> {
        Ok(Parts::new(variant, b'[', b']'))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts> {
        Ok(Parts::new(variant, b'{', b'}'))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<TaggedStruct> {
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

    fn serialize_map(self, _: Option<usize>) -> Result<TaggedMap> {
        Ok(TaggedMap {
            tagged: Tagged::Begun,
            key: None,
        })
    }
}

impl SerializeTupleVariant for Parts {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.add(None, value)
    }

    fn end(self) -> Result<Encoded> {
        Ok(self.finish())
    }
}

impl SerializeStructVariant for Parts {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.add(Some(key), value)
    }

    fn end(self) -> Result<Encoded> {
        Ok(self.finish())
    }
}

/// An enum with a tag, which serde writes as a struct or a map whose first field is the tag.
enum Tagged {
    Begun,
    /// The tag stands beside the content, which is one field at most.
    Beside {
        encoded: Encoded,
        has_content: bool,
    },
    /// The tag stands among the fields.
    Among(Parts),
}

impl Tagged {
    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        match self {
            Self::Begun => *self = Self::Among(tag_among(key, value)?),
            Self::Beside { has_content: true, .. } => return not_a_variant("a struct with a field that is an enum"),
            Self::Beside { encoded, has_content } => {
                encoded.data = serde_json::to_vec(value)?;
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
fn tag_beside<T: Serialize + ?Sized>(name: &'static str, value: &T) -> Option<Encoded> {
    let of_enum = Some(name);
    let encoded = value.serialize(EventSerializer { of_enum }).ok()?;
    let is_name = serde_json::to_value(value).is_ok_and(|value| value.is_string());
    is_name.then_some(encoded)
}

/// Begins the object of the fields that stand beside their tag. Serde hands over the tag as a `str`; a text in a field or a map is of a type
/// that has a size, such as `String`.
fn tag_among<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Parts> {
    let is_sized = size_of::<&T>() == size_of::<&()>();
    let name = serde_json::to_value(value)?;
    let Some(name) = name.as_str().filter(|_| !is_sized) else {
        return not_a_variant(&format!("a struct or a map that begins with the field '{key}'"));
    };
    if key != TAG {
        return Err(EncodeError::custom(format!(
            "the tag of its enum is called '{key}': write #[serde(tag = \"{TAG}\")], or name the content too"
        )));
    }
    Ok(Parts::new(name, b'{', b'}'))
}

struct TaggedStruct {
    name: &'static str,
    tagged: Tagged,
}

impl SerializeStruct for TaggedStruct {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        if matches!(self.tagged, Tagged::Begun)
            && let Some(encoded) = tag_beside(self.name, value)
        {
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
struct TaggedMap {
    tagged: Tagged,
    key: Option<String>,
}

impl SerializeMap for TaggedMap {
    type Ok = Encoded;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let key = serde_json::to_value(key)?;
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
