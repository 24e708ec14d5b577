//! Looks for leftovers of plaintext and keys: in the events and snapshots of a store, in the raw bytes of files, and in tables.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::{Zeroize, Zeroizing};

use super::cipher::{KEY_BYTES, Key};
use super::entries::Entry;
use super::{KeyError, Vault};
use crate::{EventRef, Position, Store};

/// The most leftovers that are listed; more are counted.
const LISTED_MAX: usize = 1_000;

/// The bytes of a file that are searched at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The longest needle, in bytes.
const NEEDLE_BYTES_MAX: usize = 64 << 10;

/// The deepest folder that is searched below one that was given.
const DEPTH_MAX: usize = 32;

/// The key bytes of a subject, to look for them after its erasure. They are overwritten when this is dropped: take it only for a test.
#[derive(Clone)]
pub struct Evidence(Vec<Key>);

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({} keys)", self.0.len())
    }
}

impl Vault {
    /// The key bytes of a subject, for a [`Scan`] after its erasure. Whatever keeps them can decrypt what is erased: drop them after the scan.
    ///
    /// # Errors
    ///
    /// [`KeyError::Erased`]; [`KeyError::Storage`].
    pub fn evidence(&self, subject: &str) -> Result<Evidence, KeyError> {
        let live = self.inner.live(subject)?;
        let Entry::Alive(keys) = &*live.keys else {
            return Err(KeyError::Erased {
                generation: live.generation,
            });
        };
        Ok(Evidence(keys.values.iter().chain([&keys.names]).cloned().collect()))
    }

    /// Looks for leftovers of an erased subject in the vault's store, as [`Scan`] does; add its files with [`Scan`] itself.
    ///
    /// # Errors
    ///
    /// [`ScanError`] when a plaintext is too short or too long.
    pub fn verify_erasure(&self, plaintexts: &[&str], evidence: Option<&Evidence>) -> Result<Findings, ScanError> {
        let scan = plaintexts
            .iter()
            .fold(Scan::new(), |scan, plaintext| scan.plaintext(plaintext));
        let scan = evidence.into_iter().fold(scan, Scan::evidence);
        scan.store(&self.inner.store).run()
    }
}

/// A leftover. It does not contain what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Where it is, such as `event at position 7 (data)` or a file's path.
    pub place: String,
    /// The first byte of it in that place.
    pub offset: u64,
    /// Which needle it is: the number of the plaintext, from 0 in the order of the calls, or the key.
    pub needle: String,
}

/// What a [`Scan`] searched and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// The first 1,000 leftovers, at most one for each needle and place.
    pub leftovers: Vec<Leftover>,
    /// The number of all of them.
    pub count: u64,
    /// The events searched.
    pub events: u64,
    /// The snapshots searched.
    pub snapshots: u64,
    /// The files searched.
    pub files: u64,
    /// The bytes of files searched.
    pub file_bytes: u64,
    /// The tables of databases searched.
    pub tables: u64,
    /// The rows of these tables.
    pub rows: u64,
}

impl Findings {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, place: &str, offset: u64, needle: &str) {
        self.count += 1;
        if self.leftovers.len() < LISTED_MAX {
            self.leftovers.push(Leftover {
                place: place.to_owned(),
                offset,
                needle: needle.to_owned(),
            });
        }
    }
}

/// A scan that cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A plaintext is too short to be told from chance, or too long.
    #[error("plaintext {number} has {bytes} bytes: the scan needs at least 3 and at most 65,536")]
    Needle {
        /// Its number, from 0.
        number: usize,
        /// Its length.
        bytes: usize,
    },
    /// A file cannot be read.
    #[error("cannot search {path}: {error}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// A database cannot be searched.
    #[error("cannot search the tables of {database}: {error}")]
    Database {
        /// The database, without the password.
        database: String,
        /// The error.
        error: String,
    },
}

struct Needle {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
}

