//! The interface below the store: the trait that makes appends durable, and its contract.

mod attached;
mod batch;
mod compactor;
mod encoding;
mod error;
mod feed;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "postgres")]
pub mod postgres;
pub(crate) mod replay;

pub use self::attached::Archive;
pub(crate) use self::attached::Attached;
pub use self::batch::{Batch, Mark, Record};
pub use self::compactor::{CompactionStep, Compactor, Part, PurgeSet};
pub use self::error::{JournalError, JournalErrorKind};
pub use self::feed::{Feed, Followed, Remote, RemoteAppend};

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::{Durability, Position};

/// Makes appends durable.
///
/// A journal is a log: [`recover`](Self::recover) returns its contents, [`write`](Self::write) appends a batch, and
/// [`sync`](Self::sync) makes the batches durable. It knows positions and events, and nothing of the store above it.
///
/// # Contract
///
/// *Calls.* One thread at a time calls a journal. The first call is `recover`, once; then `write` and `sync` in any order; the
/// last is `close`. Calls may block.
///
/// *Order.* Batches are written in ascending order of positions without a gap; the first follows the last recovered position. A
/// journal must reject any other batch with [`JournalError::failed`].
///
/// *Atomicity.* A batch consists of whole appends. After a crash, `recover` returns each batch whole or not at all, and none
/// whose predecessor is missing: the result is a prefix of what was written.
///
/// *Durability.* When `write` returns, the batch survives a crash of this process if [`durability`](Self::durability)
/// is at least [`Written`](Durability::Written). When `sync` returns, every batch written before survives a crash of the
/// machine if `durability` is [`Synced`](Durability::Synced).
///
/// *Fidelity.* `recover` returns each event with its position, version, id, times, names, content types and bytes unchanged. No name
/// contains U+0000: the store rejects such names. A position whose event was [purged](Compactor) is returned as skipped,
/// with the reason and the versions of the affected aggregates.
///
/// *Errors.* After an error of kind [`Retry`](JournalErrorKind::Retry) nothing of the batch is stored, or the journal finds out whether it
/// is stored when the same call is repeated; no other batch is written before. After any other error only `close` is called. In particular,
/// a failed `sync` must not be repeated, because the operating system may have discarded the bytes that it could not write.
///
/// `annals::conformance!`, of the feature `testing`, checks the part of this contract that is observable without faults.
///
/// The journals of this crate implement the same traits. To read faster, they also fill a [`Batch`] by a private call that shares the kind of
/// an event between events, where [`Batch::push`] looks it up.
pub trait Journal: Send + fmt::Debug {
    /// The highest durability that this journal provides.
    fn durability(&self) -> Durability;

    /// Passes every stored batch to `into`, in ascending order of positions.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Corrupt`] when the stored data cannot be read, with the place of the damage; errors of `into` unchanged.
    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError>;

    /// Appends the next batch.
    ///
    /// # Errors
    ///
    /// See the contract.
    fn write(&mut self, batch: &Batch) -> Result<(), JournalError>;

    /// Syncs every batch written so far, so that it survives a crash of the machine.
    ///
    /// # Errors
    ///
    /// See the contract. [`JournalErrorKind::Unsupported`] when [`durability`](Self::durability) is lower than `Synced`.
    fn sync(&mut self) -> Result<(), JournalError>;

    /// The compactor of this journal, which purges dropped events; `None` when this journal retains every event.
    fn compactor(&mut self) -> Option<&mut dyn Compactor>;

    /// Closes the journal. Batches that were synced are durable without it.
    ///
    /// # Errors
    ///
    /// When the last batches could not be synced.
    fn close(self: Box<Self>) -> Result<(), JournalError>;
}

/// Receives the contents of a journal during recovery.
pub trait Recover {
    /// Takes the next batch.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Corrupt`] when the batch contradicts the batches before it.
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError>;

    /// Reports progress: `done` of `total` bytes, or of another unit of the journal.
    fn progress(&mut self, done: u64, total: u64);
}

/// The result of [`Journal::recover`] and [`Feed::next`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of an incomplete batch at the end, left by a crash and cut off.
    pub torn_tail_bytes: u64,
}

impl Recovered {
    /// A recovery that read `bytes`, and cut `torn_tail_bytes` off the end.
    pub fn new(bytes: u64, torn_tail_bytes: u64) -> Self {
        Self { bytes, torn_tail_bytes }
    }
}

/// The result of opening a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Events that the journal returned, including system events.
    pub events: u64,
    /// Events among them that were dropped: truncated, deleted, or past a limit or the budget.
    pub dropped: u64,
    /// The position of the last event.
    pub position: Position,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of an incomplete batch at the end, left by a crash and cut off. None of them was acknowledged as durable.
    pub torn_tail_bytes: u64,
    /// The time that recovery took.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

pub(crate) fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}
