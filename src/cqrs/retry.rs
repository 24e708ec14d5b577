//! How often a command is tried, and how long it pauses in between.

use std::time::Duration;

use crate::id;

/// How often a command is tried when other appends come in between, and how long it pauses before it is tried again.
///
/// A pause is random between 0 and a bound ("full jitter"), so that writers that met once do not meet again. The bound doubles with each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of attempts, the first one included; 0 means 1. 10 by default.
    pub attempts: u32,
    /// The bound of the first pause. 1 ms by default.
    pub first_pause: Duration,
    /// The bound that no pause exceeds. 100 ms by default.
    pub longest_pause: Duration,
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

    /// Blocks for the pause after an attempt.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no condition to wait for: other writers are to go first"
    )]
    pub(super) fn pause(&self, attempt: u32) {
        let share = f64::from(id::draw() as u32) / f64::from(u32::MAX);
        std::thread::sleep(self.bound(attempt).mul_f64(share));
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
}
