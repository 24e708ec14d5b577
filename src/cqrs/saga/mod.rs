//! Sagas: processes over several aggregates that react to events with commands and timers, and compensate their steps when they fail.

mod counts;
mod instance;
mod orders;
mod record;
mod restore;
mod sink;
mod spawn;
mod streak;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use self::counts::{SagaCounts, SendCounts};
pub use self::instance::{SagaPhase, SagaStatus};
#[cfg(feature = "testing")]
pub(crate) use self::spawn::SagaByHand;
pub use self::spawn::{SagaBuilder, SagaError, Sagas};
use super::{CommandError, Context, HandlerError};
#[cfg(feature = "analytics")]
use crate::Error;
use crate::{Event, Timestamp};

/// A process manager: a state machine that reacts to events with commands and timers.
///
/// The implementing type is the state of one instance. Its functions are pure: they return the [`Action`]s to perform. The state, the actions and
/// their outcomes are events of the instance's stream, `TYPE/key`, so a saga continues after a crash at any point. A command that was sent right
/// before a crash is sent again with the same id, which is derived from the instance and the number of the step; execute commands by
/// [`Aggregates::execute_once`](super::Aggregates::execute_once).
///
/// An instance that sends 1,000 commands in a row without waiting for an event or a timer is stuck. A panic stops the processor, and so does a timer that
/// fires 1,000 times without a later due time.
///
/// ```
/// use std::time::Duration;
///
/// use annals::cqrs::{Action, Route, Saga};
/// use annals::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64 },
///     PaymentReceived,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// enum OrderCommand {
///     ReserveStock,
///     ReleaseStock,
///     Ship,
/// }
///
/// /// Reserves the stock of an order, and ships it when it is paid within a day.
/// #[derive(Default, Serialize, Deserialize)]
/// struct Fulfilment {
///     total: u64,
/// }
///
/// impl Saga for Fulfilment {
///     const TYPE: &'static str = "Fulfilment";
///     type Event = OrderEvent;
///     type Command = OrderCommand;
///
///     fn route(event: &OrderEvent, record: &Event) -> Route {
///         match event {
///             OrderEvent::OrderPlaced { .. } => Route::start(record.aggregate_id()),
///             OrderEvent::PaymentReceived => Route::resume(record.aggregate_id()),
///         }
///     }
///
///     fn react(&mut self, event: OrderEvent) -> Vec<Action<OrderCommand>> {
///         match event {
///             OrderEvent::OrderPlaced { total } => {
///                 self.total = total;
///                 vec![
///                     Action::step(OrderCommand::ReserveStock, OrderCommand::ReleaseStock),
///                     Action::timer_after("payment", Duration::from_secs(24 * 60 * 60)),
///                 ]
///             }
///             OrderEvent::PaymentReceived => vec![Action::send(OrderCommand::Ship), Action::Complete],
///         }
///     }
///
///     fn timeout(&mut self, _: &str) -> Vec<Action<OrderCommand>> {
///         // ReleaseStock is sent.
///         vec![Action::fail("not paid within a day")]
///     }
/// }
/// ```
pub trait Saga: Default + Serialize + DeserializeOwned + Send + 'static {
    /// The aggregate type of the instances' streams, and the name of the processor.
    const TYPE: &'static str;

    /// The event types that the saga reacts to: a serde enum.
    type Event: DeserializeOwned + 'static;

    /// The commands that the saga sends. They are stored as JSON.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// Routes an event to an instance.
    fn route(event: &Self::Event, record: &Event) -> Route;

    /// Applies an event to the state, and returns the actions to perform.
    fn react(&mut self, event: Self::Event) -> Vec<Action<Self::Command>>;

    /// Handles a timer that is due. Not called for a timer that was cancelled or set again. By default, returns no actions.
    fn timeout(&mut self, _timer: &str) -> Vec<Action<Self::Command>> {
        Vec::new()
    }

    /// Handles a command that the rules of the domain rejected. By default, the saga fails, and its earlier steps are compensated.
    fn rejected(&mut self, _command: &Self::Command, reason: &str) -> Vec<Action<Self::Command>> {
        vec![Action::fail(reason)]
    }
}

/// The instance of a saga that an event is routed to. A key has 1 to 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// Starts the instance with this key, or continues it if it is running. An instance that has ended starts again, with a new state.
    Start(String),
    /// Continues the running instance with this key. If there is none, the event is counted as [ignored](super::Sagas::ignored).
    Resume(String),
    /// Ignores the event.
    Ignore,
}

impl Route {
    /// [`Start`](Self::Start) with this key.
    pub fn start(key: impl Into<String>) -> Self {
        Self::Start(key.into())
    }

