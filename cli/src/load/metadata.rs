//! The metadata of a line: four ids that are fields of an event, and the rest.

use std::borrow::Cow;
use std::fmt;

use annals::Name;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::load::BadLine;
use crate::load::json_text::{check_depth, on_one_line, without_place};

/// The ids of an event that a line contains in its metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ids<T> {
    #[serde(rename = "correlationId", skip_serializing_if = "Option::is_none")]
    pub(crate) correlation: Option<T>,
    #[serde(rename = "causationId", skip_serializing_if = "Option::is_none")]
    pub(crate) causation: Option<T>,
    #[serde(rename = "userId", skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<T>,
    #[serde(rename = "organizationId", skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<T>,
}

impl<T> Ids<T> {
    /// The ids that are present, with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let ids = [
            ("correlationId", &self.correlation),
            ("causationId", &self.causation),
            ("userId", &self.user),
            ("organizationId", &self.organization),
        ];
        ids.into_iter().filter_map(|(name, id)| Some((name, id.as_ref()?)))
    }

    /// The id with this `name`, and its place among the four.
    fn get_mut(&mut self, name: &str) -> Option<(usize, &mut Option<T>)> {
        match name {
            "correlationId" => Some((0, &mut self.correlation)),
            "causationId" => Some((1, &mut self.causation)),
            "userId" => Some((2, &mut self.user)),
            "organizationId" => Some((3, &mut self.organization)),
            _ => None,
        }
    }
}

impl Ids<&str> {
    pub(crate) fn to_names(self) -> Ids<Name> {
        Ids {
            correlation: self.correlation.map(Name::from),
            causation: self.causation.map(Name::from),
            user: self.user.map(Name::from),
            organization: self.organization.map(Name::from),
        }
    }
}

impl<T: Serialize> Ids<T> {
    /// One object with the ids, followed by `members`, the text between the braces of another object.
    pub(crate) fn before(&self, members: &str) -> serde_json::Result<String> {
        let mut object = serde_json::to_string(self)?;
        object.pop();
        if !members.trim_ascii().is_empty() && object.len() > 1 {
            object.push(',');
        }
        object.push_str(members);
        object.push('}');
        Ok(object)
    }
}

/// The contents of the metadata of a line.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) ids: Ids<Name>,
    /// A JSON object, or nothing; in an export, any bytes.
    pub(crate) rest: Vec<u8>,
}

impl Metadata {
    /// Adds the ids beside the metadata of a line.
    ///
    /// # Errors
    ///
    /// A [`BadLine`] that names an id that the metadata contain too.
    pub(crate) fn with_ids(mut self, ids: &Ids<Name>) -> Result<Self, BadLine> {
        for (name, id) in ids.iter() {
            if let Some((_, within)) = self.ids.get_mut(name)
                && within.replace(id.clone()).is_some()
            {
                return Err(BadLine(format!(
                    "{name} is there twice, beside the metadata and in them: leave one out"
                )));
            }
        }
        Ok(self)
    }

    /// The exact bytes of the rest of `json`, which an export wrote with the ids first.
    fn verbatim(&self, json: &str) -> Option<Vec<u8>> {
        let ids = serde_json::to_string(&self.ids).ok()?;
        let members = json.strip_prefix(ids.strip_suffix('}')?)?;
        if ids == "{}" {
            return Some(json.as_bytes().to_vec());
        }
        let members = match members.strip_prefix(',') {
            Some(members) => members,
            None if members == "}" => return Some(Vec::new()),
            None => return None,
        };
        Some([b"{", members.as_bytes()].concat())
    }
}

/// Parses the metadata of a line. In an exported line (`is_exported`) they keep their bytes, and need
/// not be an object.
///
/// # Errors
///
/// A [`BadLine`] with the reason.
pub(crate) fn read_metadata(raw: Option<&RawValue>, is_exported: bool) -> Result<Metadata, BadLine> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(Metadata::default());
    };
    check_depth(Some(raw))?;
    let json = on_one_line(raw.get());
    if is_exported && !json.starts_with('{') {
        return Ok(Metadata {
            rest: json.into_owned().into_bytes(),
            ..Metadata::default()
        });
    }
    let mut metadata = parse_metadata(&json)?;
    if is_exported && let Some(rest) = metadata.verbatim(&json) {
        metadata.rest = rest;
    }
    Ok(metadata)
}

pub(crate) fn parse_metadata(json: &str) -> Result<Metadata, BadLine> {
    serde_json::from_str(json).map_err(|error| BadLine(format!("metadata: {}", without_place(&error))))
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut metadata = Metadata::default();
        let mut seen = [false; 4];
        while let Some(Key(key)) = map.next_key()? {
            let Some((index, id)) = metadata.ids.get_mut(&key) else {
                push_member(&mut metadata.rest, &key, map.next_value()?);
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err(serde::de::Error::custom(format_args!("'{key}' is there twice")));
            }
            *id = map.next_value()?;
        }
        if !metadata.rest.is_empty() {
            metadata.rest.push(b'}');
        }
        Ok(metadata)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Writes another member of an object that is not closed yet.
pub(crate) fn push_member(object: &mut Vec<u8>, key: &str, value: &RawValue) {
    object.push(if object.is_empty() { b'{' } else { b',' });
    push_text(object, key);
    object.push(b':');
    object.extend(value.get().as_bytes());
}

fn push_text(json: &mut Vec<u8>, text: &str) {
    let is_escaped = |byte: u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    if text.bytes().any(is_escaped) {
        json.extend(serde_json::Value::from(text).to_string().as_bytes());
        return;
    }
    json.push(b'"');
    json.extend(text.as_bytes());
    json.push(b'"');
}
