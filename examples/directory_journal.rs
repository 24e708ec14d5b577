//! A journal for a store, from public parts alone: a directory with a file for each batch. It can be compacted, and followed by other stores.
//!
//! A file gets its content under a temporary name, is synced, and is then renamed; the rename is synced with the directory. So a crash leaves a
//! whole batch or a temporary file, never a part of a batch. The tests below run the conformance suites.
//!
//! `cargo run --features testing --example directory_journal`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::{
    Batch, CompactionStep, Compactor, Feed, Followed, Journal, JournalError, JournalErrorKind, Part, PurgeSet, Recover,
    Recovered, Remote, RemoteAppend,
};
use annals::{Appended, Durability, Expected, NewEvent, Position, Settings, Store, StreamId};
use parking_lot::{Condvar, Mutex};

const POLL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A directory with the file `lock`, and a file for each batch, named after the batch's first position.
#[derive(Clone, Debug)]
struct Directory(PathBuf);

impl Directory {
    fn error(&self, kind: JournalErrorKind, what: &str, error: io::Error) -> JournalError {
        JournalError::new(kind, format!("cannot {what} {}", self.0.display())).caused_by(error)
    }

    /// The files of batches, in ascending order of positions.
    fn files(&self) -> Result<BTreeMap<u64, PathBuf>, JournalError> {
        let read = || {
            fs::read_dir(&self.0)?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()
        };
        let paths = read().map_err(|error| self.error(JournalErrorKind::Retry, "list", error))?;
        // Other files may be in the directory, also with names such as `7.batch`.
        let first = |path: &Path| {
            let first: u64 = path.file_stem()?.to_str()?.parse().ok()?;
            (path.file_name()? == file_name(first)).then_some(first)
        };
        let batches = paths.into_iter().filter_map(|path| Some((first(&path)?, path)));
        Ok(batches.collect())
    }

    /// Reads a file: its checksum, a line feed, and the batch as JSON.
    fn read(path: &Path) -> Result<(Batch, u64), JournalError> {
        let unreadable = |error| {
            JournalError::new(JournalErrorKind::Retry, format!("cannot read {}", path.display())).caused_by(error)
        };
        let bytes = fs::read(path).map_err(unreadable)?;
        let damaged = || JournalError::corrupt(format!("{} is damaged: restore it from a copy", path.display()));
        let (sum, json) = bytes.split_at_checked(17).ok_or_else(damaged)?;
        if sum != checksum(json).as_bytes() {
            return Err(damaged());
        }
        let batch = serde_json::from_slice(json).map_err(|error| damaged().caused_by(error))?;
        Ok((batch, bytes.len() as u64))
    }

    /// Writes a batch and syncs it, in place of an earlier file with this first position. Returns the bytes.
    fn write(&self, batch: &Batch) -> Result<u64, JournalError> {
        let json = serde_json::to_vec(batch).map_err(|error| JournalError::failed("cannot encode").caused_by(error))?;
        let path = self.0.join(file_name(batch.first_position().0));
        let temporary = path.with_extension("new");
        let fill = |mut file: File| {
            file.write_all(checksum(&json).as_bytes())?;
            file.write_all(&json)?;
            file.sync_all()
        };
        if let Err(error) = File::create(&temporary).and_then(fill) {
            // The batch has no file. A retry writes a new one, because a file whose sync has failed may lack bytes.
            fs::remove_file(&temporary).ok();
            return Err(self.error(JournalErrorKind::Retry, "write to", error));
        }
        // After an error below, the batch may be stored or not.
        fs::rename(&temporary, &path).map_err(|error| self.error(JournalErrorKind::Failed, "rename in", error))?;
        self.sync()?;
        Ok(json.len() as u64 + 17)
    }

    /// Syncs the names in the directory.
    fn sync(&self) -> Result<(), JournalError> {
        let synced = File::open(&self.0).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.error(JournalErrorKind::Failed, "sync", error))
    }
}

/// The name of the file of a batch.
fn file_name(first: u64) -> OsString {
    format!("{first:020}.batch").into()
}

/// FNV-1a and a line feed: finds a file that was cut or changed.
fn checksum(bytes: &[u8]) -> String {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}\n", bytes.iter().fold(0xcbf2_9ce4_8422_2325, add))
}

