//! Fields, entries and elements.

use serde::de::value::{StrDeserializer, U64Deserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess};

use super::error::Refused;
use super::shape::Shape;
use super::state::Names;

type Result<T> = std::result::Result<T, Refused>;

/// Instead of the enum whose tag a field is, for a field with a number.
pub(super) const NUMBERED: &str = "#";

/// A tuple with more elements than this has one shape for all of them.
const PLACES: usize = 32;

fn name<'de, S: DeserializeSeed<'de>>(seed: S, name: &'static str) -> Result<S::Value> {
    let name: StrDeserializer<'_, Refused> = name.into_deserializer();
    seed.deserialize(name)
}

/// The path of an object whose tag is read.
fn with_tag(path: &str, tag: Option<&str>) -> String {
    match tag {
        Some(tag) => format!("{path}{{{tag}}}"),
        None => path.to_owned(),
    }
}

/// The elements of a list or a tuple.
pub(super) struct Elements<'m> {
    parent: Shape<'m>,
    part: &'static str,
    len: usize,
    next: usize,
}

impl<'m> Elements<'m> {
    /// Elements with the same part of the path, or with their number if it is empty.
    pub(super) fn new(parent: &Shape<'m>, part: &'static str, len: usize) -> Self {
        Self {
            parent: parent.clone(),
            part,
            len,
            next: 0,
        }
    }

    fn element(&self) -> Shape<'m> {
        match self.part {
            "" if self.len <= PLACES => self.parent.child(&format!(".{}", self.next)),
            "" => self.parent.child(".*"),
            part => self.parent.child(part),
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.next == self.len {
            return Ok(None);
        }
        let element = self.element();
        self.next += 1;
        let (memory, mark) = (element.memory, element.memory.mark());
        let read = seed.deserialize(element).map(Some);
        read.inspect_err(|_| {
            memory.blame(mark);
        })
    }
}

/// The fields of a struct. If the first is the tag of an enum, those after it are of its variant.
pub(super) struct Fields<'m> {
    parent: Shape<'m>,
    of: &'static str,
    names: Names,
    next: usize,
}

impl<'m> Fields<'m> {
    pub(super) fn new(parent: Shape<'m>, of: &'static str, names: Names) -> Self {
        Self {
            parent,
            of,
            names,
            next: 0,
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(field) = self.names.get(self.next) else {
            return Ok(None);
        };
        if self.parent.memory.is_left_out(&self.parent.path, field) {
            self.next += 1;
            return self.next_key_seed(seed);
        }
        name(seed, field).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let memory = self.parent.memory;
        let field = self.names.get(self.next).copied().ok_or(Refused)?;
        let mut value = self.parent.child(&format!(".{field}"));
        value.tag_of = (self.next == 0 && self.names.len() == 2).then_some(self.of);
        self.next += 1;
        let mark = memory.mark();
        let read = seed.deserialize(value);
        if let Some(tag) = memory.take_tag().filter(|_| self.next == 1) {
            self.parent.path = with_tag(&self.parent.path, Some(tag));
        }
        if read.is_err() && !memory.blame(mark) {
            memory.leave_out(&self.parent.path, field);
        }
        read
    }
}

/// The entries of a map, or of an object whose fields are found out one by one.
pub(super) struct Entries<'m> {
    parent: Shape<'m>,
    tag: Option<&'static str>,
    next: usize,
    /// Whether an entry with a made-up key comes first.
    has_key: bool,
    /// A field that comes first and has a number instead of a name.
    number: Option<u64>,
    field: Option<&'static str>,
}

impl<'m> Entries<'m> {
    pub(super) fn new(parent: Shape<'m>, has_key: bool) -> Self {
        Self {
            parent,
            tag: None,
            next: 0,
            has_key,
            number: None,
            field: None,
        }
    }

    pub(super) fn with_number(self, number: u64) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    fn path(&self) -> String {
        with_tag(&self.parent.path, self.tag)
    }

    fn next_field(&mut self) -> Option<&'static str> {
        let path = self.path();
        loop {
            let field = self.parent.memory.learned(&path, self.next)?;
            self.next += 1;
            if !self.parent.memory.is_left_out(&path, field) {
                return Some(field);
            }
        }
    }

    fn set_tag(&mut self, tag: &'static str) {
        let before = self.path();
        self.tag = Some(tag);
        self.next = 0;
        let paths = (before.as_str(), &*self.path());
        self.parent.memory.tag_map(&self.parent.path, tag, paths);
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if let Some(number) = self.number {
            let number: U64Deserializer<Refused> = number.into_deserializer();
            let key = seed.deserialize(number).map(Some);
            return key.inspect_err(|_| self.parent.memory.end_probes());
        }
        // The entry comes first: when the type refuses the last value, it is one of the fields that are found out.
        if std::mem::take(&mut self.has_key) {
            return seed.deserialize(self.parent.child("<key>")).map(Some);
        }
        self.field = self.next_field();
        self.field.map(|field| name(seed, field)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        if let Some(number) = self.number.take() {
            let mut value = self.parent.child(&format!("#{number}"));
            value.tag_of = Some(NUMBERED);
            return seed.deserialize(value);
        }
        let Some(field) = self.field.take() else {
            return seed.deserialize(self.parent.child("[]"));
        };
        let (memory, path) = (self.parent.memory, self.path());
        let mut value = self.parent.child("");
        value.path = format!("{path}.{field}");
        value.tag_of = Some("");
        let mark = memory.mark();
        let read = seed.deserialize(value);
        if let Some(tag) = memory.take_tag() {
            self.set_tag(tag);
        }
        if read.is_err() && !memory.blame(mark) {
            memory.leave_out(&path, field);
        }
        read
    }
}
