//! The aggregate types of a shard's streams. Each is stored once, while a stream has it.

use std::hash::BuildHasher;

use crate::Name;
use crate::store::collections::arena::Arena;
use crate::store::collections::key_table::KeyTable;

#[derive(Clone, Debug, Default)]
struct KnownType {
    name: Name,
    streams: u32,
}

/// Aggregate types by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypeTable {
    hasher: foldhash::fast::RandomState,
    keys: KeyTable,
    types: Arena<KnownType>,
}

impl TypeTable {
    fn half(&self, name: &str) -> u32 {
        self.hasher.hash_one(name) as u32
    }

    #[inline]
    pub(crate) fn name(&self, key: u32) -> &Name {
        &self.types[key].name
    }

    /// Counts one more stream of a type, and returns the type's key.
    pub(crate) fn add_stream(&mut self, name: &Name) -> u32 {
        let half = self.half(name);
        let key = self.keys.find(half, |key| self.types[key].name == *name);
        let key = key.unwrap_or_else(|| {
            let key = self.types.insert(KnownType {
                name: name.clone(),
                streams: 0,
            });
            self.keys.insert(half, key);
            key
        });
        self.types[key].streams += 1;
        key
    }

    /// Removes a stream of a type, and the type with its last stream.
    pub(crate) fn remove_stream(&mut self, key: u32) {
        self.types[key].streams -= 1;
        if self.types[key].streams == 0 {
            let gone = self.types.remove(key);
            self.keys.remove(self.half(&gone.name), key);
        }
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.types.shrink();
        self.keys.shrink();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let names: usize = self.types.iter().map(|known| known.name.heap_bytes()).sum();
        self.types.memory_bytes() + self.keys.memory_bytes() + names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_streams_that_were_forgotten_stayed() {
        let mut types = TypeTable::default();
        let name = |number: u32| Name::from(format!("type-{number:030}").as_str());
        let mut keys: Vec<_> = (0..100).map(|number| types.add_stream(&name(number))).collect();
        assert_eq!(types.add_stream(&name(7)), keys[7]);
        types.remove_stream(keys[7]);
        let full = types.memory_bytes();
        for number in 100..20_000 {
            types.remove_stream(keys.remove(0));
            keys.push(types.add_stream(&name(number)));
        }
        assert!(
            types.memory_bytes() <= full / 4 * 5,
            "{full} bytes became {}",
            types.memory_bytes()
        );
        for (key, number) in keys.iter().zip(19_900..) {
            assert_eq!(*types.name(*key), name(number));
        }
    }
}