/// The journal: the one writer of a directory, as long as it holds the lock.
#[derive(Debug)]
struct DirectoryJournal {
    directory: Directory,
    parts: Vec<Part>,
    last: u64,
    _lock: File,
}

impl DirectoryJournal {
    fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let directory = Directory(path.into());
        let failed = |error| directory.error(JournalErrorKind::Retry, "lock", error);
        fs::create_dir_all(&directory.0).map_err(failed)?;
        let lock = File::create(directory.0.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("another writer has {}: close it first", directory.0.display());
                return Err(JournalError::new(JournalErrorKind::Locked, message));
            }
        }
        Ok(Self {
            directory,
            parts: Vec::new(),
            last: 0,
            _lock: lock,
        })
    }
}

impl Journal for DirectoryJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        // A rename that this process sees may not be synced: its writer may have crashed before.
        self.directory.sync()?;
        let files = self.directory.files()?;
        let (total, mut bytes) = (files.len() as u64, 0);
        for (done, (first, path)) in (1..).zip(files) {
            let (batch, len) = Directory::read(&path)?;
            if first != self.last + 1 || batch.first_position().0 != first || !batch.is_whole() {
                let message = format!("{} does not follow position {}", path.display(), self.last);
                return Err(JournalError::corrupt(message));
            }
            self.last = batch.last_position().0;
            self.parts.push(Part::of(&batch, len));
            bytes += len;
            into.batch(batch)?;
            into.progress(done, total);
        }
        Ok(Recovered::new(bytes, 0))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        if batch.first_position().0 != self.last + 1 || !batch.is_whole() {
            let message = format!(
                "a batch from position {} does not follow {}",
                batch.first_position(),
                self.last
            );
            return Err(JournalError::failed(message));
        }
        let bytes = self.directory.write(batch)?;
        self.parts.push(Part::of(batch, bytes));
        self.last = batch.last_position().0;
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

impl Compactor for DirectoryJournal {
    /// One part for each batch.
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
            return Err(JournalError::new(JournalErrorKind::Unsupported, message));
        };
        let path = self.directory.0.join(file_name(part.first.0));
        let batch = purge.apply(&Directory::read(&path)?.0);
        let bytes = self.directory.write(&batch)?;
        *known = Part::of(&batch, bytes);
        Ok(CompactionStep::Done { bytes })
    }
}

/// What the feed and the remote of one follower share: whether a wait is to end.
#[derive(Debug, Default)]
struct Wakeup(Mutex<[bool; 2]>, Condvar);

impl Wakeup {
    fn set(&self, flag: usize) {
        self.0.lock()[flag] = true;
        self.1.notify_all();
    }

    /// Waits for a wake, which it takes, for the end, or for the poll interval.
    fn wait(&self) {
        let mut flags = self.0.lock();
        self.1
            .wait_while_for(&mut flags, |[woken, stopped]| !*woken && !*stopped, POLL);
        flags[0] = false;
    }

    fn is_stopped(&self) -> bool {
        self.0.lock()[1]
    }
}

/// Reads the files of a directory that other processes write.
#[derive(Debug)]
struct DirectoryFeed(Directory, Arc<Wakeup>);

impl Feed for DirectoryFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        // The names are listed first: what is passed on is synced.
        let files = self.0.files()?;
        self.0.sync()?;
        self.pass(&files, after, into)
    }

    fn wait(&mut self) {
        self.1.wait();
    }
}

impl DirectoryFeed {
    /// Passes on the batches after a position, up to a file that the listing lacks.
    fn pass(
        &self,
        files: &BTreeMap<u64, PathBuf>,
        after: Position,
        into: &mut dyn Recover,
    ) -> Result<Recovered, JournalError> {
        let (mut last, mut bytes) = (after.0, 0);
        // Every batch ends an append, so no file begins before `after` and ends behind it.
        for (first, path) in files.range(after.0 + 1..) {
            if *first != last + 1 {
                self.check_exists(last + 1, path)?;
                break;
            }
            let (batch, len) = Directory::read(path)?;
            (last, bytes) = (batch.last_position().0, bytes + len);
            into.batch(batch)?;
        }
        Ok(Recovered::new(bytes, 0))
    }

