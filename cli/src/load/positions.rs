//! A set of positions, with one bit for each.

use annals::Position;

/// Positions of a log. It takes one byte for eight positions, up to the last in the set.
#[derive(Debug, Default)]
pub(crate) struct Positions(Vec<u64>);

impl Positions {
    /// Adds `position`. Returns whether it is new.
    pub(crate) fn insert(&mut self, position: Position) -> bool {
        let Ok(word) = usize::try_from(position.0 / 64) else {
            return false;
        };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let (bits, bit) = (&mut self.0[word], 1 << (position.0 % 64));
        let is_new = *bits & bit == 0;
        *bits |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_new_once() {
        let mut positions = Positions::default();
        for position in [1, 63, 64, 1_000, 0] {
            assert!(positions.insert(Position(position)));
            assert!(!positions.insert(Position(position)));
        }
    }
}
