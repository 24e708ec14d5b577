//! Gaps: events that are gone, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Name, Position};

/// Why events were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum GapReason {
    /// The budget by bytes or events was full.
    Budget,
    /// They were older than the store keeps.
    Age,
    /// The aggregate keeps fewer, or younger, events.
    Limit(Name),
    /// The aggregate was truncated.
    Truncated(Name),
    /// The aggregate was deleted.
    Deleted(Name),
    /// They were moved to the archive of this name.
    Archived(Name),
    /// A damaged file held them: the store was saved from it by `annals repair`.
    Lost,
    /// They are in another place: the store is an archive.
    Elsewhere,
    /// They were snapshots: later ones took their place, or they went with their aggregates. No event of a user is among them.
    Snapshot,
    /// Several reasons: too many gaps were reported to keep them apart.
    Several,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => f.write_str("the budget was full"),
            Self::Age => f.write_str("older than the store keeps"),
            Self::Limit(id) => write!(f, "past the limits of aggregate '{id}'"),
            Self::Truncated(id) => write!(f, "aggregate '{id}' was truncated"),
            Self::Deleted(id) => write!(f, "aggregate '{id}' was deleted"),
            Self::Archived(archive) => write!(f, "moved to the archive '{archive}'"),
            Self::Lost => f.write_str("lost with a damaged file"),
            Self::Elsewhere => f.write_str("not in this archive"),
            Self::Snapshot => f.write_str("snapshots that are not needed any more"),
            Self::Several => f.write_str("several reasons"),
        }
    }
}

impl GapReason {
    /// The aggregate that it is about; `None` where it may be about any.
    pub(crate) fn aggregate(&self) -> Option<&Name> {
        match self {
            Self::Limit(id) | Self::Truncated(id) | Self::Deleted(id) => Some(id),
            Self::Budget
            | Self::Age
            | Self::Archived(_)
            | Self::Lost
            | Self::Elsewhere
            | Self::Snapshot
            | Self::Several => None,
        }
    }

    /// The name that it says: of an aggregate, or of an archive.
    #[cfg(feature = "file")]
    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Archived(archive) => Some(archive),
            Self::Limit(_) | Self::Truncated(_) | Self::Deleted(_) => self.aggregate(),
            Self::Budget | Self::Age | Self::Lost | Self::Elsewhere | Self::Snapshot | Self::Several => None,
        }
    }
}

/// Events that are gone.
///
/// `count` events between `first` and `last` are gone; others between them may still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Gap {
    /// The first position that is gone.
    pub first: Position,
    /// The last position that is gone.
    pub last: Position,
    /// How many are gone.
    pub count: u64,
    /// Why.
    pub reason: GapReason,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            last,
            count,
            reason,
        } = self;
        write!(
            f,
            "{count} events between positions {first} and {last} are gone: {reason}"
        )
    }
}

impl Gap {
    /// `count` events between `first` and `last` are gone.
    pub fn new(first: Position, last: Position, count: u64, reason: GapReason) -> Self {
        Self {
            first,
            last,
            count,
            reason,
        }
    }

    /// The event at `position` alone.
    pub(crate) fn at(position: u64, reason: GapReason) -> Self {
        Self {
            first: Position(position),
            last: Position(position),
            count: 1,
            reason,
        }
    }

    /// Takes the events of another gap in.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count += other.count;
    }
}