    /// A listing that is made while a writer adds files may lack one and have a later one. The next listing has both, unless the file was removed.
    fn check_exists(&self, first: u64, next: &Path) -> Result<(), JournalError> {
        if self.0.files()?.contains_key(&first) {
            return Ok(());
        }
        let message = format!(
            "the file with position {first} is missing before {}: restore it from a copy",
            next.display()
        );
        Err(JournalError::corrupt(message))
    }
}

/// Appends to a directory: as a writer that holds the lock for one append. The cost is a recovery for each append.
#[derive(Debug)]
struct DirectoryRemote(Directory, Arc<Wakeup>);

impl Remote for DirectoryRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> annals::Result<Appended> {
        let deadline = Instant::now() + TIMEOUT;
        let journal = loop {
            match DirectoryJournal::open(&self.0.0) {
                Err(error) if error.kind() != JournalErrorKind::Locked => return Err(error.into()),
                Err(error) if Instant::now() > deadline || self.1.is_stopped() => return Err(error.into()),
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
                Ok(journal) => break journal,
            }
        };
        let settings = Settings::default().durability(Durability::Synced);
        let store = Store::builder().settings(settings).journal(journal).open()?;
        // The ids make a repeated append one append.
        let mut appended = store.append(append.stream(), append.expected(), append.events_with_ids())?;
        store.close()?;
        appended.repeated &= append.has_own_ids();
        Ok(appended)
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn wake(&self) {
        self.1.set(0);
    }

    fn stop(&self) {
        self.1.set(1);
    }
}

