//! Rewrites a sealed segment without the purged events.
//!
//! The new segment is written to a temporary file, synced, and renamed over the old one: after a crash the name leads to one of the two.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::errors::{damaged, unreadable};
use super::format::SegmentHeader;
use super::frame::Framing;
use super::scan::{Block, Next, Scan, Stop};
use super::segments::{self, Front};
use super::sparse::SparseEncoder;
use crate::Position;
use crate::journal::{Batch, CompactionStep, JournalError, Part, PurgeSet};

/// Bytes written between two syncs. Bounds how long a sync delays an append.
const SYNC_BYTES: u64 = 4 << 20;

/// A segment that is being rewritten.
#[derive(Debug)]
pub(super) struct Rewrite {
    disk: Arc<dyn Disk>,
    part: Part,
    scan: Scan,
    encoder: SparseEncoder,
    file: Box<dyn DiskFile>,
    offset: u64,
    unsynced: u64,
    /// User events that were retained.
    events: u64,
}

/// The result of one step.
#[derive(Debug)]
pub(super) enum Step {
    More,
    Done(Part),
}

impl Step {
    pub(super) fn as_compaction_step(&self) -> CompactionStep {
        match self {
            Self::More => CompactionStep::More,
            Self::Done(part) => CompactionStep::Done { bytes: part.bytes },
        }
    }
}

impl Rewrite {
    /// Starts to rewrite `part`, which is a sealed, synced segment.
    pub(super) fn begin(disk: &Arc<dyn Disk>, part: Part, compress: bool) -> Result<Self, JournalError> {
        let name = segments::name_of(part.first.0);
        let begun = || -> io::Result<(SegmentHeader, Scan, Box<dyn DiskFile>)> {
            let Front::Header(header) = segments::begin(&**disk, &name)?.front else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its header is damaged"));
            };
            let scan = Scan::new(disk.open(&name)?, &header)?;
            remove_if_there(&**disk, &segments::beside(part.first.0))?;
            let mut file = disk.create(&segments::beside(part.first.0))?;
            file.write_at(0, &header.encode())?;
            Ok((header, scan, file))
        };
        let (header, scan, file) = begun().map_err(|error| unreadable(&**disk, &name, error))?;
        let framing = Framing {
            store: header.store,
            compress,
        };
        Ok(Self {
            disk: Arc::clone(disk),
            part,
            offset: scan.offset(),
            scan,
            encoder: SparseEncoder::new(framing, part.first.0, part.last.0),
            file,
            unsynced: 0,
            events: 0,
        })
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    /// Copies the next block; at the end, replaces the old segment.
    pub(super) fn step(&mut self, purge: &PurgeSet) -> Result<Step, JournalError> {
        let name = segments::name_of(self.part.first.0);
        let next = self.scan.next();
        match next.map_err(|error| unreadable(&*self.disk, &name, error))? {
            Next::Block(block) => self.take(&block, purge).map(|()| Step::More),
            Next::End => self.finish().map(Step::Done),
            Next::Stop(stop) => Err(self.damaged(&stop)),
        }
    }

    fn take(&mut self, block: &Block, purge: &PurgeSet) -> Result<(), JournalError> {
        for group in block.groups() {
            let mut batch = Batch::new();
            block
                .decode_group(&group, &mut batch)
                .map_err(|stop| self.damaged(&stop))?;
            if !batch.is_empty() {
                self.events += self.encoder.add(&batch, purge)?;
            }
        }
        self.write()
    }

    fn damaged(&self, stop: &Stop) -> JournalError {
        damaged(
            &*self.disk,
            &segments::name_of(self.part.first.0),
            stop.offset,
            &stop.what,
        )
    }

    /// Writes the encoded frames.
    fn write(&mut self) -> Result<(), JournalError> {
        let bytes = self.encoder.bytes_mut();
        let mut written = self.file.write_at(self.offset, bytes);
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        bytes.clear();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            written = written.and_then(|()| self.file.sync());
        }
        written.map_err(|error| self.unwritten(error))
    }

    fn finish(&mut self) -> Result<Part, JournalError> {
        self.encoder.end_frame()?;
        self.write()?;
        let first = self.part.first.0;
        let replaced = self
            .file
            .sync()
            .and_then(|()| self.disk.rename(&segments::beside(first), &segments::name_of(first)))
            .and_then(|()| self.disk.sync_names());
        replaced.map_err(|error| self.unwritten(error))?;
        Ok(Part::new(Position(first), self.part.last, self.events, self.offset))
    }

    fn unwritten(&self, error: io::Error) -> JournalError {
        unreadable(&*self.disk, &segments::beside(self.part.first.0), error)
    }

    /// Discards the rewrite; the old segment is unchanged.
    pub(super) fn abandon(self) {
        let name = segments::beside(self.part.first.0);
        drop(self.file);
        // If this fails, the next open removes the file.
        drop(self.disk.remove(&name));
    }
}

fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the files of interrupted rewrites.
pub(super) fn remove_left_over(disk: &dyn Disk) -> io::Result<()> {
    for name in disk.names()?.iter().filter(|name| segments::is_beside(name)) {
        remove_if_there(disk, name)?;
    }
    Ok(())
}
