//! Annals in memory, and in files at each durability.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals::{Budget, Durability, Settings, Store, StoreUrl};

use super::annals_store::{AnnalsStore, failed, of_store};
use crate::store::{Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Place, Result};

/// The reason why processes cannot share a store in memory.
pub(crate) const IN_MEMORY: &str = "its events are in the memory of one process";

/// Annals in memory, or in a folder.
#[derive(Clone, Debug)]
pub struct Annals {
    name: String,
    folder: Option<PathBuf>,
    durability: Durability,
}

impl Annals {
    /// Annals in memory.
    pub fn in_memory() -> Self {
        Self {
            name: "memory".to_owned(),
            folder: None,
            durability: Durability::Volatile,
        }
    }

    /// Annals in files below `folder`, whose appends wait for `durability`.
    pub fn in_files(folder: &Path, durability: Durability) -> Self {
        let name = format!("file-{durability}");
        Self {
            folder: Some(folder.join(&name)),
            name,
            durability,
        }
    }
}

impl Annals {
    fn open_with(&self, settings: Settings) -> Result<Arc<dyn EventStore>> {
        let builder = Store::builder().settings(settings);
        let store = match &self.folder {
            None => builder.open(),
            Some(folder) => {
                fs::create_dir_all(folder).map_err(|error| failed(&error))?;
                let url = StoreUrl::of_folder(folder).with_durability(self.durability);
                url.open(builder)
            }
        };
        Ok(Arc::new(AnnalsStore {
            store: store.map_err(|error| of_store(&error))?,
            folder: self.folder.clone(),
            has_journal: self.folder.is_some(),
        }))
    }
}

impl Backend for Annals {
    fn description(&self) -> Description {
        Description {
            name: self.name.clone(),
            software: concat!("annals ", env!("CARGO_PKG_VERSION")).to_owned(),
            settings: match &self.folder {
                Some(_) => format!("durability={}", self.durability),
                None => String::new(),
            },
            durability: match self.durability {
                Durability::Volatile => DurabilityClass::Volatile,
                Durability::Written => DurabilityClass::ProcessCrashSafe,
                Durability::Synced => DurabilityClass::PowerSafe,
            },
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::StreamVersion,
            keeps_events: true,
            has_log: true,
            has_queries: true,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        self.open_with(Settings::default())
    }

    fn expires(&self) -> bool {
        true
    }

    fn open_expiring(&self, age: Duration) -> Result<Arc<dyn EventStore>> {
        self.open_with(Settings::default().budget(Budget::default().age(age)))
    }

    fn wipe(&self) -> Result<()> {
        match &self.folder {
            Some(folder) if folder.exists() => fs::remove_dir_all(folder).map_err(|error| failed(&error)),
            Some(_) | None => Ok(()),
        }
    }

    fn place(&self) -> Option<Place> {
        Some(Place {
            name: self.name.clone(),
            data: self.folder.as_deref()?.parent()?.to_owned(),
        })
        .or_else(|| Some(Place::of_name(&self.name)))
    }

    fn unshared(&self) -> Option<&'static str> {
        Some(match &self.folder {
            Some(_) => "one process alone can write to its files",
            None => IN_MEMORY,
        })
    }
}
