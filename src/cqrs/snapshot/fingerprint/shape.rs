//! The deserializer that makes up what is asked for.

use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, Expected, IntoDeserializer, Visitor};

use super::entries::{Elements, Entries, Fields, NUMBERED};
use super::error::Refused;
use super::memory::Memory;
use super::state::{Names, Probe};
use super::variants::Variant;

/// Texts to make up: a type that refuses one may accept the next.
const TEXTS: [&str; 16] = [
    "",
    "0",
    "00000000-0000-4000-8000-000000000000",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00+00:00[UTC]",
    "2000-01-01T00:00:00",
    "2000-01-01",
    "00:00:00",
    "PT1S",
    "127.0.0.1",
    "127.0.0.1:80",
    "1.5",
    "a",
    "http://example.com/",
    "a@example.com",
    "true",
];

/// Numbers to make up, of any type.
const NUMBERS: [u8; 5] = [1, 0, 2, 12, 100];
const FRACTIONS: [f32; 3] = [1.0, 0.0, 0.5];
const CHARACTERS: [char; 3] = ['a', '0', ' '];
const BYTES: [&[u8]; 3] = [b"", b"0", &[0; 16]];

/// Values for a type that takes any: a map, the texts, and these.
const OTHERS: usize = 7;

/// Deeper than this, options are none, and lists and maps are empty.
const SHORT_BELOW: u32 = 24;
/// Deeper than this, everything is refused.
const DEPTH: u32 = 48;
/// Deeper than this, no fields are added to maps, and lists of any kind are empty.
const LEARN_ABOVE: u32 = 12;

type Result<T> = std::result::Result<T, Refused>;

#[derive(Clone, Debug)]
pub(super) struct Shape<'m> {
    pub(super) memory: &'m Memory,
    pub(super) path: String,
    pub(super) depth: u32,
    /// Whether to go no deeper than needed.
    pub(super) is_short: bool,
    /// The enum whose tag this is if it is an enum; the empty name for a field of an object of any kind.
    pub(super) tag_of: Option<&'static str>,
}

impl<'m> Shape<'m> {
    pub(super) fn root(memory: &'m Memory) -> Self {
        Self {
            memory,
            path: String::new(),
            depth: 0,
            is_short: false,
            tag_of: None,
        }
    }

    pub(super) fn child(&self, part: &str) -> Self {
        Self {
            path: format!("{}{part}", self.path),
            depth: self.depth + 1,
            is_short: self.is_short || self.depth >= SHORT_BELOW,
            tag_of: None,
            ..*self
        }
    }

    pub(super) fn visit(&self, what: fmt::Arguments<'_>) -> Result<()> {
        self.memory.visit(&self.path, what)?;
        if self.depth > DEPTH { Err(Refused) } else { Ok(()) }
    }

    /// One of some values to make up.
    fn one_of<T: Copy>(&self, what: &str, values: &[T]) -> Result<T> {
        self.visit(format_args!("{what}"))?;
        Ok(values[self.memory.value(&self.path, values.len())])
    }

    fn is_empty(&self) -> bool {
        self.is_short || self.memory.is_empty(&self.path)
    }

    /// Reads a type that has a name, and may contain itself.
    fn within<T>(mut self, name: &'static str, names: Names, read: impl FnOnce(Self) -> Result<T>) -> Result<T> {
        let memory = self.memory;
        self.is_short |= memory.enter(name, names)?;
        let read = read(self);
        memory.leave();
        read
    }

    /// Reads a type whose content is given up when it is refused.
    fn or_empty<T>(self, read: impl FnOnce(Self) -> Result<T>) -> Result<T> {
        let (memory, path, mark) = (self.memory, self.path.clone(), self.memory.mark());
        let is_given_up = self.is_empty();
        read(self).inspect_err(|_| {
            if !is_given_up && !memory.blame(mark) {
                memory.set_empty(&path);
            }
        })
    }

    fn text<'de, V: Visitor<'de>>(&self, what: &str, visitor: V) -> Result<V::Value> {
        visitor.visit_str(self.one_of(what, &TEXTS)?)
    }

