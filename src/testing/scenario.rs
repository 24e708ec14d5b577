//! Given-when-then tests of aggregates.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use super::difference::difference;
use super::expect::{BEGIN, fail, must};
use crate::cqrs::{Aggregate, Aggregates, Codec, CommandError, Json};
use crate::{Clock, Expected, ManualClock, NewEvent, Store, StreamId, Version};

/// The id of the aggregate in a scenario.
const ID: &str = "scenario";

/// A test of an aggregate: given events, when a command is executed, then these events, a rejection or a state.
///
/// It runs on a store in memory, through the same [`Aggregates`] as production: events are encoded, appended at the expected version and read back.
/// [`Outcome`] compares the events that the store has committed.
///
/// ```
/// use annals::cqrs::Aggregate;
/// use annals::testing::Scenario;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// # enum Event { Opened, Closed }
/// # enum Command { Open, Close }
/// # #[derive(Default)]
/// # struct Door { open: bool }
/// # impl Aggregate for Door {
/// #     const TYPE: &'static str = "Door";
/// #     type Event = Event;
/// #     type Command = Command;
/// #     type Rejection = &'static str;
/// #     fn initial() -> Self { Self::default() }
/// #     fn decide(&self, command: &Command) -> Result<Vec<Event>, &'static str> {
/// #         match (command, self.open) {
/// #             (Command::Open, false) => Ok(vec![Event::Opened]),
/// #             (Command::Close, true) => Ok(vec![Event::Closed]),
/// #             _ => Err("it is so already"),
/// #         }
/// #     }
/// #     fn evolve(&mut self, event: Event) { self.open = matches!(event, Event::Opened); }
/// # }
///
/// Scenario::<Door>::given([]).when(Command::Open).then([Event::Opened]).then_state(|door| assert!(door.open));
/// Scenario::<Door>::given([Event::Opened]).when(Command::Open).then_rejected("it is so already");
/// ```
#[must_use = "a scenario tests nothing without a command"]
pub struct Scenario<A: Aggregate> {
    store: Store,
    clock: Arc<ManualClock>,
    aggregates: Aggregates<A>,
    stream: StreamId,
}

impl<A: Aggregate> Debug for Scenario<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Scenario<A> {
    /// Begins a scenario with these events, in this order, at midnight on 2026-01-01 UTC.
    ///
    /// # Panics
    ///
    /// When an event cannot be written.
    #[track_caller]
    pub fn given(events: impl IntoIterator<Item = A::Event>) -> Self {
        let clock = Arc::new(ManualClock::at(BEGIN));
        let store = Store::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).open();
        let store = must(store);
        let scenario = Self {
            aggregates: Aggregates::new(&store),
            stream: StreamId::new(A::TYPE, ID),
            clock,
            store,
        };
        scenario.and_given(events)
    }

    /// Appends more events, at the time that [`advance`](Self::advance) has moved the clock to.
    ///
    /// # Panics
    ///
    /// When an event cannot be written.
    #[track_caller]
    pub fn and_given(self, events: impl IntoIterator<Item = A::Event>) -> Self {
        for event in events {
            let encoded = must(Json.encode(&event));
            let event = NewEvent::new(&encoded.event_type).data(&encoded.data);
            must(self.store.append(&self.stream, Expected::Any, event));
        }
        self
    }

    /// Advances the clock of the store.
    pub fn advance(self, duration: Duration) -> Self {
        self.clock.advance(duration);
        self
    }

    /// Executes a command.
    ///
    /// # Panics
    ///
    /// When the command fails for another reason than a rejection, such as an event that does not decode or cannot be written.
    #[track_caller]
    #[must_use = "an outcome is compared with what was expected"]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a scenario reads better with the command itself"
    )]
    pub fn when(self, command: A::Command) -> Outcome<A>
    where
        A::Rejection: Debug,
    {
        let before = self.version();
        let rejection = match self.aggregates.execute(ID, &command) {
            Ok(_) => None,
            Err(CommandError::Rejected(rejection)) => Some(rejection),
            Err(error) => fail(&format!("the command failed: {error:?}")),
        };
        let decode = |event: &crate::Event| must(Json.decode(event.event_type(), event.data()));
        let committed = self.store.read_stream(ID).after(before).events();
        Outcome {
            events: committed.iter().map(decode).collect(),
            rejection,
            state: must(self.aggregates.load(ID)).state,
            matched: 0,
        }
    }

    fn version(&self) -> Version {
        self.store.stream_info(ID).map_or(Version(0), |info| info.version)
    }
}

/// The outcome of a command in a [`Scenario`].
pub struct Outcome<A: Aggregate> {
    events: Vec<A::Event>,
    rejection: Option<A::Rejection>,
    state: A,
    /// The number of events that were expected so far.
    matched: usize,
}

impl<A: Aggregate> Debug for Outcome<A>
where
    A::Event: Debug,
    A::Rejection: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("events", &self.events)
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Outcome<A>
where
    A::Event: Debug + PartialEq,
    A::Rejection: Debug,
{
    /// Asserts that the command committed exactly these events.
    ///
    /// # Panics
    ///
    /// With the events that differ, or the rejection.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Self {
        let expected: Vec<_> = expected.into_iter().collect();
        let end = self.events.len();
        self.compare(&expected, end)
    }

    /// Asserts that this is the next committed event. [`and_no_more`](Self::and_no_more) asserts that it is the last.
    ///
    /// # Panics
    ///
    /// With the event that differs, or the rejection.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn then_next(self, expected: A::Event) -> Self {
        let end = self.events.len().min(self.matched + 1);
        self.compare(&[expected], end)
    }

    /// Asserts that the command committed no other events.
    ///
    /// # Panics
    ///
    /// With the other events.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn and_no_more(self) -> Self {
        let end = self.events.len();
        self.compare(&[], end)
    }

    /// Compares the events that were not expected so far, up to `end`.
    #[track_caller]
    fn compare(mut self, expected: &[A::Event], end: usize) -> Self {
        if let Some(rejection) = &self.rejection {
            fail(&format!("the command was rejected: {rejection:?}"));
        }
        if let Some(difference) = difference(expected, &self.events[self.matched..end]) {
            fail(&format!("the events differ (- expected, + committed):\n{difference}"));
        }
        self.matched = end;
        self
    }

    /// Asserts that the command was rejected for this reason, and committed no event.
    ///
    /// # Panics
    ///
    /// With the other reason, or the events that were committed.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn then_rejected(self, expected: impl Into<A::Rejection>) -> Self
    where
        A::Rejection: PartialEq,
    {
        let Some(rejection) = &self.rejection else {
            fail(&format!(
                "the command was not rejected; it committed {:#?}",
                self.events
            ));
        };
        if !self.events.is_empty() {
            fail(&format!(
                "the command was rejected, but committed events: {:#?}",
                self.events
            ));
        }
        let expected = [expected.into()];
        if let Some(difference) = difference(&expected, std::slice::from_ref(rejection)) {
            fail(&format!("the rejection differs (- expected, + actual):\n{difference}"));
        }
        self
    }

    /// Passes the state after the command to `check` for assertions.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most scenarios end here")]
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.state);
        self
    }
}
