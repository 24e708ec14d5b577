//! All gaps of a store.

use crate::{Gap, GapReason};

/// Maximum number of separate gaps.
const GAPS_MAX: usize = 4096;

/// All gaps of a store, in the order of their creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    all: Vec<Gap>,
    /// Superseded snapshots are counted in one gap, whatever their positions.
    snapshots: Option<Gap>,
}

impl Gaps {
    pub(crate) fn add(&mut self, gap: Gap) {
        if gap.reason == GapReason::Snapshot {
            match &mut self.snapshots {
                Some(all) => all.merge(&gap),
                none => *none = Some(gap),
            }
            return;
        }
        if let Some(same) = self
            .all
            .iter_mut()
            .rev()
            .take(16)
            .find(|known| known.reason == gap.reason)
        {
            same.merge(&gap);
            return;
        }
        if self.all.len() == GAPS_MAX {
            self.merge_older_half();
        }
        self.all.push(gap);
    }

    fn merge_older_half(&mut self) {
        let older: Vec<Gap> = self.all.drain(..GAPS_MAX / 2).collect();
        let mut older = older.into_iter();
        let Some(mut merged) = older.next() else {
            return;
        };
        merged.reason = GapReason::Several;
        for gap in older {
            merged.merge(&gap);
        }
        self.all.insert(0, merged);
    }

    /// The gaps that overlap the positions above `after`, up to `until`.
    pub(crate) fn between(&self, after: u64, until: u64) -> Vec<Gap> {
        self.all
            .iter()
            .chain(&self.snapshots)
            .filter(|gap| gap.last.0 > after && gap.first.0 <= until)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    #[test]
    fn gaps_of_one_reason_are_one() {
        let mut gaps = Gaps::default();
        gaps.add(Gap::at(3, GapReason::Budget));
        gaps.add(Gap::at(7, GapReason::Age));
        gaps.add(Gap::at(4, GapReason::Budget));
        let all = gaps.between(0, 100);
        assert_eq!((all[0].first, all[0].last, all[0].count), (Position(3), Position(4), 2));
        assert_eq!(gaps.between(5, 100).len(), 1);
    }

    #[test]
    fn no_event_is_lost_from_the_count() {
        let mut gaps = Gaps::default();
        for position in 1..=10_000 {
            gaps.add(Gap::at(position, GapReason::Deleted(format!("a{position}").into())));
        }
        let all = gaps.between(0, u64::MAX);
        assert!(all.len() <= GAPS_MAX);
        assert_eq!(all.iter().map(|gap| gap.count).sum::<u64>(), 10_000);
    }
}
