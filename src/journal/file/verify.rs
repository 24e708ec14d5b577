//! Verification of a directory: finds every damage, not only the first.

use std::path::Path;

use super::LOCK_NAME;
use super::damage::Verification;
use super::disk::{Disk, DiskLock, Folder};
use super::errors::{check_path, not_locked};
use super::walk::{Take, Walk};
use crate::journal::{Batch, JournalError, JournalErrorKind};

/// Reads all files of a store in a directory and lists every damage. Writes nothing.
///
/// A store opens if and only if there is no damage. `progress` receives the number of bytes read and the total.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("annals-doc-verify-{}", std::process::id()));
/// # drop(annals::Store::open(annals::journal::file::FileJournal::open(&folder)?)?);
/// let found = annals::journal::file::verify(&folder, &mut |_, _| {})?;
/// for damage in &found.damage {
///     println!("{damage}");
/// }
/// # assert_eq!((found.segments, found.damage.len()), (1, 0));
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok::<(), annals::Error>(())
/// ```
///
/// # Errors
///
/// [`Locked`](JournalErrorKind::Locked) when a process has the store open; [`Retry`](JournalErrorKind::Retry) when the directory
/// cannot be read; [`Unsupported`](JournalErrorKind::Unsupported) when its path is empty, or when frames are compressed and the feature `lz4`
/// is off.
pub fn verify(folder: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification, JournalError> {
    verify_on(&existing(folder.as_ref())?, progress)
}

/// Like [`verify`], on an implementation of [`Disk`].
///
/// # Errors
///
/// As [`verify`].
pub fn verify_on(disk: &dyn Disk, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification, JournalError> {
    let _lock = lock_shared(disk)?;
    Ok(Walk::new(disk, &mut Discard, progress)?.run()?.found)
}

pub(super) fn existing(path: &Path) -> Result<Folder, JournalError> {
    check_path(path)?;
    Folder::existing(path).map_err(|error| {
        let message = format!("the folder {} cannot be read", path.display());
        JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
    })
}

pub(super) fn lock_shared(disk: &dyn Disk) -> Result<Option<Box<dyn DiskLock>>, JournalError> {
    disk.lock_shared(LOCK_NAME).map_err(|error| not_locked(disk, error))
}

/// Discards every batch.
struct Discard;

impl Take for Discard {
    fn batch(&mut self, _: &Batch) -> Result<(), JournalError> {
        Ok(())
    }
}
