//! Projections: read models folded from events, on their own thread, inline, or on demand.

mod inline;
mod live;
mod model;
#[cfg(feature = "postgres")]
mod postgres;
mod spawn;
mod table;

use serde::de::DeserializeOwned;

pub(super) use self::inline::{Batch, Inline, Typed, add_inline, with_inline};
pub use self::live::{Live, LiveError};
pub(super) use self::model::Model;
#[cfg(feature = "postgres")]
pub use self::postgres::{Rows, SqlError, SqlProjected, SqlProjection, SqlProjectionBuilder};
pub use self::spawn::{Projected, ProjectionBuilder};
pub use self::table::{Row, Table};
use super::HandlerError;
use crate::{Event, Gap};

/// A read model in memory that is folded from the events of an enum.
///
/// The implementing type is the read model. It is built from the first event: on its own thread with [`Processors::project`], or on demand with
/// [`Live`].
///
/// ```
/// use std::time::Duration;
///
/// use annals::cqrs::{HandlerError, Processors, Projection};
/// use annals::{Event, Expected, NewEvent, Store, StreamId};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Withdrawn { amount: u64 },
/// }
///
/// /// The sum of all balances.
/// #[derive(Default)]
/// struct Total(u64);
///
/// impl Projection for Total {
///     type Event = AccountEvent;
///
///     fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
///         match event {
///             AccountEvent::Deposited { amount } => self.0 += amount,
///             AccountEvent::Withdrawn { amount } => self.0 -= amount,
///         }
///         Ok(())
///     }
/// }
///
/// let store = Store::in_memory();
/// let processors = Processors::new(&store);
/// let total = processors.project("total", Total::default()).start()?;
///
/// let deposited = NewEvent::new("Deposited").data(r#"{"amount":250}"#);
/// let appended = store.append(&StreamId::new("Account", "account-1"), Expected::Any, deposited)?;
/// total.when_processed(appended.last_position, Duration::from_secs(5))?;
/// assert_eq!(total.read(|total| total.0), 250);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Processors::project`]: super::Processors::project
pub trait Projection: Send + Sync + 'static {
    /// The event types: a serde enum with a variant for each that the read model depends on. Events of other types are not read.
    type Event: DeserializeOwned + 'static;

    /// Applies an event to the read model. `record` has the event's position, time and names.
    ///
    /// # Errors
    ///
    /// The reason for which the event cannot be applied. The read model must be unchanged then, because the event may be applied again.
    fn apply(&mut self, event: Self::Event, record: &Event) -> Result<(), HandlerError>;

    /// Handles a gap: events that were dropped before they were applied, by a limit, a budget, deletion, truncation or archiving.
    ///
    /// By default, the projection stops with the gap as the reason. One that does not need these events returns `Ok`.
    ///
    /// # Errors
    ///
    /// The reason for which the projection needs these events.
    fn gap(&mut self, _gap: &Gap) -> Result<(), HandlerError> {
        Err(HandlerError::permanent(
            "the projection needs every event: implement `Projection::gap` to go on without them",
        ))
    }

    /// Called when the read model goes live: when it has every event that was there as it started or was reset, and after the swap of a
    /// [rebuild](Projected::rebuild). A projection with effects outside of itself, such as a message to a browser, has none before, so the events of the past
    /// do not repeat them. Effects that must not get lost at a crash belong into a [subscription](super::Processors::subscribe).
    ///
    /// ```
    /// # use annals::cqrs::{HandlerError, Projection};
    /// # use annals::Event;
    /// # #[derive(serde::Deserialize)] enum Visit { Visited }
    /// # fn announce(_: u64) {}
    /// #[derive(Default)]
    /// struct Visits { count: u64, is_live: bool }
    ///
    /// impl Projection for Visits {
    ///     type Event = Visit;
    ///
    ///     fn apply(&mut self, _: Visit, _: &Event) -> Result<(), HandlerError> {
    ///         self.count += 1;
    ///         if self.is_live {
    ///             announce(self.count);
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     fn went_live(&mut self) {
    ///         self.is_live = true;
    ///     }
    /// }
    /// ```
    fn went_live(&mut self) {}

    /// Checks an event that an [inline](super::Aggregates::inline) command is about to append. An error rejects the command, and nothing is appended.
    ///
    /// The read model is up to date, and no other inline command intervenes before the append. Each event of a command is checked against the
    /// read model as it was before the command. By default, every event passes.
    ///
    /// # Errors
    ///
    /// The reason for which the event must not be appended.
    fn check(&self, _event: &Self::Event) -> Result<(), String> {
        Ok(())
    }
}
