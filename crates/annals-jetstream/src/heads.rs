//! What a process knows of the aggregates of the stream, to check its own appends: their last versions, and the ids of their events.

use std::collections::HashMap;

use annals::journal::{Batch, JournalError};
use annals::{EventRef, Name};
use uuid::Uuid;

/// An append that was read: its messages follow each other in the stream.
#[derive(Debug, Default)]
pub(crate) struct Append {
    /// The sequence of its last message.
    pub(crate) sequence: u64,
    /// The events of each message.
    pub(crate) parts: Vec<Batch>,
    /// Bytes of the messages.
    pub(crate) bytes: usize,
}

impl Append {
    pub(crate) fn event_count(&self) -> u64 {
        self.parts.iter().map(|events| events.len() as u64).sum()
    }
}

/// The end of an aggregate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    number: u32,
    pub(crate) aggregate_type: Name,
    /// The sequence of its last message.
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    /// The position of its last event.
    pub(crate) position: u64,
}

/// The place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) position: u64,
}

/// The ends of all aggregates, up to a message of the stream.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    all: HashMap<Name, Head>,
    /// Events by the number of their aggregate and their ids.
    ids: HashMap<(u32, Uuid), Known>,
    /// The sequence of the last message.
    pub(crate) sequence: u64,
    /// The position of the last event.
    pub(crate) position: u64,
}

impl Heads {
    pub(crate) fn get(&self, aggregate_id: &str) -> Option<&Head> {
        self.all.get(aggregate_id)
    }

    /// The event of this aggregate with this id.
    pub(crate) fn event(&self, head: &Head, id: Uuid) -> Option<Known> {
        self.ids.get(&(head.number, id)).copied()
    }

    /// Adds the messages of the next append.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub(crate) fn add_all(&mut self, append: &Append) -> Result<(), JournalError> {
        let first = append.sequence + 1 - append.parts.len() as u64;
        let mut parts = (first..).zip(&append.parts);
        parts.try_for_each(|(sequence, events)| self.add(sequence, events))
    }

    /// Adds the message behind the last one.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](annals::journal::JournalErrorKind::Corrupt) if its events do not follow those of their aggregate.
    fn add(&mut self, sequence: u64, events: &Batch) -> Result<(), JournalError> {
        let Some(first) = events.events().next() else {
            return Ok(());
        };
        let number = u32::try_from(self.all.len()).map_err(|_| JournalError::failed("there are 2^32 aggregates"))?;
        let head = self.all.entry(first.aggregate_id().into()).or_insert_with(|| Head {
            number,
            aggregate_type: first.aggregate_type().into(),
            ..Head::default()
        });
        check(head, sequence, first)?;
        for (event, position) in events.events().zip(self.position + 1..) {
            let version = event.version().0;
            self.ids.insert((head.number, event.id()), Known { version, position });
            (head.version, head.position) = (version, position);
        }
        head.sequence = sequence;
        self.sequence = sequence;
        self.position = head.position;
        Ok(())
    }
}

fn check(head: &Head, sequence: u64, first: EventRef<'_>) -> Result<(), JournalError> {
    if head.version + 1 == first.version().0 && *head.aggregate_type == *first.aggregate_type() {
        return Ok(());
    }
    Err(JournalError::corrupt(format!(
        "message {sequence} has version {} of the aggregate '{}' of type '{}', which is of type '{}' at version {}: the stream is not of this store \
         alone, or messages were lost; restore it from a copy",
        first.version(),
        first.aggregate_id(),
        first.aggregate_type(),
        head.aggregate_type,
        head.version
    )))
}
