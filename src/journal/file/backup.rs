//! Backups of a store, also while another process writes to it: copies of a prefix of whole batches.
//!
//! Sealed segments never change, except that a rewritten one replaces one as a whole; of the last segment the whole batches at its beginning are
//! copied. Segments are copied in ascending order: a rewritten segment lacks events only because of later events, which are copied later.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, HeadRecord, SEGMENT_HEADER_BYTES, SegmentHeader, aligned,
};
use super::scan::Scan;
use super::{FileReader, head, segments};
use crate::journal::{Batch, Journal as _, JournalError, Recover};
use crate::{Position, Timestamp};

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Where a backup ends: behind the last whole batch up to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupEnd {
    /// The end of the store.
    Store,
    /// A position.
    Position(Position),
    /// What was recorded up to this time, before the first event that was recorded after it.
    Time(Timestamp),
}

/// A backup that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The last position of the backup.
    pub last: Position,
    /// The last position of the segments that were copied, before the batches behind the [end](BackupEnd) were removed.
    pub reached: Position,
}

/// Why no backup was made. What was written to the target is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file of the store cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file, or the folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file of the target cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file, or the folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The store is damaged. [`verify`](super::verify()) lists every damage, [`repair`](super::repair()) saves the rest.
    #[error("{} is damaged: {what}; verify it, and repair it to a new folder", folder.display())]
    Damaged {
        /// The folder of the store.
        folder: PathBuf,
        /// The first damage.
        what: String,
    },
    /// The store has no segment yet.
    #[error("{} has no segment yet", folder.display())]
    Empty {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// No whole batch ends at or before the [end](BackupEnd): choose a later one.
    #[error("{} has no whole batch that ends at or before the end of the backup; choose a later end", folder.display())]
    NothingBefore {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// The copy cannot be read again, to find the [time](BackupEnd::Time) of its end.
    #[error(transparent)]
    Copy(#[from] JournalError),
    /// The caller stopped the backup.
    #[error("the backup was stopped")]
    Stopped,
}

type Result<T, E = BackupError> = std::result::Result<T, E>;

/// Copies the store on `from` to the empty disk `to`, while other processes may append to it; they are not held up. The copy is a store of its
/// own, synced, with the same id. [`verify`](super::verify()) it before you rely on it.
///
/// `progress` receives the number of bytes copied and their total, and stops the backup by [`ControlFlow::Break`].
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
///
/// use annals::journal::file::{BackupEnd, FileJournal, Folder, back_up, verify};
/// use annals::{Expected, NewEvent, Store, StreamId};
///
/// # let place = std::env::temp_dir().join(format!("annals-doc-backup-{}", std::process::id()));
/// # std::fs::create_dir_all(&place)?;
/// let (orders, copy) = (place.join("orders"), place.join("copy"));
/// let store = Store::open(FileJournal::open(&orders)?)?;
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, [NewEvent::new("OrderPlaced")])?;
/// store.wait_durable(store.visible())?;
///
/// let (from, to) = (Folder::existing(&orders)?, Arc::new(Folder::create(&copy)?));
/// let backup = back_up(&from, to, BackupEnd::Store, &mut |_, _| ControlFlow::Continue(()))?;
/// assert_eq!(backup.last, store.visible());
/// assert!(verify(&copy, &mut |_, _| {})?.damage.is_empty());
/// # std::fs::remove_dir_all(place).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Every [`BackupError`]. A target with files of a store is refused by [`Write`](BackupError::Write). A segment that is damaged, missing, renamed or
/// of another store, and a store that ends before what its head or its last segment says was synced, are [`Damaged`](BackupError::Damaged).
pub fn back_up(
    from: &dyn Disk,
    to: Arc<dyn Disk>,
    end: BackupEnd,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Backup> {
    let copying = Copying {
        from,
        to,
        progress,
        done: 0,
        total: 0,
        buffer: vec![0; CHUNK_BYTES],
    };
    copying.run(end)
}

/// A copy in the making.
struct Copying<'a> {
    from: &'a dyn Disk,
    to: Arc<dyn Disk>,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    done: u64,
    total: u64,
    buffer: Vec<u8>,
}

/// A copied segment.
struct Copied {
    header: SegmentHeader,
    name: String,
    file: Box<dyn DiskFile>,
    last: u64,
}

impl Copying<'_> {
    fn run(mut self, end: BackupEnd) -> Result<Backup> {
        self.check_target()?;
        // Before the segments: what it says was in them.
        let head = head::read(self.from).map_err(|error| self.unread(head::NAME, error))?;
        let names = self.from.names().map_err(|error| self.unread("", error))?;
        let firsts = segments::firsts_among(&names);
        let names: Vec<_> = firsts.iter().copied().map(segments::name_of).collect();
        for name in &names {
            self.total += self.from.open(name).and_then(|file| file.length()).unwrap_or(0);
        }
        let mut copied = self.copy_all(&names, end)?;
        let reached = copied.last().map_or(0, |segment| segment.last);
        if let Some(head) = head {
            self.check_head(&head, &firsts, &copied, reaches(end, reached))?;
        }
        let last = self.end(&mut copied, end, reached)?;
        self.sync(&mut copied)?;
        self.write_head(&copied, last)?;
        Ok(Backup {
            last: Position(last),
            reached: Position(reached),
        })
    }

    /// Refuses a target with segments or a head: those that the copy does not replace would belong to it.
    fn check_target(&self) -> Result<()> {
        let names = self.to.names().map_err(|error| self.unwritten("", error))?;
        if head::is_store(&names) {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, "it has files of a store already");
            return Err(self.unwritten("", error));
        }
        Ok(())
    }

    /// Removes the batches behind the end. Returns the last position that is left.
    fn end(&self, copied: &mut Vec<Copied>, end: BackupEnd, reached: u64) -> Result<u64> {
        let position = match end {
            BackupEnd::Store => return Ok(reached),
            BackupEnd::Position(position) => position.0,
            BackupEnd::Time(time) => {
                self.sync(copied)?;
                recorded_until(Arc::clone(&self.to), time)?
            }
        };
        self.cut(copied, position)
    }

    /// Refuses a store that lacks what its head says it has. A backup that has reached its end need not have all of it.
    fn check_head(&self, head: &HeadRecord, firsts: &[u64], copied: &[Copied], has_reached: bool) -> Result<()> {
        let end = copied.last().map(|last| head::End {
            store: last.header.store,
            segment: if has_reached {
                firsts.last().copied().unwrap_or(0)
            } else {
                last.header.first
            },
            position: if has_reached { u64::MAX } else { last.last },
        });
        match head::missing(head, end) {
            Some(missing) => Err(self.damaged(format!("{}: {}", missing.name, missing.what))),
            None => Ok(()),
        }
    }

    /// Copies the segments up to the one that has the end.
    fn copy_all(&mut self, names: &[String], end: BackupEnd) -> Result<Vec<Copied>> {
        let mut copied: Vec<Copied> = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let is_last = number + 1 == names.len();
            // Before the copy: what was synced by then can be read whole.
            let synced = if is_last { self.synced(name)? } else { 0 };
            let Some(segment) = self.copy(name, is_last)? else {
                break;
            };
            let expected = copied.last().map_or(1, |before| before.last + 1);
            let store = copied.first().map_or(segment.header.store, |first| first.header.store);
            if segment.header.first != expected || segment.header.store != store {
                return Err(self.damaged(format!("{name} does not continue the segment before it")));
            }
            let has_reached = reaches(end, segment.last);
            if segment.last < synced && !has_reached {
                return Err(self.damaged(format!("{name} is damaged behind position {}", segment.last)));
            }
            copied.push(segment);
            if has_reached {
                break;
            }
        }
        Ok(copied)
    }

    /// The last position that a segment records as synced; 0 for one that has no header yet.
    fn synced(&self, name: &str) -> Result<u64> {
        let unread = |error| self.unread(name, error);
        let file = self.from.open(name).map_err(unread)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut bytes).map_err(unread)?;
        let Ok(header) = SegmentHeader::decode(&bytes) else {
            return Ok(0);
        };
        Scan::new(file, &header).and_then(|scan| scan.synced()).map_err(unread)
    }

    /// Copies the whole batches of a segment; `None` for a last one that is being created.
    fn copy(&mut self, name: &str, is_last: bool) -> Result<Option<Copied>> {
        let file = self.from.open(name).map_err(|error| self.unread(name, error))?;
        let length = file.length().map_err(|error| self.unread(name, error))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(|error| self.unread(name, error))?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) if read == bytes.len() => header,
            _ if is_last => return Ok(None),
            _ => return Err(self.damaged(format!("{name} has no valid header"))),
        };
        if segments::first_of(name) != Some(header.first) {
            return Err(self.damaged(format!("{name}: {}", segments::renamed(&header))));
        }
        let mut target = self.to.create(name).map_err(|error| self.unwritten(name, error))?;
        let path = self.from.path(name);
        self.copy_range(&*file, &mut *target, (0, SEGMENT_HEADER_BYTES as u64), name)?;
        let unread = |source| BackupError::Read {
            path: path.clone(),
            source,
        };
        let end = Whole::find((&*file, &header, length), unread, |frame| {
            // Its header first: the checksum is of its content.
            self.copy_range(&*file, &mut *target, (frame.offset, frame.content()), name)?;
            let found = self.copy_range(&*file, &mut *target, (frame.content(), frame.end()), name)?;
            Ok(found == frame.header.checksum)
        })?;
        if !is_last && end.offset < length {
            return Err(self.damaged(format!("{name} is damaged at byte {}", end.offset)));
        }
        target
            .set_length(end.offset)
            .map_err(|error| self.unwritten(name, error))?;
        Ok(Some(Copied {
            header,
            name: name.to_owned(),
            file: target,
            last: end.last,
        }))
    }

    /// Copies a range of bytes, as far as the file has them. Returns their checksum.
    fn copy_range(
        &mut self,
        from: &dyn DiskFile,
        to: &mut dyn DiskFile,
        (start, end): (u64, u64),
        name: &str,
    ) -> Result<u32> {
        let mut checksum = crc32fast::Hasher::new();
        let mut offset = start;
        while offset < end {
            if (self.progress)(self.done, self.total.max(self.done)).is_break() {
                return Err(BackupError::Stopped);
            }
            let room = usize::try_from(end - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let read = from.read_at(offset, &mut self.buffer[..room]);
            let read = read.map_err(|error| self.unread(name, error))?;
            if read == 0 {
                break;
            }
            let bytes = &self.buffer[..read];
            checksum.update(bytes);
            to.write_at(offset, bytes)
                .map_err(|error| self.unwritten(name, error))?;
            offset += read as u64;
            self.done += read as u64;
        }
        Ok(checksum.finalize())
    }

    /// Removes every batch that does not end at or before `position`. Returns the last position that is left.
    fn cut(&self, copied: &mut Vec<Copied>, position: u64) -> Result<u64> {
        while copied.len() > 1 && copied.last().is_some_and(|last| last.header.first > position) {
            if let Some(Copied { name, file, .. }) = copied.pop() {
                drop(file);
                self.to.remove(&name).map_err(|error| self.unwritten(&name, error))?;
            }
        }
        let Some(last) = copied.last_mut() else { return Ok(0) };
        let length = last.file.length().map_err(|error| self.unwritten(&last.name, error))?;
        let unread = |error| self.unwritten(&last.name, error);
        let end = Whole::find((&*last.file, &last.header, length), unread, |frame| {
            Ok(frame.header.last <= position)
        })?;
        let cut = last.file.set_length(end.offset);
        cut.map_err(|error| self.unwritten(&last.name, error))?;
        last.last = end.last;
        if end.last == 0 {
            return Err(BackupError::NothingBefore {
                folder: self.from.path(""),
            });
        }
        Ok(end.last)
    }

    fn sync(&self, copied: &mut [Copied]) -> Result<()> {
        for segment in copied {
            let synced = segment.file.sync();
            synced.map_err(|error| self.unwritten(&segment.name, error))?;
        }
        self.to.sync_names().map_err(|error| self.unwritten("", error))
    }

    fn write_head(&self, copied: &[Copied], last: u64) -> Result<()> {
        let Some(newest) = copied.last() else {
            return Err(BackupError::Empty {
                folder: self.from.path(""),
            });
        };
        let head = HeadRecord {
            store: newest.header.store,
            segment: newest.header.first,
            synced: last,
        };
        head::write(&*self.to, &head).map_err(|error| self.unwritten(head::NAME, error))
    }

    fn unread(&self, name: &str, source: io::Error) -> BackupError {
        BackupError::Read {
            path: self.from.path(name),
            source,
        }
    }

    fn unwritten(&self, name: &str, source: io::Error) -> BackupError {
        BackupError::Write {
            path: self.to.path(name),
            source,
        }
    }

    fn damaged(&self, what: String) -> BackupError {
        BackupError::Damaged {
            folder: self.from.path(""),
            what,
        }
    }
}

