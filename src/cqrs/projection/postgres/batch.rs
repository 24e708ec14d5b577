//! The transaction of a batch: rows, dead letters and the checkpoint commit together.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::rows::Rows;
use super::tables::{Tables, storable};
use super::trouble::Trouble;
use crate::cqrs::StopReason;
use crate::cqrs::process::Letters;
use crate::journal::postgres::Link;
use crate::{Event, Name, Position};

const SET: &str = "SAVEPOINT annals_event";
const RELEASE_AND_SET: &str = "RELEASE SAVEPOINT annals_event; SAVEPOINT annals_event";
const UNDO: &str = "ROLLBACK TO SAVEPOINT annals_event";

/// The right to process under a name in a database, and the committed position.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: Name,
    pub(super) epoch: u64,
    pub(super) saved: Position,
    /// Whether the rows belong to a rebuild that has not replaced the live tables yet.
    pub(super) is_rebuild: bool,
}

/// A transaction that holds the row of the checkpoint from its beginning to its end. Another owner, a rebuild or a replay waits for it, and so
/// does the same processor for a transaction of a connection that it has lost.
pub(super) struct Batch<'a> {
    link: &'a mut Link,
    tables: &'a Tables,
    owner: &'a mut Owner,
    /// The aggregates of the events to come.
    aggregates: Vec<String>,
    /// Those of them that have letters.
    held: BTreeSet<String>,
    is_open: bool,
    /// What the next statement is to be preceded by: it separates one event from the next.
    pending: Option<&'static str>,
    /// Whether a savepoint is set on the server.
    is_set: bool,
    handled: u64,
    parked: u64,
}

impl<'a> Batch<'a> {
    /// Begins a transaction for events of these aggregates.
    ///
    /// # Errors
    ///
    /// [`StopReason::Superseded`] when another epoch has begun.
    pub(super) fn begin(
        link: &'a mut Link,
        tables: &'a Tables,
        owner: &'a mut Owner,
        aggregates: BTreeSet<&str>,
    ) -> Result<Self, Trouble> {
        let mut batch = Self {
            link,
            tables,
            owner,
            aggregates: aggregates.into_iter().map(storable).collect(),
            held: BTreeSet::new(),
            is_open: false,
            pending: None,
            is_set: false,
            handled: 0,
            parked: 0,
        };
        batch.open()?;
        Ok(batch)
    }

    /// Locks the checkpoint. Its position is later than expected when a commit succeeded whose response was lost.
    fn open(&mut self) -> Result<(), Trouble> {
        let name: &str = &self.owner.name;
        let rows = self.link.query(Some("BEGIN"), &self.tables.lock, &[&name])?;
        self.is_open = true;
        let Some(row) = rows.first() else {
            return Err(Trouble::refused(format!(
                "the row of '{name}' was deleted from annals_checkpoints: resume to begin again"
            )));
        };
        let [position, epoch] = [number(row, 0)?, number(row, 1)?];
        if epoch != self.owner.epoch {
            return Err(Trouble::Stop(StopReason::Superseded {
                epoch: self.owner.epoch,
            }));
        }
        if position < self.owner.saved.0 {
            return Err(Trouble::refused(format!(
                "the checkpoint of '{name}' went back from {} to {position}: the database was restored, or has lost commits; resume to process \
                 the events after {position} again",
                self.owner.saved
            )));
        }
        self.owner.saved = Position(position);
        (self.pending, self.is_set) = (Some(SET), false);
        self.read_held()
    }

    /// Reads which aggregates have letters. A replay may have removed some before the checkpoint was locked.
    fn read_held(&mut self) -> Result<(), Trouble> {
        self.held.clear();
        if self.aggregates.is_empty() {
            return Ok(());
        }
        let name: &str = &self.owner.name;
        let rows = self.link.query(None, &self.tables.held, &[&name, &self.aggregates])?;
        for row in rows {
            self.held.insert(row.try_get(0).map_err(|error| unreadable(&error))?);
        }
        Ok(())
    }

    /// The committed position: everything up to it is handled.
    pub(super) fn saved(&self) -> Position {
        self.owner.saved
    }

    /// Begins again after the transaction was committed before a pause.
    pub(super) fn reopen(&mut self) -> Result<(), Trouble> {
        if self.is_open {
            return Ok(());
        }
        let saved = self.owner.saved;
        self.open()?;
        if self.owner.saved == saved {
            return Ok(());
        }
        Err(Trouble::Away("the checkpoint moved meanwhile".to_owned()))
    }

