//! Endless loops of sagas.

use super::instance::{Instance, Timer};
use crate::Timestamp;
use crate::cqrs::process::StopReason;

/// The most commands that an instance sends, and the most timers that it sets for a time that is past, before it waits for an event or a later
/// timer: more are an endless loop.
pub(super) const STEPS_AT_ONCE: usize = 1_000;

/// The timers of one instance that fire one after another, each set by the one before and due no later.
#[derive(Default)]
pub(super) struct Streak {
    key: String,
    /// The number that the first timer set by the streak has.
    first_number: u64,
    due: Timestamp,
    count: usize,
}

impl Streak {
    /// # Errors
    ///
    /// [`StopReason::Storage`] when the streak is an endless loop.
    pub(super) fn add(&mut self, instance: &Instance, name: &str, timer: Timer) -> Result<(), StopReason> {
        let goes_on = self.key == instance.key && timer.token >= self.first_number && timer.due <= self.due;
        if !goes_on {
            *self = Self {
                key: instance.key.clone(),
                first_number: instance.next_number,
                due: timer.due,
                count: 0,
            };
        }
        self.count += 1;
        if self.count <= STEPS_AT_ONCE {
            return Ok(());
        }
        let id = &instance.stream.aggregate_id;
        Err(StopReason::Storage {
            reason: format!(
                "timer '{name}' of '{id}' was due {STEPS_AT_ONCE} times at once: when it fires, set it to a later time"
            ),
        })
    }
}
