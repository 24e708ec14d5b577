//! The group commit delay: how long a sync waits for more threads to share it.

use std::time::{Duration, Instant};

/// The maximum duration that is assumed for a sync.
const SYNC_LONGEST: Duration = Duration::from_millis(1);
/// The maximum delay, in durations of a sync.
const SYNCS_LONGEST: u32 = 4;

/// Waits while threads arrive at a sync faster than the disk would serve those that wait already.
///
/// With `n` waiting threads and a time `elapsed` since the delay began, a sync now serves one thread per `(elapsed + sync) / n`. A thread that
/// arrives sooner than that after the previous one lowers this value, and a later one raises it.
#[derive(Debug)]
pub(super) struct GroupCommitDelay {
    sync: Duration,
    began: Instant,
    /// Number of arrived threads, and when the last of them arrived.
    come: usize,
    last_came: Instant,
}

impl GroupCommitDelay {
    /// Starts the delay at `now`, if a sync takes `sync`.
    pub(super) fn new(sync: Duration, now: Instant) -> Self {
        Self {
            sync: sync.min(SYNC_LONGEST),
            began: now,
            come: 0,
            last_came: now,
        }
    }

    /// Whether to wait for another thread at `now`, when `come` have arrived.
    pub(super) fn lasts(&mut self, come: usize, now: Instant) -> bool {
        if come > self.come {
            (self.come, self.last_came) = (come, now);
        }
        let gone = now.saturating_duration_since(self.began);
        let for_each = (self.sync + gone) / u32::try_from(come.max(1)).unwrap_or(u32::MAX);
        // A single thread waits for a second one for half a sync at most: there may be none.
        let longest = for_each.min(self.sync / 2);
        now.saturating_duration_since(self.last_came) < longest && gone < self.sync * SYNCS_LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(200);

    /// The delay if the n-th thread arrives at the n-th of these microseconds, and none after.
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
