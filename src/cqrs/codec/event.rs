//! A deserializer that hands a serde enum its variant from the event type, and the fields of the variant from the data.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess, VariantAccess, Visitor,
};

use super::encode::TAG;
use super::failure::{DecodeError, Unknown};
use super::format::Format;

/// How an event is read from a deserializer of its data.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) event_type: &'a str,
    /// Whether a variant beside its content has content.
    pub(super) has_content: bool,
    pub(super) is_traced: bool,
}

/// Is told the variants of the enum when the event type is none of them: the errors of formats do not keep them.
type UnknownCell<'a> = &'a Cell<Option<Unknown>>;

/// Reads something from the event type.
#[inline]
fn of_event_type<T, E: Error>(
    event_type: &str,
    unknown: UnknownCell<'_>,
    read: impl FnOnce(StrDeserializer<'_, DecodeError>) -> Result<T, DecodeError>,
) -> Result<T, E> {
    read(event_type.into_deserializer()).map_err(|error| {
        unknown.set(error.unknown);
        E::custom(error.message)
    })
}

fn not_an_enum<T, E: Error>() -> Result<T, E> {
    Err(E::custom(
        "the type is a struct: an event is read as a variant of an enum",
    ))
}

/// # Errors
///
/// When the format does not describe itself: serde looks at the data of an enum with a tag before it knows what the data is.
fn check_tag<F: Format, E: Error>() -> Result<(), E> {
    if F::DESCRIBES_ITSELF {
        return Ok(());
    }
    Err(E::custom(
        "the type is not an enum without a tag: this format does not describe itself",
    ))
}

pub(super) struct EventDeserializer<'e, F, D> {
    event: Reading<'e>,
    fields: D,
    unknown: UnknownCell<'e>,
    format: PhantomData<F>,
}

impl<'e, F: Format, D> EventDeserializer<'e, F, D> {
    pub(super) fn new(event: Reading<'e>, fields: D, unknown: UnknownCell<'e>) -> Self {
        Self {
            event,
            fields,
            unknown,
            format: PhantomData,
        }
    }
}

impl<'de, F: Format, D: Deserializer<'de>> Deserializer<'de> for EventDeserializer<'_, F, D> {
    type Error = D::Error;

    /// An enum with its tag among the fields.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        check_tag::<F, D::Error>()?;
        self.fields.deserialize_map(Prefixed {
            event_type: self.event.event_type,
            visitor,
            unknown: self.unknown,
        })
    }

    /// Serde's default representation.
    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_enum(self)
    }

    /// An enum with its tag beside the content: serde asks for a struct of these two.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let [tag, content] = fields else {
            return not_an_enum();
        };
        check_tag::<F, D::Error>()?;
        visitor.visit_map(Beside {
            keys: [tag, content],
            next: 0,
            event: Some(self),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn is_human_readable(&self) -> bool {
        F::HUMAN_READABLE
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de, F: Format, D: Deserializer<'de>> EnumAccess<'de> for EventDeserializer<'_, F, D> {
    type Error = D::Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), D::Error> {
        let variant = of_event_type(self.event.event_type, self.unknown, |variant| seed.deserialize(variant))?;
        Ok((variant, self))
    }
}

impl<'de, F: Format, D: Deserializer<'de>> VariantAccess<'de> for EventDeserializer<'_, F, D> {
    type Error = D::Error;

    /// Fields that the variant does not have are ignored, as serde ignores them in a struct. A format that does not describe itself cannot
    /// skip them.
    fn unit_variant(self) -> Result<(), D::Error> {
        if !F::DESCRIBES_ITSELF {
            return Ok(());
        }
        self.fields.deserialize_ignored_any(IgnoredAny).map(drop)
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, D::Error> {
        seed.deserialize(self.fields)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.fields.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.fields.deserialize_struct("", fields, visitor)
    }
}

/// The two fields of an enum with its tag beside the content.
struct Beside<'e, F, D> {
    keys: [&'static str; 2],
    next: usize,
    event: Option<EventDeserializer<'e, F, D>>,
}

impl<'de, F: Format, D: Deserializer<'de>> MapAccess<'de> for Beside<'_, F, D> {
    type Error = D::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, D::Error> {
        let has_next = match self.next {
            0 => true,
            1 => self.event.as_ref().is_some_and(|event| event.event.has_content),
            _ => false,
        };
        if !has_next {
            return Ok(None);
        }
        let key: StrDeserializer<'_, D::Error> = self.keys[self.next].into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, D::Error> {
        self.next += 1;
        match self.event.take() {
            Some(event) if self.next == 1 => {
                let tag = TagBeside {
                    event_type: event.event.event_type,
                    unknown: event.unknown,
                    error: PhantomData,
                };
                self.event = Some(event);
                seed.deserialize(tag)
            }
            Some(event) => seed.deserialize(event.fields),
            None => Err(D::Error::custom("the content was read before")),
        }
    }
}

/// The tag of an enum beside the content. Serde's derive asks for an enum there, and a field of a struct for its own type.
struct TagBeside<'e, E> {
    event_type: &'e str,
    unknown: UnknownCell<'e>,
    error: PhantomData<E>,
}

impl<'de, E: Error> Deserializer<'de> for TagBeside<'_, E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, E> {
        not_an_enum()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        of_event_type(self.event_type, self.unknown, |tag| {
            tag.deserialize_enum(name, variants, visitor)
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Reads an object as one that begins with the tag.
struct Prefixed<'e, V> {
    event_type: &'e str,
    visitor: V,
    unknown: UnknownCell<'e>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Prefixed<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(WithTag {
            tag: Some(self.event_type),
            is_value_next: false,
            unknown: self.unknown,
            fields,
        })
    }
}

struct WithTag<'e, A> {
    tag: Option<&'e str>,
    /// The key of the tag was read, and its value was not.
    is_value_next: bool,
    unknown: UnknownCell<'e>,
    fields: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithTag<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if self.tag.is_none() {
            return self.fields.next_key_seed(seed);
        }
        self.is_value_next = true;
        let key: StrDeserializer<'_, A::Error> = TAG.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.tag.take() {
            Some(tag) if self.is_value_next => of_event_type(tag, self.unknown, |tag| seed.deserialize(tag)),
            _ => self.fields.next_value_seed(seed),
        }
    }
}
