//! Key stores: entries of secret bytes with an atomic change of one.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zeroize::Zeroizing;

/// The secret bytes of an entry, overwritten when they are dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// A change of an entry: gets its bytes, and returns the new ones.
pub type KeyChange<'a> = dyn FnMut(Option<&[u8]>) -> Result<Secret, KeyError> + 'a;

/// A failure of a key store or of a vault. It never contains key bytes or personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The subject was erased; nothing personal of it can be written until [`Vault::reopen`](super::Vault::reopen).
    #[error(
        "the subject was erased (generation {generation}): call `Vault::reopen` to begin a new generation, or write no personal data of it"
    )]
    Erased {
        /// The generation that was erased.
        generation: u32,
    },
    /// The subject is not erased, so it cannot be reopened.
    #[error("the subject is not erased: only an erased subject can be reopened")]
    NotErased,
    /// The key store has no key with this id: it is another key store, an old copy of it, or keys were lost.
    #[error(
        "the key store has no key {key}: it is another key store or an old copy, or the key was lost; what the key encrypted is unreadable"
    )]
    NoKey {
        /// The id of the key.
        key: uuid::Uuid,
    },
    /// The data was changed, moved to another event, or encrypted with another key.
    #[error(
        "cannot decrypt the value at '{path}' with key {key}: the event was changed, or the key is another one; restore the event from a backup"
    )]
    Damaged {
        /// The id of the key.
        key: uuid::Uuid,
        /// The place of the value in the event's data.
        path: String,
    },
    /// The key store cannot be read or written.
    #[error("{reason}")]
    Storage {
        /// What failed, and what to do.
        reason: String,
    },
}

/// Keeps the keys of a [`Vault`](super::Vault).
///
/// It keeps entries: a name and secret bytes. An entry is never removed; erasure overwrites its bytes, and what remains is the mark that the key is
/// destroyed. An implementation must be linearizable: after [`update`](Self::update) returns, every handle in every process reads the new bytes, and
/// they survive a crash. The old bytes must not be readable any more, as far as the medium allows it.
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// Returns a number that differs from the last one if an entry has been changed since, by any process. It is called for each encryption and
    /// decryption, so it must be cheap.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when the store cannot be read.
    fn revision(&self) -> Result<u64, KeyError>;

    /// Returns the bytes of an entry.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when the store cannot be read.
    fn read(&self, name: &str) -> Result<Option<Secret>, KeyError>;

    /// Changes an entry: no other handle or process changes it meanwhile. Returns the new bytes. If `change` fails, the entry stays the same. If
    /// `change` returns the same bytes, nothing is written.
    ///
    /// # Errors
    ///
    /// Those of `change`; [`KeyError::Storage`] when the store cannot be written.
    fn update(&self, name: &str, change: &mut KeyChange<'_>) -> Result<Secret, KeyError>;
}

/// A key store in memory, for tests: when it is dropped, the values are unreadable.
#[derive(Default)]
pub struct MemoryKeys {
    entries: Mutex<HashMap<String, Secret>>,
    revision: AtomicU64,
}

impl fmt::Debug for MemoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeys")
            .field("entries", &self.entries.lock().len())
            .finish_non_exhaustive()
    }
}

impl MemoryKeys {
    /// An empty key store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl KeyStore for MemoryKeys {
    fn revision(&self) -> Result<u64, KeyError> {
        Ok(self.revision.load(Ordering::Acquire))
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, KeyError> {
        Ok(self.entries.lock().get(name).cloned())
    }

    fn update(&self, name: &str, change: &mut KeyChange<'_>) -> Result<Secret, KeyError> {
        let mut entries = self.entries.lock();
        let old = entries.get(name);
        let new = change(old.map(|bytes| bytes.as_slice()))?;
        if old != Some(&new) {
            entries.insert(name.to_owned(), new.clone());
            self.revision.fetch_add(1, Ordering::Release);
        }
        Ok(new)
    }
}
