//! Sagas: processes over several aggregates, which react to events with commands, wait for timers, and undo their steps when they fail.

mod instance;
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

pub use self::instance::{SagaPhase, SagaStatus};
#[cfg(feature = "testing")]
pub(crate) use self::spawn::SagaByHand;
pub use self::spawn::{SagaBuilder, SagaError, Sagas};
use super::{CommandError, Context, HandlerError};
#[cfg(feature = "analytics")]
use crate::Error;
use crate::{Event, Timestamp};

/// A process manager: a state that reacts to events with commands and timers.
///
/// The implementing type is the state of one instance. Its functions are pure: what is to happen is returned as [`Action`]s. The state, the
/// reactions and what became of them are events of the instance's own stream, `TYPE/key`. So a saga goes on after a crash at any point, and
/// sends no command twice: each command has an id that follows from the instance and the number of the step.
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

    /// The commands that it sends. They are stored as JSON until they are sent.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// Which instance an event is for.
    fn route(event: &Self::Event, record: &Event) -> Route;

    /// Changes the state as an event says, and returns what is to happen.
    fn react(&mut self, event: Self::Event) -> Vec<Action<Self::Command>>;

    /// Called when a timer is due. A timer that was cancelled or set again does not come here.
    fn timeout(&mut self, _timer: &str) -> Vec<Action<Self::Command>> {
        Vec::new()
    }

    /// Called when a command was rejected by the rules of the domain. By default the saga fails, and its earlier steps are compensated.
    fn rejected(&mut self, _command: &Self::Command, reason: &str) -> Vec<Action<Self::Command>> {
        vec![Action::fail(reason)]
    }
}

/// Which instance of a saga an event is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It starts the instance with this key, or goes to it if it is running. An instance that has ended starts again, with a new state.
    Start(String),
    /// It goes to the running instance with this key. If there is none, the event is counted as ignored.
    Resume(String),
    /// It is for no instance.
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

/// What a saga makes happen. Commands are sent in the order in which they are returned, each after the one before it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// Sends a command.
    Send {
        /// The command.
        command: C,
        /// What undoes it: sent when the saga fails, in the reverse order of the steps. It is also sent when it is not known whether the
        /// command took effect, so it must do no harm then.
        compensation: Option<C>,
    },
    /// Sets the timer of this name, or sets it again.
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
    /// Ends the saga when its commands are sent. Its timers are cancelled.
    Complete,
    /// Ends the saga: its timers and the commands not yet sent are cancelled, and its steps compensated.
    Fail {
        /// Why.
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

    /// A command, and what undoes it.
    pub fn step(command: C, compensation: C) -> Self {
        Self::Send {
            command,
            compensation: Some(compensation),
        }
    }

    /// A timer that is due this long after the time of the store's clock.
    pub fn timer_after(name: impl Into<String>, after: Duration) -> Self {
        Self::SetTimer {
            name: name.into(),
            due: Due::After(after),
        }
    }

    /// A timer that is due at a time; at once if that is past.
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

    /// Fails for a reason.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }
}

/// When a timer is due: always an instant, so neither a clock change nor the zone of the machine moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At this time.
    At(Timestamp),
    /// This long after the reaction.
    After(Duration),
}

impl Due {
    /// At a local time of a time zone.
    ///
    /// Of a time that a clock change repeats it is the first; a time that one skips is as much later as the clock is set forward.
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

/// What a command is sent with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sending {
    /// The id of the command, the same whenever it is sent again: for [`Aggregates::execute_once`](super::Aggregates::execute_once).
    pub command_id: Uuid,
    /// The user, organization and conversation of the event that the saga reacted to, with the reaction as the cause.
    pub context: Context,
    /// The instance.
    pub key: String,
    /// The number of the attempt since the program started, counted from 1.
    pub attempt: u32,
}

/// Why a command that a saga sends had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The rules of the domain refuse it: the saga decides what happens next.
    Rejected(String),
    /// It failed for another reason: it is sent again, and then the instance is stuck.
    Failed(HandlerError),
}

impl<R: fmt::Display> From<CommandError<R>> for SendError {
    fn from(error: CommandError<R>) -> Self {
        if let CommandError::Rejected(rejection) = error {
            return Self::Rejected(rejection.to_string());
        }
        Self::Failed(HandlerError::transient(error.to_string()))
    }
}
