//! The segments of a damaged folder: which are whole, which can be read all the same, and in which order.

use std::collections::BTreeMap;
use std::io;

use uuid::Uuid;

use super::disk::Disk;
use super::format::{NoHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recover::unreadable;
use super::scan::{self, Scan};
use super::{segment_first, segment_name};
use crate::journal::JournalError;

/// One segment.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Its header; where that is damaged, what it must have been.
    pub(super) header: SegmentHeader,
    pub(super) length: u64,
    /// What is wrong with it as a whole.
    pub(super) fault: Option<String>,
    /// Its frames can be read, as far as they are whole.
    pub(super) is_readable: bool,
}

/// What a file named like a segment begins with.
type Begin = Result<SegmentHeader, Option<NoHeader>>;

/// All segments, in the order of their events; and the store that they are of.
pub(super) fn sources(disk: &dyn Disk) -> Result<(Vec<Source>, Uuid), JournalError> {
    let names = disk.names().map_err(|error| unreadable(disk, "", error))?;
    let mut firsts: Vec<_> = names.iter().filter_map(|name| segment_first(name)).collect();
    firsts.sort_unstable();
    let mut begins = Vec::with_capacity(firsts.len());
    for first in &firsts {
        match begin_of(disk, &segment_name(*first)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(unreadable(disk, &segment_name(*first), error));
            }
            begin => begins.push((*first, begin)),
        }
    }
    if matches!(begins.last(), Some((_, Ok((Err(None), _))))) {
        // A crash came before it had a header: it is not there.
        begins.pop();
    }
    let store = store_of(disk, &begins);
    let mut sources: Vec<_> = begins
        .into_iter()
        .map(|(first, begin)| source(first, begin, store))
        .collect();
    in_order(&mut sources);
    Ok((sources, store))
}

fn begin_of(disk: &dyn Disk, name: &str) -> io::Result<(Begin, u64)> {
    let file = disk.open(name)?;
    Ok((scan::read_header(&*file)?, file.length()?))
}

/// The store that most segments say they are of.
fn store_of(disk: &dyn Disk, begins: &[(u64, io::Result<(Begin, u64)>)]) -> Uuid {
    let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut store = None;
    for (_, begin) in begins {
        if let Ok((Ok(header), _)) = begin {
            let count = counts.entry(header.store).or_default();
            *count += 1;
            let most = store.map_or(0, |(_, most)| most);
            if *count > most {
                store = Some((header.store, *count));
            }
        }
    }
    let by_frames = || {
        let mut names = begins.iter().map(|(first, _)| segment_name(*first));
        names.find_map(|name| store_by_frames(disk, &name))
    };
    store.map(|(store, _)| store).or_else(by_frames).unwrap_or_default()
}

/// The store in a damaged header, if frames behind it are of that store.
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

fn source(first: u64, begin: io::Result<(Begin, u64)>, store: Uuid) -> Source {
    let (begin, length) = match begin {
        Ok((begin, length)) => (Ok(begin), length),
        Err(error) => (Err(error), 0),
    };
    let (header, fault, is_readable) = match begin {
        Err(error) => (None, Some(format!("it cannot be read: {error}")), false),
        Ok(Ok(header)) if header.store != store => (None, Some("it belongs to another store".to_owned()), false),
        Ok(Ok(header)) if header.first != first => (Some(header), Some(renamed(&header)), true),
        Ok(Ok(header)) => (Some(header), None, true),
        Ok(Err(None)) => (None, Some(HEADLESS.to_owned()), false),
        Ok(Err(Some(reason))) => (None, Some(reason.to_string()), !matches!(reason, NoHeader::Version(_))),
    };
    Source {
        name: segment_name(first),
        header: header.unwrap_or_else(|| assumed(store, first)),
        length,
        fault,
        is_readable,
    }
}

pub(super) const HEADLESS: &str = "it has no header, and later segments follow it";

/// What is wrong with a segment whose header has another position than its name.
pub(super) fn renamed(header: &SegmentHeader) -> String {
    format!("it says that it begins with position {}: it was renamed", header.first)
}

/// By their first positions. Of two with the same, the one with the right name is read.
fn in_order(sources: &mut [Source]) {
    sources.sort_by_key(|source| (source.header.first, source.fault.is_some()));
    let mut read = 0;
    for source in sources.iter_mut().filter(|source| source.is_readable) {
        source.is_readable = source.header.first > read;
        read = source.header.first;
    }
}
