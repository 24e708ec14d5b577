//! Expectations of what a test has appended.

mod matcher;

use std::fmt::Write;

pub use self::matcher::{EventMatcher, event};
use crate::{Event, LogRead, Position, Query, Store};

/// The events that have been appended to a store since the recorder was made.
///
/// ```
/// use annals::assert_appended;
/// use annals::testing::{Recorder, event};
/// # use annals::{Expected, NewEvent, Store, StreamId};
///
/// let store = Store::in_memory();
/// let recorder = Recorder::of(&store);
/// // Something that is tested appends:
/// # let new = NewEvent::new("OrderPlaced").data(r#"{"cents": 5, "items": ["tea"]}"#).correlation("checkout-7");
/// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![new])?;
///
/// assert_appended!(recorder, event("OrderPlaced").in_stream("order-1").with_data(serde_json::json!({"cents": 5})));
/// recorder.assert_exactly([event("OrderPlaced").correlation("checkout-7")]);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    store: Store,
    after: Position,
}

/// Asserts that each of these events was appended: `assert_appended!(recorder, event("OrderPlaced"), event("OrderPaid").once())`.
///
/// Other events may have been appended too; [`Recorder::assert_exactly`] is stricter. On failure it prints what was appended, as a tree of causes.
#[macro_export]
macro_rules! assert_appended {
    ($recorder:expr, $($matcher:expr),+ $(,)?) => {
        $crate::testing::Recorder::assert_appended(&$recorder, [$($matcher),+])
    };
}

impl Recorder {
    /// Records what is appended from now on.
    pub fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
            after: store.visible(),
        }
    }

    /// The events that were appended, without those in which processors and sagas keep their own state, and without system events.
    pub fn appended(&self) -> Vec<Event> {
        program_events(&self.store.read_all().after(self.after))
    }

    /// Asserts that each of these events was appended.
    ///
    /// # Panics
    ///
    /// When one was not, or not as often as it says.
    #[track_caller]
    pub fn assert_appended(&self, expected: impl IntoIterator<Item = EventMatcher>) {
        let appended = self.appended();
        for matcher in expected {
            let count = appended.iter().filter(|event| matcher.matches(event)).count();
            if !matcher.accepts(count) {
                let nearest = matcher.nearest(&appended).unwrap_or_default();
                let what = format!("expected {matcher}; matching events appended: {count}\n{nearest}");
                self.fail(&what, &appended);
            }
        }
    }

    /// Asserts that exactly these events were appended, in this order. A matcher with a [count](EventMatcher::times) stands for this number of
    /// consecutive events.
    ///
    /// # Panics
    ///
    /// When others were.
    #[track_caller]
    pub fn assert_exactly(&self, expected: impl IntoIterator<Item = EventMatcher>) {
        let appended = self.appended();
        // One more than there are is enough for a difference, and bounds the list.
        let repeated = |matcher: EventMatcher| {
            let times = matcher.times_in_order().min(appended.len() + 1);
            std::iter::repeat_n(matcher, times)
        };
        let expected: Vec<_> = expected.into_iter().flat_map(repeated).collect();
        for (place, (event, matcher)) in appended.iter().zip(&expected).enumerate() {
            if let Some(difference) = matcher.difference(event) {
                self.fail(
                    &format!("event {} is not {matcher}:\n{difference}", place + 1),
                    &appended,
                );
            }
        }
        if appended.len() != expected.len() {
            let what = difference_in_length(&expected, &appended);
            self.fail(&what, &appended);
        }
    }

    /// Asserts that nothing was appended.
    ///
    /// # Panics
    ///
    /// When something was.
    #[track_caller]
    pub fn assert_nothing_appended(&self) {
        self.assert_exactly([]);
    }

    /// What was appended, as a tree of causes: each event below the one that caused it.
    pub fn tree(&self) -> String {
        tree(&self.appended())
    }

    #[track_caller]
    fn fail(&self, what: &str, appended: &[Event]) -> ! {
        super::fail::fail(&format!(
            "{what}\nappended since position {}:\n{}",
            self.after,
            tree(appended)
        ))
    }
}

impl Store {
    /// The events of a correlation as a tree of causes, a line each: for the message of a failed test.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a name that no correlation has.
    pub fn causation_text(&self, correlation: &str) -> crate::Result<String> {
        Ok(tree(&self.query(Query::all().correlation(correlation)).events()?))
    }
}

/// The events of the program: without those in which processors and sagas keep their own state.
pub(super) fn program_events(read: &LogRead<'_>) -> Vec<Event> {
    read.fold(Vec::new(), |mut events, event| {
        if !event.aggregate_type().starts_with("annals.") {
            events.push(event.to_event());
        }
        events
    })
}

/// The first event that is missing or too many, after all events before it matched.
fn difference_in_length(expected: &[EventMatcher], appended: &[Event]) -> String {
    match (expected.get(appended.len()), appended.get(expected.len())) {
        (Some(missing), _) => format!("event {} is missing: expected {missing}", appended.len() + 1),
        (None, Some(extra)) => format!(
            "event {} is not expected: {} at position {}",
            expected.len() + 1,
            extra.event_type(),
            extra.position()
        ),
        (None, None) => String::new(),
    }
}

/// Each event below the one that caused it; events without a cause among them stand at the margin.
fn tree(events: &[Event]) -> String {
    let mut text = String::new();
    let depths = depths(events);
    for (event, depth) in events.iter().zip(depths) {
        // Writing to a string does not fail.
        _ = writeln!(
            text,
            "{:>7} {}{} {} {}",
            event.position(),
            "  ".repeat(depth.min(32)),
            event.event_type(),
            event.aggregate_id(),
            String::from_utf8_lossy(event.data())
                .chars()
                .take(120)
                .collect::<String>()
        );
    }
    if text.is_empty() {
        text.push_str("(no event)\n");
    }
    text
}

/// The number of causes above each event. A cause comes before its effects.
fn depths(events: &[Event]) -> Vec<usize> {
    let mut by_id = std::collections::HashMap::new();
    let mut depths = Vec::with_capacity(events.len());
    for event in events {
        let above = event.causation_id().and_then(|cause| by_id.get(cause));
        let depth = above.map_or(0, |depth: &usize| depth + 1);
        by_id.insert(event.id().to_string(), depth);
        depths.push(depth);
    }
    depths
}
