//! The segments of a directory: their names and headers.

use std::io;

use super::disk::Disk;
use super::errors::unreadable;
use super::format::{NoHeader, POSITION_MAX, SEGMENT_HEADER_BYTES, SegmentHeader, is_torn_header};
use super::scan::is_zero_from;
use crate::journal::JournalError;

const SUFFIX: &str = ".segment";
/// The suffix of a segment that is being rewritten, until it replaces the old one.
const BESIDE: &str = ".rewrite";

/// The damage of a segment without a header that is not the last.
pub(super) const HEADLESS: &str = "it has no header, and later segments follow it";
/// The damage of a segment of another store.
pub(super) const OF_ANOTHER_STORE: &str = "it belongs to another store";

/// The damage of a segment whose name contradicts its header.
pub(super) fn renamed(header: &SegmentHeader) -> String {
    format!(
        "its header contains the first position {}: the file was renamed",
        header.first
    )
}

/// The file of the segment whose first event has this position.
pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The file in which that segment is rewritten.
pub(super) fn beside(first: u64) -> String {
    format!("{first:020}{BESIDE}")
}

pub(super) fn is_beside(name: &str) -> bool {
    number_before(name, BESIDE).is_some()
}

/// Parses the position in the name of a segment.
pub(super) fn first_of(name: &str) -> Option<u64> {
    number_before(name, SUFFIX)
}

fn number_before(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = is_number.then(|| digits.parse().ok()).flatten()?;
    (1..=POSITION_MAX).contains(&first).then_some(first)
}

/// The positions in the names of all segments, ascending.
pub(super) fn firsts(disk: &dyn Disk) -> Result<Vec<u64>, JournalError> {
    let names = disk.names().map_err(|error| unreadable(disk, "", error))?;
    Ok(firsts_among(&names))
}

/// The positions in those `names` that are of segments, ascending.
pub(super) fn firsts_among(names: &[String]) -> Vec<u64> {
    let mut firsts: Vec<_> = names.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    firsts
}

/// A file named like a segment.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) front: Front,
    pub(super) length: u64,
}

/// The start of a file that is named like a segment.
#[derive(Debug)]
pub(super) enum Front {
    Header(SegmentHeader),
    /// Neither a header nor any data: a crash came while the segment was created.
    Unborn,
    /// Anything else.
    Damaged(NoHeader),
}

/// Reads the start of the file `name`.
pub(super) fn begin(disk: &dyn Disk, name: &str) -> io::Result<Begin> {
    let file = match disk.open(name) {
        // A listed name that is not found is a dangling link.
        Err(error) if matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotFound) => {
            return Ok(Begin {
                front: Front::Damaged(NoHeader::NoFile),
                length: 0,
            });
        }
        opened => opened?,
    };
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = file.read_at(0, &mut bytes)?;
    let header = if read < SEGMENT_HEADER_BYTES {
        Err(NoHeader::Magic)
    } else {
        SegmentHeader::decode(&bytes)
    };
    let front = match header {
        Ok(header) => Front::Header(header),
        Err(reason @ NoHeader::Version(_)) => Front::Damaged(reason),
        Err(_) if is_torn_header(&bytes[..read]) && is_zero_from(&*file, SEGMENT_HEADER_BYTES as u64)? => Front::Unborn,
        Err(reason) => Front::Damaged(reason),
    };
    let length = file.length()?;
    Ok(Begin { front, length })
}
