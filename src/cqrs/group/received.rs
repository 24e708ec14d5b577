//! An event that a consumer of a group has.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::Shared;
use super::broker::Lease;
use crate::cqrs::Context;
use crate::cqrs::subscription::idempotency_key;
use crate::{Event, Name};

/// An event that a consumer of a [`Group`](super::Group) has, until it acknowledges it, gives it back or parks it. Dropped without any of these, it
/// is given back.
pub struct Received<E> {
    /// The typed event.
    pub event: E,
    /// Its position, time and names.
    pub record: Arc<Event>,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The same for every delivery of this event to this group, and for no other: a handler that stores it with its effect recognizes a
    /// repetition.
    pub key: Uuid,
    /// What follows from this event: its user, organization and conversation, with the event as the cause.
    pub context: Context,
    group: Arc<Shared<E>>,
    aggregate_id: Name,
    token: u64,
    is_settled: bool,
}

impl<E> fmt::Debug for Received<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("record", &self.record)
            .field("attempt", &self.attempt)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The consumer had the event for too long: it went to another. What the consumer did stands; the other recognizes it by the
/// [key](Received::key).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event at position {position} went to another consumer, because this one did not answer in time")]
pub struct LeaseLost {
    /// The position of the event.
    pub position: crate::Position,
}

impl<E> Received<E> {
    pub(super) fn new(group: &Arc<Shared<E>>, lease: Lease<E>) -> Self {
        Self {
            key: idempotency_key(lease.record.id(), &group.name, lease.part),
            context: Context::caused_by(&lease.record),
            event: lease.event,
            record: lease.record,
            attempt: lease.attempt,
            group: Arc::clone(group),
            aggregate_id: lease.aggregate_id,
            token: lease.token,
            is_settled: false,
        }
    }

    /// The event is handled.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] when it went to another consumer, or the group has stopped.
    pub fn ack(mut self) -> Result<(), LeaseLost> {
        self.is_settled = true;
        let mut broker = self.group.broker.lock();
        let held = broker.run(|broker| broker.ack(&self.aggregate_id, self.token));
        drop(broker);
        self.settled(held.unwrap_or(false))
    }

    /// The event could not be handled: it is handed out again after a pause, or parked after the last attempt.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(mut self, reason: &str) -> Result<(), LeaseLost> {
        self.is_settled = true;
        let held = self.fail(reason, false);
        self.settled(held)
    }

    /// The event cannot be handled: it is parked as a dead letter.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn park(mut self, reason: &str) -> Result<(), LeaseLost> {
        self.is_settled = true;
        let held = self.fail(reason, true);
        self.settled(held)
    }

    fn fail(&self, reason: &str, is_permanent: bool) -> bool {
        let mut broker = self.group.broker.lock();
        let held = broker.run(|broker| broker.nack(&self.aggregate_id, self.token, reason, is_permanent));
        held.unwrap_or(false)
    }

    fn settled(&self, held: bool) -> Result<(), LeaseLost> {
        self.group.signal.notify();
        if held {
            return Ok(());
        }
        Err(LeaseLost {
            position: self.record.position(),
        })
    }
}

impl<E> Drop for Received<E> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.fail("its consumer dropped it", false);
            self.group.signal.notify();
        }
    }
}
