//! Dead letters of a read model: listed, replayed, dropped.
//!
//! They are rows beside the checkpoint, and not events of the store: a letter commits together with the checkpoint that passes its event. Two
//! commits, one in the store and one in the database, could lose one of them in a crash.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::SqlProjection;
use super::batch::{Batch, number, signed, unreadable};
use super::handle::SqlProjected;
use super::model::NotApplied;
use super::place::Opened;
use super::trouble::Trouble;
use crate::cqrs::process::{Handling, panic_text};
use crate::cqrs::{HandlerError, Letter, StopReason};
use crate::{Event, Name, Position, Timestamp};

impl<P: SqlProjection> SqlProjected<P> {
    /// The events that were parked as dead letters, ascending by position.
    ///
    /// # Errors
    ///
    /// [`StopReason::Database`] when the database cannot be read.
    pub fn letters(&self) -> Result<Vec<Letter>, StopReason> {
        let read = self.connect().and_then(|mut opened| {
            // Before the first start there is no table.
            if !opened.tables.has_letters(&mut opened.link)? {
                return Ok(Vec::new());
            }
            self.read_letters(&mut opened, None, Position(0), i64::MAX)
        });
        read.map_err(Trouble::into_reason)
    }

    /// Applies the parked events, on this thread, ascending by position, each in a transaction. Those that are applied are letters no more. Where
    /// one fails, the later ones of its aggregate are left. Returns the number of events applied.
    ///
    /// The checkpoint stays where it is, and the processor waits during each transaction.
    ///
    /// # Errors
    ///
    /// [`StopReason::Database`] when the database is unavailable; [`StopReason::Superseded`] when another processor of the name has started.
    pub fn replay_letters(&self) -> Result<u64, StopReason> {
        self.replay_each(None)
    }

    /// As [`replay_letters`](Self::replay_letters), but only the events of an aggregate.
    ///
    /// # Errors
    ///
    /// As [`replay_letters`](Self::replay_letters).
    pub fn replay_letters_of(&self, aggregate_id: &str) -> Result<u64, StopReason> {
        self.replay_each(Some(aggregate_id))
    }

    /// Replays the letters of one aggregate, or of all.
    fn replay_each(&self, aggregate_id: Option<&str>) -> Result<u64, StopReason> {
        let mut opened = self.open().map_err(Trouble::into_reason)?;
        let _handling = Handling::of(&self.model.name);
        let (mut applied, mut after, mut failed) = (0, Position(0), Vec::<Name>::new());
        loop {
            // Letters that are parked meanwhile follow in their turn.
            let next = self.read_letters(&mut opened, aggregate_id, after, 1);
            let Some(letter) = next.map_err(Trouble::into_reason)?.into_iter().next() else {
                return Ok(applied);
            };
            after = letter.position;
            if failed.contains(&letter.aggregate_id) {
                continue;
            }
            if self.fenced(&mut opened, |batch| self.replay(batch, &letter))? {
                applied += 1;
            } else {
                failed.push(letter.aggregate_id);
            }
        }
    }

    /// Drops a parked event: it is never applied. Returns whether there was such a letter.
    ///
    /// # Errors
    ///
    /// As [`replay_letters`](Self::replay_letters).
    pub fn drop_letter(&self, position: Position) -> Result<bool, StopReason> {
        let mut opened = self.open().map_err(Trouble::into_reason)?;
        self.fenced(&mut opened, |batch| batch.remove_letter(position))
    }

    fn read_letters(
        &self,
        opened: &mut Opened,
        aggregate_id: Option<&str>,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Letter>, Trouble> {
        let (name, after): (&str, _) = (&self.model.name, signed(after.0));
        let Opened { link, tables } = opened;
        let rows = link.query(None, &tables.letters, &[&name, &after, &limit, &aggregate_id])?;
        let letters = rows.iter().map(letter);
        letters
            .map(|letter| letter.map(|letter| self.model.reader.open_reason(letter)))
            .collect()
    }

    /// Applies a parked event. Returns whether it is a letter no more.
    fn replay(&self, batch: &mut Batch<'_>, letter: &Letter) -> Result<bool, Trouble> {
        // Where the event itself is gone from the store, the letter can only be dropped.
        let Some(event) = self.model.store.event_at(letter.position) else {
            return Ok(false);
        };
        // Another replay, or a drop, may have come before.
        if !batch.remove_letter(letter.position)? {
            return Ok(true);
        }
        batch.keep();
        let reasons = self.model.reader.reasons();
        match self.apply_caught(batch, &event)? {
            Ok(()) => Ok(true),
            Err(error) => {
                batch.undo()?;
                batch.park(
                    &event,
                    &reasons.seal(error.to_string()),
                    letter.attempts.saturating_add(1),
                )?;
                Ok(false)
            }
        }
    }

    fn apply_caught(&self, batch: &mut Batch<'_>, event: &Event) -> Result<Result<(), HandlerError>, Trouble> {
        let applied = catch_unwind(AssertUnwindSafe(|| self.model.apply(batch, event, true)));
        match applied {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(NotApplied::Failed(error))) => Ok(Err(error)),
            Ok(Err(NotApplied::Interrupted(error))) => Err(Trouble::interrupted(&error)),
            Err(panic) => Ok(Err(HandlerError::permanent(format!(
                "the handler panicked: {}",
                panic_text(&*panic)
            )))),
        }
    }
}

fn letter(row: &tokio_postgres::Row) -> Result<Letter, Trouble> {
    let text = |column| row.try_get::<_, String>(column).map_err(|error| unreadable(&error));
    let attempts: i32 = row.try_get(5).map_err(|error| unreadable(&error))?;
    let parked_at: i64 = row.try_get(6).map_err(|error| unreadable(&error))?;
    Ok(Letter {
        position: Position(number(row, 0)?),
        event_id: row.try_get(1).map_err(|error| unreadable(&error))?,
        event_type: text(2)?.into(),
        aggregate_id: text(3)?.into(),
        reason: text(4)?,
        attempts: u32::try_from(attempts).unwrap_or(0),
        parked_at: Timestamp::from_micros(parked_at),
    })
}
