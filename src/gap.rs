//! Gaps: dropped events, and the reason.

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
    /// They were older than the budget allows.
    Age,
    /// They were beyond the limits of their aggregate.
    Limit(Name),
    /// The aggregate was truncated.
    Truncated(Name),
    /// The aggregate was deleted.
    Deleted(Name),
    /// They were moved to the archive of this name.
    Archived(Name),
    /// They were lost in a damaged file, from which `annals repair` made this store.
    Lost,
    /// They are in the store that this archive belongs to.
    Elsewhere,
    /// They were snapshots, superseded by later ones or dropped with their aggregates. They include no event of a user.
    Snapshot,
    /// Several reasons: there were too many gaps to keep them separate.
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
    /// The aggregate; `None` when events of several aggregates may be missing.
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

    /// The name of the aggregate or of the archive.
    #[cfg(feature = "file")]
    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Archived(archive) => Some(archive),
            Self::Limit(_) | Self::Truncated(_) | Self::Deleted(_) => self.aggregate(),
            Self::Budget | Self::Age | Self::Lost | Self::Elsewhere | Self::Snapshot | Self::Several => None,
        }
    }
}

/// Dropped events.
///
/// `count` events between `first` and `last` are missing; other events between them may be readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Gap {
    /// The first missing position.
    pub first: Position,
    /// The last missing position.
    pub last: Position,
    /// The number of missing events.
    pub count: u64,
    /// The reason.
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
    /// A gap of `count` events between `first` and `last`.
    pub fn new(first: Position, last: Position, count: u64, reason: GapReason) -> Self {
        Self {
            first,
            last,
            count,
            reason,
        }
    }

    /// A gap of the event at `position`.
    pub(crate) fn at(position: u64, reason: GapReason) -> Self {
        Self {
            first: Position(position),
            last: Position(position),
            count: 1,
            reason,
        }
    }

    /// Adds the events of another gap.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count += other.count;
    }
}
