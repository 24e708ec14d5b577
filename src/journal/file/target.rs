//! Target directories of archives and repairs: built under a temporary name, and renamed when they are complete.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::not_created;
use super::errors::{check_path, unusable};
use crate::journal::{JournalError, JournalErrorKind};

/// The place of a new directory.
#[derive(Debug)]
pub(super) struct Target {
    /// The final path, with all links resolved.
    to: PathBuf,
    /// The temporary path until the directory is complete.
    part: PathBuf,
}

impl Target {
    /// A directory at `to`, which must be empty or not exist. Creates nothing yet.
    pub(super) fn new(to: &Path) -> Result<Self, JournalError> {
        check_path(to)?;
        check_empty(to)?;
        let to = behind_links(to)?;
        let mut name = to.file_name().map(OsString::from).unwrap_or_default();
        name.push(".part");
        let part = to.with_file_name(name);
        Ok(Self { to, part })
    }

    /// Creates the temporary directory, with the owner and permissions of the directory that it replaces.
    pub(super) fn begin(&self) -> Result<(), JournalError> {
        let part = &self.part;
        // Fails when it exists: another process may be writing to it.
        fs::create_dir(part).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                left_over(part)
            } else {
                unusable(&self.to, not_created(part, error))
            }
        })?;
        keep_owner(&self.to, part).map_err(|error| {
            self.abandon();
            unusable(part, error)
        })
    }

    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Renames the complete directory to its final path.
    pub(super) fn keep(&self) -> Result<(), JournalError> {
        keep(&self.part, &self.to)
    }

    /// Removes the temporary directory. A failure is not reported; the next attempt names a directory that is left over.
    pub(super) fn abandon(&self) {
        drop(fs::remove_dir_all(&self.part));
    }
}

fn left_over(part: &Path) -> JournalError {
    let message = format!(
        "{} exists already: another process is writing to it, or was interrupted; if it was interrupted, remove the directory",
        part.display()
    );
    JournalError::new(JournalErrorKind::Unsupported, message)
}

/// Checks that `to` is an empty directory or does not exist.
fn check_empty(to: &Path) -> Result<(), JournalError> {
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) if is_link(to) && !to.exists() => return Err(leads_nowhere(to)),
        Err(error) => return Err(unusable(to, error)),
    };
    if is_empty { Ok(()) } else { Err(not_empty(to)) }
}

/// The directory that `to` leads to, with links resolved; `to` itself when it does not exist.
fn behind_links(to: &Path) -> Result<PathBuf, JournalError> {
    match fs::canonicalize(to) {
        Ok(to) if is_mounted(&to) => {
            let message = format!(
                "{} is the root of a file system, which cannot be replaced: choose a directory inside it",
                to.display()
            );
            Err(JournalError::new(JournalErrorKind::Unsupported, message))
        }
        Ok(to) => Ok(to),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(to) => Ok(to.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(leads_nowhere(to)),
        Err(error) => Err(unusable(to, error)),
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
}

fn leads_nowhere(to: &Path) -> JournalError {
    let message = format!("{} is a dangling link: choose a directory", to.display());
    JournalError::new(JournalErrorKind::Unsupported, message)
}

/// Whether the directory is on another file system than its parent.
#[cfg(unix)]
fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|about| about.dev());
    folder.parent().is_none_or(|above| device(above) != device(folder))
}

#[cfg(not(unix))]
fn is_mounted(folder: &Path) -> bool {
    folder.parent().is_none()
}

/// Copies the owner and the permissions of `to`, if it exists, to `part`.
fn keep_owner(to: &Path, part: &Path) -> io::Result<()> {
    let about = match fs::metadata(to) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let own = fs::metadata(part)?;
        if (own.uid(), own.gid()) != (about.uid(), about.gid()) {
            chown(part, Some(about.uid()), Some(about.gid()))?;
        }
    }
    fs::set_permissions(part, about.permissions())
}

/// Renames `part` to `to`, replacing an empty directory.
fn keep(part: &Path, to: &Path) -> Result<(), JournalError> {
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
    let message = format!("{} is not empty: choose a new directory", folder.display());
    JournalError::new(JournalErrorKind::Unsupported, message)
}
