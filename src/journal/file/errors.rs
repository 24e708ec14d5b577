//! Errors of the operating system as errors of a journal, classified by the reaction of the store.

use std::io;
use std::path::Path;

use super::LOCK_NAME;
use super::disk::{self, Disk};
use super::handle::is_alive;
use crate::journal::{JournalError, JournalErrorKind};

/// The error for damage at a byte of a file.
pub(super) fn damaged(disk: &dyn Disk, name: &str, offset: u64, what: &str) -> JournalError {
    JournalError::corrupt(format!("{} at byte {offset}: {what}", disk.path(name).display()))
}

/// The error for a file, or for the directory if `name` is empty, that cannot be used while a journal is opened. It may be retried.
pub(super) fn unreadable(disk: &dyn Disk, name: &str, error: io::Error) -> JournalError {
    unusable(&disk.path(name), error)
}

/// The error for a path that cannot be used now. It may be retried.
pub(super) fn unusable(path: &Path, error: io::Error) -> JournalError {
    let message = format!("{} cannot be used", path.display());
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// Rejects the empty path.
///
/// # Errors
///
/// [`JournalErrorKind::Unsupported`] when the path is empty.
pub(super) fn check_path(path: &Path) -> Result<(), JournalError> {
    disk::check_path(path).map_err(|error| JournalError::new(JournalErrorKind::Unsupported, error.to_string()))
}

/// Digits of the id of a process.
const ID_DIGITS_MAX: usize = 10;

/// The process that has the directory locked for writing, by what it has written to the lock file. `None` if it has not, or is not alive: a killed
/// process leaves its id behind.
fn writer_of(disk: &dyn Disk) -> Option<u32> {
    let mut bytes = [0; ID_DIGITS_MAX];
    let read = disk.open(LOCK_NAME).and_then(|file| file.read_at(0, &mut bytes)).ok()?;
    let id = str::from_utf8(&bytes[..read]).ok()?.parse().ok()?;
    is_alive(id).then_some(id)
}

/// The error for a directory that cannot be locked.
pub(super) fn not_locked(disk: &dyn Disk, error: io::Error) -> JournalError {
    let folder = disk.path("");
    if error.kind() == io::ErrorKind::WouldBlock {
        let place = match writer_of(disk) {
            Some(id) if id == std::process::id() => {
                "this process already: close it first, or clone its `Store`".to_owned()
            }
            Some(id) => format!("process {id}: close it there first"),
            None => "another process: close it there first".to_owned(),
        };
        let message = format!("{} is open in {place}", folder.display());
        return JournalError::new(JournalErrorKind::Locked, message);
    }
    let message = format!("{} cannot be locked", folder.display());
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// The error for a failed write: retried when the disk is full, final otherwise.
pub(super) fn fault(disk: &dyn Disk, what: &str, name: &str, error: io::Error) -> JournalError {
    let no_room = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if no_room.contains(&error.kind()) {
        let message = format!("{what}: {}", disk.path(name).display());
        return JournalError::new(JournalErrorKind::Retry, message).caused_by(error);
    }
    final_fault(disk, what, name, error)
}

/// The error for a failure after which the contents of the disk are unknown.
pub(super) fn final_fault(disk: &dyn Disk, what: &str, name: &str, error: io::Error) -> JournalError {
    JournalError::failed(format!("{what}: {}", disk.path(name).display())).caused_by(error)
}
