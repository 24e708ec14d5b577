//! A read-only journal in files.

use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskLock};
use super::recover;
use super::verify::{existing, lock_shared};
use crate::Durability;
use crate::journal::{Batch, Compactor, Journal, JournalError, JournalErrorKind, Recover, Recovered};

/// A journal in the files of a directory, for [read-only](crate::Builder::read_only) stores, also on a read-only file system.
///
/// Several processes can read at once, but not while a process writes. An incomplete batch at the end is ignored and left in place.
#[derive(Debug)]
pub struct FileReader {
    disk: Arc<dyn Disk>,
    _lock: Option<Box<dyn DiskLock>>,
}

impl FileReader {
    /// Opens the journal in the directory at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// [`Locked`](JournalErrorKind::Locked) when a writer has the store open; [`Retry`](JournalErrorKind::Retry) when the directory cannot be read;
    /// [`Unsupported`](JournalErrorKind::Unsupported) when the path is empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::on(Arc::new(existing(path.as_ref())?))
    }

    /// Opens the journal on an implementation of [`Disk`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn on(disk: Arc<dyn Disk>) -> Result<Self, JournalError> {
        let lock = lock_shared(&*disk)?;
        Ok(Self { disk, _lock: lock })
    }
}

impl Journal for FileReader {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        recover::read_only(&*self.disk, into)
    }

    fn write(&mut self, _: &Batch) -> Result<(), JournalError> {
        Err(JournalError::new(
            JournalErrorKind::Unsupported,
            "the journal is read-only: open it as a `FileJournal` to append",
        ))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}
