//! The segments of a damaged directory: which are intact, which are still readable, and in which order.

use std::collections::BTreeMap;
use std::io;

use uuid::Uuid;

use super::disk::Disk;
use super::errors::unreadable;
use super::format::{NoHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::scan::Scan;
use super::segments::{self, Begin, Front, HEADLESS, OF_ANOTHER_STORE, renamed};
use crate::journal::JournalError;

/// One segment.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Its header; reconstructed when it is damaged.
    pub(super) header: SegmentHeader,
    pub(super) length: u64,
    /// The damage of the file as a whole.
    pub(super) fault: Option<String>,
    /// Whether its intact frames can be read.
    pub(super) is_readable: bool,
    /// The first position of the next readable segment, which ends this one.
    pub(super) until: u64,
    pub(super) is_last: bool,
}

/// A file that is named like a segment, and its start.
struct Named {
    /// The position in its name.
    first: u64,
    begin: io::Result<Begin>,
}

impl Named {
    fn header(&self) -> Option<&SegmentHeader> {
        match &self.begin {
            Ok(Begin {
                front: Front::Header(header),
                ..
            }) => Some(header),
            _ => None,
        }
    }
}

/// The segments of a folder.
#[derive(Debug)]
pub(super) struct Sources {
    /// In the order of their events. All readable segments belong to one store.
    pub(super) all: Vec<Source>,
    /// Whether a crash has left one more segment without a header.
    pub(super) unborn: bool,
}

pub(super) fn sources(disk: &dyn Disk) -> Result<Sources, JournalError> {
    let mut begins = Vec::new();
    for first in segments::firsts(disk)? {
        let name = segments::name_of(first);
        match segments::begin(disk, &name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(unreadable(disk, &name, error));
            }
            begin => begins.push(Named { first, begin }),
        }
    }
    let is_unborn = |named: &Named| matches!(&named.begin, Ok(begin) if matches!(begin.front, Front::Unborn));
    let unborn = begins.pop_if(|last| is_unborn(last)).is_some();
    let store = store_of(disk, &begins);
    let mut sources: Vec<_> = begins.into_iter().map(|named| source(named, store)).collect();
    in_order(&mut sources);
    Ok(Sources { all: sources, unborn })
}

/// The store that most segments belong to.
fn store_of(disk: &dyn Disk, begins: &[Named]) -> Uuid {
    let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut store = None;
    for header in begins.iter().filter_map(Named::header) {
        let count = counts.entry(header.store).or_default();
        *count += 1;
        let most = store.map_or(0, |(_, most)| most);
        if *count > most {
            store = Some((header.store, *count));
        }
    }
    let by_frames = || {
        let mut names = begins.iter().map(|named| segments::name_of(named.first));
        names.find_map(|name| store_by_frames(disk, &name))
    };
    store.map(|(store, _)| store).or_else(by_frames).unwrap_or_default()
}

/// The store in a damaged header, if a frame of that store follows it.
fn store_by_frames(disk: &dyn Disk, name: &str) -> Option<Uuid> {
    let file = disk.open(name).ok()?;
    let mut bytes = [0; 16];
    file.read_at(16, &mut bytes).ok()?;
    let header = assumed(Uuid::from_bytes(bytes), 1);
    let mut scan = Scan::new(file, &header).ok()?;
    let finds = scan.resume(SEGMENT_HEADER_BYTES as u64, 0, u64::MAX).ok()?;
    finds.then_some(header.store)
}

fn assumed(store: Uuid, first: u64) -> SegmentHeader {
    SegmentHeader {
        store,
        first,
        created: 0,
    }
}

fn source(Named { first, begin }: Named, store: Uuid) -> Source {
    let length = begin.as_ref().map_or(0, |begin| begin.length);
    let (header, fault, is_readable) = match begin.map(|begin| begin.front) {
        Err(error) => (None, Some(format!("it cannot be read: {error}")), false),
        Ok(Front::Header(header)) if header.store != store => (None, Some(OF_ANOTHER_STORE.to_owned()), false),
        Ok(Front::Header(header)) if header.first != first => (Some(header), Some(renamed(&header)), true),
        Ok(Front::Header(header)) => (Some(header), None, true),
        Ok(Front::Unborn) => (None, Some(HEADLESS.to_owned()), false),
        Ok(Front::Damaged(reason @ (NoHeader::Version(_) | NoHeader::NoFile))) => {
            (None, Some(reason.to_string()), false)
        }
        Ok(Front::Damaged(reason @ (NoHeader::Magic | NoHeader::Checksum))) => (None, Some(reason.to_string()), true),
    };
    Source {
        name: segments::name_of(first),
        header: header.unwrap_or_else(|| assumed(store, first)),
        length,
        fault,
        is_readable,
        until: u64::MAX,
        is_last: false,
    }
}

/// Sorts by first position. Of two segments with the same one, the segment with the correct name is read.
fn in_order(sources: &mut [Source]) {
    sources.sort_by_key(|source| (source.header.first, source.fault.is_some()));
    let mut read = 0;
    for source in sources.iter_mut().filter(|source| source.is_readable) {
        source.is_readable = source.header.first > read;
        read = source.header.first;
    }
    let mut until = u64::MAX;
    for source in sources.iter_mut().rev() {
        source.until = until;
        if source.is_readable {
            until = source.header.first;
        }
    }
    if let Some(last) = sources.last_mut() {
        last.is_last = true;
    }
}
