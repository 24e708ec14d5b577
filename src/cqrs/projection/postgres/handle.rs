//! The handle of a read model in PostgreSQL.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SqlProjection;
use super::batch::{Batch, Owner};
use super::model::Model;
use super::place::{Opened, Place, open};
use super::trouble::Trouble;
use crate::Position;
use crate::cqrs::StopReason;
use crate::cqrs::process::Processor;

/// A read model in PostgreSQL that a thread keeps up to date. Also its [`Processor`]: see there for its status, and for waiting.
///
/// Cheap to clone.
pub struct SqlProjected<P: SqlProjection> {
    pub(super) model: Arc<Model<P>>,
    pub(super) processor: Processor,
}

impl<P: SqlProjection> Clone for SqlProjected<P> {
    fn clone(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            processor: self.processor.clone(),
        }
    }
}

impl<P: SqlProjection> fmt::Debug for SqlProjected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlProjected")
            .field("database", &self.model.database.place())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl<P: SqlProjection> Deref for SqlProjected<P> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.processor
    }
}

impl<P: SqlProjection> SqlProjected<P> {
    pub(super) fn new(model: Arc<Model<P>>, processor: Processor) -> Self {
        Self { model, processor }
    }

    /// Connects for a call on the thread of the caller.
    ///
    /// # Errors
    ///
    /// [`StopReason::Database`] when the processor's own handler calls: it would wait for its own transaction.
    pub(super) fn connect(&self) -> Result<Opened, Trouble> {
        if self.processor.is_handling() {
            return Err(Trouble::refused(format!(
                "a handler of '{}' would wait for its own transaction: call outside of its handlers",
                self.model.name
            )));
        }
        open(&self.model.database, &Place::Live, false)
    }

    /// Like `connect`, for a call that needs the right to process.
    ///
    /// # Errors
    ///
    /// [`StopReason::Database`] also when the processor has not begun.
    pub(super) fn open(&self) -> Result<Opened, Trouble> {
        if self.model.epoch.load(Ordering::Acquire) == 0 && !self.processor.is_handling() {
            let status = self.status();
            return Err(Trouble::refused(format!("the processor has not begun yet: {status}")));
        }
        self.connect()
    }

    /// The right to process, as the running processor has it.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            is_rebuild: false,
            name: self.model.name.clone(),
            epoch: self.model.epoch.load(Ordering::Acquire),
            saved: Position(0),
        }
    }

    /// Runs `work` in a transaction that holds the checkpoint, and commits. The processor waits meanwhile.
    ///
    /// # Errors
    ///
    /// [`StopReason::Superseded`] when another processor of the name has started.
    pub(super) fn fenced<T>(
        &self,
        opened: &mut Opened,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StopReason> {
        let Opened { link, tables } = opened;
        let mut owner = self.owner();
        let done = Batch::begin(link, tables, &mut owner, std::collections::BTreeSet::new()).and_then(|mut batch| {
            let done = work(&mut batch)?;
            batch.finish()?;
            Ok(done)
        });
        done.map_err(Trouble::into_reason)
    }
}
