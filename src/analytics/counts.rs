//! How often each text occurred, and how often none was given.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Bytes of the table for one name: a fat pointer, a number, and the table's own.
const BYTES_PER_NAME: usize = size_of::<(Box<str>, u64)>() + 1;

/// How many events there were of each user, or of each organization, and how many without one.
///
/// In JSON, an object from name to number, ordered by name; the events without a name are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    named: HashMap<Box<str>, u64, RandomState>,
    without: u64,
}

impl Counts {
    pub(super) fn add(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.add_many(name, 1),
            None => self.without += 1,
        }
    }

    fn add_many(&mut self, name: &str, more: u64) {
        match self.named.get_mut(name) {
            Some(count) => *count += more,
            None => {
                self.named.insert(name.into(), more);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.without += other.without;
        for (name, count) in &other.named {
            self.add_many(name, *count);
        }
    }

    /// Events with this name.
    pub fn get(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }

    /// Events without a name.
    pub fn without(&self) -> u64 {
        self.without
    }

    /// Different names.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether no event had a name.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Names and their numbers of events, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.named.iter().map(|(name, count)| (&**name, *count))
    }

    /// Names and their numbers of events: the largest first, by name where it is the same.
    pub fn ranked(&self) -> Vec<(&str, u64)> {
        let mut ranked: Vec<_> = self.iter().collect();
        ranked.sort_unstable_by(|(name, count), (other_name, other)| other.cmp(count).then(name.cmp(other_name)));
        ranked
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let texts: usize = self.named.keys().map(|name| name.len()).sum();
        texts + self.named.capacity() * BYTES_PER_NAME
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable();
        let mut map = serializer.serialize_map(Some(sorted.len()))?;
        for (name, count) in sorted {
            map.serialize_entry(name, &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_go_by_number_then_by_name() {
        let mut counts = Counts::default();
        for name in [Some("bob"), Some("zoe"), Some("anna"), None, Some("zoe"), None] {
            counts.add(name);
        }
        assert_eq!(counts.ranked(), [("zoe", 2), ("anna", 1), ("bob", 1)]);
        assert_eq!(
            (counts.without(), counts.len(), counts.get("zoe"), counts.get("max")),
            (2, 3, 2, 0)
        );
    }

    #[test]
    fn an_empty_name_is_a_name() {
        let mut counts = Counts::default();
        counts.add(Some(""));
        assert_eq!((counts.get(""), counts.without()), (1, 0));
    }
}