    pub(super) fn link(&mut self) -> &mut Link {
        self.link
    }

    pub(super) fn rows(&mut self) -> Rows<'_> {
        let rows = Rows::new(self.link, &mut self.pending, &mut self.is_set);
        rows.of_rebuild(self.owner.is_rebuild)
    }

    /// Keeps the rows of an event, and separates them from those of the next.
    pub(super) fn keep(&mut self) {
        if self.pending.is_none() {
            self.pending = Some(if self.is_set { RELEASE_AND_SET } else { SET });
        }
    }

    /// Counts an event as handled.
    pub(super) fn keep_handled(&mut self) {
        self.handled += 1;
        self.keep();
    }

    /// Rolls the rows of the current event back.
    pub(super) fn undo(&mut self) -> Result<(), Trouble> {
        if self.is_open && self.pending.is_none() && self.is_set {
            self.link.batch(UNDO)?;
        }
        Ok(())
    }

    /// Whether an earlier event of the aggregate is parked.
    pub(super) fn holds(&self, aggregate_id: &str) -> bool {
        self.held.contains(&*storable(aggregate_id))
    }

    /// Parks an event. Its letter is committed together with the checkpoint that passes it.
    pub(super) fn park(&mut self, event: &Event, reason: &str, attempts: u32) -> Result<(), Trouble> {
        let (event_type, aggregate_id) = (storable(event.event_type()), storable(event.aggregate_id()));
        let reason = storable(Letters::shortened(reason));
        let (position, attempts) = (signed(event.position().0), i32::try_from(attempts).unwrap_or(i32::MAX));
        let name: &str = &self.owner.name;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &name,
            &position,
            &event.id(),
            &event_type,
            &aggregate_id,
            &reason,
            &attempts,
        ];
        self.link.execute(self.pending.take(), &self.tables.park, &values)?;
        self.is_set = true;
        self.held.insert(aggregate_id);
        self.parked += 1;
        self.keep();
        Ok(())
    }

    /// Removes a letter.
    pub(super) fn remove_letter(&mut self, position: Position) -> Result<bool, Trouble> {
        let (name, position): (&str, _) = (&self.owner.name, signed(position.0));
        let removed = self
            .link
            .execute(self.pending.take(), &self.tables.drop_letter, &[&name, &position])?;
        self.is_set = true;
        Ok(removed > 0)
    }

    /// Commits rows and checkpoint. Returns what was handled and parked since the last commit.
    ///
    /// # Errors
    ///
    /// [`Trouble::Deferred`] when a deferred constraint failed.
    pub(super) fn commit(&mut self, to: Position, id: Option<Uuid>) -> Result<Counts, Trouble> {
        if !self.is_open {
            return Ok(Counts::default());
        }
        let to = to.max(self.owner.saved);
        let (name, epoch): (&str, _) = (&self.owner.name, signed(self.owner.epoch));
        let (old, new) = (signed(self.owner.saved.0), signed(to.0));
        let advanced = self
            .link
            .execute(None, &self.tables.advance, &[&name, &old, &epoch, &new, &id])?;
        if advanced == 0 {
            return Err(Trouble::Stop(StopReason::Superseded {
                epoch: self.owner.epoch,
            }));
        }
        self.finish()?;
        self.owner.saved = to;
        Ok(Counts {
            handled: std::mem::take(&mut self.handled),
            parked: std::mem::take(&mut self.parked),
        })
    }

    /// Commits without moving the checkpoint.
    pub(super) fn finish(&mut self) -> Result<(), Trouble> {
        self.link.batch("COMMIT").map_err(|failure| {
            let is_deferred = !failure.is_of_database && failure.code.is_some();
            if is_deferred {
                Trouble::Deferred(failure.text)
            } else {
                failure.into()
            }
        })?;
        self.is_open = false;
        Ok(())
    }
}

/// What a commit covers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) handled: u64,
    pub(super) parked: u64,
}

/// A number of a row.
pub(super) fn number(row: &tokio_postgres::Row, column: usize) -> Result<u64, Trouble> {
    let value: i64 = row.try_get(column).map_err(|error| unreadable(&error))?;
    u64::try_from(value).map_err(|_| {
        Trouble::refused(format!(
            "a number of annals_checkpoints is {value}, and must not be negative"
        ))
    })
}

pub(super) fn unreadable(error: &tokio_postgres::Error) -> Trouble {
    Trouble::refused(format!(
        "a row of annals_checkpoints or annals_dead_letters cannot be read: {error}"
    ))
}

/// A position or an epoch as a `bigint`.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
