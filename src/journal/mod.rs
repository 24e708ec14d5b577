//! The seam below the store: what makes appends durable, and what it must keep to.

mod attached;
mod batch;
mod error;
mod feed;
#[cfg(feature = "file")]
pub mod file;
mod gone;
#[cfg(feature = "postgres")]
pub mod postgres;
pub(crate) mod refusal;

pub use self::attached::Archive;
pub(crate) use self::attached::Attached;
pub use self::batch::{Batch, Mark, Record};
pub use self::error::{JournalError, JournalErrorKind};
pub(crate) use self::feed::{Feed, Followed, Remote, RemoteAppend};
pub use self::gone::{Gone, Part, Rewriting};

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::{Durability, Position};

/// What makes appends durable.
///
/// A journal is a log of its own: [`recover`](Self::recover) hands back what it holds, [`write`](Self::write) adds to it,
/// [`sync`](Self::sync) makes sure of it. It knows positions and events, and nothing of the store above it.
///
/// # Contract
///
/// *Calls.* One thread at a time calls a journal. The first call is `recover`, once; then `write` and `sync` in any order; at
/// the end `close`. Calls block, as long as they need to.
///
/// *Order.* Batches come in the order of positions, the first at the position after the last that was recovered, and without
/// a gap. A journal must refuse a batch that is not the next, with [`JournalError::failed`].
///
/// *Whole batches.* A batch is whole appends. After a crash, `recover` hands back each batch whole or not at all, and none
/// whose predecessor is missing: a prefix of what was written.
///
/// *Durability.* When `write` returns, the batch survives the end of this process, if [`durability`](Self::durability)
/// is [`Written`](Durability::Written) or more. When `sync` returns, every batch written before survives the end of the
/// machine, if it is [`Synced`](Durability::Synced).
///
/// *Every byte.* An event comes back with the position, version, id, times, names, content types and bytes that it had. No name has a
/// U+0000 in it: the store refuses those. A position whose event is gone, because [`rewrite`](Self::rewrite) was told so, comes back as
/// skipped, and with it why, and what versions its aggregates were at.
///
/// *Errors.* After an error of kind [`Retry`](JournalErrorKind::Retry) nothing of the batch is kept, or the journal finds out whether all
/// of it is when the same call is made again; no other batch comes before. After any other error the journal is final: no call but `close` will be made. In particular a `sync` that failed
/// once must not be tried again, because the operating system may have dropped what it could not write.
///
/// `annals::conformance!`, of the feature `testing`, checks of any journal as much of this as shows where nothing fails.
pub trait Journal: Send + fmt::Debug {
    /// The most that this journal can promise.
    fn durability(&self) -> Durability;

    /// Hands back everything, in order.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Corrupt`] when what is kept cannot be read, with the place of the damage; errors of `into` as they are.
    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError>;

    /// Adds the next batch.
    ///
    /// # Errors
    ///
    /// See the contract.
    fn write(&mut self, batch: &Batch) -> Result<(), JournalError>;

    /// Makes everything written so far survive the end of the machine.
    ///
    /// # Errors
    ///
    /// See the contract. [`JournalErrorKind::Unsupported`] where [`durability`](Self::durability) is less.
    fn sync(&mut self) -> Result<(), JournalError>;

    /// The parts that can be [rewritten](Self::rewrite): whatever was written is in one, except for what is still being added to.
    /// None, unless a journal says otherwise.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// Ends what is being added to, so that it becomes a part. Everything written is synced by it.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn seal(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Whether it is worth it to rewrite `part` of which so many events are gone, before anybody asks for it: where half of them are,
    /// unless a journal says otherwise.
    fn is_worth_rewriting(&self, part: &Part, gone: u64) -> bool {
        gone.saturating_mul(2) >= part.events
    }

    /// Gives the room of events back: goes on with writing `part` anew, without those that `gone` names, and answers how far it
    /// has come. A call does a piece of work that may come between two appends; the same is called until it is done.
    ///
    /// Whenever the machine ends, either the old part is there or the new one. Changes of aggregates stay: [`Gone::reason`] names none.
    ///
    /// # Errors
    ///
    /// Those of what the part is kept in. It stays as it was, and the journal goes on.
    fn rewrite(&mut self, part: &Part, gone: &Gone) -> Result<Rewriting, JournalError> {
        let _ = gone;
        Ok(Rewriting::Done { bytes: part.bytes })
    }

    /// Ends the work. What was synced is safe without it.
    ///
    /// # Errors
    ///
    /// When what was written last could not be made safe.
    fn close(self: Box<Self>) -> Result<(), JournalError>;
}

/// Who takes what a journal hands back.
pub trait Recover {
    /// Takes the next batch.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Corrupt`] when it does not fit to the batches before.
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError>;

    /// Hears how far recovery has come: `done` of `total` bytes, or of whatever the journal counts by.
    fn progress(&mut self, done: u64, total: u64);
}

/// What a journal says of its recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes at the end that held no whole batch and were cut off: a crash came while they were written.
    pub torn_tail_bytes: u64,
}

/// What was found when a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Events that the journal handed back, the system's included.
    pub events: u64,
    /// Events among them that are gone: truncated, deleted, past a limit or the budget.
    pub dropped: u64,
    /// The position of the last event.
    pub position: Position,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes at the end that held no whole batch and were cut off: a crash came while they were written, before anyone was told
    /// that they were safe.
    pub torn_tail_bytes: u64,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

pub(crate) fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}