/// Looks for plaintexts and key bytes in stores, files, folders, and tables of PostgreSQL.
///
/// A plaintext is looked for as its UTF-8 bytes, as JSON escapes it, in Base64, and in UTF-16. It is not found where it is compressed or
/// encrypted in another way: search a journal or an archive that is compressed as a [`store`](Self::store), to which the archive is
/// [attached](crate::Builder::attach). Symbolic links are not followed.
#[must_use = "a scan searches nothing until `run`"]
#[derive(Default)]
pub struct Scan {
    stores: Vec<Store>,
    paths: Vec<PathBuf>,
    #[cfg(feature = "postgres")]
    databases: Vec<crate::journal::postgres::Database>,
    needles: Vec<Needle>,
    plaintexts: usize,
    refused: Option<ScanError>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("paths", &self.paths)
            .field("needles", &self.needles.len())
            .finish_non_exhaustive()
    }
}

impl Scan {
    /// A scan for nothing, yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for a text of 3 to 65,536 bytes.
    pub fn plaintext(mut self, text: &str) -> Self {
        let number = self.plaintexts;
        self.plaintexts += 1;
        if !(3..=NEEDLE_BYTES_MAX).contains(&text.len()) {
            self.refused = Some(ScanError::Needle {
                number,
                bytes: text.len(),
            });
            return self;
        }
        let name = format!("plaintext {number}");
        let escaped = serde_json::Value::from(text).to_string();
        self.add(&name, text.as_bytes());
        self.add(&name, escaped.trim_matches('"').as_bytes());
        self.add(
            &name,
            &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
        );
        self.add_base64(&name, text.as_bytes());
        self
    }

