//! A processor's checkpoint in the store: a snapshot of the processor's own stream, whose version is the epoch.

use crate::cqrs::process::status::StopReason;
use crate::{Appended, Durability, Expected, Name, NewEvent, NewSnapshot, Position, Store, StreamId, Version};

/// The aggregate type of the streams of processors.
pub(super) const PROCESSOR: &str = "annals.Processor";

/// How often a checkpoint is saved again when a budget drops the stream in between.
const SAVES_MAX: u32 = 16;

/// The position at which a processor without a checkpoint begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFrom {
    /// At the first event.
    #[default]
    Beginning,
    /// After the events that are visible when it starts.
    End,
    /// After this position.
    After(Position),
}

/// The right to process under a name, and the position up to which everything is processed.
///
/// Each start appends an event to the processor's stream: its version is the epoch. The checkpoint is a snapshot of the stream at the version
/// of the epoch, so the store replaces it in place, and keeps the later epoch's where two save one.
#[derive(Debug)]
pub(in crate::cqrs) struct Checkpoint {
    store: Store,
    id: Name,
    epoch: u64,
    saved: Position,
}

impl Checkpoint {
    /// Begins a new epoch. Every earlier holder of the name stops when it saves next.
    pub(in crate::cqrs) fn take(store: &Store, name: &str, from: StartFrom) -> Result<Self, StopReason> {
        // What is lost in a crash is processed again.
        let store = store.with_durability(Durability::Volatile).map_err(storage)?;
        let id = Name::from(format!("annals.processor/{name}"));
        let started = Self::begin(&store, &id, Expected::Any)?;
        let mut checkpoint = Self {
            saved: Self::read(&store, &id)?.unwrap_or(match from {
                StartFrom::Beginning => Position(0),
                StartFrom::End => Position(started.first_position.0 - 1),
                StartFrom::After(position) => position,
            }),
            epoch: started.last_version.0,
            store,
            id,
        };
        let (saved, last) = (checkpoint.saved, checkpoint.store.visible());
        if saved > last {
            return Err(StopReason::CheckpointBeyondLog {
                checkpoint: saved,
                last,
            });
        }
        checkpoint.save(saved)?;
        Ok(checkpoint)
    }

    /// Appends the start of an epoch.
    fn begin(store: &Store, id: &Name, expected: Expected) -> Result<Appended, StopReason> {
        let stream = StreamId::new(PROCESSOR, id.clone());
        let started = NewEvent::new("annals.ProcessorStarted");
        store.append(&stream, expected, started).map_err(storage)
    }

    /// The checkpoint of a processor, running or not.
    fn read(store: &Store, id: &str) -> Result<Option<Position>, StopReason> {
        let Some(snapshot) = store.snapshot(id) else {
            return Ok(None);
        };
        let position = str::from_utf8(&snapshot.data).ok().and_then(|text| text.parse().ok());
        let position = position.ok_or_else(|| StopReason::Storage {
            reason: format!("the snapshot of '{id}' is not a position"),
        })?;
        Ok(Some(Position(position)))
    }

    pub(in crate::cqrs) fn position(&self) -> Position {
        self.saved
    }

    /// Saves the position.
    ///
    /// # Errors
    ///
    /// [`StopReason::Superseded`] when another epoch has begun; [`StopReason::Storage`].
    pub(in crate::cqrs) fn save(&mut self, position: Position) -> Result<(), StopReason> {
        let mut attempts = 1;
        while let Err(error) = self.try_save(position)? {
            // Appends of others may have a budget drop the stream between its begin and the snapshot.
            if attempts == SAVES_MAX || self.store.stream_info(&self.id).is_some() {
                return Err(storage(error));
            }
            attempts += 1;
        }
        self.saved = position;
        self.check()
    }

    fn try_save(&mut self, position: Position) -> Result<Result<Position, crate::Error>, StopReason> {
        if self.store.stream_info(&self.id).is_none() {
            // A budget has dropped the stream. Another owner that began it again meanwhile has the right.
            self.epoch = Self::begin(&self.store, &self.id, Expected::NoStream)?.last_version.0;
        }
        let snapshot = NewSnapshot::new(Version(self.epoch)).data(position.to_string());
        Ok(self.store.save_snapshot(&self.id, snapshot))
    }

    /// # Errors
    ///
    /// [`StopReason::Superseded`] when another epoch has begun. A stream that a budget has dropped shows no other owner: the next save begins it
    /// again.
    pub(in crate::cqrs) fn check(&self) -> Result<(), StopReason> {
        match self.store.stream_info(&self.id) {
            Some(info) if info.version.0 != self.epoch => Err(StopReason::Superseded { epoch: self.epoch }),
            Some(_) | None => Ok(()),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of `map_err`")]
pub(in crate::cqrs) fn storage(error: crate::Error) -> StopReason {
    StopReason::Storage {
        reason: error.to_string(),
    }
}
