//! PostgreSQL's binary forms of rows and arrays.

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, to_sql_checked};

use crate::Timestamp;
use crate::event::names;
use crate::settings::{NAME_BYTES_MAX, TAGS_MAX};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int8,
    Uuid,
    Text,
    Texts,
    Time,
    Json,
    Bytes,
}

impl Type {
    /// Its name in PostgreSQL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Texts => "text[]",
            Self::Time => "timestamptz",
            Self::Json => "jsonb",
            Self::Bytes => "bytea",
        }
    }

    /// Its OID, which is the same in every server.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Int8 => 20,
            Self::Uuid => 2950,
            Self::Text => 25,
            Self::Texts => 1009,
            Self::Time => 1184,
            Self::Json => 3802,
            Self::Bytes => 17,
        }
    }
}

/// Why a row is invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRow {
    #[error("{0}")]
    Field(&'static str),
    /// A time, written by SQL, that a store does not support.
    #[error(
        "its {column} is {time}, and a time must be from {} to {}: set it to one of these with UPDATE, and {micros} to NULL",
        Timestamp::MIN,
        Timestamp::MAX
    )]
    Time {
        column: &'static str,
        micros: &'static str,
        time: Beyond,
    },
}

/// A time outside the range of a store.
#[derive(Debug)]
pub(super) enum Beyond {
    /// Microseconds since 1970. PostgreSQL's latest time exceeds 64 bits.
    Micros(i128),
    Infinity(&'static str),
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Micros(micros) => write!(f, "{micros} microseconds since 1970"),
            Self::Infinity(text) => f.write_str(text),
        }
    }
}

/// A value in its binary form, for any type.
#[derive(Debug)]
pub(super) struct Binary<'a>(pub(super) &'a [u8]);

impl ToSql for Binary<'_> {
    fn to_sql(
        &self,
        _: &tokio_postgres::types::Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &tokio_postgres::types::Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Writes a length. Event sizes are limited to 1 GiB; PostgreSQL rejects a longer value.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
}

/// Reads a number of four bytes from the front.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<i32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*number))
}

/// The bytes end within the value.
#[derive(Debug)]
pub(super) struct Cut;

/// Reads a length-prefixed field from the front; `None` for NULL.
pub(super) fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Cut> {
    let length = take_number(bytes).ok_or(Cut)?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let (field, rest) = bytes.split_at_checked(length).ok_or(Cut)?;
    *bytes = rest;
    Ok(Some(field))
}

/// Writes tags as an array of texts.
pub(super) fn put_tags(tags: names::Tags<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    put_length(out, 0);
    let count = tags.clone().count();
    let dimensions = i32::from(count > 0);
    for number in [dimensions, 0, Type::Text.number().cast_signed()] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    if count > 0 {
        put_length(out, count);
        put_length(out, 1);
    }
    for tag in tags {
        put_length(out, tag.len());
        out.extend_from_slice(tag.as_bytes());
    }
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Reads an array of texts: the number of dimensions, the NULL flag, the type, then the length and first index of the dimension, then
/// each text.
pub(super) fn read_tags(mut array: &[u8], tags: &mut String) -> Result<(), BadRow> {
    tags.clear();
    let bad = || BadRow::Field("its tags are not a one-dimensional array of texts");
    let array = &mut array;
    let mut header = [0; 3];
    for number in &mut header {
        *number = take_number(array).ok_or_else(bad)?;
    }
    if header[0] == 0 {
        return Ok(());
    }
    let (count, _first) = (take_number(array).ok_or_else(bad)?, take_number(array).ok_or_else(bad)?);
    let count = usize::try_from(count)
        .ok()
        .filter(|count| header[0] == 1 && *count <= TAGS_MAX);
    for _ in 0..count.ok_or_else(bad)? {
        let tag = take_field(array).ok().flatten().ok_or_else(bad).and_then(text)?;
        if tag.len() > NAME_BYTES_MAX {
            return Err(BadRow::Field("a tag is too long"));
        }
        names::write_tags_to(std::iter::once(tag), tags);
    }
    Ok(())
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, BadRow> {
    str::from_utf8(bytes).map_err(|_| BadRow::Field("a text is not UTF-8"))
}
