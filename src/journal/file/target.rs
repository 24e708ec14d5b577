//! New folders: empty to begin with, and there under their name only when they are whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Folder;
use super::errors::unusable;
use crate::journal::{JournalError, JournalErrorKind};

/// Where a new folder goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The folder, behind all links.
    to: PathBuf,
    /// Where it is until it is whole.
    part: PathBuf,
}

impl Target {
    /// The folder at `to`, which must be empty or not be there. Nothing is made yet.
    pub(super) fn new(to: &Path) -> Result<Self, JournalError> {
        check_empty(to)?;
        let to = behind_links(to)?;
        let mut name = to.file_name().map(OsString::from).unwrap_or_default();
        name.push(".part");
        let part = to.with_file_name(name);
        Ok(Self { to, part })
    }

    /// Makes the folder beside, as private as the one that it takes the place of.
    pub(super) fn begin(&self) -> Result<(), JournalError> {
        let part = &self.part;
        let made = || -> io::Result<()> {
            if let Some(above) = part.parent().filter(|above| !above.as_os_str().is_empty()) {
                Folder::create(above)?;
            }
            // Not if it is there: another may be at work in it.
            fs::create_dir(part)
        };
        made().map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                left_over(part)
            } else {
                unusable(part, error)
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

    /// Gives the new folder its name.
    pub(super) fn keep(&self) -> Result<(), JournalError> {
        keep(&self.part, &self.to)
    }

    /// Removes what [`begin`](Self::begin) made. Whatever went wrong is told; a part that cannot be removed is named when it is in the way.
    pub(super) fn abandon(&self) {
        drop(fs::remove_dir_all(&self.part));
    }
}

fn left_over(part: &Path) -> JournalError {
    let message = format!(
        "{} is in the way: another process is at work in it, or one did not end; if so, remove it first",
        part.display()
    );
    JournalError::new(JournalErrorKind::Unsupported, message)
}

/// A folder that is empty, or not there.
fn check_empty(to: &Path) -> Result<(), JournalError> {
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) if is_link(to) && !to.exists() => return Err(leads_nowhere(to)),
        Err(error) => return Err(unusable(to, error)),
    };
    if is_empty { Ok(()) } else { Err(not_empty(to)) }
}

/// The folder that `to` leads to, which is given its name in the end; `to` itself where there is none yet.
fn behind_links(to: &Path) -> Result<PathBuf, JournalError> {
    match fs::canonicalize(to) {
        Ok(to) if is_mounted(&to) => {
            let message = format!(
                "{} is the root of a file system, which cannot be replaced: name a folder in it",
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
    let message = format!("{} is a link that leads nowhere: name a folder", to.display());
    JournalError::new(JournalErrorKind::Unsupported, message)
}

/// Whether the folder lies on another file system than the one above it.
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

/// Gives `part` the owner and the permissions of `to`, if that is there.
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

/// Gives the new folder its name.
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
    let message = format!("{} is not empty: name a new folder", folder.display());
    JournalError::new(JournalErrorKind::Unsupported, message)
}
