//! A journal for a store, from public parts alone: a directory with a file for each batch. It can be compacted, and followed by other stores.
//!
//! The four traits, `Journal`, `Compactor`, `Feed` and `Remote`, are the smaller half of this file. The larger half is what their contracts require of
//! any storage: `Directory` reads and writes batches so that a crash leaves whole ones, finds damage, and classifies errors; `open` excludes a
//! second writer. A file gets its content under a temporary name, is synced, and is then renamed; the rename is synced with the directory.
//! `tests.rs` runs the conformance suites.
//!
//! `cargo run --features testing --example directory_journal`

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use annals::journal::{
    Batch, CompactionStep, Compactor, Feed, Followed, Journal, JournalError, JournalErrorKind as Kind, Part, PurgeSet,
    Recover, Recovered, Remote, RemoteAppend,
};
use annals::{Appended, Durability, Expected, NewEvent, Position, Settings, Store, StreamId};
use parking_lot::Mutex;

/// A directory with the file `lock`, and a file for each batch, named after the batch's first position.
#[derive(Clone, Debug)]
struct Directory(PathBuf);

impl Directory {
    fn error(&self, kind: Kind, what: &str, error: io::Error) -> JournalError {
        JournalError::new(kind, format!("cannot {what} {}", self.0.display())).caused_by(error)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.0.join(format!("{first:020}.batch"))
    }

    /// The first position of the last batch; 0 if there is none. Other files may be in the directory, also with names such as `7.batch`.
    fn last_file(&self) -> io::Result<u64> {
        let mut last = 0;
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            last = first.filter(|first| self.path(*first) == path).unwrap_or(0).max(last);
        }
        Ok(last)
    }

    /// Passes on the batches after a position, up to the last one that has a file now, and returns them as parts.
    fn pass(&self, after: u64, into: &mut dyn Recover) -> Result<Vec<Part>, JournalError> {
        let retry = |error| self.error(Kind::Retry, "list", error);
        let (mut last, end, mut parts) = (after, self.last_file().map_err(retry)?, Vec::new());
        while last < end {
            let (batch, part) = self.read(last + 1)?;
            last = part.last.0;
            into.batch(batch)?;
            into.progress(part.first.0, end);
            parts.push(part);
        }
        // A rename that this process sees may not be synced: its writer may have crashed before.
        self.sync()?;
        Ok(parts)
    }

    /// Reads a file: the batch as JSON, and its checksum.
    fn read(&self, first: u64) -> Result<(Batch, Part), JournalError> {
        let path = self.path(first);
        let bytes = fs::read(&path).map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let kind = if missing { Kind::Corrupt } else { Kind::Retry };
            JournalError::new(kind, format!("cannot read {}", path.display())).caused_by(error)
        })?;
        let damaged = || JournalError::corrupt(format!("{} is damaged: restore it from a copy", path.display()));
        let (json, sum) = bytes.split_last_chunk().ok_or_else(damaged)?;
        if *sum != checksum(json) {
            return Err(damaged());
        }
        let batch: Batch = serde_json::from_slice(json).map_err(|error| damaged().caused_by(error))?;
        if batch.first_position().0 != first || !batch.is_whole() {
            return Err(damaged());
        }
        let part = Part::of(&batch, bytes.len() as u64);
        Ok((batch, part))
    }

    /// Writes a batch and syncs it, in place of an earlier file with this first position.
    fn write(&self, batch: &Batch) -> Result<Part, JournalError> {
        let encoded = serde_json::to_vec(batch);
        let mut bytes = encoded.map_err(|error| JournalError::failed("cannot encode a batch").caused_by(error))?;
        bytes.extend(checksum(&bytes));
        let path = self.path(batch.first_position().0);
        let temporary = path.with_extension("new");
        // A retry writes a new file, because a file whose sync has failed may lack bytes.
        fs::remove_file(&temporary).ok();
        let created = File::create_new(&temporary);
        let filled = created.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
        filled.map_err(|error| self.error(Kind::Retry, "write to", error))?;
        // After an error below, the batch may be stored or not.
        fs::rename(&temporary, &path).map_err(|error| self.error(Kind::Failed, "rename in", error))?;
        self.sync()?;
        Ok(Part::of(batch, bytes.len() as u64))
    }

    /// Syncs the names in the directory.
    fn sync(&self) -> Result<(), JournalError> {
        let synced = File::open(&self.0).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.error(Kind::Failed, "sync", error))
    }
}

/// FNV-1a: finds a file that was cut or changed.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add).to_le_bytes()
}

/// The journal: the one writer of a directory, as long as it holds the lock.
#[derive(Debug)]
struct DirectoryJournal {
    directory: Directory,
    /// One part for each batch.
    parts: Vec<Part>,
    _lock: File,
}

