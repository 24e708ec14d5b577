//! Every journal keeps the contract, and so does every log that can be followed.

use annals::journal::file::FileJournal;
use annals::journal::{Followed, Journal, JournalError};
use annals::testing::conformance::{Log, Storage};
use annals::testing::disk::SimulatedDisk;
use annals::testing::personality::Personality;
use annals::testing::storage::MemoryStorage;
use annals::{Durability, Store};

use crate::support::TempFolder;

impl Storage for TempFolder {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(FileJournal::open(self.path())?))
    }
}

annals::conformance!(memory_synced, MemoryStorage::new(Durability::Synced));
annals::conformance!(memory_written, MemoryStorage::new(Durability::Written));
annals::conformance!(memory_volatile, MemoryStorage::new(Durability::Volatile));
annals::conformance!(files, TempFolder::new());
annals::conformance!(files_on_a_simulated_disk, SimulatedDisk::new());

/// The log of a store in memory, with the anomalies of a database.
struct Memory(Store, Personality);

impl Memory {
    fn with(personality: Personality) -> Self {
        Self(Store::in_memory(), personality)
    }
}

impl Log for Memory {
    fn connect(&self) -> Result<Followed, JournalError> {
        Ok(self.0.log_like(&self.1))
    }
}

annals::feed_conformance!(memory_feed, Memory::with(Personality::none()));
annals::feed_conformance!(memory_feed_with_anomalies, Memory::with(Personality::postgres()));
