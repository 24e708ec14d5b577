//! A disk in memory that fails on demand, and loses unsynced data at a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::operation::Choices;
use crate::journal::file::{Disk, DiskFile, DiskLock, FileJournal, FileSettings};
use crate::journal::{Journal, JournalError};

/// Bytes that a disk writes atomically.
const SECTOR_BYTES: usize = 512;

/// A disk in memory.
///
/// It separates the data that a process sees from the data that is synced. At a [crash](Self::crash) a part of the unsynced data survives:
/// nothing, everything, all bytes up to some offset, or some of the sectors. Unsynced changes of names survive or are lost as well.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// A fault of a [`SimulatedDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The power fails: this call and all later calls fail until the disk is [crashed](SimulatedDisk::crash) and used again.
    PowerLoss,
    /// The device returns an error. A sync with this fault loses the data that it should have synced.
    Device,
    /// The disk is full for this call; a part of a write may be stored.
    Full,
}

/// A promise that a [`SimulatedDisk`] breaks. It stands for a journal with a bug that omits the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// Files are not synced.
    Sync,
    /// Names are not synced.
    SyncNames,
    /// Files are not cut.
    Cut,
    /// Syncs of files do not return, after the first eight.
    Return,
}

/// Syncs that return on a disk with [`Lie::Return`].
const SYNCS: u32 = 8;

#[derive(Debug, Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    /// The synced names, and the changes since.
    safe_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    /// The number of crashes and ends of the process: files that were opened before are unusable.
    life: u32,
    locked_in: Option<u32>,
    /// Changing calls in this life.
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    dark: bool,
    lies: Vec<Lie>,
    /// Syncs of files on a disk with [`Lie::Return`].
    syncs: u32,
}

/// A file: its visible contents, its synced contents, and the changes in between.
#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Name { name: String, file: usize },
    Remove { name: String },
    Rename { from: String, to: String, file: usize },
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `call`-th changing call from now fail.
    pub fn fail(&self, call: u64, fault: Fault) {
        let mut state = self.state.lock();
        let call = state.calls + call.max(1);
        state.faults.insert(call, fault);
    }

    /// Makes the disk break a promise from now on.
    pub fn lie(&self, lie: Lie) {
        self.state.lock().lies.push(lie);
    }

    /// Whether another sync of a file returns.
    fn returns(&self) -> bool {
        let mut state = self.state.lock();
        if !state.lies.contains(&Lie::Return) {
            return true;
        }
        state.syncs += 1;
        state.syncs <= SYNCS
    }

    /// Ends the process: the next process sees everything that was written, synced or not.
    pub fn kill(&self) {
        self.state.lock().begin_life();
    }

    /// Ends the machine: `choices` decide which unsynced data survive.
    pub fn crash<I: Iterator<Item = u16>>(&self, choices: &mut Choices<I>) {
        let mut state = self.state.lock();
        state.lose_names(choices);
        for file in &mut state.files {
            file.lose(choices);
        }
        state.begin_life();
    }

    /// Flips a bit of a file, like bit rot. Returns `false` when the file does not have this byte.
    pub fn flip(&self, name: &str, offset: usize) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.names.get(name).copied() else {
            return false;
        };
        let file = &mut state.files[file];
        for bytes in [&mut file.seen, &mut file.safe] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1;
            }
        }
        offset < file.seen.len()
    }

    /// The contents of a file that a process sees.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(name).map(|file| state.files[*file].seen.clone())
    }

    /// Creates a file that is synced at once.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let number = state.files.len();
        state.files.push(Contents {
            seen: bytes.to_vec(),
            safe: bytes.to_vec(),
            pending: Vec::new(),
        });
        state.names.insert(name.to_owned(), number);
        state.safe_names.insert(name.to_owned(), number);
    }

    fn change<T>(&self, life: u32, call: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.check(life)?;
        state.calls += 1;
        let call_number = state.calls;
        let fault = state.faults.remove(&call_number);
        state.dark |= fault == Some(Fault::PowerLoss);
        call(&mut state, fault)
    }

    fn life(&self) -> u32 {
        self.state.lock().life
    }
}

impl State {
    fn check(&self, life: u32) -> io::Result<()> {
        if self.dark || life != self.life {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn begin_life(&mut self) {
        self.life += 1;
        self.locked_in = None;
        self.calls = 0;
        self.faults.clear();
        self.dark = false;
    }

    fn lose_names<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let keeps_all = choices.below(3) == 0;
        for change in std::mem::take(&mut self.changes) {
            if keeps_all || choices.below(2) == 0 {
                change.apply(&mut self.safe_names);
            }
        }
        self.names = self.safe_names.clone();
    }

    fn change_name(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Name { name, file } => names.insert(name.clone(), *file),
            Self::Remove { name } => names.remove(name),
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file)
            }
        };
    }
}

impl Contents {
    fn add(&mut self, pending: Pending) {
        pending.apply(&mut self.seen);
        self.pending.push(pending);
    }

    fn lose<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let pending = std::mem::take(&mut self.pending);
        match choices.below(4) {
            0 => {}
            1 => pending.iter().for_each(|write| write.apply(&mut self.safe)),
            2 => {
                let whole = choices.below(pending.len() as u64 + 1) as usize;
                pending[..whole].iter().for_each(|write| write.apply(&mut self.safe));
                if let Some(torn) = pending.get(whole) {
                    torn.tear(choices, &mut self.safe);
                }
            }
            _ => pending.iter().for_each(|write| write.scatter(choices, &mut self.safe)),
        }
        self.seen = self.safe.clone();
    }
}

