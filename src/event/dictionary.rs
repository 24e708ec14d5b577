//! The distinct names of a chunk's events: a code stands for a name, and each name is a slice of one text.

/// Size of the table of recent codes, indexed by bits of the [hash](super::names::NameHash) of the name. A collision adds a second entry of
/// the same name and never returns another name, so names from outside cannot slow the table down and its hash needs no random seed.
const RECENT: usize = 4096;

/// Names that are compared one by one before the table is worth its memory.
const FEW: usize = 8;

/// A name of a [`Dictionary`], or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code(u16);

impl Code {
    pub(crate) const NONE: Self = Self(0);

    /// The place of the name in the dictionary.
    #[inline]
    pub(crate) fn place(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// Names by code. At most 65,535; a chunk has fewer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    texts: String,
    /// Where each name ends in `texts`.
    ends: Vec<u32>,
    recent: Option<Box<[Code; RECENT]>>,
}

impl Dictionary {
    /// Creates an empty dictionary with the capacity that the complete `like` uses.
    pub(crate) fn with_room_like(like: &mut Self) -> Self {
        Self {
            texts: String::with_capacity(like.texts.len() + like.texts.len() / 32),
            ends: Vec::with_capacity(like.ends.len() + like.ends.len() / 32),
            recent: like.recent.take(),
        }
    }

    /// Returns the code of `name`, which has this hash. Adds the name if it is not recent.
    #[inline]
    pub(crate) fn intern(&mut self, name: &str, hash: u32) -> Code {
        if self.ends.len() < FEW {
            return self.intern_few(name);
        }
        let slot = hash as usize % RECENT;
        match &self.recent {
            Some(recent) if self.is(recent[slot], name) => recent[slot],
            _ => self.add(name, slot),
        }
    }

    /// Whether `code` stands for `name`. `code` may be any code.
    #[inline]
    fn is(&self, code: Code, name: &str) -> bool {
        self.bytes(code).is_some_and(|bytes| is_same(bytes, name.as_bytes()))
    }

    fn add(&mut self, name: &str, slot: usize) -> Code {
        let code = self.push(name);
        self.recent.get_or_insert_with(|| Box::new([Code::NONE; RECENT]))[slot] = code;
        code
    }

    fn intern_few(&mut self, name: &str) -> Code {
        let known = (0..self.ends.len()).find(|place| self.text(*place) == Some(name));
        match known {
            Some(place) => code(place),
            None => self.push(name),
        }
    }

    /// Adds a name of another dictionary, without looking whether it is known.
    pub(crate) fn push_name(&mut self, other: &Self, code: Code) -> Code {
        other.get(code).map_or(Code::NONE, |name| self.push(name))
    }

    fn push(&mut self, name: &str) -> Code {
        assert!(
            self.len() < usize::from(u16::MAX),
            "a dictionary has at most 65,535 names"
        );
        self.texts.push_str(name);
        self.ends.push(length(self.texts.len()));
        code(self.len() - 1)
    }

    #[inline]
    pub(crate) fn get(&self, code: Code) -> Option<&str> {
        self.text(code.place()?)
    }

    /// The bytes of a name.
    #[inline]
    pub(crate) fn bytes(&self, code: Code) -> Option<&[u8]> {
        let place = code.place()?;
        let end = *self.ends.get(place)?;
        self.texts.as_bytes().get(self.start(place)..end as usize)
    }

    #[inline]
    fn text(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        self.texts.get(self.start(place)..end as usize)
    }

    #[inline]
    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    /// Number of names: the place of the next one.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Removes all names and keeps the capacity. Codes left in the table are compared before use.
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.ends.clear();
    }

    /// Bytes of all names.
    #[inline]
    pub(crate) fn text_bytes(&self) -> usize {
        self.texts.len()
    }

    /// Releases unused capacity. Called when no name will be added soon.
    pub(crate) fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.recent = None;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let recent = self.recent.as_ref().map_or(0, |recent| size_of_val(&**recent));
        self.texts.capacity() + self.ends.capacity() * size_of::<u32>() + recent
    }
}

/// Whether two names are equal. Most are too short for a call to be worth it.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        (Some(first), Some(other_first)) if one.len() <= 16 => {
            first == other_first && one.last_chunk::<8>() == other.last_chunk::<8>()
        }
        _ => one == other,
    }
}

fn code(place: usize) -> Code {
    Code(u16::try_from(place + 1).unwrap_or(0))
}

/// A length within a dictionary. The limits of names keep every dictionary far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::NameHash;
    use super::*;

    fn intern(dictionary: &mut Dictionary, name: &str) -> Code {
        dictionary.intern(name, NameHash::of(name).hash())
    }

    proptest! {
        #[test]
        fn what_was_interned_is_found(names in proptest::collection::vec("[a-cø]{0,3}", 0..300)) {
            let mut dictionary = Dictionary::default();
            let codes: Vec<_> = names.iter().map(|name| intern(&mut dictionary, name)).collect();
            for (name, code) in names.iter().zip(codes) {
                prop_assert_eq!(dictionary.get(code), Some(name.as_str()));
            }
            prop_assert_eq!(dictionary.get(Code::NONE), None);
        }
    }

    #[test]
    fn a_name_is_kept_once() {
        let mut dictionary = Dictionary::default();
        for _ in 0..3 {
            for number in 0..100 {
                intern(&mut dictionary, &format!("user-{number}"));
            }
        }
        // Two names of 100 may share a place in the table.
        assert!(dictionary.len() < 160, "{}", dictionary.len());
        dictionary.clear();
        assert_eq!(intern(&mut dictionary, "user-1"), code(0));
    }
}
