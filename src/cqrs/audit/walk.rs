//! One pass over the log: hashes its events, and compares the chain with links that are known.

use std::collections::{BTreeMap, VecDeque};

use super::chain::{Chain, Checkpoint};
use super::entry::Leaf;
use super::{Anchor, ChainEntry, VerifyError};
use crate::{Gap, Position};

/// A link that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) at: Checkpoint,
    /// Whether it is the end of a head, and not of a block.
    pub(super) is_tip: bool,
}

/// The chain so far, and what it is compared with.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) chain: Chain,
    /// Ascending by position.
    pub(super) known: VecDeque<Known>,
    /// The leaves of events that an anchor has, and that the log has not had so far.
    dropped: BTreeMap<u64, Leaf>,
    pub(super) anchored: u64,
    /// The last position of the log that was looked at.
    pub(super) seen: u64,
    /// The last known link that was met.
    before: Checkpoint,
    buffer: Vec<u8>,
    /// The position before the first one.
    start: u64,
    /// The positions of all events that may be missing, ascending; and the end of a prefix that may.
    allowed: Vec<u64>,
    allowed_to: u64,
    /// The chain goes on at a known link up to here where events before it are missing.
    pub(super) resumes_to: u64,
}

impl Walk {
    pub(super) fn after(base: Checkpoint) -> Self {
        Self {
            chain: Chain::after(base),
            known: VecDeque::new(),
            dropped: BTreeMap::new(),
            anchored: 0,
            seen: base.position.0,
            before: base,
            buffer: Vec::new(),
            start: base.position.0,
            allowed: Vec::new(),
            allowed_to: 0,
            resumes_to: 0,
        }
    }

    /// The first position of the pass.
    pub(super) fn begun(&self) -> Position {
        Position(self.start + 1)
    }

    /// Allows the events of an anchor to be missing.
    pub(super) fn allow(&mut self, anchor: &Anchor) {
        for (position, leaf) in anchor.leaves() {
            self.dropped.insert(position, leaf);
            self.allowed.push(position);
        }
        self.allowed.sort_unstable();
        self.allowed.dedup();
        if anchor.base.position.0 > 0 {
            self.allowed_to = self.allowed_to.max(anchor.last().0);
        }
    }

    /// Forgets what anchors have of events that are not missing: it does not explain a gap.
    pub(super) fn forget_present(&mut self, is_present: impl Fn(Position) -> bool) {
        self.allowed.retain(|position| !is_present(Position(*position)));
    }

    /// Whether anchors have all events of a gap.
    pub(super) fn has_gap(&self, gap: &Gap) -> bool {
        let before = |position: u64| self.allowed.partition_point(|at| *at < position);
        let had = before(gap.last.0.saturating_add(1)) - before(gap.first.0);
        gap.last.0 <= self.allowed_to || had as u64 >= gap.count
    }

    /// Takes the next event of the log.
    #[inline]
    pub(super) fn take(&mut self, entry: &ChainEntry<'_>) -> Result<(), VerifyError> {
        let position = entry.position.0;
        if position <= self.seen {
            return Err(VerifyError::OutOfOrder {
                position: entry.position,
                after: Position(self.seen),
            });
        }
        self.seen = position;
        if !entry.is_chained() {
            return Ok(());
        }
        if !self.dropped.is_empty() {
            self.fill_to(position - 1)?;
            self.dropped.remove(&position);
        }
        self.meet(position - 1)?;
        let leaf = entry.leaf(&mut self.buffer);
        self.chain.push(entry, &leaf);
        Ok(())
    }

    /// Puts anchored events up to `position` in their places.
    fn fill_to(&mut self, position: u64) -> Result<(), VerifyError> {
        while let Some(first) = self.dropped.first_entry() {
            let at = *first.key();
            if at > position {
                return Ok(());
            }
            let leaf = first.remove();
            if at > self.chain.last().0 {
                self.meet(at - 1)?;
                self.chain.push_leaf(at, &leaf);
                self.anchored += 1;
            }
        }
        Ok(())
    }

    /// Compares the chain with the known links up to `position`.
    #[inline]
    fn meet(&mut self, position: u64) -> Result<(), VerifyError> {
        while let Some(known) = self.known.front()
            && known.at.position.0 <= position
        {
            let known = *known;
            self.compare(known)?;
            self.known.pop_front();
        }
        Ok(())
    }

    fn compare(&mut self, known: Known) -> Result<(), VerifyError> {
        let actual = if known.is_tip {
            self.chain.tip()
        } else {
            self.chain.close_to(known.at.position.0);
            self.chain.base()
        };
        if actual == known.at {
            self.before = known.at;
            return Ok(());
        }
        if actual.count < known.at.count && known.at.position.0 <= self.resumes_to {
            self.resume_at(known);
            return Ok(());
        }
        Err(self.fault(known.at, actual.count))
    }

    /// Goes on at a known link: what is before it is missing in part, so it cannot be verified.
    fn resume_at(&mut self, known: Known) {
        if !known.is_tip {
            self.chain = Chain::after(known.at);
        }
        self.before = known.at;
        self.start = known.at.position.0;
        self.anchored = 0;
    }

    fn fault(&self, expected: Checkpoint, count: u64) -> VerifyError {
        let (first, last) = (Position(self.before.position.0 + 1), expected.position);
        match (count.checked_sub(expected.count), expected.count.checked_sub(count)) {
            (Some(more), _) if more > 0 => VerifyError::Inserted {
                first,
                last,
                count: more,
            },
            (_, Some(less)) if less > 0 => VerifyError::Missing {
                first,
                last,
                count: less,
            },
            _ => VerifyError::Changed { first, last },
        }
    }

    /// Everything up to `position` was taken: compares with the links that are known up to there. The next known position is left.
    pub(super) fn reach(&mut self, position: Position) -> Result<Option<Position>, VerifyError> {
        self.fill_to(position.0)?;
        self.meet(position.0)?;
        Ok(self.known.front().map(|known| known.at.position))
    }

    /// The log has no further event: compares with all links that are left. `end` is the position of the head.
    pub(super) fn finish(&mut self, end: Position) -> Result<(), VerifyError> {
        self.fill_to(end.0)?;
        let met = self.meet(u64::MAX);
        if met.is_err() && self.seen < end.0 && self.chain.last() < end {
            return Err(VerifyError::CutAtEnd {
                last: Position(self.seen),
                expected: end,
            });
        }
        met
    }
}