impl Pending {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(contents, *offset, bytes),
            Self::Length(length) => contents.resize(*length, 0),
        }
    }

    /// The first bytes of the write survive.
    fn tear<I: Iterator<Item = u16>>(&self, choices: &mut Choices<I>, contents: &mut Vec<u8>) {
        if let Self::Write { offset, bytes } = self {
            let part = choices.below(bytes.len() as u64) as usize;
            write(contents, *offset, &bytes[..part]);
        }
    }

    /// Some sectors of the write survive.
    fn scatter<I: Iterator<Item = u16>>(&self, choices: &mut Choices<I>, contents: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let mut at = *offset;
                let end = offset + bytes.len();
                while at < end {
                    let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                    if choices.below(2) == 0 {
                        write(contents, at, &bytes[at - offset..next - offset]);
                    }
                    at = next;
                }
            }
            Self::Length(_) if choices.below(2) == 0 => self.apply(contents),
            Self::Length(_) => {}
        }
    }
}

fn write(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(bytes);
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::PowerLoss => io::Error::other("the power is off"),
        Fault::Device => io::Error::other("the device failed"),
        Fault::Full => io::ErrorKind::StorageFull.into(),
    }
}

impl Disk for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check(state.life)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state.lock();
        state.check(state.life)?;
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            number: state.find(name)?,
            life: state.life,
        }))
    }

    fn open_writable(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let life = self.life();
        let number = self.change(life, |state, fault| {
            if let Some(fault) = fault {
                return Err(error(fault));
            }
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.files.len();
            state.files.push(Contents::default());
            let name = name.to_owned();
            state.change_name(Change::Name { name, file });
            Ok(file)
        })?;
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            number,
            life,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(self.life(), |state, fault| {
            state.find(name)?;
            state.change_name(Change::Remove { name: name.to_owned() });
            fault.map_or(Ok(()), |fault| Err(error(fault)))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(self.life(), |state, fault| {
            let file = state.find(from)?;
            if let Some(fault) = fault.filter(|fault| *fault != Fault::PowerLoss) {
                return Err(error(fault));
            }
            let (from, to) = (from.to_owned(), to.to_owned());
            state.change_name(Change::Rename { from, to, file });
            fault.map_or(Ok(()), |fault| Err(error(fault)))
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.change(self.life(), |state, fault| {
            if let Some(fault) = fault {
                return Err(error(fault));
            }
            if !state.lies.contains(&Lie::SyncNames) {
                state.changes.clear();
                state.safe_names = state.names.clone();
            }
            Ok(())
        })
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.check(state.life)?;
        if state.locked_in == Some(state.life) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let life = state.life;
        state.locked_in = Some(life);
        Ok(Box::new(SimulatedLock {
            disk: self.clone(),
            life,
        }))
    }

    fn lock_shared(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.lock(name).map(Some)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    life: u32,
}

impl DiskLock for SimulatedLock {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.locked_in == Some(self.life) {
            state.locked_in = None;
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    number: usize,
    life: u32,
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.check(self.life)?;
        Ok(state.files[self.number].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state.lock();
        state.check(self.life)?;
        let contents = &state.files[self.number].seen;
        let there = contents.get(offset as usize..).unwrap_or_default();
        let read = there.len().min(bytes.len());
        bytes[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = self.number;
        self.disk.change(self.life, |state, fault| {
            // A failed write may be stored in part.
            let part = if fault.is_some_and(|fault| fault != Fault::PowerLoss) {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            state.files[number].add(Pending::Write {
                offset: offset as usize,
                bytes: bytes[..part].to_vec(),
            });
            fault.map_or(Ok(()), |fault| Err(error(fault)))
        })
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let number = self.number;
        self.disk.change(self.life, |state, fault| {
            if let Some(fault) = fault.filter(|fault| *fault != Fault::PowerLoss) {
                return Err(error(fault));
            }
            if !state.lies.contains(&Lie::Cut) {
                state.files[number].add(Pending::Length(length as usize));
            }
            fault.map_or(Ok(()), |fault| Err(error(fault)))
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        while !self.disk.returns() {
            std::thread::park();
        }
        let number = self.number;
        self.disk.change(self.life, |state, fault| {
            let lies = state.lies.contains(&Lie::Sync);
            let file = &mut state.files[number];
            match fault {
                None if lies => Ok(()),
                None => {
                    file.pending.clear();
                    file.safe = file.seen.clone();
                    Ok(())
                }
                Some(fault) => {
                    if fault == Fault::Device {
                        // The data that could not be synced are dropped: the next sync does not retry them.
                        file.pending.clear();
                    }
                    Err(error(fault))
                }
            }
        })
    }
}

impl super::conformance::Storage for SimulatedDisk {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        let settings = FileSettings {
            segment_bytes: 64 << 10,
            ..FileSettings::default()
        };
        Ok(Box::new(FileJournal::on(Arc::new(self.clone()), settings)?))
    }

    fn lose_process(&self) {
        self.kill();
    }

    fn lose_machine(&self) {
        self.crash(&mut Choices::new(std::iter::empty()));
    }
}
