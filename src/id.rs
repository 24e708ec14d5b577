//! Sources of event ids, for events without an id of the caller.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::Timestamp;

/// A source of event ids.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// Returns an id that this source has not returned before, for an event recorded at `now`.
    fn next(&self, now: Timestamp) -> Uuid;

    /// Returns a random number, for the pauses between attempts.
    fn draw(&self) -> u64 {
        draw()
    }

    /// Returns the source for a [fork](crate::Store::fork) of the store. It continues independently from the state of this one.
    fn fork(&self) -> Arc<dyn IdSource>;
}

/// Version 7 UUIDs (RFC 9562): ordered by the millisecond, then random.
///
/// The random part is a counter of the thread, started from the operating system's randomness and scrambled one to one, so that
/// two ids of one thread never share it. It is made for speed: an id must not be used as a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

thread_local! {
    static COUNTER: Cell<(u64, u64)> = Cell::new((draw(), draw()));
}

/// A number from the operating system's randomness.
pub(crate) fn draw() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl IdSource for RandomIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let (count, key) = COUNTER.get();
        COUNTER.set((count.wrapping_add(1), key));
        uuid_v7(now, scramble(count), scramble(count ^ key))
    }

    fn fork(&self) -> Arc<dyn IdSource> {
        Arc::new(*self)
    }
}

/// The same ids in the same order for the same seed: for tests that compare histories.
///
/// ```
/// use annals::{IdSource, SeededIds, Timestamp};
///
/// let (a, b) = (SeededIds::new(7), SeededIds::new(7));
/// assert_eq!(a.next(Timestamp::default()), b.next(Timestamp::default()));
/// ```
#[derive(Debug)]
pub struct SeededIds {
    count: AtomicU64,
    draws: AtomicU64,
    seed: u64,
}

impl SeededIds {
    /// A source whose ids depend on `seed`, the time and the count of ids so far.
    pub fn new(seed: u64) -> Self {
        Self {
            count: AtomicU64::new(0),
            draws: AtomicU64::new(0),
            seed,
        }
    }
}

impl IdSource for SeededIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        uuid_v7(
            now,
            scramble(self.seed ^ count.rotate_left(32)),
            scramble(self.seed.wrapping_add(scramble(count))),
        )
    }

    fn draw(&self) -> u64 {
        let count = self.draws.fetch_add(1, Ordering::Relaxed);
        scramble(scramble(self.seed).wrapping_sub(count))
    }

    fn fork(&self) -> Arc<dyn IdSource> {
        Arc::new(Self {
            count: AtomicU64::new(self.count.load(Ordering::Relaxed)),
            draws: AtomicU64::new(self.draws.load(Ordering::Relaxed)),
            seed: self.seed,
        })
    }
}

/// A UUID of version 7: 48 bits of milliseconds, then the random bits.
fn uuid_v7(now: Timestamp, high: u64, low: u64) -> Uuid {
    let millis = now.as_micros().max(0).cast_unsigned() / 1_000;
    let first = (millis << 16) | 0x7000 | (high & 0x0fff);
    let second = 0x8000_0000_0000_0000 | (low >> 2);
    Uuid::from_u64_pair(first, second)
}

/// Spreads a counter over all 64 bits, one to one (the finaliser of `SplitMix64`, Steele, Lea and Flood 2014).
pub(crate) fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_version_and_time() {
        let now = Timestamp::from_micros(1_700_000_000_123_456);
        let id = RandomIds.next(now);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.as_u64_pair().0 >> 16, 1_700_000_000_123);
    }

    #[test]
    fn ids_differ() {
        let source = RandomIds;
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| source.next(Timestamp::default())).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn a_fork_continues_the_seed() {
        let source = SeededIds::new(3);
        source.next(Timestamp::default());
        let fork = source.fork();
        assert_eq!(source.next(Timestamp::default()), fork.next(Timestamp::default()));
    }
}
