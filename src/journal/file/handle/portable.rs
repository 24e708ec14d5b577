//! Systems other than Unix: the directory is looked up by its path, and identities cannot be compared.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Access, no_file};

/// A directory by its path.
#[derive(Clone, Debug)]
pub(in crate::journal::file) struct FolderHandle(PathBuf);

impl FolderHandle {
    pub(in crate::journal::file) fn of(path: &Path) -> io::Result<Self> {
        fs::read_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Directories cannot be locked on these systems.
    pub(in crate::journal::file) fn reopen(&self) -> io::Result<Option<File>> {
        Ok(None)
    }

    pub(in crate::journal::file) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // The store has no names that are not UTF-8.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    pub(in crate::journal::file) fn open(&self, name: &str, access: Access) -> io::Result<File> {
        let path = self.0.join(name);
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Err(no_file());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        match access {
            Access::Read | Access::Write => &mut options,
            Access::Create => options.create(true),
            Access::CreateNew => options.create_new(true),
        }
        .open(path)
    }

    /// These systems do not allow an open file to be removed or replaced.
    pub(in crate::journal::file) fn has(&self, _: &str, _: &File) -> io::Result<bool> {
        Ok(true)
    }

    pub(in crate::journal::file) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub(in crate::journal::file) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    /// A no-op: names are durable without a sync, and a directory cannot be opened as a file.
    pub(in crate::journal::file) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::journal::file) fn identity(&self) -> io::Result<Identity> {
        Ok(Identity)
    }
}

/// Empty on these systems, which do not allow an open file to be removed or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::file) struct Identity;

impl Identity {
    pub(in crate::journal::file) fn of(_: &File) -> io::Result<Self> {
        Ok(Self)
    }

    pub(in crate::journal::file) fn has_left(self, path: &Path) -> bool {
        path.try_exists().is_ok_and(|exists| !exists)
    }
}

/// Whether a process with this id may exist.
pub(in crate::journal::file) fn is_alive(_process: u32) -> bool {
    true
}
