//! How the names of one event are written into one `str`: six lengths, then the texts.
//!
//! A length is written as the character with the code *length + 1*, or 0 for "absent", so that the whole buffer stays valid
//! UTF-8 and can be sliced without checking it again. Tags are one part, written the same way inside.

/// Which name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    AggregateId,
    Correlation,
    Causation,
    User,
    Organization,
    Tags,
}

pub(crate) const PARTS: usize = 6;

/// No part may be longer, so that its length is a character below the surrogates.
pub(crate) const PART_BYTES_MAX: usize = 0xd7fe;

/// The names of one event, before they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<&'a str>,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) organization_id: Option<&'a str>,
    /// As [`write_tags`] made them.
    pub(crate) tags: Option<&'a str>,
}

impl Names<'_> {
    fn parts(&self) -> [Option<&str>; PARTS] {
        [
            Some(self.aggregate_id),
            self.correlation_id,
            self.causation_id,
            self.user_id,
            self.organization_id,
            self.tags,
        ]
    }

    /// Appends the names to `out`.
    pub(crate) fn write(&self, out: &mut String) {
        let parts = self.parts();
        let length: usize = parts.iter().flatten().map(|part| part.len()).sum();
        out.reserve(length + 3 * PARTS);
        // Nearly always every length is one byte.
        let short = parts.map(short_length);
        if short.contains(&u8::MAX) {
            out.extend(parts.map(length_char));
        } else {
            out.push_str(str::from_utf8(&short).unwrap_or_default());
        }
        for part in parts.into_iter().flatten() {
            out.push_str(part);
        }
    }
}

/// The character of a length where that is one byte, [`u8::MAX`] otherwise.
fn short_length(part: Option<&str>) -> u8 {
    let code = part.map_or(0, |text| text.len() + 1);
    u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(u8::MAX)
}

fn length_char(part: Option<&str>) -> char {
    let code = part.map_or(0, |text| text.len() + 1);
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or_default()
}

/// Bytes that a part takes, its length included.
pub(crate) fn part_bytes(length: Option<usize>) -> usize {
    let code = length.map_or(0, |length| length + 1);
    let code_bytes = u32::try_from(code)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or_default()
        .len_utf8();
    code_bytes + length.unwrap_or(0)
}

/// Reads one name out of what [`Names::write`] wrote.
#[inline]
pub(crate) fn read(names: &str, part: Part) -> Option<&str> {
    let part = part as usize;
    let (codes, texts) = read_lengths(names)?;
    let length = usize::from(codes[part]).checked_sub(1)?;
    let start: usize = codes[..part]
        .iter()
        .map(|code| usize::from(*code).saturating_sub(1))
        .sum();
    texts.get(start..start + length)
}

/// Reads every name at once, in the order of [`Part`].
#[inline]
pub(crate) fn read_all(names: &str) -> [Option<&str>; PARTS] {
    let Some((codes, mut texts)) = read_lengths(names) else {
        return [None; PARTS];
    };
    codes.map(|code| {
        let (text, rest) = texts.split_at_checked(usize::from(code).checked_sub(1)?)?;
        texts = rest;
        Some(text)
    })
}

/// The codes of the six lengths, and the texts.
#[inline]
fn read_lengths(names: &str) -> Option<([u16; PARTS], &str)> {
    if let Some((short, texts)) = names.split_at_checked(PARTS)
        && let Ok(short) = <[u8; PARTS]>::try_from(short.as_bytes())
        && short.is_ascii()
    {
        return Some((short.map(u16::from), texts));
    }
    let mut chars = names.chars();
    let mut codes = [0; PARTS];
    for code in &mut codes {
        *code = u16::try_from(u32::from(chars.next()?)).ok()?;
    }
    Some((codes, chars.as_str()))
}

/// Writes tags as one part.
pub(crate) fn write_tags<'a>(tags: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    write_tags_to(tags, &mut out);
    out
}

/// Appends tags as one part to `out`.
pub(crate) fn write_tags_to<'a>(tags: impl Iterator<Item = &'a str>, out: &mut String) {
    for tag in tags {
        out.push(length_char(Some(tag)));
        out.push_str(tag);
    }
}

/// The tags of an event, in the order they were given.
#[derive(Clone, Debug)]
pub struct Tags<'a>(&'a str);

impl<'a> Tags<'a> {
    pub(crate) fn new(part: &'a str) -> Self {
        Self(part)
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut chars = self.0.chars();
        let length = (chars.next()? as usize).checked_sub(1)?;
        let (tag, rest) = chars.as_str().split_at_checked(length)?;
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            aggregate_id in ".{1,200}",
            correlation in proptest::option::of(".{0,200}"),
            user in proptest::option::of(".{0,9}"),
            tags in proptest::collection::vec(".{0,150}", 0..5),
        ) {
            let tag_text = write_tags(tags.iter().map(String::as_str));
            let names = Names {
                aggregate_id: &aggregate_id,
                correlation_id: correlation.as_deref(),
                user_id: user.as_deref(),
                tags: (!tags.is_empty()).then_some(&tag_text),
                ..Names::default()
            };
            let mut out = String::new();
            names.write(&mut out);
            prop_assert_eq!(read(&out, Part::AggregateId), Some(aggregate_id.as_str()));
            prop_assert_eq!(read(&out, Part::Correlation), correlation.as_deref());
            prop_assert_eq!(read(&out, Part::Causation), None);
            prop_assert_eq!(read(&out, Part::User), user.as_deref());
            prop_assert_eq!(read(&out, Part::Organization), None);
            let read_tags: Vec<_> = Tags::new(read(&out, Part::Tags).unwrap_or_default()).collect();
            prop_assert_eq!(read_tags, tags);
        }
    }
}
