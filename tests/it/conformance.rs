//! Every journal keeps the contract.

use annals::Durability;
use annals::journal::file::FileJournal;
use annals::journal::{Journal, JournalError};
use annals::testing::conformance::Storage;
use annals::testing::disk::SimulatedDisk;
use annals::testing::storage::MemoryStorage;

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
