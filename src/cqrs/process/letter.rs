//! A dead letter.

use uuid::Uuid;

use crate::{Name, Position, Timestamp};

/// A dead letter: an event that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letter {
    /// The position of the event.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: Name,
    /// Its aggregate, whose later events are parked behind it to keep their order.
    pub aggregate_id: Name,
    /// The reason, truncated to 4,096 bytes.
    pub reason: String,
    /// The number of attempts; 0 for an event that was parked behind another.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
}
