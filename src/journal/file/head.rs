//! The file `head`: the newest segment and a synced position, so that a missing or truncated last segment is detected.
//!
//! The writer replaces it when the store is opened, after it starts a segment, and when the store is closed. The head never claims more than
//! the segments contain; after a crash it may claim less.

use std::io;

use uuid::Uuid;

use super::disk::Disk;
use super::errors::{damaged, unreadable};
use super::format::HeadRecord;
use super::segments;
use crate::journal::JournalError;

pub(super) const NAME: &str = "head";
/// The name of a new head until it is complete.
const NEW: &str = "head.new";

/// Data that the head records and the segments lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The file that is missing or truncated.
    pub(super) name: String,
    pub(super) what: String,
}

/// The last segment that was found, and the last position in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) store: Uuid,
    pub(super) segment: u64,
    pub(super) position: u64,
}

/// Advice for a head that is not a regular file.
const NO_FILE: &str = "remove it if all segments are present, or restore it from a backup";

/// Reads the head of a directory; `None` when there is none, or it is torn.
///
/// # Errors
///
/// [`Corrupt`](crate::journal::JournalErrorKind::Corrupt) when it is not a regular file.
pub(super) fn of_folder(disk: &dyn Disk) -> Result<Option<HeadRecord>, JournalError> {
    read(disk).map_err(|error| {
        if is_no_file(&error) {
            return damaged(disk, NAME, 0, &unread(&error));
        }
        unreadable(disk, NAME, error)
    })
}

fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory
}

/// The description of a head that could not be read.
pub(super) fn unread(error: &io::Error) -> String {
    if is_no_file(error) {
        return format!("{error}: {NO_FILE}");
    }
    format!("it cannot be read: {error}; {NO_FILE}")
}

pub(super) fn read(disk: &dyn Disk) -> io::Result<Option<HeadRecord>> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; HeadRecord::BYTES];
    let read = file.read_at(0, &mut bytes)?;
    Ok((read == bytes.len()).then(|| HeadRecord::decode(&bytes)).flatten())
}

/// Whether a directory with files of these names contains a store, or the remains of one.
pub(super) fn is_store(names: &[String]) -> bool {
    names
        .iter()
        .any(|name| name == NAME || segments::first_of(name).is_some())
}

/// Replaces the head by a new file. It is never overwritten in place, because a copy by hard links shares the file.
pub(super) fn write(disk: &dyn Disk, head: &HeadRecord) -> io::Result<()> {
    let mut file = match disk.create(NEW) {
        // A crash came before the rename.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(NEW)?;
            disk.create(NEW)?
        }
        created => created?,
    };
    file.write_at(0, &head.encode())?;
    file.sync()?;
    drop(file);
    disk.rename(NEW, NAME)?;
    disk.sync_names()
}

/// Compares the head with the end of the segments; returns the data that is missing. `end` is `None` when there is no segment.
pub(super) fn missing(head: &HeadRecord, end: Option<End>) -> Option<Missing> {
    let advice = "restore it from a backup, or repair the store";
    let newest = || Missing {
        name: segments::name_of(head.segment),
        what: format!("the segment is missing, and the file `{NAME}` records it; {advice}"),
    };
    let Some(end) = end else { return Some(newest()) };
    if end.store != head.store {
        let what = format!(
            "it belongs to another store than the segments: remove it if all segments are present; otherwise {advice}"
        );
        let name = NAME.to_owned();
        return Some(Missing { name, what });
    }
    if end.segment < head.segment {
        return Some(newest());
    }
    (end.position < head.synced).then(|| Missing {
        name: segments::name_of(end.segment),
        what: format!(
            "it ends at position {}, and the file `{NAME}` records that position {} was synced; {advice}",
            end.position, head.synced
        ),
    })
}
