//! Dead letters: events that a processor or a group could not handle, parked in a stream of the store until they are replayed or dropped.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checkpoint::storage;
use super::letter::Letter;
use super::status::StopReason;
use crate::cqrs::{Json, NewEventId, TypedEvents, UnknownEvents};
use crate::{Durability, Event, Expected, Name, Position, Store, StreamId, Timestamp, Version};

/// The aggregate type of the streams of dead letters.
pub(super) const LETTERS: &str = "annals.DeadLetters";

#[derive(Serialize, Deserialize)]
enum LetterEvent {
    #[serde(rename = "annals.LetterParked", rename_all = "camelCase")]
    Parked {
        position: u64,
        event_id: Uuid,
        event_type: Name,
        aggregate_id: Name,
        reason: String,
        attempts: u32,
    },
    #[serde(rename = "annals.LetterReplayed")]
    Replayed { position: u64 },
    #[serde(rename = "annals.LetterDropped")]
    Dropped { position: u64 },
}

/// The dead letters of one name.
#[derive(Debug)]
pub(in crate::cqrs) struct Letters {
    store: Store,
    stream: StreamId,
    /// The version of the stream up to which it is read.
    version: Version,
    parked: BTreeMap<Position, Letter>,
    /// The number of letters of each aggregate that has any.
    aggregates: BTreeMap<Name, u64>,
}

/// The reason of an event that is parked for the sake of the order.
pub(in crate::cqrs) const BEHIND: &str = "an earlier event of its aggregate is parked";

/// The longest reason that is stored, in bytes.
const REASON_BYTES_MAX: usize = 4_096;

fn version_of(store: &Store, stream: &StreamId) -> Version {
    store
        .stream_info(&stream.aggregate_id)
        .map_or(Version(0), |info| info.version)
}

/// The first bytes of a text, at most this many, without half a character.
pub(in crate::cqrs) fn shortened(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=text.len().min(bytes)).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

impl Letters {
    /// Reads the letters of a name.
    pub(in crate::cqrs) fn open(store: &Store, name: &str) -> Result<Self, StopReason> {
        let store = store.with_durability(Durability::Volatile).map_err(storage)?;
        Self::read(store, StreamId::new(LETTERS, format!("annals.letters/{name}")))
    }

    fn read(store: Store, stream: StreamId) -> Result<Self, StopReason> {
        let mut letters = Self {
            // Before the events: what is appended meanwhile is read again.
            version: version_of(&store, &stream),
            store,
            stream,
            parked: BTreeMap::new(),
            aggregates: BTreeMap::new(),
        };
        let events = TypedEvents::<LetterEvent, Json>::new().unknown_events(UnknownEvents::Skip);
        let read = events.read_stream(&letters.store, &letters.stream.aggregate_id);
        for recorded in read.map_err(|error| StopReason::Storage {
            reason: error.to_string(),
        })? {
            letters.apply(recorded.event, recorded.record.recorded_at());
        }
        Ok(letters)
    }

    /// Reads the letters again if another owner of the name, or another handle, has changed them.
    pub(in crate::cqrs) fn refresh(&mut self) -> Result<(), StopReason> {
        if version_of(&self.store, &self.stream) != self.version {
            *self = Self::read(self.store.clone(), self.stream.clone())?;
        }
        Ok(())
    }

    fn apply(&mut self, event: LetterEvent, at: Timestamp) {
        match event {
            LetterEvent::Parked {
                position,
                event_id,
                event_type,
                aggregate_id,
                reason,
                attempts,
            } => self.insert(Letter {
                position: Position(position),
                event_id,
                event_type,
                aggregate_id,
                reason,
                attempts,
                parked_at: at,
            }),
            LetterEvent::Replayed { position } | LetterEvent::Dropped { position } => self.remove(Position(position)),
        }
    }

    fn insert(&mut self, letter: Letter) {
        let aggregate_id = letter.aggregate_id.clone();
        if self.parked.insert(letter.position, letter).is_none() {
            *self.aggregates.entry(aggregate_id).or_default() += 1;
        }
    }

    fn remove(&mut self, position: Position) {
        let Some(letter) = self.parked.remove(&position) else {
            return;
        };
        if let Some(count) = self.aggregates.get_mut(&letter.aggregate_id) {
            *count -= 1;
            if *count == 0 {
                self.aggregates.remove(&letter.aggregate_id);
            }
        }
    }

    fn append(&mut self, event: LetterEvent) -> Result<(), StopReason> {
        let events = TypedEvents::<LetterEvent, Json>::new();
        let (encoded, _) = events
            .encode(
                &event,
                NewEventId {
                    id: Uuid::nil(),
                    aggregate_id: &self.stream.aggregate_id,
                },
            )
            .map_err(|(_, error)| StopReason::Storage {
                reason: error.to_string(),
            })?;
        let new = events.new_event(encoded);
        let appended = self.store.append(&self.stream, Expected::Any, new).map_err(storage)?;
        if appended.last_version.0 == self.version.0 + 1 {
            self.version = appended.last_version;
        }
        let record = self.store.event_at(appended.last_position);
        let at = record.map_or_else(|| self.store.now(), |record| record.recorded_at());
        self.apply(event, at);
        Ok(())
    }

    /// Parks an event. It is stored when this returns: only then the checkpoint may pass it.
    pub(in crate::cqrs) fn park(&mut self, event: &Event, reason: &str, attempts: u32) -> Result<(), StopReason> {
        self.append(LetterEvent::Parked {
            position: event.position().0,
            event_id: event.id(),
            event_type: event.event_type().into(),
            aggregate_id: event.aggregate_id().into(),
            reason: shortened(reason, REASON_BYTES_MAX).to_owned(),
            attempts,
        })
    }

    /// The part of a reason that is stored.
    #[cfg(feature = "postgres")]
    pub(in crate::cqrs) fn shortened(reason: &str) -> &str {
        shortened(reason, REASON_BYTES_MAX)
    }

    pub(in crate::cqrs) fn replayed(&mut self, position: Position) -> Result<(), StopReason> {
        self.append(LetterEvent::Replayed { position: position.0 })
    }

    pub(in crate::cqrs) fn dropped(&mut self, position: Position) -> Result<(), StopReason> {
        self.append(LetterEvent::Dropped { position: position.0 })
    }

    pub(in crate::cqrs) fn get(&self, position: Position) -> Option<&Letter> {
        self.parked.get(&position)
    }

    /// Whether an earlier event of the aggregate is parked.
    pub(in crate::cqrs) fn hold(&self, aggregate_id: &str) -> bool {
        self.aggregates.contains_key(aggregate_id)
    }

    /// The first letter after a position.
    pub(in crate::cqrs) fn next_after(&self, position: Position) -> Option<&Letter> {
        let after = self.parked.range((Bound::Excluded(position), Bound::Unbounded));
        after.map(|(_, letter)| letter).next()
    }

    /// The number of records of the stream that a limit or a truncation has dropped, letters among them.
    pub(in crate::cqrs) fn lost(&self) -> u64 {
        let info = self.store.stream_info(&self.stream.aggregate_id);
        info.map_or(0, |info| info.dropped_to.0)
    }

    pub(in crate::cqrs) fn len(&self) -> usize {
        self.parked.len()
    }

    /// All letters, ascending by position.
    pub(in crate::cqrs) fn all(&self) -> Vec<Letter> {
        self.parked.values().cloned().collect()
    }
}
