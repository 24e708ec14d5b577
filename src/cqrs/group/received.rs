//! An event that a consumer of a group holds.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::Shared;
use super::broker::Lease;
use crate::cqrs::Context;
use crate::cqrs::subscription::idempotency_key;
use crate::{Event, Name};

/// An event that a consumer of a [`Group`](super::Group) holds until it calls [`ack`](Self::ack), [`nack`](Self::nack) or [`park`](Self::park).
///
/// Dropping it is a `nack`.
pub struct Received<E> {
    /// The typed event.
    pub event: E,
    /// The stored event: position, time and names.
    pub record: Arc<Event>,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The idempotency key: the same for every delivery of this event to this group, and unique to it. A handler that stores the key with its effect
    /// recognizes a repeated delivery.
    pub key: Uuid,
    /// The context for commands that react to this event: its user, organization and correlation, with the event's id as the causation.
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

/// The consumer no longer holds the event: its lease expired, or the group was resumed or stopped.
///
/// The event may be delivered again. The consumer's effects stand; the next consumer recognizes them by the [key](Received::key).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the consumer lost its lease of the event at position {position}: it did not acknowledge it in time, or the group has stopped; the event may be \
     delivered again"
)]
#[non_exhaustive]
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

    /// Acknowledges the event: it is handled.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] when the lease has expired, or the group has stopped.
    pub fn ack(mut self) -> Result<(), LeaseLost> {
        self.is_settled = true;
        let mut broker = self.group.broker.lock();
        let held = broker.run(|broker| broker.ack(&self.aggregate_id, self.token));
        drop(broker);
        self.settled(held.unwrap_or(false))
    }

    /// Fails this attempt: the event is delivered again after a pause, or parked after the last attempt.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(mut self, reason: &str) -> Result<(), LeaseLost> {
        self.is_settled = true;
        let held = self.fail(reason, false);
        self.settled(held)
    }

    /// Parks the event as a dead letter, without further attempts.
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
