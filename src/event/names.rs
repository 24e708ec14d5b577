//! The names of one event, and tags as one of them.

/// The kind of a name of an event.
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

/// Maximum bytes of a part, so that the length of a tag is a character below the surrogates.
pub(crate) const PART_BYTES_MAX: usize = 0xd7fe;

/// The names of one event before they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<&'a str>,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) organization_id: Option<&'a str>,
    /// As returned by [`write_tags`].
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

    /// The hashes of the names, in the same order; 0 for an absent name.
    pub(crate) fn hashes(&self) -> [u32; PARTS] {
        self.parts()
            .map(|name| name.map_or(0, |name| NameHash::of(name).hash()))
    }
}

/// The hash of a name, and whether it contains U+0000, computed in one pass, eight bytes at a time. Names are too short for a vectorised search
/// to be worth the call. The hash folds a product, as the crate `foldhash` does. It has no seed: dictionaries need none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHash {
    state: u64,
    zeros: u64,
}

/// Digits of pi.
const KEYS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

impl NameHash {
    #[inline]
    pub(crate) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) if bytes.len() <= 16 => Self::of_words(*first, *last),
            _ => Self::of_another_length(bytes),
        }
    }

    /// The hash of a name that begins with one word and ends with another, which may overlap it.
    #[inline]
    fn of_words(first: [u8; 8], last: [u8; 8]) -> Self {
        let (first, last) = (u64::from_le_bytes(first), u64::from_le_bytes(last));
        Self {
            state: fold(first ^ KEYS[0], last ^ KEYS[1]),
            zeros: zeros_in(first) | zeros_in(last),
        }
    }

    fn of_another_length(bytes: &[u8]) -> Self {
        match (bytes.as_chunks().0, bytes.last_chunk()) {
            ([first, words @ ..], Some(last)) => {
                let begin = Self::of_words(*first, *last);
                words.iter().fold(begin, |hash, word| hash.with(*word))
            }
            _ => Self::of_words(short_word(bytes), [bytes.len() as u8 + 1; 8]),
        }
    }

    fn with(self, word: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(word);
        Self {
            state: fold(self.state ^ word, KEYS[1]),
            zeros: self.zeros | zeros_in(word),
        }
    }

    #[inline]
    pub(crate) fn hash(self) -> u32 {
        self.state as u32
    }

    #[inline]
    pub(crate) fn has_zero(self) -> bool {
        self.zeros != 0
    }
}

/// Folds both halves of a product into one.
#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

/// Bits that are set if any byte of `word` is 0: a borrow out of a byte's lowest bit reaches its highest only where the byte was 0, or a lower
/// one was.
#[inline]
fn zeros_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

/// Fewer than eight bytes as a word, filled with bytes that are not 0.
#[inline]
fn short_word(bytes: &[u8]) -> [u8; 8] {
    let mut word = [0xff; 8];
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            word[..4].copy_from_slice(first);
            word[4..].copy_from_slice(last);
        }
        _ => word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from),
    }
    word
}

/// The length of a tag, as the character with the code *length + 1*, so that joined tags are valid UTF-8.
fn length_char(tag: &str) -> char {
    let code = tag.len() + 1;
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or_default()
}

/// Bytes of a tag, including its length.
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

/// The tags of an event, in the given order.
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
        fn a_zero_is_found_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 0..40), high in proptest::bool::ANY) {
            let char = |byte: u8| char::from(if high && byte > 0 { byte + 0x7c } else { byte });
            let name: String = bytes.iter().map(|byte| char(*byte)).collect();
            prop_assert_eq!(NameHash::of(&name).has_zero(), bytes.contains(&0));
        }

        #[test]
        fn tags_that_were_written_are_read(tags in proptest::collection::vec(".{0,150}", 0..5)) {
            let part = write_tags(tags.iter().map(String::as_str));
            prop_assert_eq!(part.len(), tags.iter().map(|tag| tag_bytes(tag)).sum::<usize>());
            prop_assert_eq!(Tags::new(&part).collect::<Vec<_>>(), tags);
        }
    }
}
