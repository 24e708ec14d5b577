//! A journal in memory that does as it is told: slow, failing, forgetful. For tests of stores, and as the shortest example of one.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::conformance::Storage;
use crate::journal::{Batch, Journal, JournalError, JournalErrorKind, Recover, Recovered};
use crate::{Durability, Position};

/// What [`MemoryJournal`]s keep their batches in: it outlives them as a disk outlives processes.
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
    /// How many of them are synced.
    synced: usize,
    syncs: u64,
    is_open: bool,
    is_held: bool,
    faults: Vec<JournalErrorKind>,
}

impl MemoryStorage {
    /// An empty one, whose journals promise this much.
    pub fn new(durability: Durability) -> Self {
        Self {
            shared: Arc::new(Shared {
                durability,
                state: Mutex::default(),
                released: Condvar::new(),
            }),
        }
    }

    /// A journal that goes on with what is here.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Locked`] while there is another.
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

    /// Has the next calls of `write` and `sync` fail, one for each kind.
    pub fn fail_next(&self, kinds: &[JournalErrorKind]) {
        self.shared.state.lock().faults.extend(kinds.iter().rev());
    }

    /// Has `write` and `sync` wait until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.state.lock().is_held = true;
    }

    /// Lets `write` and `sync` go on.
    pub fn release(&self) {
        self.shared.state.lock().is_held = false;
        self.shared.released.notify_all();
    }

    /// How often was synced.
    pub fn syncs(&self) -> u64 {
        self.shared.state.lock().syncs
    }

    /// The position of the last event that was written.
    pub fn written(&self) -> Position {
        let state = self.shared.state.lock();
        state.batches.last().map_or(Position(0), Batch::last_position)
    }

    /// Waits while it is held, and fails if that was asked for.
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

/// A journal that keeps batches as they are.
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
