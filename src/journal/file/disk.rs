//! The disk as the journal sees it: one folder of files, and what of them survives a crash.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::handle::{Access, FolderHandle};
use super::lock::Lock;

/// A folder of files. The real one is [`Folder`]; the feature `testing` has one that fails and forgets on demand.
///
/// What a crash leaves: a file's bytes as they were at its last [`sync`](DiskFile::sync), and any part of what was written after it;
/// the names as they were at the last [`sync_names`](Self::sync_names), and any of the changes after it.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error is the operating system's, as it is"
)]
pub trait Disk: Send + Sync + fmt::Debug {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file to read it.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read and write it.
    fn open_writable(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a new file. It is an error if there is one.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file the name of another, which it takes the place of, or a new one. A crash leaves the one or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names survive a crash.
    fn sync_names(&self) -> io::Result<()>;

    /// Takes the folder for this process alone, until what is answered is dropped. [`io::ErrorKind::WouldBlock`] when another
    /// has it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>>;

    /// Keeps the folder from being taken by a process that writes, until what is answered is dropped; `None` where there is
    /// nothing to lock by, as where nobody has ever written. Writes nothing. [`io::ErrorKind::WouldBlock`] when another has it.
    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// The path of a file, for messages: it may lead elsewhere by now.
    fn path(&self, name: &str) -> PathBuf;
}

/// One file.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error is the operating system's, as it is"
)]
pub trait DiskFile: Send + fmt::Debug {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads from `offset` on, as much as there is up to the length of `bytes`. Answers how much.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or makes it longer with zeros.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Makes what was written survive a crash, under the name that the file was opened as.
    fn sync(&mut self) -> io::Result<()>;
}

/// Keeps a folder locked as long as it lives.
pub trait DiskLock: Send + fmt::Debug {
    /// Whether the lock still keeps others out: the folder and its lock file are still found where they were locked. Costs two
    /// look-ups of a path.
    ///
    /// # Errors
    ///
    /// What was removed, renamed or replaced since.
    fn check(&self) -> io::Result<()>;
}

/// A folder of the file system.
///
/// On Unix it is held open, and files are looked up in it and not by its path: when the folder is renamed, or a link to it is
/// switched, every file still goes where the others are, and [`DiskLock::check`] fails.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    handle: FolderHandle,
}

impl Folder {
    pub(super) fn handle(&self) -> &FolderHandle {
        &self.handle
    }

    pub(super) fn own_path(&self) -> &Path {
        &self.path
    }

    /// The folder at `path`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let new_names_in = folders_to_change(&path);
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            // The names of the new folders must survive too.
            new_names_in.iter().try_for_each(|folder| sync_folder(folder))?;
        }
        Self::existing(path)
    }

    /// The folder at `path`, which must be there.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when it is not.
    pub fn existing(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let handle = FolderHandle::of(&path)?;
        Ok(Self { path, handle })
    }
}

/// Makes a folder's own name survive. Not every system can sync a folder above.
pub(super) fn sync_above(path: &Path) -> io::Result<()> {
    sync_folder(&holder(path))
}

/// The folder that `path` lies in.
fn holder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The folders that get a new name when the folder at `path` is made, from the innermost out.
fn folders_to_change(path: &Path) -> Vec<PathBuf> {
    let missing = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    missing.map(holder).collect()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    FolderHandle::of(path)?.sync()
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
        Lock::exclusive(self, name).map(|lock| Box::new(lock) as Box<dyn DiskLock>)
    }

    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        Lock::shared(self, name).map(|lock| lock.map(|lock| Box::new(lock) as Box<dyn DiskLock>))
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
    /// What it was opened as.
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
        // A file that was removed or moved takes every byte, and the store that is opened next finds none of them.
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
    fn every_folder_with_a_new_name_is_known() {
        let known = std::env::temp_dir();
        let changed = |path: &Path| folders_to_change(path);
        assert_eq!(changed(&known), [] as [PathBuf; 0]);
        let first = known.join("annals-no-such-folder");
        assert_eq!(changed(&first.join("b/c")), [first.join("b"), first.clone(), known]);
        assert_eq!(changed(Path::new("no-such-folder")), [Path::new(".")]);
        assert_eq!(
            changed(Path::new("no-such-folder/b")),
            [Path::new("no-such-folder"), Path::new(".")]
        );
    }
}
