//! Failures of handlers: which are retried, and what follows the last attempt.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::control::Control;
use super::handler_error::HandlerError;
use super::status::{FailedEvent, StopReason};
use crate::Event;
use crate::cqrs::Retry;
use crate::setters::setters;

/// The policy for an event that a handler fails at: the retries, and what follows the last attempt.
///
/// By default, an event is attempted 5 times, with random pauses of up to 100 ms, 200 ms and so on, at most 10 s; then the processor stops. A
/// permanent error is not retried. A panic is neither retried nor parked: the processor stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnFailure {
    /// The number of attempts, and the pauses between them.
    pub retry: Retry,
    /// The reaction to the last failed attempt.
    pub then: AfterFailure,
}

setters! {
    OnFailure {
        retry: Retry,
        then: AfterFailure,
    }
}

/// The reaction to an event whose attempts have all failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterFailure {
    /// The processor stops at the event, with the reason, until it is resumed.
    #[default]
    Stop,
    /// The processor parks the event as a dead letter, with the reason, and continues.
    Park,
}

impl Default for OnFailure {
    fn default() -> Self {
        let retry = Retry {
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
        };
        Self {
            retry,
            then: AfterFailure::Stop,
        }
    }
}

impl OnFailure {
    /// Stops at the first failure, without a retry.
    pub fn stop() -> Self {
        Self {
            retry: Retry::never(),
            then: AfterFailure::Stop,
        }
    }

    /// Parks an event at the first failure, without a retry.
    pub fn park() -> Self {
        Self {
            retry: Retry::never(),
            then: AfterFailure::Park,
        }
    }
}

/// How handling an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cqrs) enum Handled {
    Done,
    /// Every attempt has failed, and the event is to be parked.
    Failed {
        reason: String,
        attempts: u32,
    },
}

/// Handles an event, and again as the policy says. The attempt gets its number, counted from 1.
pub(in crate::cqrs) fn attempt(
    policy: &OnFailure,
    control: &Control,
    event: &Event,
    mut handle: impl FnMut(u32) -> Result<(), HandlerError>,
) -> Result<Handled, StopReason> {
    let mut attempts = 1;
    loop {
        let error = match catch_unwind(AssertUnwindSafe(|| handle(attempts))) {
            Ok(Ok(())) => return Ok(Handled::Done),
            Ok(Err(error)) => error,
            Err(panic) => {
                return Err(StopReason::failed(
                    event,
                    format!("the handler panicked: {}", panic_text(&*panic)),
                ));
            }
        };
        control.note_error(FailedEvent::of(event), &error.reason);
        if error.is_permanent() || attempts >= policy.retry.attempts {
            return match policy.then {
                AfterFailure::Stop => Err(StopReason::failed(event, with_attempts(&error.reason, attempts))),
                AfterFailure::Park => Ok(Handled::Failed {
                    reason: error.reason,
                    attempts,
                }),
            };
        }
        control.wait_for(policy.retry.draw_pause(attempts, control.store()))?;
        attempts += 1;
    }
}

fn with_attempts(reason: &str, attempts: u32) -> String {
    if attempts == 1 {
        reason.to_owned()
    } else {
        format!("{reason} (after {attempts} attempts)")
    }
}

/// The message of a panic.
pub(in crate::cqrs) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}
