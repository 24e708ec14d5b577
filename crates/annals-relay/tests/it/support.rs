//! What the tests share: a store with events, and waits.

use std::time::{Duration, Instant};

use annals::cqrs::Retry;
use annals::{Expected, NewEvent, Position, Store, StreamId};
use annals_relay::{Relay, RelayStatus};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses that a test does not notice.
pub(crate) fn quick() -> Retry {
    Retry::default()
        .attempts(3)
        .first_pause(Duration::from_millis(2))
        .longest_pause(Duration::from_millis(20))
}

/// Appends an event to an aggregate, and returns its position.
pub(crate) fn append(store: &Store, aggregate: &str, data: &str) -> Position {
    append_to(store, "Order", aggregate, data)
}

/// Appends an event to an aggregate of a type.
pub(crate) fn append_to(store: &Store, aggregate_type: &str, aggregate: &str, data: &str) -> Position {
    let event = NewEvent::new("Noted").data(data.to_owned());
    let appended = store.append(&StreamId::new(aggregate_type, aggregate), Expected::Any, event);
    appended.expect("a store in memory takes it").last_position
}

/// Waits until everything up to a position is published or parked.
pub(crate) fn published(relay: &Relay, position: Position) {
    let done = relay.when_published(position, PATIENCE);
    assert_eq!(done, Ok(true), "{}", relay.status());
}

/// Waits for a status.
pub(crate) fn status_where(relay: &Relay, what: &str, is: impl Fn(&RelayStatus) -> bool) -> RelayStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = relay.status();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
