//! The hash chain: the events of the log, hashed in blocks of positions, each block with the hash of the one before it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::entry::{ChainEntry, Leaf};
use super::hex;
use crate::{Error, Position};

/// Positions of a block.
///
/// A change is located to a block, and a reader that resumes hashes at most one block again. 1,024 hashes are 32 KiB, which blake3 hashes with
/// all lanes of a processor's vectors, so the links cost 2 % of the leaves.
pub(super) const BLOCK: u64 = 1_024;

/// Maximum number of checkpoints of a head. When there are more, every second one is dropped, so a head has at most 150 KB.
pub(super) const CHECKPOINTS_MAX: usize = 1_024;

/// What the bytes of a link begin with: of a whole block, and of the last one, which may still grow.
const CLOSED: [u8; 4] = *b"ABv1";
const OPEN: [u8; 4] = *b"AHv1";

/// A link of the chain: a hash that depends on every event up to a position.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Link(pub(super) [u8; 32]);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = hex::decode(text);
        bytes
            .map(Self)
            .ok_or_else(|| Error::invalid("invalid link: expected 64 hexadecimal digits"))
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The link at a position, and the number of events up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The last position that the link depends on.
    pub position: Position,
    /// The number of events in the chain up to this position.
    pub count: u64,
    /// The link.
    pub link: Link,
}

/// The hash chain up to a position, without the events. Its size does not depend on their number.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The end of the last closed block.
    base: Checkpoint,
    /// The last position of the open block.
    block_end: u64,
    /// The leaves of the open block, and their positions.
    leaves: Vec<u8>,
    positions: Vec<u64>,
    /// The last event of the chain.
    last: u64,
    first: Option<(Position, Uuid)>,
    checkpoints: Vec<Checkpoint>,
    /// Blocks between two checkpoints.
    interval: u64,
}

impl Chain {
    /// A chain that goes on from a checkpoint at the end of a block.
    pub(super) fn after(base: Checkpoint) -> Self {
        Self {
            base,
            block_end: end_of_block(base.position.0 + 1),
            leaves: Vec::new(),
            positions: Vec::new(),
            last: base.position.0,
            first: None,
            checkpoints: Vec::new(),
            interval: 1,
        }
    }

    /// The leaves after the last closed block, with their positions.
    pub(super) fn open_leaves(&self) -> impl Iterator<Item = (u64, Leaf)> {
        let leaves = self.leaves.as_chunks().0.iter().copied();
        self.positions.iter().copied().zip(leaves)
    }

    pub(super) fn last(&self) -> Position {
        Position(self.last)
    }

    pub(super) fn first(&self) -> Option<(Position, Uuid)> {
        self.first
    }

    pub(super) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    pub(super) fn count(&self) -> u64 {
        self.base.count + self.positions.len() as u64
    }

    /// Continues a chain that a head has described.
    pub(super) fn with_past(mut self, first: Option<(Position, Uuid)>, checkpoints: &[Checkpoint]) -> Self {
        self.first = first;
        for checkpoint in checkpoints {
            self.keep(*checkpoint);
        }
        self
    }

    /// Adds an event. Positions ascend.
    #[inline]
    pub(super) fn push(&mut self, entry: &ChainEntry<'_>, leaf: &Leaf) {
        if self.first.is_none() {
            self.first = Some((entry.position, entry.id));
        }
        self.push_leaf(entry.position.0, leaf);
    }

    #[inline]
    pub(super) fn push_leaf(&mut self, position: u64, leaf: &Leaf) {
        if position > self.block_end {
            self.close();
            self.block_end = end_of_block(position);
        }
        self.leaves.extend_from_slice(leaf);
        self.positions.push(position);
        self.last = position;
    }

    /// Closes the open block if it ends at or before `position`.
    pub(super) fn close_to(&mut self, position: u64) {
        if self.block_end <= position {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.leaves.is_empty() {
            return;
        }
        let count = self.count();
        self.base = Checkpoint {
            position: Position(self.block_end),
            count,
            link: self.hash(CLOSED, self.block_end, count),
        };
        self.leaves.clear();
        self.positions.clear();
        self.keep(self.base);
    }

    /// The link after the last closed block.
    pub(super) fn base(&self) -> Checkpoint {
        self.base
    }

    /// The link after the last event.
    pub(super) fn tip(&self) -> Checkpoint {
        let count = self.count();
        Checkpoint {
            position: Position(self.last),
            count,
            link: self.hash(OPEN, self.last, count),
        }
    }

    fn hash(&self, kind: [u8; 4], position: u64, count: u64) -> Link {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&kind);
        hasher.update(&self.base.link.0);
        hasher.update(&position.to_le_bytes());
        hasher.update(&count.to_le_bytes());
        hasher.update(&self.leaves);
        Link(*hasher.finalize().as_bytes())
    }

    fn keep(&mut self, checkpoint: Checkpoint) {
        if !is_kept(checkpoint, self.interval) {
            return;
        }
        self.checkpoints.push(checkpoint);
        while self.checkpoints.len() > CHECKPOINTS_MAX {
            self.interval *= 2;
            let interval = self.interval;
            self.checkpoints.retain(|checkpoint| is_kept(*checkpoint, interval));
        }
    }
}

fn is_kept(checkpoint: Checkpoint, interval: u64) -> bool {
    (checkpoint.position.0 / BLOCK).is_multiple_of(interval)
}

fn end_of_block(position: u64) -> u64 {
    position.div_ceil(BLOCK).saturating_mul(BLOCK)
}