    /// A value for a type that looks at it before it says what it is.
    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("any: {}", &visitor as &dyn Expected))?;
        match self.memory.begin_any(&self.path) {
            Some(Probe::List(tag)) => return visitor.visit_seq(SeqDeserializer::<_, Refused>::new(tag.into_iter())),
            Some(Probe::Field(number)) => return visitor.visit_map(self.entries(false).with_number(number)),
            None => {}
        }
        let choice = self.memory.value(&self.path, 1 + TEXTS.len() + OTHERS);
        if let Some(text) = choice.checked_sub(1).and_then(|text| TEXTS.get(text)) {
            return visitor.visit_str(text);
        }
        match choice.saturating_sub(TEXTS.len()) {
            0 => visitor.visit_map(self.entries(false)),
            1 => visitor.visit_u64(1),
            2 => visitor.visit_f64(0.5),
            3 => visitor.visit_bool(true),
            4 if self.depth < LEARN_ABOVE => visitor.visit_seq(Elements::new(&self, "[]", 1)),
            4 | 5 => visitor.visit_seq(Elements::new(&self, "[]", 0)),
            6 => visitor.visit_unit(),
            _ => visitor.visit_i64(-1),
        }
    }

    fn entries(self, has_key: bool) -> Entries<'m> {
        if self.depth < LEARN_ABOVE {
            self.memory.begin_map(&self.path);
        }
        Entries::new(self, has_key)
    }

    /// A tag that serde reads as the name of a variant.
    fn tag<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("tag"))?;
        let variants = self.memory.known_variants(&self.path);
        if let Some(tag) = self.memory.tag(&self.path, variants) {
            return visitor.visit_str(tag);
        }
        let mark = self.memory.mark();
        visitor
            .visit_str("")
            .inspect_err(|_| self.memory.learn_variants(&self.path, mark))
    }
}

/// Methods that make up a number.
macro_rules! numbers {
    ($($method:ident, $visit:ident, $type:ty, $values:ident;)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(<$type>::from(self.one_of(stringify!($type), &$values)?))
        }
    )* };
}

/// `i8` has no conversion from all of `u8`.
const SMALL_NUMBERS: [i8; 5] = [1, 0, 2, 12, 100];

impl<'de> Deserializer<'de> for Shape<'_> {
    type Error = Refused;

    numbers! {
        deserialize_i8, visit_i8, i8, SMALL_NUMBERS;
        deserialize_i16, visit_i16, i16, NUMBERS;
        deserialize_i32, visit_i32, i32, NUMBERS;
        deserialize_i64, visit_i64, i64, NUMBERS;
        deserialize_i128, visit_i128, i128, NUMBERS;
        deserialize_u8, visit_u8, u8, NUMBERS;
        deserialize_u16, visit_u16, u16, NUMBERS;
        deserialize_u32, visit_u32, u32, NUMBERS;
        deserialize_u64, visit_u64, u64, NUMBERS;
        deserialize_u128, visit_u128, u128, NUMBERS;
        deserialize_f32, visit_f32, f32, FRACTIONS;
        deserialize_f64, visit_f64, f64, FRACTIONS;
        deserialize_char, visit_char, char, CHARACTERS;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.one_of("bool", &[true, false])?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.text("str", visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.text("string", visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bytes(self.one_of("bytes", &BYTES)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bytes(self.one_of("bytes", &BYTES)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("option"))?;
        if self.is_empty() {
            return visitor.visit_none();
        }
        self.or_empty(|option| visitor.visit_some(option.child("?")))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("unit"))?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("unit struct {name}"))?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("newtype {name}"))?;
        self.within(name, &[], |wrapped| visitor.visit_newtype_struct(wrapped.child("")))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("list"))?;
        let len = usize::from(!self.is_empty());
        self.or_empty(|list| visitor.visit_seq(Elements::new(&list, "[]", len)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("tuple of {len}"))?;
        visitor.visit_seq(Elements::new(&self, "", len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("tuple struct {name} of {len}"))?;
        self.within(name, &[], |tuple| visitor.visit_seq(Elements::new(&tuple, "", len)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("map"))?;
        let has_key = !self.is_empty();
        self.or_empty(|map| visitor.visit_map(map.entries(has_key)))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, name: &'static str, fields: Names, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("struct {name} {fields:?}"))?;
        self.within(name, fields, |shape| {
            let (memory, path, mark) = (shape.memory, shape.path.clone(), shape.memory.mark());
            visitor
                .visit_map(Fields::new(shape, name, fields))
                .inspect_err(|_| memory.forgive_left_out(&path, fields, mark))
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: Names, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("enum {name} {variants:?}"))?;
        if self.tag_of == Some(name) {
            let tag = self.memory.tag(&self.path, variants).ok_or(Refused)?;
            let tag: StrDeserializer<'_, Refused> = tag.into_deserializer();
            return tag.deserialize_enum(name, variants, visitor);
        }
        self.within(name, variants, |shape| Variant::explore(&shape, variants, visitor))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.tag_of == Some("") {
            return self.tag(visitor);
        }
        self.text("identifier", visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.visit(format_args!("ignored"))?;
        if self.tag_of == Some(NUMBERED) {
            self.memory.end_probes();
        }
        visitor.visit_unit()
    }
}
