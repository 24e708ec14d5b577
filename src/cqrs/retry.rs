//! The retry policy: attempts and pauses.

use std::time::Duration;

use super::CommandError;
use crate::setters::setters;
use crate::{Conflict, Error, Store};

/// The number of attempts, and the pauses between them: exponential back-off with full jitter.
///
/// A pause is random between 0 and a bound, so that writers that conflicted once do not conflict again. The bound doubles with each attempt, up to
/// `longest_pause`. A pause blocks the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// The number of attempts, the first one included; 0 means 1. 10 by default.
    pub attempts: u32,
    /// The bound of the first pause. 1 ms by default.
    pub first_pause: Duration,
    /// The bound that no pause exceeds. 100 ms by default.
    pub longest_pause: Duration,
}

setters! {
    Retry {
        attempts: u32,
        first_pause: Duration,
        longest_pause: Duration,
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(100),
        }
    }
}

impl Retry {
    /// One attempt: a conflict is returned at once.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The bound of the pause after an attempt, counted from 1.
    fn bound(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }

    /// The pause after an attempt: the bound times `share` / 2^32.
    fn drawn(&self, attempt: u32, share: u32) -> Duration {
        let bound = u64::try_from(self.bound(attempt).as_nanos()).unwrap_or(u64::MAX);
        let nanos = (u128::from(bound) * u128::from(share)) >> u32::BITS;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Blocks for the pause after an attempt.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no condition to wait for: other writers are to go first"
    )]
    pub(super) fn pause(&self, attempt: u32, share: u32) {
        std::thread::sleep(self.drawn(attempt, share));
    }

    /// A random pause after an attempt.
    pub(super) fn draw_pause(&self, attempt: u32, store: &Store) -> Duration {
        self.drawn(attempt, store.draw())
    }
}

/// Attempts a command, and again after a conflict with another writer. The attempt gets its number, counted from 1.
pub(super) fn with_retry<T, R>(
    store: &Store,
    retry: Retry,
    mut attempt: impl FnMut(u32) -> Result<T, CommandError<R>>,
) -> Result<T, CommandError<R>> {
    let mut attempts = 1;
    loop {
        match attempt(attempts) {
            Err(CommandError::Store(Error::Conflict(conflict))) if may_pass(&conflict) => {
                if attempts >= retry.attempts {
                    return Err(CommandError::Contended { attempts, conflict });
                }
                store.wait_visible(conflict.wait_for());
                retry.pause(attempts, store.draw());
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Whether deciding again on newer events can resolve the conflict.
fn may_pass(conflict: &Conflict) -> bool {
    match conflict {
        Conflict::Version { .. } | Conflict::Condition { .. } => true,
        Conflict::EventKnown { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        let retry = Retry {
            attempts: 50,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(9),
        };
        let bounds = [1, 2, 3, 4, 33, u32::MAX].map(|attempt| retry.bound(attempt).as_millis());
        assert_eq!(bounds, [2, 4, 8, 9, 9, 9]);
    }

    #[test]
    fn a_pause_without_a_bound_panicked() {
        let retry = Retry {
            attempts: u32::MAX,
            first_pause: Duration::MAX,
            longest_pause: Duration::MAX,
        };
        for attempt in [1, 2, u32::MAX] {
            assert_eq!(retry.drawn(attempt, 0), Duration::ZERO);
            assert!(retry.drawn(attempt, u32::MAX) > Duration::from_secs(500 * 365 * 24 * 60 * 60));
        }
    }
}
