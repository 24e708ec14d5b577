//! The journal in files: segments of frames in a directory. [`docs/file-format.md`] specifies every byte.
//!
//! [`docs/file-format.md`]: https://docs.rs/crate/annals/latest/source/docs/file-format.md

#[cfg(all(test, feature = "testing"))]
mod agreement;
mod archive;
mod backup;
mod codec;
mod compress;
mod damage;
mod disk;
mod errors;
mod format;
mod frame;
mod handle;
mod head;
mod inspect;
mod lock;
mod reader;
mod record;
mod recover;
mod repair;
mod rewrite;
mod scan;
mod segments;
mod sources;
mod sparse;
mod target;
mod verify;
mod walk;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

pub use self::archive::ArchiveWriter;
pub use self::backup::{Backup, BackupEnd, BackupError, back_up};
pub use self::damage::{Damage, Verification};
pub use self::disk::{Disk, DiskFile, DiskLock, Folder};
use self::errors::{check_path, not_locked};
use self::format::SegmentHeader;
pub use self::inspect::verify_open;
pub use self::reader::FileReader;
pub use self::repair::{Repair, repair, repair_on};
use self::rewrite::{Rewrite, Step};
pub use self::verify::{verify, verify_on};
use self::writer::{Segment, Writer};
use super::{
    Batch, CompactionStep, Compactor, Journal, JournalError, JournalErrorKind, Part, PurgeSet, Recover, Recovered,
};
use crate::setters::setters;
use crate::{Clock, Durability, IdSource, RandomIds, SystemClock};

const LOCK_NAME: &str = "lock";

/// Settings of a journal in files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSettings {
    /// The size at which the journal starts a new segment: at least 4 KiB; 64 MiB by default. A batch is never split between segments.
    pub segment_bytes: u64,
    /// The number of bytes by which a segment is preallocated when it is synced often: 1 MiB by default; 0 disables preallocation.
    pub preallocate_bytes: u64,
    /// Whether frames are compressed when that makes them smaller. Requires the feature `lz4`; off by default.
    pub compress: bool,
}

setters! {
    FileSettings {
        segment_bytes: u64,
        preallocate_bytes: u64,
        compress: bool,
    }
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            preallocate_bytes: 1 << 20,
            compress: false,
        }
    }
}

impl FileSettings {
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let unsupported = |message: &str| Err(JournalError::new(JournalErrorKind::Unsupported, message));
        if !(4096..=1 << 40).contains(&self.segment_bytes) {
            return unsupported("segment_bytes must be from 4 KiB to 1 TiB");
        }
        if self.preallocate_bytes > 1 << 30 {
            return unsupported("preallocate_bytes must be at most 1 GiB");
        }
        if self.compress && cfg!(not(feature = "lz4")) {
            return unsupported("compress requires the feature `lz4`");
        }
        Ok(())
    }
}

/// A journal in the files of a directory, which one process at a time can open for writing.
///
/// Written batches survive a crash of the process; synced batches (`fdatasync`) survive a crash of the machine. Of the batches that were not
/// synced, a crash leaves a prefix of whole batches.
///
/// ```
/// use annals::journal::file::FileJournal;
/// use annals::{Durability, Expected, NewEvent, Store, StreamId};
///
/// # let folder = std::env::temp_dir().join(format!("annals-doc-{}", std::process::id()));
/// let store = Store::open(FileJournal::open(&folder)?)?;
/// let order = StreamId::new("Order", "order-1");
/// let placed = store.with_durability(Durability::Synced)?.append(&order, Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
/// assert_eq!(placed.durability, Durability::Synced);
/// store.close()?;
/// # drop(store);
///
/// let store = Store::open(FileJournal::open(&folder)?)?;
/// assert_eq!(store.read_stream("order-1").events()[0].event_type(), "OrderPlaced");
/// # drop(store);
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug)]
pub struct FileJournal {
    disk: Arc<dyn Disk>,
    settings: FileSettings,
    /// `None` until the journal is recovered.
    writer: Option<Writer>,
    /// The segment that is being rewritten.
    rewrite: Option<Rewrite>,
    lock: Box<dyn DiskLock>,
}

