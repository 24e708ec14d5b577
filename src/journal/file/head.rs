//! The file `head`: how far the store has come, so that a last segment that is missing, or cut, is found.
//!
//! It is written when the store is opened, after a segment is begun, and when the store is closed. So it never promises more than the
//! segments have; after a crash it may promise less.

use std::io;

use uuid::Uuid;

use super::disk::Disk;
use super::errors::{damaged, unreadable};
use super::format::HeadRecord;
use super::segments;
use crate::journal::JournalError;

pub(super) const NAME: &str = "head";
/// What it is called until it is whole.
const NEW: &str = "head.new";

/// What a head says that the segments do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The file that is missing, or ends too early.
    pub(super) name: String,
    pub(super) what: String,
}

/// The last segment of a store as it was found, and the last position in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) store: Uuid,
    pub(super) segment: u64,
    pub(super) position: u64,
}

/// What is to be done about a head that is no file.
const NO_FILE: &str = "remove it if the segments are all there, or restore it from a copy";

/// What the head of a folder says; `None` where there is none, or it is torn.
///
/// # Errors
///
/// [`Corrupt`](crate::journal::JournalErrorKind::Corrupt) when it is no file.
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

/// What is wrong with a head that could not be read.
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

/// Whether a folder with files of these names holds a store, or what is left of one.
pub(super) fn is_store(names: &[String]) -> bool {
    names
        .iter()
        .any(|name| name == NAME || segments::first_of(name).is_some())
}

/// Writes a head in the place of the one that is there, which another name may lead to as well: that of a copy by links.
pub(super) fn write(disk: &dyn Disk, head: &HeadRecord) -> io::Result<()> {
    let mut file = match disk.create(NEW) {
        // A process was killed before it had renamed it.
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

/// What is missing of a store that ends at `end`, or has no segment at all, by what its head says.
pub(super) fn missing(head: &HeadRecord, end: Option<End>) -> Option<Missing> {
    let advice = "restore it from a copy, or repair the store";
    let newest = || Missing {
        name: segments::name_of(head.segment),
        what: format!("it is missing: the store had begun it, as its file `{NAME}` says; {advice}"),
    };
    let Some(end) = end else { return Some(newest()) };
    if end.store != head.store {
        let what =
            format!("it is of another store than the segments: remove it if they are all there ({advice} otherwise)");
        let name = NAME.to_owned();
        return Some(Missing { name, what });
    }
    if end.segment < head.segment {
        return Some(newest());
    }
    (end.position < head.synced).then(|| Missing {
        name: segments::name_of(end.segment),
        what: format!(
            "it ends with position {}: position {} was synced, as the file `{NAME}` says; {advice}",
            end.position, head.synced
        ),
    })
}
