//! Erasure: the right to be forgotten in a log that never changes.
//!
//! Personal fields of events are encrypted with a key of their subject, before the store gets the payload. Erasing a subject destroys its key. Then
//! the fields decode as redacted values, in every copy of the journal.
//!
//! * [`Personal`] declares which fields and names are personal, and whose.
//! * [`Protected`] is the codec that encrypts and decrypts them.
//! * [`Vault`] has the keys, in a [`KeyStore`]: [`KeyFile`], `PostgresKeys` (feature `postgres`), [`MemoryKeys`], or your own. [`Vault::erase`]
//!   returns a [`Receipt`].
//! * [`Scan`] looks for leftovers of plaintext and keys in a store, in files and in tables.
//!
//! `docs/erasure.md` is the guide: what erasure reaches, and what it cannot.

mod cipher;
mod derived;
mod entries;
mod envelope;
mod erase;
mod file;
mod keys;
mod kind;
mod listener;
mod mark;
mod personal;
#[cfg(feature = "postgres")]
mod postgres;
mod protected;
mod scan;
#[cfg(feature = "postgres")]
mod scan_tables;
mod vault;

pub use erase::{Receipt, Told};
pub use file::KeyFile;
pub use keys::{KeyChange, KeyError, KeyStore, MemoryKeys, Secret};
pub use listener::Erased;
pub use personal::{Personal, Redacted, Subject};
#[cfg(feature = "postgres")]
pub use postgres::PostgresKeys;
pub use protected::Protected;
pub use scan::{Evidence, Findings, Leftover, Scan, ScanError};
pub use vault::Vault;
