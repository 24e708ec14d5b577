//! When-then tests of sagas, with a manual clock.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::difference::difference;
use super::expect::{append, empty_store, fail, must};
use crate::cqrs::{Decided, HandlerError, Processors, Retry, Saga, SagaByHand, SagaPhase, SendError};
use crate::{ManualClock, Store, StreamId, Timestamp};

/// A test of a [`Saga`]: when these events happen and time passes, then it sends these commands.
///
/// The saga runs as in production, on a store in memory, but without a thread: each step of the scenario returns when the saga has nothing left to do.
/// The clock is manual. Commands succeed, except after [`rejecting`](Self::rejecting) or [`failing`](Self::failing), and are not retried.
///
/// ```
/// use std::time::Duration;
///
/// use annals::cqrs::{Action, Route, Saga, SagaPhase};
/// use annals::testing::SagaScenario;
/// use annals::Event;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// # enum OrderEvent { OrderPlaced, OrderPaid }
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// # enum OrderCommand { Remind, Ship }
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Reminder;
/// # impl Saga for Reminder {
/// #     const TYPE: &'static str = "Reminder";
/// #     type Event = OrderEvent;
/// #     type Command = OrderCommand;
/// #     fn route(_: &OrderEvent, record: &Event) -> Route { Route::start(record.aggregate_id()) }
/// #     fn react(&mut self, event: OrderEvent) -> Vec<Action<OrderCommand>> {
/// #         match event {
/// #             OrderEvent::OrderPlaced => vec![Action::timer_after("remind", Duration::from_secs(3_600))],
/// #             OrderEvent::OrderPaid => vec![Action::send(OrderCommand::Ship), Action::Complete],
/// #         }
/// #     }
/// #     fn timeout(&mut self, _: &str) -> Vec<Action<OrderCommand>> { vec![Action::send(OrderCommand::Remind)] }
/// # }
///
/// SagaScenario::<Reminder>::new()
///     .when("order-1", OrderEvent::OrderPlaced)
///     .then_sends([])
///     .advance(Duration::from_secs(3_600))
///     .then_sends([OrderCommand::Remind])
///     .when("order-1", OrderEvent::OrderPaid)
///     .then_sends([OrderCommand::Ship])
///     .then_ended("order-1", &SagaPhase::Completed);
/// ```
pub struct SagaScenario<S: Saga> {
    store: Store,
    clock: Arc<ManualClock>,
    saga: SagaByHand<S>,
    shared: Arc<Mutex<Shared<S::Command>>>,
}

struct Shared<C> {
    /// The commands that were sent, and not yet expected.
    sent: Vec<C>,
    /// What the next commands meet; they succeed when it is empty.
    outcomes: VecDeque<Outcome>,
}

enum Outcome {
    Rejected(String),
    Failed(String),
}

impl<S: Saga> Debug for SagaScenario<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaScenario")
            .field("type", &S::TYPE)
            .finish_non_exhaustive()
    }
}

impl<S: Saga> Default for SagaScenario<S>
where
    S::Event: serde::Serialize,
    S::Command: Clone + Debug + PartialEq,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Saga> SagaScenario<S>
