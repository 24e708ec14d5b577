//! The windows of positions in which a query runs.

use super::Bounds;

/// Up to this many candidates are found in one window.
const WINDOW_CANDIDATES: u64 = 4096;

/// The direction in which windows move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// Cuts bounds into windows, the first with about [`WINDOW_CANDIDATES`] candidates and each next one twice as wide.
pub(super) struct Ranges {
    left: Bounds,
    width: u64,
    direction: Direction,
}

impl Ranges {
    pub(super) fn new(bounds: Bounds, candidates: u64, direction: Direction) -> Self {
        let width = match candidates {
            0..=WINDOW_CANDIDATES => bounds.len(),
            more => (bounds.len() / (more / WINDOW_CANDIDATES)).max(WINDOW_CANDIDATES),
        };
        Self {
            left: bounds,
            width: width.max(1),
            direction,
        }
    }

    pub(super) fn next(&mut self) -> Option<Bounds> {
        if self.left.is_empty() {
            return None;
        }
        let width = self.width.min(self.left.len());
        let span = match self.direction {
            Direction::Ascending => Bounds {
                after: self.left.after,
                until: self.left.after + width,
            },
            Direction::Descending => Bounds {
                after: self.left.until - width,
                until: self.left.until,
            },
        };
        match self.direction {
            Direction::Ascending => self.left.after = span.until,
            Direction::Descending => self.left.until = span.after,
        }
        self.width = self.width.saturating_mul(2);
        Some(span)
    }
}
