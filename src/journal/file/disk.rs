//! The storage interface of the journal: one directory of files, and its guarantees after a crash.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::handle::{Access, FolderHandle};
use super::lock::Lock;

/// A directory of files. [`Folder`] implements it for the file system; the feature `testing` has a simulated disk that injects faults.
///
/// After a crash, a file contains its bytes as of its last [`sync`](DiskFile::sync) and any part of the later writes; the directory
/// contains the names as of the last [`sync_names`](Self::sync_names) and any part of the later changes.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error is an error of the operating system"
)]
pub trait Disk: Send + Sync + fmt::Debug {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open_writable(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Creates a file; fails when it exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file, replacing a file of that name atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Syncs the names of the files.
    fn sync_names(&self) -> io::Result<()>;

    /// Locks the directory exclusively until the returned lock is dropped. Fails with [`io::ErrorKind::WouldBlock`] when another process
    /// holds a lock.
    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>>;

    /// Locks the directory against writers until the returned lock is dropped; `None` when there is nothing to lock, as in a directory that
    /// was never written to. Writes nothing. Fails with [`io::ErrorKind::WouldBlock`] when a writer holds the lock.
    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// The path of a file, for messages only: it may lead to another file now.
    fn path(&self, name: &str) -> PathBuf;
}

/// One file.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error is an error of the operating system"
)]
pub trait DiskFile: Send + fmt::Debug {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads from `offset` until `bytes` is full or the file ends. Returns the number of bytes read.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file, or extends it with zeros.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Syncs the bytes of the file. Fails when its name does not lead to the file any more.
    fn sync(&mut self) -> io::Result<()>;
}

/// A lock of a directory, released when it is dropped.
pub trait DiskLock: Send + fmt::Debug {
    /// Checks that the lock still excludes other processes: the paths of the directory and the lock file still lead to what was locked.
    /// Costs two path look-ups.
    ///
    /// # Errors
    ///
    /// When one of the two was removed, renamed or replaced.
    fn check(&self) -> io::Result<()>;
}

/// A directory of the file system.
///
/// On Unix it is held open, and files are looked up relative to its handle, not by its path: when the directory is renamed, or a link to it
/// is switched, all files stay together, and [`DiskLock::check`] fails.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    handle: FolderHandle,
}

impl Folder {
    /// Opens the directory at `path`, which is created if it does not exist. Its parent must exist: a mistyped path becomes no store.
    ///
    /// # Errors
    ///
    /// Errors of the operating system; [`io::ErrorKind::NotFound`] when the parent does not exist, and [`io::ErrorKind::InvalidInput`] when the path
    /// is empty.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        check_path(&path)?;
        match fs::create_dir(&path) {
            // The name must survive a crash too.
            Ok(()) => sync_above(&path)?,
            Err(error) if !path.is_dir() => return Err(not_created(&path, error)),
            Err(_) => {}
        }
        Self::existing(path)
    }

    /// Opens the directory at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when it does not exist; [`io::ErrorKind::InvalidInput`] when the path is empty.
    pub fn existing(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        check_path(&path)?;
        let handle = FolderHandle::of(&path)?;
        Ok(Self { path, handle })
    }
}

/// Rejects the empty path, which is no path of a directory, although some calls of the system take it for the current one.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] when the path is empty.
pub(super) fn check_path(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        let message = "the path of the directory is empty: pass its path, or `.` for the current directory";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// Syncs the name of `path` in its parent directory. A no-op on systems that cannot sync a directory.
pub(super) fn sync_above(path: &Path) -> io::Result<()> {
    sync_folder(&holder(path))
}

/// The parent directory of `path`.
fn holder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Why the directory at `path` was not created: `error`, or that the directory above it does not exist.
pub(super) fn not_created(path: &Path, error: io::Error) -> io::Error {
    let parent = holder(path);
    if error.kind() != io::ErrorKind::NotFound || parent.exists() {
        return error;
    }
    let message = format!(
        "the folder {} does not exist: create it, or check the path",
        parent.display()
    );
    io::Error::new(io::ErrorKind::NotFound, message)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    FolderHandle::of(path)?.sync()
}

impl DiskLock for Lock {
    fn check(&self) -> io::Result<()> {
        Lock::check(self)
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        self.handle.names()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.file(name, Access::Read)
    }

    fn open_writable(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.file(name, Access::Write)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.file(name, Access::CreateNew)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.handle.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.handle.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>> {
        Lock::exclusive(&self.handle, &self.path, name).map(|lock| Box::new(lock) as Box<dyn DiskLock>)
    }

    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        Lock::shared(&self.handle, &self.path, name).map(|lock| lock.map(|lock| Box::new(lock) as Box<dyn DiskLock>))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Folder {
    fn file(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = self.handle.open(name, access)?;
        let (folder, name) = (self.handle.clone(), name.to_owned());
        Ok(Box::new(OpenFile { file, folder, name }))
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    folder: FolderHandle,
    /// The name that it was opened by.
    name: String,
}

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match read_some(&self.file, offset + read as u64, &mut bytes[read..]) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all(&mut self.file, offset, bytes)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // Writes to a removed or moved file succeed, but the next process that opens the store does not find them.
        if self.folder.has(&self.name, &self.file)? {
            return Ok(());
        }
        let moved = "the file was removed, renamed or replaced while it was open";
        Err(io::Error::new(io::ErrorKind::NotFound, moved))
    }
}

#[cfg(unix)]
fn read_some(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_all(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_some(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    io::Read::read(&mut file, bytes)
}

#[cfg(not(unix))]
fn write_all(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    io::Seek::seek(file, io::SeekFrom::Start(offset))?;
    io::Write::write_all(file, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_with_a_new_name_is_known() {
        assert_eq!(holder(Path::new("a/b")), Path::new("a"));
        assert_eq!(holder(Path::new("/b")), Path::new("/"));
        assert_eq!(holder(Path::new("b")), Path::new("."));
    }
}
