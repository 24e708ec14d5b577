//! Names: short UTF-8 texts that identify aggregates, types, users and conversations.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A short text that identifies something: an aggregate, a type, a user, a conversation.
///
/// Up to 24 bytes live inside the value itself, without an allocation. Lengths are checked when an event is appended, not
/// here; see [`Limits`](crate::Limits).
///
/// ```
/// use annals::Name;
///
/// let name = Name::from("invoice-17");
/// assert_eq!(name, "invoice-17");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(CompactString);

impl Name {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes kept outside the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        if self.0.is_heap_allocated() {
            self.0.capacity()
        } else {
            0
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(CompactString::new(text))
    }
}

impl From<&String> for Name {
    fn from(text: &String) -> Self {
        Self(CompactString::new(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(CompactString::from(text))
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

impl From<Cow<'_, str>> for Name {
    fn from(text: Cow<'_, str>) -> Self {
        Self(CompactString::from(text))
    }
}

impl From<&Cow<'_, str>> for Name {
    fn from(text: &Cow<'_, str>) -> Self {
        Self(CompactString::new(text))
    }
}

impl From<Name> for Cow<'_, str> {
    fn from(name: Name) -> Self {
        Self::Owned(name.0.into())
    }
}

impl<'a> From<&'a Name> for Cow<'a, str> {
    fn from(name: &'a Name) -> Self {
        Self::Borrowed(name)
    }
}

impl From<uuid::Uuid> for Name {
    fn from(id: uuid::Uuid) -> Self {
        let mut text = uuid::Uuid::encode_buffer();
        Self::from(&*id.hyphenated().encode_lower(&mut text))
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
