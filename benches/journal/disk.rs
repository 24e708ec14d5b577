//! The real disk with a recorder, and the recording played on a bare file: what the journal's writes and syncs cost by themselves.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::file::{Disk, DiskFile, DiskLock, Folder};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::sure;

/// One call that a disk got.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Write(usize),
    Sync,
}

pub(crate) type Calls = Arc<Mutex<Vec<Call>>>;

/// A folder that takes down what is written and when it is synced. The zeros written ahead of need are not what is compared.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: Folder,
    calls: Calls,
}

impl Recorder {
    pub(crate) fn new(path: &Path) -> (Self, Calls) {
        let calls = Calls::default();
        let folder = sure(Folder::create(path));
        let recorder = Self {
            folder,
            calls: Arc::clone(&calls),
        };
        (recorder, calls)
    }

    fn record(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(RecordedFile {
            file,
            calls: Arc::clone(&self.calls),
        })
    }
}

impl Disk for Recorder {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.folder.open(name)
    }

    fn open_writable(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.record(self.folder.open_writable(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.record(self.folder.create(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_names()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>> {
        self.folder.lock(name)
    }

    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.folder.lock_shared(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }
}

#[derive(Debug)]
struct RecordedFile {
    file: Box<dyn DiskFile>,
    calls: Calls,
}

impl DiskFile for RecordedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.calls.lock().push(Call::Write(bytes.len()));
        }
        self.file.write_at(offset, bytes)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.calls.lock().push(Call::Sync);
        self.file.sync()
    }
}

/// The same writes and syncs on a file that grows, from one thread. Answers how long they took.
pub(crate) fn play(calls: &[Call], path: &Path) -> Duration {
    let file = new_file(path);
    let longest = calls
        .iter()
        .map(|call| if let Call::Write(bytes) = call { *bytes } else { 0 });
    let bytes = vec![7; longest.max().unwrap_or(0)];
    let began = Instant::now();
    let mut offset = 0;
    for call in calls {
        match call {
            Call::Write(length) => {
                sure(file.write_all_at(&bytes[..*length], offset));
                offset += *length as u64;
            }
            Call::Sync => sure(file.sync_data()),
        }
    }
    began.elapsed()
}

/// `count` appends of `bytes` from `writers` threads, each written and synced by its own thread, one at a time.
pub(crate) fn one_sync_each(path: &Path, writers: usize, count: usize, bytes: usize) -> Duration {
    let file = Mutex::new((new_file(path), 0));
    let bytes = vec![7; bytes];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                for _ in 0..count / writers {
                    let mut guard = file.lock();
                    sure(guard.0.write_all_at(&bytes, guard.1));
                    sure(guard.0.sync_data());
                    guard.1 += bytes.len() as u64;
                }
            });
        }
    });
    began.elapsed()
}

/// Group commit as one writes it by hand: a thread that finds no other writing writes and syncs everything queued, and wakes the others. It
/// does not wait for more appends to share a sync.
pub(crate) fn shared_syncs(path: &Path, writers: usize, count: usize, bytes: usize) -> Duration {
    let shared = Shared {
        file: new_file(path),
        turn: Mutex::default(),
        synced: Condvar::new(),
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| (0..count / writers).for_each(|_| shared.append(bytes)));
        }
    });
    began.elapsed()
}

struct Shared {
    file: File,
    turn: Mutex<Turn>,
    synced: Condvar,
}

#[derive(Default)]
struct Turn {
    /// What was brought and is not written yet.
    brought: Vec<u8>,
    /// How many writes were begun, and how many ended; there is one more begun while somebody writes.
    begun: u64,
    ended: u64,
    offset: u64,
}

impl Shared {
    fn append(&self, bytes: usize) {
        let mut turn = self.turn.lock();
        let length = turn.brought.len();
        turn.brought.resize(length + bytes, 7);
        let mine = turn.begun + 1;
        while turn.ended < mine {
            if turn.begun == turn.ended {
                self.write(&mut turn);
            } else {
                self.synced.wait(&mut turn);
            }
        }
    }

    fn write(&self, turn: &mut MutexGuard<'_, Turn>) {
        let brought = std::mem::take(&mut turn.brought);
        turn.begun += 1;
        let offset = turn.offset;
        MutexGuard::unlocked(turn, || {
            sure(self.file.write_all_at(&brought, offset));
            sure(self.file.sync_data());
        });
        turn.offset += brought.len() as u64;
        turn.ended = turn.begun;
        self.synced.notify_all();
    }
}

fn new_file(path: &Path) -> File {
    let mut options = OpenOptions::new();
    sure(options.read(true).write(true).create(true).truncate(true).open(path))
}