where
    S::Event: serde::Serialize,
    S::Command: Clone + Debug + PartialEq,
{
    /// Begins a scenario without events, at midnight on 2026-01-01 UTC.
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn new() -> Self {
        let (store, clock) = empty_store();
        let shared = Arc::new(Mutex::new(Shared {
            sent: Vec::new(),
            outcomes: VecDeque::new(),
        }));
        let seen = Arc::clone(&shared);
        let dispatcher = move |command: &S::Command, _: &_| {
            let mut shared = seen.lock();
            shared.sent.push(command.clone());
            match shared.outcomes.pop_front() {
                None => Ok(()),
                Some(Outcome::Rejected(reason)) => Err(SendError::Rejected { rejection: reason }),
                Some(Outcome::Failed(reason)) => Err(SendError::Failed(HandlerError::permanent(reason))),
            }
        };
        let saga = Processors::new(&store)
            .saga::<S>(dispatcher)
            .retry(Retry::never())
            .by_hand();
        Self {
            store,
            clock,
            saga,
            shared,
        }
    }

    /// Appends an event to the aggregate with this id, of the aggregate type `Scenario`. The saga reacts to it.
    ///
    /// # Panics
    ///
    /// When the event cannot be written, or the saga panics.
    #[track_caller]
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn when(self, aggregate_id: &str, event: S::Event) -> Self {
        self.happens(&Decided::new(StreamId::new("Scenario", aggregate_id), event))
    }

    /// Appends an event with an aggregate type and tags. The saga reacts to it.
    ///
    /// # Panics
    ///
    /// When the event cannot be written, or the saga panics.
    #[track_caller]
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn happens(mut self, event: &Decided<S::Event>) -> Self {
        append(&self.store, event);
        must(self.saga.run());
        self
    }

    /// Makes the next command that has no outcome yet be rejected, for this reason.
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn rejecting(self, reason: &str) -> Self {
        self.shared
            .lock()
            .outcomes
            .push_back(Outcome::Rejected(reason.to_owned()));
        self
    }

    /// Makes the next command that has no outcome yet fail permanently, for this reason: the instance is stuck.
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn failing(self, reason: &str) -> Self {
        self.shared
            .lock()
            .outcomes
            .push_back(Outcome::Failed(reason.to_owned()));
        self
    }

    /// Advances the clock. Timers fire in the order in which they are due, each at its due time.
    ///
    /// # Panics
    ///
    /// When the saga panics, or fires 10,000 timers.
    #[track_caller]
    #[must_use = "a scenario tests nothing without an expectation"]
    pub fn advance(mut self, duration: Duration) -> Self {
        let end = self.now().after(duration);
        for _ in 0..10_000 {
            let Some(due) = must(self.saga.run()).filter(|due| *due <= end) else {
                self.clock.set(end);
                must(self.saga.run());
                return self;
            };
            self.clock.set(due.max(self.now()));
        }
        fail("10,000 timers fired: does each set the next at once?")
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// Asserts that the saga has sent exactly these commands and compensations since the last `then_sends`.
    ///
    /// # Panics
    ///
    /// With the commands that differ.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "a scenario may end here")]
    pub fn then_sends(self, expected: impl IntoIterator<Item = S::Command>) -> Self {
        let expected: Vec<_> = expected.into_iter().collect();
        let sent = std::mem::take(&mut self.shared.lock().sent);
        if let Some(difference) = difference(&expected, &sent) {
            fail(&format!("the commands differ (- expected, + sent):\n{difference}"));
        }
        self
    }

    /// Passes the state of an instance to `check` for assertions.
    ///
    /// # Panics
    ///
    /// When there is no such instance.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "a scenario may end here")]
    pub fn then_state(self, key: &str, check: impl FnOnce(&S)) -> Self {
        let Some(status) = must(self.saga.get(key)) else {
            fail(&format!("there is no instance with the key '{key}'"));
        };
        check(&must(serde_json::from_value(status.state)));
        self
    }

    /// Asserts that the instance is in this phase.
    ///
    /// # Panics
    ///
    /// When there is none, or it is in another phase.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "a scenario may end here")]
    pub fn then_ended(self, key: &str, expected: &SagaPhase) -> Self {
        let phase = must(self.saga.get(key)).map(|status| status.phase);
        if phase.as_ref() != Some(expected) {
            fail(&format!(
                "the instance '{key}' is in another phase: expected {expected:?}, found {phase:?}"
            ));
        }
        self
    }

    /// Asserts that the instance is stuck, with a reason that contains this text.
    ///
    /// # Panics
    ///
    /// When there is none, or it is not stuck.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "a scenario may end here")]
    pub fn then_stuck(self, key: &str, reason: &str) -> Self {
        let stuck = must(self.saga.get(key)).and_then(|status| status.stuck);
        if !stuck.as_deref().is_some_and(|stuck| stuck.contains(reason)) {
            fail(&format!(
                "the instance '{key}' is not stuck because of '{reason}': {stuck:?}"
            ));
        }
        self
    }
}
