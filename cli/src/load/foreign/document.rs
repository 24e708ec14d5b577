//! One JSON object, and the lookup of its values by pointers.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

use crate::load::BadLine;
use crate::load::json_text::{check_depth, on_one_line, without_place};
use crate::load::metadata::{Metadata, parse_metadata, push_member};

/// Maximum number of field names in an error.
const NAMES_SHOWN: usize = 20;

/// An object of JSON.
pub(super) struct Document<'a> {
    whole: &'a RawValue,
    members: Members<'a>,
}

/// The result of a lookup.
pub(super) enum Found<'a> {
    Value(&'a RawValue),
    /// No value; with the names that exist, in words.
    Nothing {
        there: String,
    },
}

impl<'a> Document<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, BadLine> {
        let text = std::str::from_utf8(line).map_err(|error| {
            let valid = error.valid_up_to();
            BadLine(format!(
                "column {}: this is not UTF-8: convert the file first, with iconv for example",
                valid + 1
            ))
        })?;
        let bad = |error: &serde_json::Error| BadLine(format!("column {}: {}", error.column(), without_place(error)));
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| bad(&error))?;
        let members = serde_json::from_str(whole.get()).map_err(|error| bad(&error))?;
        Ok(Self { whole, members })
    }

    /// # Errors
    ///
    /// A name of the pointer that occurs twice in an object.
    pub(super) fn find(&self, names: &[String]) -> Result<Found<'a>, String> {
        let Some((first, rest)) = names.split_first() else {
            return Ok(Found::Value(self.whole));
        };
        let Some(mut value) = self.members.get(first)? else {
            return Ok(Found::Nothing {
                there: self.members.there("the line"),
            });
        };
        let mut path = format!("/{first}");
        for name in rest {
            let Some(next) = step(value, name)? else {
                return Ok(Found::Nothing {
                    there: there(value, &path),
                });
            };
            value = next;
            path = format!("{path}/{name}");
        }
        Ok(Found::Value(value))
    }

    /// Adds the values that none of `pointers` selects to `metadata`.
    pub(super) fn keep_rest(&self, pointers: &[&[String]], metadata: &mut Metadata) -> Result<(), BadLine> {
        if pointers.iter().any(|names| names.is_empty()) {
            return Ok(());
        }
        check_depth(Some(self.whole))?;
        let rest = self.members.without(pointers)?;
        if rest.is_empty() {
            return Ok(());
        }
        let rest = on_one_line(&rest).into_owned();
        let kept: Members<'_> = members_of(&rest)?;
        let before = String::from_utf8_lossy(&metadata.rest).into_owned();
        let mut all = Vec::new();
        let there: Members<'_> = if before.is_empty() {
            Members::default()
        } else {
            members_of(&before)?
        };
        for (name, value) in there.0.iter().chain(&kept.0) {
            push_member(&mut all, name, value);
        }
        let clash = kept
            .0
            .iter()
            .find(|(name, _)| there.0.iter().any(|(other, _)| other == name));
        if let Some((name, _)) = clash {
            return Err(BadLine(format!(
                "the unknown field '{name}' cannot be kept, because the metadata have one of this name: map it, or leave out --keep-unknown"
            )));
        }
        all.push(b'}');
        check_ids(&all)?;
        metadata.rest = all;
        Ok(())
    }
}

/// Rejects unknown fields with the name of an id: in metadata they would become that id.
fn check_ids(metadata: &[u8]) -> Result<(), BadLine> {
    let text = String::from_utf8_lossy(metadata);
    match parse_metadata(&text)?.ids.iter().next() {
        None => Ok(()),
        Some((name, _)) => Err(BadLine(format!(
            "the unknown field '{name}' cannot be kept in the metadata, where it is the id of that name: map it, or leave out --keep-unknown"
        ))),
    }
}

fn members_of(json: &str) -> Result<Members<'_>, BadLine> {
    serde_json::from_str(json).map_err(|error| BadLine(without_place(&error)))
}

/// The member `name` of an object, or the element `name` of an array.
fn step<'a>(value: &'a RawValue, name: &str) -> Result<Option<&'a RawValue>, String> {
    if let Ok(members) = serde_json::from_str::<Members<'a>>(value.get()) {
        return members.get(name);
    }
    let elements: Vec<&'a RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    Ok(name
        .parse::<usize>()
        .ok()
        .and_then(|place| elements.get(place).copied()))
}

fn there(value: &RawValue, path: &str) -> String {
    match serde_json::from_str::<Members<'_>>(value.get()) {
        Ok(members) => members.there(path),
        Err(_) => format!("{path} is no object"),
    }
}

/// The members of an object, in their order.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Result<Option<&'a RawValue>, String> {
        let mut found = self.0.iter().filter(|(other, _)| other == name);
        let first = found.next().map(|(_, value)| *value);
        if found.next().is_some() {
            return Err(format!("is there twice: an object has two fields '{name}'"));
        }
        Ok(first)
    }

    /// The existing names, in words.
    fn there(&self, of: &str) -> String {
        if self.0.is_empty() {
            return format!("{of} has no fields");
        }
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).take(NAMES_SHOWN).collect();
        if self.0.len() > NAMES_SHOWN {
            names.push("…");
        }
        format!("{of} has the fields {}", names.join(", "))
    }

    /// An object without the values that `pointers` select; empty if none is left.
    fn without(&self, pointers: &[&[String]]) -> Result<String, BadLine> {
        let mut object = Vec::new();
        for (name, value) in &self.0 {
            let below: Vec<&[String]> = pointers
                .iter()
                .filter_map(|names| names.split_first())
                .filter(|(first, _)| *first == name)
                .map(|(_, rest)| rest)
                .collect();
            if below.iter().any(|rest| rest.is_empty()) {
                continue;
            }
            match serde_json::from_str::<Members<'_>>(value.get()) {
                Ok(members) if !below.is_empty() => {
                    let rest = members.without(&below)?;
                    let rest = (!rest.is_empty()).then(|| RawValue::from_string(rest)).transpose();
                    if let Some(rest) = rest.map_err(|error| BadLine(error.to_string()))? {
                        push_member(&mut object, name, &rest);
                    }
                }
                // Other values keep their bytes.
                Ok(_) | Err(_) => push_member(&mut object, name, value),
            }
        }
        if !object.is_empty() {
            object.push(b'}');
        }
        String::from_utf8(object).map_err(|error| BadLine(error.to_string()))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
