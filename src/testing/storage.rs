//! A journal in memory that blocks, fails or loses data on demand: for tests of stores, and as the shortest example of a journal.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::conformance::Storage;
use crate::journal::{Batch, Compactor, Journal, JournalError, JournalErrorKind, Recover, Recovered};
use crate::{Durability, Position};

/// The storage of [`MemoryJournal`]s, which survives them as a disk survives processes.
///
/// ```
/// use annals::testing::storage::MemoryStorage;
/// use annals::{Durability, Expected, NewEvent, Store, StreamId};
///
/// let storage = MemoryStorage::new(Durability::Synced);
/// let store = Store::open(storage.journal()?)?;
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
/// store.close()?;
/// # drop(store);
/// assert_eq!(Store::open(storage.journal()?)?.visible(), annals::Position(1));
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    durability: Durability,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: Vec<Batch>,
    /// The number of synced batches.
    synced: usize,
    syncs: u64,
    is_open: bool,
    is_held: bool,
    faults: Vec<JournalErrorKind>,
}

impl MemoryStorage {
    /// Creates an empty storage whose journals promise `durability`.
    pub fn new(durability: Durability) -> Self {
        Self {
            shared: Arc::new(Shared {
                durability,
                state: Mutex::default(),
                released: Condvar::new(),
            }),
        }
    }

    /// Opens a journal on this storage.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Locked`] while another journal is open.
    pub fn journal(&self) -> Result<MemoryJournal, JournalError> {
        let mut state = self.shared.state.lock();
        if state.is_open {
            return Err(JournalError::new(
                JournalErrorKind::Locked,
                "the memory is in use: close the other journal first",
            ));
        }
        state.is_open = true;
        Ok(MemoryJournal {
            storage: self.clone(),
            last: 0,
        })
    }

    /// Makes the next calls of `write` and `sync` fail, one for each kind.
    pub fn fail_next(&self, kinds: &[JournalErrorKind]) {
        self.shared.state.lock().faults.extend(kinds.iter().rev());
    }

    /// Makes `write` and `sync` block until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.state.lock().is_held = true;
    }

    /// Unblocks `write` and `sync`.
    pub fn release(&self) {
        self.shared.state.lock().is_held = false;
        self.shared.released.notify_all();
    }

    /// The number of syncs.
    pub fn syncs(&self) -> u64 {
        self.shared.state.lock().syncs
    }

    /// The position of the last written event.
    pub fn written(&self) -> Position {
        let state = self.shared.state.lock();
        state.batches.last().map_or(Position(0), Batch::last_position)
    }

    /// Blocks while the storage is held, and fails when a failure is due.
    fn begin_call(&self) -> Result<parking_lot::MutexGuard<'_, State>, JournalError> {
        let mut state = self.shared.state.lock();
        self.shared.released.wait_while(&mut state, |state| state.is_held);
        match state.faults.pop() {
            Some(kind) => Err(JournalError::new(kind, "the memory failed, as it was told to")),
            None => Ok(state),
        }
    }
}

impl Storage for MemoryStorage {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(self.journal()?))
    }

    fn lose_process(&self) {
        let mut state = self.shared.state.lock();
        if self.shared.durability == Durability::Volatile {
            state.batches.clear();
        }
        state.is_open = false;
    }

    fn lose_machine(&self) {
        let mut state = self.shared.state.lock();
        let synced = state.synced;
        state.batches.truncate(synced);
        state.is_open = false;
    }
}

/// A journal that stores batches unchanged.
#[derive(Debug)]
pub struct MemoryJournal {
    storage: MemoryStorage,
    last: u64,
}

impl Journal for MemoryJournal {
    fn durability(&self) -> Durability {
        self.storage.shared.durability
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let batches = self.storage.shared.state.lock().batches.clone();
        let total: u64 = batches.iter().map(|batch| batch.bytes() as u64).sum();
        let mut bytes = 0;
        for batch in batches {
            self.last = batch.last_position().0;
            bytes += batch.bytes() as u64;
            into.batch(batch)?;
            into.progress(bytes, total);
        }
        let mut state = self.storage.shared.state.lock();
        state.synced = state.batches.len();
        Ok(Recovered {
            bytes,
            torn_tail_bytes: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        if batch.first_position().0 != self.last + 1 {
            return Err(JournalError::failed(format!(
                "a batch begins with position {}, and {} was the last",
                batch.first_position(),
                self.last
            )));
        }
        let mut state = self.storage.begin_call()?;
        state.batches.push(batch.clone());
        self.last = batch.last_position().0;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if self.durability() < Durability::Synced {
            return Err(JournalError::new(
                JournalErrorKind::Unsupported,
                "this memory cannot be synced",
            ));
        }
        let mut state = self.storage.begin_call()?;
        state.synced = state.batches.len();
        state.syncs += 1;
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(mut self: Box<Self>) -> Result<(), JournalError> {
        if self.durability() < Durability::Synced {
            return Ok(());
        }
        self.sync()
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.storage.shared.state.lock().is_open = false;
    }
}
