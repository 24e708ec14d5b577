//! What the operating system says of files, as errors of a journal: sorted by what the store does next.

use std::io;
use std::path::Path;

use super::disk::Disk;
use crate::journal::{JournalError, JournalErrorKind};

/// What is kept cannot be read, from this byte of a file on.
pub(super) fn damaged(disk: &dyn Disk, name: &str, offset: u64, what: &str) -> JournalError {
    JournalError::corrupt(format!("{} at byte {offset}: {what}", disk.path(name).display()))
}

/// A file, or the folder if `name` is empty, that cannot be used while a journal is opened: later it may be.
pub(super) fn unreadable(disk: &dyn Disk, name: &str, error: io::Error) -> JournalError {
    unusable(&disk.path(name), error)
}

/// A path that cannot be used now.
pub(super) fn unusable(path: &Path, error: io::Error) -> JournalError {
    let message = format!("{} cannot be used", path.display());
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// A folder whose lock was not to be had.
pub(super) fn not_locked(disk: &dyn Disk, error: io::Error) -> JournalError {
    let folder = disk.path("");
    if error.kind() == io::ErrorKind::WouldBlock {
        let message = format!("{} is open in another process: close that first", folder.display());
        return JournalError::new(JournalErrorKind::Locked, message);
    }
    let message = format!("{} cannot be locked", folder.display());
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// A write that failed: to be tried again when there was no room, final otherwise.
pub(super) fn fault(disk: &dyn Disk, what: &str, name: &str, error: io::Error) -> JournalError {
    let no_room = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if no_room.contains(&error.kind()) {
        let message = format!("{what}: {}", disk.path(name).display());
        return JournalError::new(JournalErrorKind::Retry, message).caused_by(error);
    }
    final_fault(disk, what, name, error)
}

/// A failure after which nobody knows what is on the disk.
pub(super) fn final_fault(disk: &dyn Disk, what: &str, name: &str, error: io::Error) -> JournalError {
    JournalError::failed(format!("{what}: {}", disk.path(name).display())).caused_by(error)
}
