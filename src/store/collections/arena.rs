//! A table whose entries never move: growing copies nothing, so no append waits for it.

const PIECE: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Arena<T> {
    pieces: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Arena<T> {
    /// Adds `value` and returns its key.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(key) = self.free.pop() {
            self[key] = value;
            return key;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            let room = if self.pieces.is_empty() { 4 } else { PIECE };
            self.pieces.push(Vec::with_capacity(room));
        }
        let full = self.pieces.len() - 1;
        let place = self.pieces.last().map_or(0, Vec::len);
        if let Some(piece) = self.pieces.last_mut() {
            piece.push(value);
        }
        u32::try_from(full * PIECE + place).unwrap_or(u32::MAX)
    }

    /// Removes the value of `key`; the key is reused later.
    pub(crate) fn remove(&mut self, key: u32) -> T {
        self.free.push(key);
        std::mem::take(&mut self[key])
    }

    /// Number of keys, including removed ones.
    pub(crate) fn room(&self) -> usize {
        self.pieces.len().saturating_sub(1) * PIECE + self.pieces.last().map_or(0, Vec::len)
    }

    #[inline]
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.pieces.get(key as usize / PIECE)?.get(key as usize % PIECE)
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.pieces.iter_mut().for_each(Vec::shrink_to_fit);
        self.pieces.shrink_to_fit();
        self.free.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.room() - self.free.len()
    }

    /// All entries; removed ones are default values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.pieces
            .iter()
            .map(|piece| piece.capacity() * size_of::<T>())
            .sum::<usize>()
            + self.free.capacity() * 4
    }
}

impl<T> std::ops::Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, key: u32) -> &T {
        &self.pieces[key as usize / PIECE][key as usize % PIECE]
    }
}

impl<T> std::ops::IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, key: u32) -> &mut T {
        &mut self.pieces[key as usize / PIECE][key as usize % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_given_again() {
        let mut slab = Arena::default();
        let keys: Vec<u32> = (0..3000).map(|value| slab.insert(value)).collect();
        assert!(keys.iter().all(|key| slab[*key] == *key));
        assert_eq!(slab.remove(1500), 1500);
        assert_eq!(slab.insert(7), 1500);
        assert_eq!(slab[1500], 7);
    }
}
