//! What was dropped: which positions, how many events, and why.

use std::fmt;

use serde::Serialize;

use crate::{Name, Position};

/// Why events were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// A damaged file held them: the store was saved from it by `annals repair`.
    Lost,
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
            Self::Lost => f.write_str("lost with a damaged file"),
            Self::Several => f.write_str("several reasons"),
        }
    }
}

/// Events that are gone.
///
/// `count` events between `first` and `last` are gone; others between them may still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// Gaps kept apart, at most.
const GAPS_MAX: usize = 4096;

/// All gaps of a store, in the order they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps(Vec<Gap>);

impl Gaps {
    pub(crate) fn add(&mut self, gap: Gap) {
        if let Some(same) = self
            .0
            .iter_mut()
            .rev()
            .take(16)
            .find(|known| known.reason == gap.reason)
        {
            merge(same, &gap);
            return;
        }
        if self.0.len() == GAPS_MAX {
            self.merge_older_half();
        }
        self.0.push(gap);
    }

    fn merge_older_half(&mut self) {
        let older: Vec<Gap> = self.0.drain(..GAPS_MAX / 2).collect();
        let mut older = older.into_iter();
        let Some(mut merged) = older.next() else {
            return;
        };
        merged.reason = GapReason::Several;
        for gap in older {
            merge(&mut merged, &gap);
        }
        self.0.insert(0, merged);
    }

    /// The gaps that reach into the positions above `after`, up to `until`.
    pub(crate) fn between(&self, after: u64, until: u64) -> Vec<Gap> {
        self.0
            .iter()
            .filter(|gap| gap.last.0 > after && gap.first.0 <= until)
            .cloned()
            .collect()
    }
}

fn merge(gap: &mut Gap, other: &Gap) {
    gap.first = gap.first.min(other.first);
    gap.last = gap.last.max(other.last);
    gap.count += other.count;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(position: u64, reason: GapReason) -> Gap {
        Gap {
            first: Position(position),
            last: Position(position),
            count: 1,
            reason,
        }
    }

    #[test]
    fn gaps_of_one_reason_are_one() {
        let mut gaps = Gaps::default();
        gaps.add(gap(3, GapReason::Budget));
        gaps.add(gap(7, GapReason::Age));
        gaps.add(gap(4, GapReason::Budget));
        let all = gaps.between(0, 100);
        assert_eq!((all[0].first, all[0].last, all[0].count), (Position(3), Position(4), 2));
        assert_eq!(gaps.between(5, 100).len(), 1);
    }

    #[test]
    fn no_event_is_lost_from_the_count() {
        let mut gaps = Gaps::default();
        for position in 1..=10_000 {
            gaps.add(gap(position, GapReason::Deleted(format!("a{position}").into())));
        }
        let all = gaps.between(0, u64::MAX);
        assert!(all.len() <= GAPS_MAX);
        assert_eq!(all.iter().map(|gap| gap.count).sum::<u64>(), 10_000);
    }
}
