//! Unix: every call is relative to the open handle of the directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::{Access, no_file};

/// An open directory.
#[derive(Clone, Debug)]
pub(in crate::journal::file) struct FolderHandle(Arc<File>);

impl FolderHandle {
    pub(in crate::journal::file) fn of(path: &Path) -> io::Result<Self> {
        // Without DIRECTORY, opening a pipe in place of the directory would block.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        Ok(Self(Arc::new(handle.into())))
    }

    /// A separate handle, which can be locked independently of other handles of this process.
    pub(in crate::journal::file) fn reopen(&self) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Some(openat(&*self.0, ".", flags, Mode::empty())?.into()))
    }

    pub(in crate::journal::file) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.0)? {
            // The store has no names that are not UTF-8.
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    pub(in crate::journal::file) fn open(&self, name: &str, access: Access) -> io::Result<File> {
        self.check_file(name)?;
        let make = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE,
            Access::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        // NONBLOCK: another file may have replaced the one that was checked, and opening a pipe would block.
        let flags = make | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = openat(&*self.0, name, flags, Mode::from_raw_mode(0o666));
        let file = File::from(opened.map_err(|error| match error {
            Errno::LOOP => no_file(),
            error => error.into(),
        })?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(no_file())
        }
    }

    /// Rejects pipes, sockets and devices: opening one may block or have side effects.
    fn check_file(&self, name: &str) -> io::Result<()> {
        match statat(&*self.0, name, AtFlags::empty()) {
            Ok(there) if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile => Err(no_file()),
            // A missing or inaccessible file fails in `openat`.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether `name` still leads to `file`. Returns `true` when the name cannot be looked up, which proves nothing.
    pub(in crate::journal::file) fn has(&self, name: &str, file: &File) -> io::Result<bool> {
        match self.open(name, Access::Read) {
            Ok(there) => Ok(Identity::of(&there)? == Identity::of(file)?),
            Err(error) => Ok(!matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
            )),
        }
    }

    pub(in crate::journal::file) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&*self.0, name, AtFlags::empty())?)
    }

    pub(in crate::journal::file) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&*self.0, from, &*self.0, to)?)
    }

    pub(in crate::journal::file) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&*self.0) {
            // Some file systems do not support syncing a directory.
            Err(Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::journal::file) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.0)
    }
}

/// The identity of a file or directory, independent of its name: its device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::file) struct Identity(u64, u64);

impl Identity {
    pub(in crate::journal::file) fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self(about.dev(), about.ino()))
    }

    /// Whether `path` leads to another file, or to none. Returns `false` when the path cannot be looked up, which proves nothing.
    pub(in crate::journal::file) fn has_left(self, path: &Path) -> bool {
        match std::fs::metadata(path) {
            Ok(about) => Self(about.dev(), about.ino()) != self,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

/// Whether a process with this id exists.
pub(in crate::journal::file) fn is_alive(process: u32) -> bool {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    // One of another user cannot be signalled.
    id.is_some_and(|id| !matches!(test_kill_process(id), Err(Errno::SRCH)))
}