    /// Looks for the bytes of keys, as they are, in Base64 and in hexadecimal digits.
    pub fn evidence(mut self, evidence: &Evidence) -> Self {
        for key in &evidence.0 {
            self.add("key", key.bytes());
            self.add_base64("key", key.bytes());
            let mut hex = String::with_capacity(2 * KEY_BYTES);
            for byte in key.bytes() {
                hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()));
            }
            self.add("key", hex.as_bytes());
            hex.zeroize();
        }
        self
    }

    /// Searches the events and snapshots of a store: names, tags, metadata and data, system events, dead letters and sagas included.
    pub fn store(mut self, store: &Store) -> Self {
        self.stores.push(store.clone());
        self
    }

    /// Searches the raw bytes of a file, or of all files in a folder and below it: a journal, an archive, a dump.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.paths.push(path.as_ref().to_owned());
        self
    }

    /// Searches the rows of all tables and materialized views of the schema in this URL, or of every schema of the database when it names none: columns
    /// of texts, JSON and bytes, as they are. It reads in one snapshot of the database, and changes nothing.
    ///
    /// A table whose rows a policy may hide from the role is an error: scan as a role with `BYPASSRLS`.
    ///
    /// Rows that are deleted or overwritten and not reclaimed by `VACUUM`, the write-ahead log, large objects, foreign tables, and the values that
    /// `ANALYZE` copies into `pg_statistic` are not searched.
    #[cfg(feature = "postgres")]
    pub fn database(mut self, url: &str) -> Self {
        match crate::url::database_at(url) {
            Ok(database) => self.databases.push(database),
            Err(error) => {
                self.refused = Some(ScanError::Database {
                    database: "PostgreSQL".to_owned(),
                    error: error.to_string(),
                });
            }
        }
        self
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        if self.needles.iter().any(|needle| needle.bytes.as_slice() == bytes) {
            return;
        }
        self.needles.push(Needle {
            name: name.to_owned(),
            bytes: Zeroizing::new(bytes.to_vec()),
        });
    }

    /// Base64 at each of the three places that bytes can have in a text, without the digits that depend on what is beside them.
    fn add_base64(&mut self, name: &str, bytes: &[u8]) {
        for before in 0..3_usize {
            let mut shifted = Zeroizing::new(vec![0; before]);
            shifted.extend_from_slice(bytes);
            let mut encoded = BASE64.encode(&shifted);
            let first = (before * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            // Short texts are found by chance.
            if last.saturating_sub(first) >= 8 {
                self.add(name, &encoded.as_bytes()[first..last]);
            }
            encoded.zeroize();
        }
    }

    /// Searches.
    ///
    /// # Errors
    ///
    /// [`ScanError`].
    pub fn run(self) -> Result<Findings, ScanError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let mut findings = Findings::default();
        for store in &self.stores {
            self.search_store(store, &mut findings);
        }
        for path in &self.paths {
            self.search_path(path, 0, &mut findings)?;
        }
        #[cfg(feature = "postgres")]
        for database in &self.databases {
            self.search_database(database, &mut findings)?;
        }
        Ok(findings)
    }

    pub(super) fn search(&self, place: &str, bytes: &[u8], findings: &mut Findings) {
        for needle in &self.needles {
            if let Some(at) = find(bytes, &needle.bytes) {
                findings.add(place, at as u64, &needle.name);
            }
        }
    }

    fn search_store(&self, store: &Store, findings: &mut Findings) {
        store.read_all().include_system().for_each(|event| {
            // Snapshots are events of the system.
            let is_snapshot = event.aggregate_type() == "$snapshot";
            findings.snapshots += u64::from(is_snapshot);
            findings.events += u64::from(!is_snapshot);
            self.search_event(event, findings);
        });
    }

    fn search_event(&self, event: EventRef<'_>, findings: &mut Findings) {
        let place = |part: &str| place_of(event.position(), part);
        let names = [
            event.user_id(),
            event.organization_id(),
            event.correlation_id(),
            event.causation_id(),
            Some(event.aggregate_id()),
            Some(event.aggregate_type()),
            Some(event.event_type()),
        ];
        for name in names.into_iter().flatten().chain(event.tags()) {
            self.search(&place("names"), name.as_bytes(), findings);
        }
        self.search(&place("metadata"), event.metadata(), findings);
        self.search(&place("data"), event.data(), findings);
    }

    fn search_path(&self, path: &Path, depth: usize, findings: &mut Findings) -> Result<(), ScanError> {
        let failed = |error| ScanError::File {
            path: path.to_owned(),
            error,
        };
        let kind = fs::symlink_metadata(path).map_err(failed)?;
        if kind.is_symlink() {
            return Ok(());
        }
        if !kind.is_dir() {
            return self.search_file(path, findings).map_err(failed);
        }
        if depth >= DEPTH_MAX {
            return Err(failed(io::Error::other("the folders are nested more than 32 deep")));
        }
        for entry in fs::read_dir(path).map_err(failed)? {
            self.search_path(&entry.map_err(failed)?.path(), depth + 1, findings)?;
        }
        Ok(())
    }

    /// Searches a file in chunks; each begins with the end of the one before, so that a needle across both is found.
    fn search_file(&self, path: &Path, findings: &mut Findings) -> io::Result<()> {
        let mut file = File::open(path)?;
        let overlap = self.needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(1) - 1;
        let place = path.display().to_string();
        let mut buffer = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES + overlap));
        let (mut start, mut found) = (0_u64, vec![false; self.needles.len()]);
        findings.files += 1;
        loop {
            let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer)?;
            findings.file_bytes += read as u64;
            for (needle, found) in self.needles.iter().zip(&mut found).filter(|(_, found)| !**found) {
                if let Some(at) = find(&buffer, &needle.bytes) {
                    findings.add(&place, start + at as u64, &needle.name);
                    *found = true;
                }
            }
            if read == 0 {
                return Ok(());
            }
            let gone = buffer.len().saturating_sub(overlap);
            buffer.drain(..gone);
            start += gone as u64;
        }
    }
}

fn place_of(position: Position, part: &str) -> String {
    format!("event at position {position} ({part})")
}

/// The first place of `needle` in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        let after = from + at + 1;
        if bytes[after..].starts_with(rest) {
            return Some(after - 1);
        }
        from = after;
    }
    None
}
