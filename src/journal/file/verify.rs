//! Verification of a directory: finds every damage, not only the first.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::LOCK_NAME;
use super::disk::{Disk, DiskLock, Folder};
use super::errors::{check_path, not_locked};
use super::walk::{Take, Walk};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind};

/// Damage at a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first byte that is unusable.
    pub offset: u64,
    /// The first position that is lost; `None` when none is, or when the damage listed before includes it.
    pub first: Option<Position>,
    /// The last position that is lost; `None` also when the number of lost positions is unknown.
    pub last: Option<Position>,
    /// The description of the damage.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file.display(), self.offset, self.what)?;
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => write!(f, "; position {first} is lost"),
            (Some(first), Some(last)) => write!(f, "; positions {first} to {last} are lost"),
            (Some(first), None) => write!(f, "; all events from position {first} are lost"),
            (None, _) => Ok(()),
        }
    }
}

/// The contents of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verification {
    /// The number of files named like segments.
    pub segments: u64,
    /// The size of these files in bytes.
    pub bytes: u64,
    /// Readable events, including system events.
    pub events: u64,
    /// System events among them.
    pub events_system: u64,
    /// Events among them by which an earlier repair replaced lost events.
    pub events_lost_before: u64,
    /// Events that the store dropped and compaction removed.
    pub events_gone: u64,
    /// The last position.
    pub position: Position,
    /// Positions whose events are lost, up to the last position that is readable or known to have existed.
    pub positions_lost: u64,
    /// Bytes of an incomplete batch at the end, left by a crash. They are not damage: opening the store cuts them off.
    pub torn_tail_bytes: u64,
    /// The damage, in ascending order of positions, at most 10,000 entries.
    pub damage: Vec<Damage>,
    /// The number of further damaged places.
    pub damage_not_listed: u64,
}

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
