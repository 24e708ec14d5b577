//! The names of one event, and tags as one of them.

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

/// No part may be longer, so that the length of a tag is a character below the surrogates.
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

impl<'a> Names<'a> {
    /// The names in the order of [`Part`].
    #[inline]
    pub(crate) fn parts(&self) -> [Option<&'a str>; PARTS] {
        [
            Some(self.aggregate_id),
            self.correlation_id,
            self.causation_id,
            self.user_id,
            self.organization_id,
            self.tags,
        ]
    }
}

/// The length of a tag, as the character with the code *length + 1*: so tags are valid UTF-8 together.
fn length_char(tag: &str) -> char {
    let code = tag.len() + 1;
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or_default()
}

/// Bytes that a tag takes, its length included.
pub(crate) fn tag_bytes(tag: &str) -> usize {
    length_char(tag).len_utf8() + tag.len()
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
        out.push(length_char(tag));
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
        fn tags_that_were_written_are_read(tags in proptest::collection::vec(".{0,150}", 0..5)) {
            let part = write_tags(tags.iter().map(String::as_str));
            prop_assert_eq!(part.len(), tags.iter().map(|tag| tag_bytes(tag)).sum::<usize>());
            prop_assert_eq!(Tags::new(&part).collect::<Vec<_>>(), tags);
        }
    }
}
