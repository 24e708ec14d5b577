//! Given-then tests of projections.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use super::expect::{append, empty_store, fail};
use crate::cqrs::{Decided, Live, Projection};
use crate::{ManualClock, Store};

/// A test of a [`Projection`]: given these events, then this read model.
///
/// The events are stored and read back, as in production.
///
/// ```
/// use annals::cqrs::{Decided, HandlerError, Projection};
/// use annals::testing::ProjectionScenario;
/// use annals::{Event, StreamId};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum Visit { Visited }
/// # #[derive(Default)]
/// # struct Visits(u64);
/// # impl Projection for Visits {
/// #     type Event = Visit;
/// #     fn apply(&mut self, _: Visit, _: &Event) -> Result<(), HandlerError> { self.0 += 1; Ok(()) }
/// # }
///
/// let visited = |page| Decided::new(StreamId::new("Page", page), Visit::Visited);
/// ProjectionScenario::of(Visits::default())
///     .given([visited("home"), visited("shop")])
///     .then_state(|visits| assert_eq!(visits.0, 2));
/// ```
pub struct ProjectionScenario<P: Projection> {
    store: Store,
    clock: Arc<ManualClock>,
    live: Live<P>,
}

impl<P: Projection> Debug for ProjectionScenario<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionScenario").finish_non_exhaustive()
    }
}

impl<P: Projection> ProjectionScenario<P>
where
    P::Event: serde::Serialize,
{
    /// Begins a scenario with this read model, before its first event, at midnight on 2026-01-01 UTC.
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn of(projection: P) -> Self {
        let (store, clock) = empty_store();
        Self {
            live: Live::new(&store, projection),
            store,
            clock,
        }
    }

    /// Appends these events, in this order, at the current time of the clock.
    ///
    /// # Panics
    ///
    /// When an event cannot be written.
    #[track_caller]
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn given(self, events: impl IntoIterator<Item = Decided<P::Event>>) -> Self {
        for event in events {
            append(&self.store, &event);
        }
        self
    }

    /// Advances the clock of the store.
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn advance(self, duration: Duration) -> Self {
        self.clock.advance(duration);
        self
    }

    /// Applies all events, and passes the read model to `check` for assertions.
    ///
    /// # Panics
    ///
    /// When an event cannot be applied.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn then_state(self, check: impl FnOnce(&P)) -> Self {
        if let Err(error) = self.live.read(check) {
            fail(&error.to_string());
        }
        self
    }

    /// Asserts that the read model stopped, with a reason that contains this text.
    ///
    /// # Panics
    ///
    /// When it did not stop, or for another reason.
    #[track_caller]
    pub fn then_stopped(self, reason: &str) {
        match self.live.catch_up() {
            Err(error) if error.to_string().contains(reason) => {}
            Err(error) => fail(&format!(
                "the read model stopped for another reason than '{reason}': {error}"
            )),
            Ok(position) => fail(&format!("the read model did not stop: it is at position {position}")),
        }
    }
}
