//! Appends to a store that numbers messages: the events of one are a message, so that they are whole.

use std::borrow::Cow;

use annals::{Position, Version};
use serde::{Deserialize, Serialize};

use super::JsonEvent;
use crate::store::{Look, NewEvent, Result, StoredEvent};

/// A position is the sequence of a message, and in these bits the place of the event in it, from 1 on.
const PLACE_BITS: u32 = 14;

/// A message: the events of an append.
#[derive(Serialize, Deserialize)]
pub(in crate::backends) struct Message<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    /// The version of its first event.
    first: u64,
    #[serde(borrow)]
    events: Vec<JsonEvent<'a>>,
}

impl<'a> Message<'a> {
    /// The message of an append whose first version is not known yet.
    pub(in crate::backends) fn new(stream: &'a str, events: &[NewEvent<'a>]) -> Result<Self> {
        Ok(Self {
            stream: stream.into(),
            first: 0,
            events: events.iter().map(JsonEvent::new).collect::<Result<_>>()?,
        })
    }

    /// Numbers the events of messages that are written as one after a version.
    pub(in crate::backends) fn number(messages: &mut [Self], mut last: u64) {
        for message in messages {
            message.first = last + 1;
            last = message.last();
        }
    }

    /// The version of its last event.
    pub(in crate::backends) fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    /// The sequence of the message that has the event at a position.
    pub(in crate::backends) fn sequence(position: Position) -> u64 {
        position.0 >> PLACE_BITS
    }

    /// Shows the events after a position and a version, `limit` at most, and returns their number.
    pub(in crate::backends) fn show(
        &self,
        sequence: u64,
        after: (Position, Version),
        limit: usize,
        look: Look<'_>,
    ) -> usize {
        let numbered = (1_u64..).zip(self.first..).zip(&self.events);
        let placed = numbered.map(|((place, version), event)| StoredEvent {
            stream: &self.stream,
            version: Version(version),
            position: Some(Position(sequence << PLACE_BITS | place)),
            data: event.data(),
        });
        let later = placed.filter(|event| event.position > Some(after.0) && event.version > after.1);
        later.take(limit).map(look).count()
    }
}
