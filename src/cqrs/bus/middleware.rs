//! Middleware of a [bus](super::Bus): functions around all its handlers.
//!
//! [`log`], [`time`], [`validate`], [`authorize`] and [`retry`] are ready-made. Other middleware is a plain function:
//!
//! ```
//! use annals::cqrs::middleware::{Dispatch, Next, Outcome};
//! use annals::cqrs::{CommandBus, Context};
//!
//! /// Gives each message a correlation.
//! fn correlate(dispatch: &Dispatch<'_>, next: Next<'_>) -> Outcome {
//!     if dispatch.context().correlation.is_some() {
//!         return next.run(dispatch);
//!     }
//!     let context = dispatch.context().clone().correlation("checkout-9");
//!     next.run(&dispatch.with_context(&context))
//! }
//!
//! /// Refuses all messages.
//! fn maintenance(_: &Dispatch<'_>, _: Next<'_>) -> Outcome {
//!     Outcome::refused("maintenance", "the service is read-only until 6:00")
//! }
//!
//! let bus = CommandBus::builder().layer(correlate).layer(maintenance).build()?;
//! # Ok::<(), annals::cqrs::BusError>(())
//! ```

use std::time::{Duration, Instant};

use super::Message;
pub use super::dispatch::{Dispatch, HandlerError, Middleware, Next, Outcome};
use crate::cqrs::{Context, Retry};

/// A log line is cut after this number of bytes.
const MAX_LINE: usize = 2_048;

/// Writes a line for each outcome: the message, the attempt, the context, and the outcome.
///
/// Line breaks and other control characters are escaped, and a line is cut after 2,048 bytes. Inside [`retry`] each attempt has a line; outside,
/// the dispatch has one, with the number of the last attempt.
///
/// An example: `Deposit, attempt 1, user anna: failed: the balance is 3`.
pub fn log(write: impl Fn(&str) + Send + Sync + 'static) -> impl Middleware {
    move |dispatch: &Dispatch<'_>, next: Next<'_>| {
        let outcome = next.run(dispatch);
        write(&log_line(dispatch, &outcome));
        outcome
    }
}

fn log_line(dispatch: &Dispatch<'_>, outcome: &Outcome) -> String {
    let mut line = format!("{}, attempt {}", dispatch.name(), dispatch.attempt());
    let context = dispatch.context();
    for (field, name) in [
        ("user", &context.user),
        ("organization", &context.organization),
        ("correlation", &context.correlation),
        ("causation", &context.causation),
    ] {
        if let Some(name) = name {
            line = format!("{line}, {field} {name}");
        }
    }
    escaped(&format!("{line}: {outcome}"))
}

/// Names and errors may come from a user: a line break in them would forge a log line.
fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len().min(MAX_LINE));
    for character in line.chars() {
        let is_break = character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
        if is_break {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
        if escaped.len() >= MAX_LINE {
            escaped.push('…');
            break;
        }
    }
    escaped
}

/// Reports the duration of a dispatch, or of an attempt inside [`retry`]: of the middleware inside and the handler.
///
/// Outside [`retry`] it includes all attempts, and the pauses between them.
pub fn time(report: impl Fn(&Dispatch<'_>, Duration, &Outcome) + Send + Sync + 'static) -> impl Middleware {
    move |dispatch: &Dispatch<'_>, next: Next<'_>| {
        let begun = Instant::now();
        let outcome = next.run(dispatch);
        report(dispatch, begun.elapsed(), &outcome);
        outcome
    }
}

/// Refuses messages of type `M` for which the check fails, with the reason that it returns. Other messages pass.
pub fn validate<M: Message>(check: impl Fn(&M) -> Result<(), String> + Send + Sync + 'static) -> impl Middleware {
    move |dispatch: &Dispatch<'_>, next: Next<'_>| match dispatch.message::<M>().map_or(Ok(()), &check) {
        Ok(()) => next.run(dispatch),
        Err(reason) => Outcome::refused("validate", reason),
    }
}

/// Refuses messages for which the check of the message's name and the context fails, with the reason that it returns.
///
/// For a check that depends on the message itself, write a middleware that calls [`Dispatch::message`].
pub fn authorize(
    check: impl Fn(&'static str, &Context) -> Result<(), String> + Send + Sync + 'static,
) -> impl Middleware {
    move |dispatch: &Dispatch<'_>, next: Next<'_>| match check(dispatch.name(), dispatch.context()) {
        Ok(()) => next.run(dispatch),
        Err(reason) => Outcome::refused("authorize", reason),
    }
}

/// Attempts a message again when its handler failed with an error that `is_transient` accepts, after the pauses of `retry`.
///
/// `is_transient` gets outcomes that are [`Outcome::Failed`]; [`Outcome::error`] has the typed error. It should accept exactly the errors that
/// another attempt may resolve, such as [`CommandError::Contended`](crate::cqrs::CommandError::Contended), and never a rejection. Refused
/// messages and panics are not retried.
///
/// Attempts never multiply: only the outermost dispatch of a thread retries, and several layers of `retry` count the same attempts. The
/// [aggregates](crate::cqrs::Aggregates::retry) and [decisions](crate::cqrs::Decisions::retry) that a handler executes retry conflicts too: set
/// theirs to [`Retry::never`] where the bus retries conflicts.
pub fn retry(retry: Retry, is_transient: impl Fn(&Outcome) -> bool + Send + Sync + 'static) -> impl Middleware {
    move |dispatch: &Dispatch<'_>, next: Next<'_>| loop {
        let outcome = next.run(dispatch);
        let may_retry = !dispatch.is_nested() && dispatch.attempt() < retry.attempts;
        if !may_retry || !matches!(outcome, Outcome::Failed(_)) || !is_transient(&outcome) {
            return outcome;
        }
        drop(outcome);
        retry.pause(dispatch.attempt(), crate::id::draw() as u32);
        dispatch.begin_attempt();
    }
}
