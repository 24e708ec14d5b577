//! Whether a folder holds what it should, and where it does not: all of it, not only the first place.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::LOCK_NAME;
use super::disk::{Disk, DiskLock, Folder};
use super::errors::not_locked;
use super::walk::{Take, Walk};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind};

/// A place in a file where something else should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first byte that cannot be used.
    pub offset: u64,
    /// The first position that was lost by it; `None` if none was, or the damage listed before has the same.
    pub first: Option<Position>,
    /// The last position that was lost; `None` too if nobody can say how many there were.
    pub last: Option<Position>,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file.display(), self.offset, self.what)?;
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => write!(f, "; position {first} is lost"),
            (Some(first), Some(last)) => write!(f, "; positions {first} to {last} are lost"),
            (Some(first), None) => write!(f, "; whatever came from position {first} on is lost"),
            (None, _) => Ok(()),
        }
    }
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verification {
    /// Files named like segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events that can be read, the system's included.
    pub events: u64,
    /// Of these, events of the system.
    pub events_system: u64,
    /// Of these, events in the place of others that were lost before: an earlier repair has put them there.
    pub events_lost_before: u64,
    /// Events that the store had dropped, and whose room was given back.
    pub events_gone: u64,
    /// The position of the last of them all.
    pub position: Position,
    /// Positions before the last that can be read, or are known to have been there, whose events are lost.
    pub positions_lost: u64,
    /// Bytes at the end that a crash has left of what was never promised. They are no damage: opening the store cuts them off.
    pub torn_tail_bytes: u64,
    /// Every damage, in the order of positions, up to 10,000.
    pub damage: Vec<Damage>,
    /// How many more there are.
    pub damage_not_listed: u64,
}

/// Reads a whole folder and lists every damage in it. Writes nothing, not even where the folder could be written to.
///
/// A store opens if and only if there is no damage. `progress` hears how many bytes of how many were read.
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
/// [`Locked`](JournalErrorKind::Locked) when a process has the store open; [`Retry`](JournalErrorKind::Retry) when the folder
/// cannot be read; [`Unsupported`](JournalErrorKind::Unsupported) when it is compressed and the feature `lz4` is off.
pub fn verify(folder: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification, JournalError> {
    verify_on(&existing(folder.as_ref())?, progress)
}

/// The same on a disk of any kind.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_on(disk: &dyn Disk, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification, JournalError> {
    let _lock = lock_shared(disk)?;
    Ok(Walk::new(disk, &mut Nobody, progress)?.run()?.found)
}

pub(super) fn existing(path: &Path) -> Result<Folder, JournalError> {
    Folder::existing(path).map_err(|error| {
        let message = format!("the folder {} cannot be read", path.display());
        JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
    })
}

pub(super) fn lock_shared(disk: &dyn Disk) -> Result<Option<Box<dyn DiskLock>>, JournalError> {
    disk.lock_shared(LOCK_NAME).map_err(|error| not_locked(disk, error))
}

struct Nobody;

impl Take for Nobody {
    fn batch(&mut self, _: &Batch) -> Result<(), JournalError> {
        Ok(())
    }
}