    /// [`Resume`](Self::Resume) with this key.
    pub fn resume(key: impl Into<String>) -> Self {
        Self::Resume(key.into())
    }
}

/// An action of a saga. Commands are sent in the returned order, each after the previous one has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<C> {
    /// Sends a command.
    Send {
        /// The command.
        command: C,
        /// The command that undoes it, sent when the saga fails, in the reverse order of the steps. It is also sent when it is unknown whether
        /// the command took effect, so it must succeed without effect then.
        compensation: Option<C>,
    },
    /// Sets the timer of this name, and replaces one that is set.
    SetTimer {
        /// The name.
        name: String,
        /// When it is due.
        due: Due,
    },
    /// Cancels the timer of this name, if it is set.
    CancelTimer {
        /// The name.
        name: String,
    },
    /// Cancels the timers, and completes the saga when its commands are sent.
    Complete,
    /// Fails the saga: cancels its timers and unsent commands, and compensates its steps.
    Fail {
        /// The reason.
        reason: String,
    },
}

impl<C> Action<C> {
    /// A command without a compensation.
    pub fn send(command: C) -> Self {
        Self::Send {
            command,
            compensation: None,
        }
    }

    /// A command with its compensation.
    pub fn step(command: C, compensation: C) -> Self {
        Self::Send {
            command,
            compensation: Some(compensation),
        }
    }

    /// A timer that is due after a duration, by the store's clock.
    pub fn timer_after(name: impl Into<String>, after: Duration) -> Self {
        Self::SetTimer {
            name: name.into(),
            due: Due::After(after),
        }
    }

    /// A timer that is due at a time; at once if the time is past.
    pub fn timer_at(name: impl Into<String>, at: Timestamp) -> Self {
        Self::SetTimer {
            name: name.into(),
            due: Due::At(at),
        }
    }

    /// Cancels a timer.
    pub fn cancel_timer(name: impl Into<String>) -> Self {
        Self::CancelTimer { name: name.into() }
    }

    /// Fails the saga for a reason.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }
}

/// The time at which a timer is due: an instant, independent of the machine's time zone and of daylight saving time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// At this time.
    At(Timestamp),
    /// This long after the reaction.
    After(Duration),
}

impl Due {
    /// At a local time in a time zone.
    ///
    /// If a daylight saving change repeats the time, the first occurrence is due. If it skips the time, the timer is due later by the skipped
    /// duration.
    ///
    /// ```
    /// use annals::cqrs::Due;
    ///
    /// let due = Due::local("2026-07-01T09:00", "Europe/Berlin")?;
    /// assert_eq!(due, Due::At("2026-07-01T07:00:00Z".parse()?));
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `time` is no date and time without an offset, or the zone is not in the time zone database.
    #[cfg(feature = "analytics")]
    pub fn local(time: &str, zone: &str) -> Result<Self, Error> {
        let invalid = |error: jiff::Error| {
            let what = format!(
                "'{time}' in '{zone}' is no local time, such as '2026-03-29T09:00' in 'Europe/Berlin': {error}"
            );
            Error::invalid(what)
        };
        let civil: jiff::civil::DateTime = time.parse().map_err(invalid)?;
        let zone = jiff::tz::TimeZone::get(zone).map_err(invalid)?;
        let at = zone.to_ambiguous_timestamp(civil).compatible().map_err(invalid)?;
        Ok(Self::At(Timestamp::try_from_micros(at.as_microsecond())?))
    }
}

/// The id, context and key that accompany a command of a saga.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sending {
    /// The id of the command, which is the same when it is sent again: pass it to [`Aggregates::execute_once`](super::Aggregates::execute_once).
    pub command_id: Uuid,
    /// The user, organization and correlation of the event that the saga reacted to, with the reaction's id as the causation.
    pub context: Context,
    /// The key of the instance.
    pub key: String,
    /// The number of the attempt, counted from 1. The count restarts when the program restarts, or when the stuck instance is retried.
    pub attempt: u32,
}

/// A failure of a command that a saga sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The rules of the domain rejected it; [`Saga::rejected`] decides how the saga continues.
    Rejected {
        /// What the domain says.
        rejection: String,
    },
    /// It failed for another reason. A transient error is retried; after the last attempt, or a permanent error, the instance is stuck.
    Failed(HandlerError),
}

impl<R: fmt::Display> From<CommandError<R>> for SendError {
    fn from(error: CommandError<R>) -> Self {
        if let CommandError::Rejected(rejection) = error {
            return Self::Rejected {
                rejection: rejection.to_string(),
            };
        }
        Self::Failed(HandlerError::transient(error.to_string()))
    }
}
