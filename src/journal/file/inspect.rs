//! Verification of a store that is open: a backup that is written nowhere.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::backup::{Backup, BackupEnd, BackupError, back_up};
use super::disk::{Disk, DiskFile, DiskLock};

/// Reads the segments of a store that another handle or process may write. Writes nothing, and does not hold the writer up. Checks the checksums,
/// the order of the segments, and that the store has what its head and its last segment say was synced. Returns the last position that was checked.
///
/// The last segment ends at its first batch that is not whole: it may be under way, or damaged. The store is intact if the returned position is at
/// least the one that was [synced](crate::Store::reached) before the call. Events are not decoded. [`verify`](super::verify()) does both, for a store that no process has open.
/// `progress` receives the number of bytes read and their total, and stops the check by [`ControlFlow::Break`].
///
/// ```
/// use std::ops::ControlFlow;
///
/// use annals::journal::file::{FileJournal, Folder, verify_open};
/// use annals::{Expected, NewEvent, Store, StreamId};
///
/// # let folder = std::env::temp_dir().join(format!("annals-doc-inspect-{}", std::process::id()));
/// let store = Store::open(FileJournal::open(&folder)?)?;
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, [NewEvent::new("OrderPlaced")])?;
/// store.wait_durable(store.visible())?;
/// let checked = verify_open(&Folder::existing(&folder)?, &mut |_, _| ControlFlow::Continue(()))?;
/// assert_eq!(checked.last, store.visible());
/// # drop(store);
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`back_up`], except those of a target.
pub fn verify_open(
    disk: &dyn Disk,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Backup, BackupError> {
    back_up(disk, Arc::new(Nowhere), BackupEnd::Store, progress)
}

/// A directory that discards its files.
#[derive(Debug)]
struct Nowhere;

/// A file of which only the length is kept.
#[derive(Debug)]
struct Discarded {
    length: u64,
}

fn nothing<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

impl Disk for Nowhere {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        nothing()
    }

    fn open_writable(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        nothing()
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Discarded { length: 0 }))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn DiskLock>> {
        nothing()
    }

    fn lock_shared(&self, _: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(None)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("nowhere").join(name)
    }
}

impl DiskFile for Discarded {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.length = self.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.length = length;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
