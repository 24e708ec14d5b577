//! A journal in files that is read, and left as it is.

use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskLock};
use super::recover;
use super::verify::{existing, lock_shared};
use crate::Durability;
use crate::journal::{Batch, Journal, JournalError, JournalErrorKind, Recover, Recovered};

/// The journal in the files of a folder, to be [read only](crate::Builder::read_only): on a file system that cannot be written to, or where
/// nothing must change.
///
/// Several processes can read at once, none while another writes. What a crash has torn is left out, and stays where it is.
#[derive(Debug)]
pub struct FileReader {
    disk: Arc<dyn Disk>,
    _lock: Option<Box<dyn DiskLock>>,
}

impl FileReader {
    /// The journal in the folder at `path`, which must be there.
    ///
    /// # Errors
    ///
    /// [`Locked`](JournalErrorKind::Locked) when a process has it that writes; [`Retry`](JournalErrorKind::Retry) when the folder cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::on(Arc::new(existing(path.as_ref())?))
    }

    /// The journal on a disk of any kind.
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
            "its files were opened to be read: open them as a `FileJournal`",
        ))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}
