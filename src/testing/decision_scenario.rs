//! Given-when-then tests of decisions over a query.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use super::difference::difference;
use super::expect::{append, decided, empty_store, fail, must};
use crate::cqrs::{CommandError, Decided, Decision, Decisions};
use crate::{ManualClock, Store};

/// A test of a [`Decision`]: given events of any aggregates, when the decision is executed, then these events or a rejection.
///
/// It runs on a store in memory, through the same [`Decisions`] as production. Events are [`Decided`]: with their aggregate and tags.
///
/// ```
/// use annals::cqrs::{Decided, Decision};
/// use annals::testing::DecisionScenario;
/// use annals::{EventRef, Query, StreamId};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// # enum Booking { SeatBooked { seat: u32 } }
/// # struct BookSeat { seat: u32, guest: &'static str }
/// # impl Decision for BookSeat {
/// #     type State = bool;
/// #     type Event = Booking;
/// #     type Rejection = &'static str;
/// #     fn query(&self) -> Query { Query::all().tag(format!("seat:{}", self.seat)) }
/// #     fn initial(&self) -> bool { false }
/// #     fn evolve(&self, taken: &mut bool, _: Booking, _: EventRef<'_>) { *taken = true; }
/// #     fn decide(&self, taken: &bool) -> Result<Vec<Decided<Booking>>, &'static str> {
/// #         if *taken { return Err("the seat is taken"); }
/// #         Ok(vec![booked(self.guest, self.seat)])
/// #     }
/// # }
///
/// fn booked(guest: &str, seat: u32) -> Decided<Booking> {
///     Decided::new(StreamId::new("Guest", guest), Booking::SeatBooked { seat }).tag(format!("seat:{seat}"))
/// }
///
/// DecisionScenario::given([booked("anna", 7)]).when(BookSeat { seat: 8, guest: "bert" }).then([booked("bert", 8)]);
/// DecisionScenario::given([booked("anna", 7)]).when(BookSeat { seat: 7, guest: "bert" }).then_rejected("the seat is taken");
/// ```
#[must_use = "a scenario tests nothing without a decision"]
pub struct DecisionScenario<D> {
    store: Store,
    clock: Arc<ManualClock>,
    decision: std::marker::PhantomData<fn() -> D>,
}

impl<D> Debug for DecisionScenario<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionScenario").finish_non_exhaustive()
    }
}

impl<D: Decision> DecisionScenario<D> {
    /// Begins a scenario with these events, in this order, at midnight on 2026-01-01 UTC.
    ///
    /// # Panics
    ///
    /// When an event cannot be written.
    #[track_caller]
    pub fn given(events: impl IntoIterator<Item = Decided<D::Event>>) -> Self {
        let (store, clock) = empty_store();
        let scenario = Self {
            store,
            clock,
            decision: std::marker::PhantomData,
        };
        scenario.and_given(events)
    }

    /// Appends more events, at the time that [`advance`](Self::advance) has moved the clock to.
    ///
    /// # Panics
    ///
    /// When an event cannot be written.
    #[track_caller]
    pub fn and_given(self, events: impl IntoIterator<Item = Decided<D::Event>>) -> Self {
        for event in events {
            append(&self.store, &event);
        }
        self
    }

    /// Advances the clock of the store.
    pub fn advance(self, duration: Duration) -> Self {
        self.clock.advance(duration);
        self
    }

    /// Executes the decision.
    ///
    /// # Panics
    ///
    /// When it fails for another reason than a rejection.
    #[track_caller]
    #[must_use = "an outcome is compared with what was expected"]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a scenario reads better with the decision itself"
    )]
    pub fn when(self, decision: D) -> DecisionOutcome<D>
    where
        D::Rejection: Debug,
    {
        let before = self.store.visible();
        let rejection = match Decisions::new(&self.store).execute(&decision) {
            Ok(_) => None,
            Err(CommandError::Rejected(rejection)) => Some(rejection),
            Err(error) => fail(&format!("the decision failed: {error:?}")),
        };
        let committed = self.store.read_all().after(before).events();
        DecisionOutcome {
            events: committed.iter().map(decided).collect(),
            rejection,
        }
    }
}

/// The outcome of a decision in a [`DecisionScenario`].
pub struct DecisionOutcome<D: Decision> {
    events: Vec<Decided<D::Event>>,
    rejection: Option<D::Rejection>,
}

impl<D: Decision> Debug for DecisionOutcome<D>
where
    D::Event: Debug,
    D::Rejection: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionOutcome")
            .field("events", &self.events)
            .field("rejection", &self.rejection)
            .finish()
    }
}

impl<D: Decision> DecisionOutcome<D>
where
    D::Event: Debug + PartialEq,
    D::Rejection: Debug,
{
    /// Asserts that the decision committed exactly these events.
    ///
    /// # Panics
    ///
    /// With the events that differ, or the rejection.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = Decided<D::Event>>) {
        if let Some(rejection) = &self.rejection {
            fail(&format!("the decision was rejected: {rejection:?}"));
        }
        let expected: Vec<_> = expected.into_iter().collect();
        if let Some(difference) = difference(&expected, &self.events) {
            fail(&format!("the events differ (- expected, + committed):\n{difference}"));
        }
    }

    /// Asserts that the decision was rejected for this reason, and committed no event.
    ///
    /// # Panics
    ///
    /// With the other reason, or the events that were committed.
    #[track_caller]
    pub fn then_rejected(self, expected: impl Into<D::Rejection>)
    where
        D::Rejection: PartialEq,
    {
        let Some(rejection) = self.rejection else {
            fail(&format!(
                "the decision was not rejected; it committed {:#?}",
                self.events
            ));
        };
        must(
            self.events
                .is_empty()
                .then_some(())
                .ok_or("a rejected decision committed events"),
        );
        if let Some(difference) = difference(&[expected.into()], &[rejection]) {
            fail(&format!("the rejection differs (- expected, + actual):\n{difference}"));
        }
    }
}
