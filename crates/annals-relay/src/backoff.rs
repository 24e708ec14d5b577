//! Pauses between attempts: doubled each time up to a bound, with jitter.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use annals::cqrs::Retry;

/// A random pause after `failures` attempts in a row that failed: between half of the bound and the bound.
pub(crate) fn pause(retry: &Retry, failures: u32) -> Duration {
    drawn(retry, failures, RandomState::new().hash_one(failures))
}

fn drawn(retry: &Retry, failures: u32, random: u64) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let bound = retry.first_pause.saturating_mul(doubled).min(retry.longest_pause);
    let half = bound / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX - 1);
    half.saturating_add(Duration::from_nanos(random % (nanos + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_is_at_least_half_of_it() {
        let retry = Retry::default()
            .first_pause(Duration::from_millis(100))
            .longest_pause(Duration::from_secs(1));
        let bounds = [0, 1, 2, 3, 4, 5, 40, u32::MAX].map(|failures| {
            let least = drawn(&retry, failures, 0).as_millis();
            let nanos = u64::try_from(drawn(&retry, failures, 0).as_nanos()).unwrap();
            let most = drawn(&retry, failures, nanos);
            assert_eq!(most, drawn(&retry, failures, 0) * 2);
            least
        });
        assert_eq!(bounds, [50, 50, 100, 200, 400, 500, 500, 500]);
    }

    #[test]
    fn a_pause_without_a_bound_panicked() {
        let retry = Retry::default().first_pause(Duration::MAX).longest_pause(Duration::MAX);
        for random in [0, u64::MAX] {
            assert!(drawn(&retry, u32::MAX, random) > Duration::from_secs(1 << 40));
        }
    }
}
