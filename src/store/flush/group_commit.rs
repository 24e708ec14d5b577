//! How long a sync waits for more to share it.

use std::time::{Duration, Instant};

/// Whatever a sync takes, it counts for no more than this.
const SYNC_LONGEST: Duration = Duration::from_millis(1);
/// The most that is waited, in syncs.
const SYNCS_LONGEST: u32 = 4;

/// Waits while it pays: while those who wait for a sync come faster than the disk would serve those that are there.
///
/// With `n` of them there, and so much time gone since the wait began, a sync now serves one in each `(time gone + sync) / n`. Who comes
/// sooner than that after the one before makes this less, and who comes later makes it more.
#[derive(Debug)]
pub(super) struct GroupCommitDelay {
    sync: Duration,
    began: Instant,
    /// How many have come, and when the last of them did.
    come: usize,
    last_came: Instant,
}

impl GroupCommitDelay {
    /// Begins to wait `now`, where a sync takes `sync`.
    pub(super) fn new(sync: Duration, now: Instant) -> Self {
        Self {
            sync: sync.min(SYNC_LONGEST),
            began: now,
            come: 0,
            last_came: now,
        }
    }

    /// Whether to wait for another `now`, when `come` are there.
    pub(super) fn lasts(&mut self, come: usize, now: Instant) -> bool {
        if come > self.come {
            (self.come, self.last_came) = (come, now);
        }
        let gone = now.saturating_duration_since(self.began);
        let for_each = (self.sync + gone) / u32::try_from(come.max(1)).unwrap_or(u32::MAX);
        // One alone waits for a second no longer than half a sync: there may be none.
        let longest = for_each.min(self.sync / 2);
        now.saturating_duration_since(self.last_came) < longest && gone < self.sync * SYNCS_LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(200);

    /// How long is waited where the n-th comes at the n-th of these microseconds, and none after.
    fn waited(comes: &[u64]) -> u64 {
        let began = Instant::now();
        let mut patience = GroupCommitDelay::new(SYNC, began);
        let there = |at: u64| comes.iter().filter(|come| **come <= at).count();
        let lasts = |at: &u64| patience.lasts(there(*at), began + Duration::from_micros(*at));
        (0..10_000).take_while(lasts).count() as u64
    }

    #[test]
    fn one_alone_waits_for_half_a_sync() {
        assert_eq!(waited(&[]), 100);
        assert_eq!(waited(&[0]), 100);
    }

    #[test]
    fn the_more_there_are_the_less_is_waited_for_another() {
        assert_eq!(waited(&[0; 4]), 67, "(200 + 67) / 4");
        assert_eq!(waited(&[0; 20]), 11, "(200 + 11) / 20");
        assert_eq!(waited(&[0; 1_000]), 1);
    }

    #[test]
    fn those_who_come_one_after_another_are_all_waited_for() {
        let comes: Vec<u64> = (0..32).map(|n| 50 + 5 * n).collect();
        assert_eq!(waited(&comes), 205 + 14, "after the last, (200 + 219) / 32");
    }

    #[test]
    fn a_sync_waited_without_end_while_somebody_came() {
        let comes: Vec<u64> = (0..10_000).collect();
        assert_eq!(waited(&comes), 800);
    }

    #[test]
    fn a_slow_disk_is_no_reason_to_wait_for_long() {
        let began = Instant::now();
        let mut patience = GroupCommitDelay::new(Duration::from_secs(1), began);
        assert!(patience.lasts(0, began + Duration::from_micros(499)));
        assert!(!patience.lasts(0, began + Duration::from_micros(500)));
    }
}