impl DirectoryJournal {
    fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let directory = Directory(path.into());
        let lock = || {
            fs::create_dir_all(&directory.0)?;
            let file = File::create(directory.0.join("lock"))?;
            file.try_lock()?;
            Ok(file)
        };
        let lock = lock().map_err(|error: io::Error| {
            let locked = error.kind() == io::ErrorKind::WouldBlock;
            let kind = if locked { Kind::Locked } else { Kind::Retry };
            directory.error(kind, "lock", error)
        })?;
        Ok(Self {
            directory,
            parts: Vec::new(),
            _lock: lock,
        })
    }
}

impl Journal for DirectoryJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        self.parts = self.directory.pass(0, into)?;
        Ok(recovered(&self.parts))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let last = self.parts.last().map_or(0, |part| part.last.0);
        if batch.first_position().0 != last + 1 || !batch.is_whole() {
            return Err(JournalError::failed(format!("a batch does not follow position {last}")));
        }
        self.parts.push(self.directory.write(batch)?);
        Ok(())
    }

    /// A written batch is synced.
    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}

fn recovered(parts: &[Part]) -> Recovered {
    Recovered::new(parts.iter().map(|part| part.bytes).sum(), 0)
}

impl Compactor for DirectoryJournal {
    fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn should_compact(&self, part: &Part, dropped: u64) -> bool {
        dropped.saturating_mul(2) >= part.events
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        let Some(known) = self.parts.iter_mut().find(|known| known.first == part.first) else {
            let message = format!("no batch begins with position {}", part.first);
            return Err(JournalError::new(Kind::Unsupported, message));
        };
        let (batch, _) = self.directory.read(part.first.0)?;
        *known = self.directory.write(&purge.apply(&batch))?;
        Ok(CompactionStep::Done { bytes: known.bytes })
    }
}

/// Reads the files of a directory that other processes write, when it is woken and every 20 ms.
#[derive(Debug)]
struct DirectoryFeed(Directory, Receiver<()>);

impl Feed for DirectoryFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        // Every batch ends an append, so no file begins before `after` and ends behind it.
        Ok(recovered(&self.0.pass(after.0, into)?))
    }

    /// Ends at once when the remote has dropped the sender.
    fn wait(&mut self) {
        self.1.recv_timeout(Duration::from_millis(20)).ok();
    }
}

/// Appends to a directory: as a writer that holds the lock for one append. The cost is a recovery for each append.
#[derive(Debug)]
struct DirectoryRemote(Directory, Mutex<Option<SyncSender<()>>>);

impl DirectoryRemote {
    /// Opens the journal when no other writer has it.
    fn open(&self) -> Result<DirectoryJournal, JournalError> {
        let deadline = Instant::now() + self.timeout();
        loop {
            let opened = DirectoryJournal::open(&self.0.0);
            let is_locked = opened.as_ref().is_err_and(|error| error.kind() == Kind::Locked);
            if !is_locked || Instant::now() > deadline || self.1.lock().is_none() {
                return opened;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Remote for DirectoryRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> annals::Result<Appended> {
        let settings = Settings::default().durability(Durability::Synced);
        let store = Store::builder().settings(settings).journal(self.open()?).open()?;
        // The ids make a repeated append one append.
        let appended = store.append(append.stream(), append.expected(), append.events_with_ids());
        // After a failure the events may be stored: the same append finds out.
        let mut appended = match appended {
            Err(annals::Error::Failed { cause }) => return Err(annals::Error::Unavailable { cause }),
            appended => appended?,
        };
        store.close()?;
        appended.repeated &= append.has_own_ids();
        Ok(appended)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The channel holds one message, so a wake before a wait ends that wait.
    fn wake(&self) {
        self.1.lock().as_ref().map(|sender| sender.try_send(()));
    }

    fn stop(&self) {
        *self.1.lock() = None;
    }
}

fn follow(path: &Path) -> Result<Followed, JournalError> {
    let (directory, (sender, receiver)) = (Directory(path.to_owned()), sync_channel(1));
    fs::create_dir_all(path).map_err(|error| directory.error(Kind::Retry, "create", error))?;
    let remote = DirectoryRemote(directory.clone(), Mutex::new(Some(sender)));
    Ok(Followed::new(DirectoryFeed(directory, receiver), remote))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("annals-directory-journal-{}", std::process::id()));
    let order = StreamId::new("Order", "order-1");
    let store = Store::open(DirectoryJournal::open(&path)?)?.with_durability(Durability::Synced)?;
    store.append(
        &order,
        Expected::NoStream,
        NewEvent::new("OrderPlaced").data(r#"{"total": 250}"#),
    )?;
    store.close()?;
    let follower = Store::builder().follow_log(follow(&path)?)?;
    follower.append(&order, Expected::StreamExists, NewEvent::new("OrderPaid"))?;
    let read = follower.read_stream("order-1").events();
    writeln!(io::stdout(), "{} events in {}", read.len(), path.display())?;
    fs::remove_dir_all(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
