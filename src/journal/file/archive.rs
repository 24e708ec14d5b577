//! Archives in directories: events moved out of a store, with their positions.

use std::path::Path;

use super::target::Target;
use super::{FileJournal, FileSettings};
use crate::journal::{Batch, Journal, JournalError, Recover};
use crate::{EventRef, Gap, GapReason, Position};

/// The size of a batch, in events and bytes.
const BATCH_EVENTS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;

/// Writes an archive to a directory: a separate store in which the events keep their positions and versions.
///
/// The archive is built in a directory with the suffix `.part`, which is renamed when it is complete.
#[derive(Debug)]
pub struct ArchiveWriter {
    journal: Box<FileJournal>,
    batch: Batch,
    next: u64,
    events: u64,
    target: Target,
    is_kept: bool,
}

impl ArchiveWriter {
    /// Starts an archive in the directory `to`, which must be empty or not exist.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::journal::JournalErrorKind::Unsupported) when the path is empty, the directory is not empty, or the `.part` of an interrupted archive
    /// exists; [`Retry`](crate::journal::JournalErrorKind::Retry) when it cannot be created.
    pub fn create(to: impl AsRef<Path>) -> Result<Self, JournalError> {
        let target = Target::new(to.as_ref())?;
        target.begin()?;
        match new_journal(&target) {
            Ok(journal) => Ok(Self {
                journal: Box::new(journal),
                batch: Batch::new(),
                next: 1,
                events: 0,
                target,
                is_kept: false,
            }),
            Err(error) => {
                target.abandon();
                Err(error)
            }
        }
    }

    /// Adds an event with a higher position than the last.
    ///
    /// # Errors
    ///
    /// Errors of the files.
    ///
    /// # Panics
    ///
    /// When the position is not higher.
    pub fn push(&mut self, event: EventRef<'_>) -> Result<(), JournalError> {
        let position = event.position().0;
        assert!(
            position >= self.next,
            "position {position} does not come after {}",
            self.next - 1
        );
        if position > self.next {
            let (first, last) = (Position(self.next), Position(position - 1));
            self.batch.skip(first, last);
            self.batch.push_gap(Gap {
                first,
                last,
                count: position - self.next,
                reason: GapReason::Elsewhere,
            });
        }
        self.batch.push_ref(event);
        self.next = position + 1;
        self.events += 1;
        if self.batch.len() >= BATCH_EVENTS || self.batch.bytes() >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), JournalError> {
        self.journal.write(&self.batch)?;
        self.batch.clear();
        Ok(())
    }

    /// Completes the archive, syncs it and renames it to its final path. Returns the number of events.
    ///
    /// # Errors
    ///
    /// Errors of the files.
    pub fn finish(mut self) -> Result<u64, JournalError> {
        self.write()?;
        self.journal.sync()?;
        self.journal.end()?;
        self.target.keep()?;
        self.is_kept = true;
        Ok(self.events)
    }
}

fn new_journal(target: &Target) -> Result<FileJournal, JournalError> {
    let mut journal = FileJournal::open_with(target.part(), FileSettings::default())?;
    journal.recover(&mut Nothing)?;
    Ok(journal)
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if !self.is_kept {
            self.target.abandon();
        }
    }
}

/// Ignores the contents of a journal that is known to be empty.
pub(super) struct Nothing;

impl Recover for Nothing {
    fn batch(&mut self, _: Batch) -> Result<(), JournalError> {
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
