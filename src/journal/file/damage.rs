//! What a verification finds.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::Position;

/// Damage at a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first byte that is unusable.
    pub offset: u64,
    /// The first position that is lost; `None` when none is, or when the damage listed before includes it.
    pub first: Option<Position>,
    /// The last position that is lost; `None` also when the number of lost positions is unknown.
    pub last: Option<Position>,
    /// The description of the damage.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file.display(), self.offset, self.what)?;
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => write!(f, "; position {first} is lost"),
            (Some(first), Some(last)) => write!(f, "; positions {first} to {last} are lost"),
            (Some(first), None) => write!(f, "; all events from position {first} are lost"),
            (None, _) => Ok(()),
        }
    }
}

/// The contents of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verification {
    /// The number of files named like segments.
    pub segments: u64,
    /// The size of these files in bytes.
    pub bytes: u64,
    /// Readable events, including system events.
    pub events: u64,
    /// System events among them.
    pub events_system: u64,
    /// Events among them by which an earlier repair replaced lost events.
    pub events_lost_before: u64,
    /// Events that the store dropped and compaction removed.
    pub events_gone: u64,
    /// The last position.
    pub position: Position,
    /// Positions whose events are lost, up to the last position that is readable or known to have existed.
    pub positions_lost: u64,
    /// Bytes of an incomplete batch at the end, left by a crash. They are not damage: opening the store cuts them off.
    pub torn_tail_bytes: u64,
    /// The damage, in ascending order of positions, at most 10,000 entries.
    pub damage: Vec<Damage>,
    /// The number of further damaged places.
    pub damage_not_listed: u64,
}
