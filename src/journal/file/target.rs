//! New folders: empty to begin with, and there under their name only when they are whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Folder;
use super::errors::unusable;
use crate::journal::{JournalError, JournalErrorKind};

/// A folder that is empty, or not there.
pub(super) fn check_empty(to: &Path) -> Result<(), JournalError> {
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(unusable(to, error)),
    };
    if is_empty { Ok(()) } else { Err(not_empty(to)) }
}

/// Makes the folder that the new one is until it is whole: for this work alone, so what is in it may be removed when the work fails.
pub(super) fn make_part(to: &Path) -> Result<PathBuf, JournalError> {
    let mut name = to.file_name().map(OsString::from).unwrap_or_default();
    name.push(".part");
    let part = to.with_file_name(name);
    if let Some(above) = part.parent().filter(|above| !above.as_os_str().is_empty()) {
        Folder::create(above).map_err(|error| unusable(above, error))?;
    }
    match fs::create_dir(&part) {
        Ok(()) => Ok(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!(
                "{} is there: other work writes it now, or did not end: if none is at work, remove it first",
                part.display()
            );
            Err(JournalError::new(JournalErrorKind::Unsupported, message))
        }
        Err(error) => Err(unusable(&part, error)),
    }
}

/// Gives the new folder its name.
pub(super) fn keep(part: &Path, to: &Path) -> Result<(), JournalError> {
    let renamed = || -> io::Result<()> {
        if to.is_dir() {
            fs::remove_dir(to)?;
        }
        fs::rename(part, to)?;
        super::disk::sync_above(to)
    };
    renamed().map_err(|error| unusable(to, error))
}

pub(super) fn not_empty(folder: &Path) -> JournalError {
    let message = format!("{} is not empty: name a new folder", folder.display());
    JournalError::new(JournalErrorKind::Unsupported, message)
}
