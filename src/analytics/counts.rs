//! Counts of names, and of events without a name.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Bytes of the table for one name: a fat pointer, a number, and the overhead of the table.
const BYTES_PER_NAME: usize = size_of::<(Box<str>, u64)>() + 1;

/// The number of events of each user, organization or type, and of events without one.
///
/// Serialised as an object from name to number, ordered by name, without the events that have no name.
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

    /// The number of events with this name.
    pub fn get(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }

    /// The number of events without a name.
    pub fn without(&self) -> u64 {
        self.without
    }

    /// The number of distinct names.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether no event had a name.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Names with their numbers of events, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.named.iter().map(|(name, count)| (&**name, *count))
    }

    /// Names with their numbers of events, descending by number, then ascending by name.
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
