//! The lock of a directory: the directory itself where the system supports that, and the file `lock` in it.
//!
//! Every program that follows `docs/file-format.md` locks the file. The file can be removed, and a second writer would then create another one;
//! therefore a writer locks the directory too, which cannot be replaced without becoming another store.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{self, Path, PathBuf};

use super::handle::{Access, FolderHandle, Identity};

/// A lock of the operating system, released when the process ends, also after a crash.
#[derive(Debug)]
pub(super) struct Lock {
    /// `None` where the system cannot lock directories.
    _folder: Option<Locked>,
    file: Locked,
    folder_path: PathBuf,
    file_path: PathBuf,
    folder_identity: Identity,
    file_identity: Identity,
}

impl Lock {
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another process, or another lock of this process, holds the directory.
    pub(super) fn exclusive(folder: &FolderHandle, path: &Path, name: &str) -> io::Result<Self> {
        // The directory first: a process that is refused must not create a new lock file in place of a removed one.
        let locked = lock_folder(folder, File::try_lock)?;
        let file = Locked::new(folder.open(name, Access::Create)?, File::try_lock)?;
        let mut lock = Self::of(folder, path, locked, file, name)?;
        // Another process may have removed the file between opening and locking it.
        lock.check()?;
        lock.file.name_process();
        Ok(lock)
    }

    /// A shared lock; `None` when there is no lock file and the directory cannot be locked.
    pub(super) fn shared(folder: &FolderHandle, path: &Path, name: &str) -> io::Result<Option<Self>> {
        let locked = lock_folder(folder, File::try_lock_shared)?;
        let file = match folder.open(name, Access::Read) {
            Ok(file) => Locked::new(file, File::try_lock_shared)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match locked {
                Some(locked) => return Self::of_folder(folder, path, locked).map(Some),
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        };
        let lock = Self::of(folder, path, locked, file, name)?;
        // Another process may have removed the file between opening and locking it.
        lock.check()?;
        Ok(Some(lock))
    }

    /// Without a lock file, the directory takes its place.
    fn of_folder(folder: &FolderHandle, path: &Path, locked: Locked) -> io::Result<Self> {
        Self::of(folder, path, None, locked, "")
    }

    fn of(folder: &FolderHandle, path: &Path, locked: Option<Locked>, file: Locked, name: &str) -> io::Result<Self> {
        // Links are not resolved, so that a switched link is detected. An absolute path is immune to a change of the working directory.
        let folder_path = path::absolute(path)?;
        Ok(Self {
            file_path: folder_path.join(name),
            folder_path,
            folder_identity: folder.identity()?,
            file_identity: Identity::of(&file.file)?,
            _folder: locked,
            file,
        })
    }
}

impl Lock {
    /// # Errors
    ///
    /// When the directory or the file was removed, renamed or replaced.
    pub(super) fn check(&self) -> io::Result<()> {
        let moved = |path: &Path, what: &str| {
            io::Error::other(format!(
                "{what} {} was removed, renamed or replaced while the store was open",
                path.display()
            ))
        };
        if self.folder_identity.has_left(&self.folder_path) {
            return Err(moved(&self.folder_path, "the folder"));
        }
        if self.file_identity.has_left(&self.file_path) {
            return Err(moved(&self.file_path, "the lock file"));
        }
        Ok(())
    }
}

/// Locks the directory itself; `None` where the system cannot, as on some network file systems.
fn lock_folder(folder: &FolderHandle, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Locked>> {
    let Some(handle) = folder.reopen()? else {
        return Ok(None);
    };
    match Locked::new(handle, lock) {
        Ok(locked) => Ok(Some(locked)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(_) => Ok(None),
    }
}

/// A file that is locked until this is dropped.
#[derive(Debug)]
struct Locked {
    file: File,
    /// Whether the file has the id of this process.
    names_process: bool,
}

impl Locked {
    fn new(file: File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Self> {
        match lock(&file) {
            Ok(()) => Ok(Self {
                file,
                names_process: false,
            }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Writes the id of this process, for the message of a process that is refused. A full disk is no reason to refuse a writer.
    fn name_process(&mut self) {
        let id = std::process::id().to_string();
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(id.as_bytes()));
        self.names_process = written.is_ok();
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.names_process {
            drop(self.file.set_len(0));
        }
        // Closing the file is not enough: a process that was forked a moment ago, and has not become its program yet, has it too.
        // An unlock that fails leaves the lock to that.
        drop(self.file.unlock());
    }
}