impl FileJournal {
    /// Opens the journal in the directory at `path`, which is created if it does not exist; its parent must exist.
    ///
    /// # Errors
    ///
    /// [`Locked`](JournalErrorKind::Locked) when another process, or another store of this process, has it open;
    /// [`Retry`](JournalErrorKind::Retry) when the directory cannot be created or read;
    /// [`Unsupported`](JournalErrorKind::Unsupported) when the path is empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_with(path, FileSettings::default())
    }

    /// Like [`open`](Self::open), with other settings.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Unsupported`](JournalErrorKind::Unsupported) when a setting is out of its range.
    pub fn open_with(path: impl AsRef<Path>, settings: FileSettings) -> Result<Self, JournalError> {
        let path = path.as_ref();
        check_path(path)?;
        let folder = Folder::create(path).map_err(|error| {
            let message = format!("the folder {} cannot be used", path.display());
            JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
        })?;
        Self::on(Arc::new(folder), settings)
    }

    /// Whether the directory at `path` contains a journal. Creates nothing and does not wait for locks.
    ///
    /// # Errors
    ///
    /// Errors of the operating system when the directory exists and cannot be read; [`io::ErrorKind::InvalidInput`] when the path is empty.
    pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
        match Folder::existing(path.as_ref()).and_then(|folder| folder.names()) {
            Ok(names) => Ok(head::is_store(&names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the journal on an implementation of [`Disk`].
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn on(disk: Arc<dyn Disk>, settings: FileSettings) -> Result<Self, JournalError> {
        settings.check()?;
        let lock = disk.lock(LOCK_NAME).map_err(|error| not_locked(&*disk, error))?;
        Ok(Self {
            disk,
            settings,
            writer: None,
            rewrite: None,
            lock,
        })
    }

    fn writer(&mut self) -> Result<&mut Writer, JournalError> {
        self.writer
            .as_mut()
            .ok_or_else(|| JournalError::failed("the journal was written to before it was recovered"))
    }
}

impl Journal for FileJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let found = recover::recover(&self.disk, into)?;
        let (store, segment) = match found.last {
            Some(last) => last,
            None => self.first_segment()?,
        };
        let (disk, settings) = (Arc::clone(&self.disk), self.settings.clone());
        let writer = Writer::new(disk, settings, store, segment, found.sealed, found.position);
        self.writer.insert(writer).note_head();
        Ok(found.recovered)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.check_held()?;
        self.writer()?.write(batch)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        // The batches are in the directory that was opened; its path may lead to another store now.
        self.check_held()?;
        self.writer()?.sync()
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    fn close(mut self: Box<Self>) -> Result<(), JournalError> {
        if let Some(rewrite) = self.rewrite.take() {
            rewrite.abandon();
        }
        self.end()?;
        // Everything is synced in the directory that was opened, but its path may lead elsewhere now.
        self.check_held()
    }
}

impl Compactor for FileJournal {
    fn parts(&self) -> Vec<Part> {
        self.writer
            .as_ref()
            .map_or_else(Vec::new, |writer| writer.sealed().to_vec())
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        self.check_held()?;
        self.writer()?.begin_segment()
    }

    /// Whether at least half of the events are dropped: the other half is copied.
    fn should_compact(&self, part: &Part, dropped: u64) -> bool {
        dropped.saturating_mul(2) >= part.events
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        self.check_held()?;
        let step = self.rewriting(part)?.step(purge);
        if !matches!(step, Ok(Step::More))
            && let Some(ended) = self.rewrite.take()
            && step.is_err()
        {
            ended.abandon();
        }
        let step = step?;
        if let Step::Done(done) = &step {
            let sealed = self.writer()?.sealed_mut();
            if let Some(part) = sealed.iter_mut().find(|part| part.first == done.first) {
                *part = *done;
            }
        }
        Ok(step.as_compaction_step())
    }
}

impl FileJournal {
    /// # Errors
    ///
    /// [`Failed`](JournalErrorKind::Failed) when the path of the directory or of its lock file leads to another file, or to none.
    fn check_held(&self) -> Result<(), JournalError> {
        self.lock.check().map_err(|error| {
            JournalError::failed(format!(
                "{error}: a second writer could open another store under its name; everything that was acknowledged as synced is in \
                 the folder that was opened, whatever its name is now: put it back, or open it under its new name"
            ))
        })
    }

    fn end(&mut self) -> Result<(), JournalError> {
        match &mut self.writer {
            Some(writer) => writer.close(),
            None => Ok(()),
        }
    }

    /// The rewrite of `part`; a rewrite of another part is abandoned.
    fn rewriting(&mut self, part: &Part) -> Result<&mut Rewrite, JournalError> {
        if let Some(other) = self.rewrite.take_if(|rewrite| rewrite.part().first != part.first) {
            other.abandon();
        }
        let sealed = self.writer()?.sealed();
        let Some(known) = sealed.iter().find(|known| known.first == part.first).copied() else {
            let message = format!("there is no part from position {} to {}", part.first, part.last);
            return Err(JournalError::new(JournalErrorKind::Unsupported, message));
        };
        let rewrite = match self.rewrite.take() {
            Some(rewrite) => rewrite,
            None => Rewrite::begin(&self.disk, known, self.settings.compress)?,
        };
        Ok(self.rewrite.insert(rewrite))
    }

    fn first_segment(&self) -> Result<(Uuid, Segment), JournalError> {
        let store = RandomIds.next(SystemClock.now());
        let header = SegmentHeader {
            store,
            first: 1,
            created: now(),
        };
        Ok((store, Segment::create(&*self.disk, &header)?))
    }
}

fn now() -> i64 {
    SystemClock.now().as_micros()
}
