//! Dead letters without the type of their events.

use annals::Position;
use annals::cqrs::{Letter, StopReason, Subscription};
#[cfg(feature = "postgres")]
use annals::cqrs::{SqlProjected, SqlProjection};

/// The dead letters of a processor.
pub(crate) trait DeadLetters: Send + Sync {
    /// All letters, ascending by position.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when they cannot be read.
    fn all(&self) -> Result<Vec<Letter>, StopReason>;

    /// Records of letters that the store has dropped.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    fn lost(&self) -> Result<u64, StopReason>;

    /// Calls the handler with the letters of an aggregate, in order. Returns the number of events handled.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when letters cannot be read or written.
    fn retry(&self, aggregate_id: &str) -> Result<u64, StopReason>;

    /// Drops a letter. Returns whether there was one at `position`.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry).
    fn discard(&self, position: Position) -> Result<bool, StopReason>;
}

impl<E: 'static> DeadLetters for Subscription<E> {
    fn all(&self) -> Result<Vec<Letter>, StopReason> {
        self.letters()
    }

    fn lost(&self) -> Result<u64, StopReason> {
        self.lost_letter_records()
    }

    fn retry(&self, aggregate_id: &str) -> Result<u64, StopReason> {
        self.replay_letters_of(aggregate_id)
    }

    fn discard(&self, position: Position) -> Result<bool, StopReason> {
        self.drop_letter(position)
    }
}

/// They are rows of the database, beside the checkpoint: the store never drops them.
#[cfg(feature = "postgres")]
impl<P: SqlProjection> DeadLetters for SqlProjected<P> {
    fn all(&self) -> Result<Vec<Letter>, StopReason> {
        self.letters()
    }

    fn lost(&self) -> Result<u64, StopReason> {
        Ok(0)
    }

    fn retry(&self, aggregate_id: &str) -> Result<u64, StopReason> {
        self.replay_letters_of(aggregate_id)
    }

    fn discard(&self, position: Position) -> Result<bool, StopReason> {
        self.drop_letter(position)
    }
}