fn follow(path: &Path) -> Result<Followed, JournalError> {
    let (directory, wakeup) = (Directory(path.to_owned()), Arc::new(Wakeup::default()));
    fs::create_dir_all(path).map_err(|error| directory.error(JournalErrorKind::Retry, "create", error))?;
    Ok(Followed::new(
        DirectoryFeed(directory.clone(), Arc::clone(&wakeup)),
        DirectoryRemote(directory, wakeup),
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("annals-directory-journal-{}", std::process::id()));
    let order = StreamId::new("Order", "order-1");
    let store = Store::open(DirectoryJournal::open(&path)?)?.with_durability(Durability::Synced)?;
    store.append(
        &order,
        Expected::NoStream,
        vec![NewEvent::new("OrderPlaced").data(r#"{"total": 250}"#)],
    )?;
    store.close()?;
    let follower = Store::builder().follow_log(follow(&path)?)?;
    follower.append(&order, Expected::StreamExists, vec![NewEvent::new("OrderPaid")])?;
    let read: Vec<_> = follower.read_stream("order-1").events();
    writeln!(io::stdout(), "{} events in {}", read.len(), path.display())?;
    fs::remove_dir_all(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use annals::testing::conformance::{Log, Storage};

    use super::*;

    /// A directory that is removed at the end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            Self(std::env::temp_dir().join(format!("annals-directory-{}-{number}", std::process::id())))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    impl Storage for Temporary {
        fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
            Ok(Box::new(DirectoryJournal::open(&self.0)?))
        }
    }

    impl Log for Temporary {
        fn connect(&self) -> Result<Followed, JournalError> {
            follow(&self.0)
        }
    }

    annals::conformance!(journal, Temporary::new());
    annals::feed_conformance!(feed, Temporary::new());

    fn written() -> (Temporary, PathBuf) {
        let directory = Temporary::new();
        let store = Store::open(DirectoryJournal::open(&directory.0).expect("a journal")).expect("a store");
        let store = store.with_durability(Durability::Synced).expect("it can sync");
        for number in 0..3 {
            let event = NewEvent::new("OrderPlaced").data(format!("{number}"));
            store
                .append(&StreamId::new("Order", "order-1"), Expected::Any, vec![event])
                .expect("appended");
        }
        store.close().expect("closed");
        let files = Directory(directory.0.clone()).files().expect("files");
        let last = files.into_values().last().expect("a file");
        (directory, last)
    }

    fn open(directory: &Temporary) -> annals::Result<Store> {
        Store::open(DirectoryJournal::open(&directory.0)?)
    }

    #[test]
    fn a_temporary_file_of_a_crash_is_no_batch() {
        let (directory, last) = written();
        fs::write(last.with_extension("new"), "0123").expect("written");
        let store = open(&directory).expect("it opens");
        assert_eq!(store.read_stream("order-1").events().len(), 3);
    }

    /// What a write or a compaction leaves in the directory when the process ends after any of its steps.
    #[test]
    fn a_crash_between_two_steps_lost_a_batch() {
        // The batch that is written, and whether it has its name: only the last one can lack it.
        for (batch, is_renamed) in [(1, true), (2, true), (3, true), (3, false)] {
            let (directory, last) = written();
            let path = last.with_file_name(file_name(batch));
            let whole = fs::read(&path).expect("read");
            if !is_renamed {
                fs::remove_file(&path).expect("removed");
            }
            let count = if is_renamed { 3 } else { 2 };
            for left in [&whole[..0], &whole[..17], &whole[..whole.len() - 1], &whole[..]] {
                fs::write(path.with_extension("new"), left).expect("written");
                let store = open(&directory).expect("it opens");
                assert_eq!(store.read_stream("order-1").events().len(), count);
            }
            check_goes_on(&directory, count);
        }
    }

    fn check_goes_on(directory: &Temporary, count: usize) {
        let store = open(directory).expect("it opens");
        let order = StreamId::new("Order", "order-1");
        let event = vec![NewEvent::new("OrderPaid")];
        store.append(&order, Expected::Any, event).expect("appended");
        store.close().expect("closed");
        let store = open(directory).expect("it opens");
        assert_eq!(store.read_stream("order-1").events().len(), count + 1);
    }

    #[test]
    fn a_file_of_another_program_was_taken_for_a_batch() {
        let (directory, last) = written();
        for name in [
            "1.batch",
            "+0000000000000000002.batch",
            "7.batch",
            "x.batch",
            ".batch",
            "notes.txt",
        ] {
            fs::write(last.with_file_name(name), "not a batch").expect("written");
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt as _;
            let name = OsString::from_vec(b"\xff.batch".to_vec());
            fs::write(last.with_file_name(name), "not a batch").expect("written");
        }
        fs::create_dir(last.with_file_name("9.batch")).expect("created");
        let store = open(&directory).expect("it opens");
        assert_eq!(store.read_stream("order-1").events().len(), 3);
        let follower = Store::builder().follow_log(follow(&directory.0).expect("a log"));
        assert_eq!(follower.expect("it follows").visible(), Position(3));
    }

    /// Takes the last position.
    struct Last(u64);

    impl Recover for Last {
        fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
            self.0 = batch.last_position().0;
            Ok(())
        }

        fn progress(&mut self, _: u64, _: u64) {}
    }

    #[test]
    fn a_listing_without_a_file_that_was_being_added_ended_following() {
        let (directory, _) = written();
        let feed = DirectoryFeed(Directory(directory.0.clone()), Arc::default());
        let mut files = feed.0.files().expect("files");
        let second = files.remove(&2).expect("a file");
        let mut last = Last(0);
        feed.pass(&files, Position(0), &mut last).expect("it goes on later");
        assert_eq!(last.0, 1);
        fs::remove_file(second).expect("removed");
        let error = feed.pass(&files, Position(1), &mut last).expect_err("it is missing");
        assert_eq!((error.kind(), last.0), (JournalErrorKind::Corrupt, 1));
        assert!(error.to_string().contains("position 2"), "{error}");
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_damage_and_named() {
        let (directory, last) = written();
        let whole = fs::read(&last).expect("read");
        let mut changed = whole.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        for damaged in [&whole[..0], &whole[..10], &whole[..whole.len() - 1], &changed[..]] {
            fs::write(&last, damaged).expect("written");
            let error = open(&directory).expect_err("it is damaged");
            assert!(matches!(error, annals::Error::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains("3.batch is damaged"), "{error}");
        }
        fs::write(&last, whole).expect("written");
        assert!(open(&directory).is_ok());
    }

    #[test]
    fn a_file_that_is_missing_is_damage() {
        let (directory, last) = written();
        fs::remove_file(last.with_file_name(format!("{:020}.batch", 2))).expect("removed");
        assert!(matches!(open(&directory), Err(annals::Error::Corrupt { .. })));
    }
}