/// Whether a copy up to `position` has reached the end, whatever follows.
fn reaches(end: BackupEnd, position: u64) -> bool {
    matches!(end, BackupEnd::Position(end) if position >= end.0)
}

/// A frame whose header is valid.
struct Frame {
    offset: u64,
    header: FrameHeader,
}

impl Frame {
    fn content(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES as u64
    }

    /// Where its content ends, before its padding.
    fn end(&self) -> u64 {
        self.content() + u64::from(self.header.stored_bytes)
    }

    /// Reads the frame at `offset`; `None` if there is none that is whole and follows position `last`.
    fn read(
        file: &dyn DiskFile,
        segment: &SegmentHeader,
        length: u64,
        (offset, last): (u64, u64),
    ) -> io::Result<Option<Self>> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if file.read_at(offset, &mut bytes)? < bytes.len() {
            return Ok(None);
        }
        let header = FrameHeader::decode(&bytes, segment.store).ok();
        let header = header.filter(|header| header.stored_bytes <= FRAME_BYTES_MAX);
        let frame = header.map(|header| Self { offset, header });
        // A sync mark has no positions, and names the last one before it.
        let follows = |frame: &Self| frame.header.span().is_some_and(|span| span.start == last + 1);
        Ok(frame.filter(|frame| frame.end() <= length && follows(frame)))
    }
}

