//! The one writer of a directory, and what compacts it: the traits `Journal` and `Compactor`.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use annals::Durability;
use annals::journal::{
    Batch, CompactionStep, Compactor, Journal, JournalError, JournalErrorKind as Kind, Part, PurgeSet, Recover,
    Recovered,
};

use super::directory::Directory;

/// The writer of a directory, as long as it holds the lock.
#[derive(Debug)]
pub(super) struct DirectoryJournal {
    directory: Directory,
    /// One part for each batch.
    parts: Vec<Part>,
    _lock: File,
}

impl DirectoryJournal {
    pub(super) fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let directory = Directory(path.into());
        let lock = || {
            fs::create_dir_all(&directory.0)?;
            let file = File::create(directory.0.join("lock"))?;
            file.try_lock()?;
            Ok(file)
        };
        let lock = lock().map_err(|error: io::Error| {
            let locked = error.kind() == io::ErrorKind::WouldBlock;
            let kind = if locked { Kind::Locked } else { Kind::Retry };
            directory.error(kind, "lock", error)
        })?;
        Ok(Self {
            directory,
            parts: Vec::new(),
            _lock: lock,
        })
    }
}

impl Journal for DirectoryJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        self.parts = self.directory.pass(0, into)?;
        Ok(recovered(&self.parts))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let last = self.parts.last().map_or(0, |part| part.last.0);
        if batch.first_position().0 != last + 1 || !batch.is_whole() {
            return Err(JournalError::failed(format!("a batch does not follow position {last}")));
        }
        self.parts.push(self.directory.write(batch)?);
        Ok(())
    }

    /// A written batch is synced.
    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}

pub(super) fn recovered(parts: &[Part]) -> Recovered {
    Recovered::new(parts.iter().map(|part| part.bytes).sum(), 0)
}

impl Compactor for DirectoryJournal {
    fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn should_compact(&self, part: &Part, dropped: u64) -> bool {
        dropped.saturating_mul(2) >= part.events
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        let Some(known) = self.parts.iter_mut().find(|known| known.first == part.first) else {
            let message = format!("no batch begins with position {}", part.first);
            return Err(JournalError::new(Kind::Unsupported, message));
        };
        let (batch, _) = self.directory.read(part.first.0)?;
        *known = self.directory.write(&purge.apply(&batch))?;
        Ok(CompactionStep::Done { bytes: known.bytes })
    }
}