/// Where the whole batches of a segment end.
struct Whole {
    /// The offset behind the last of them.
    offset: u64,
    /// The last position.
    last: u64,
}

impl Whole {
    /// Finds the end of the whole batches in the first `length` bytes of a segment, up to a frame that `take` declines. `unread` makes the error
    /// of a failed read.
    fn find(
        (file, segment, length): (&dyn DiskFile, &SegmentHeader, u64),
        unread: impl Fn(io::Error) -> BackupError,
        mut take: impl FnMut(&Frame) -> Result<bool>,
    ) -> Result<Self> {
        let mut whole = Self {
            offset: SEGMENT_HEADER_BYTES as u64,
            last: segment.first.saturating_sub(1),
        };
        let (mut offset, mut last) = (whole.offset, whole.last);
        while let Some(frame) = Frame::read(file, segment, length, (offset, last)).map_err(&unread)? {
            if !take(&frame)? {
                break;
            }
            (offset, last) = (aligned(frame.end()), frame.header.last);
            if !frame.header.part.goes_on() {
                whole = Self { offset, last };
            }
        }
        Ok(whole)
    }
}

/// The last position before the first event that was recorded after `time`.
fn recorded_until(disk: Arc<dyn Disk>, time: Timestamp) -> Result<u64> {
    let mut recorded = Recorded {
        time,
        last: 0,
        is_past: false,
    };
    FileReader::on(disk)?.recover(&mut recorded)?;
    Ok(recorded.last)
}

struct Recorded {
    time: Timestamp,
    last: u64,
    is_past: bool,
}

impl Recover for Recorded {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        if self.is_past {
            return Ok(());
        }
        // A batch of a recovery may be several of the file.
        let first_past = batch.events().find(|event| event.recorded_at() > self.time);
        self.is_past = first_past.is_some();
        self.last = first_past.map_or(batch.last_position().0, |event| event.position().0 - 1);
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
