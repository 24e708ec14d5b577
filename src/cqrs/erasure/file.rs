//! The default key store: a file that only its owner can read.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use parking_lot::Mutex;
use zeroize::{Zeroize, Zeroizing};

use super::keys::{KeyChange, KeyError, KeyStore, Secret};

const HEADER: &[u8] = b"annals keys 1\n";

/// The largest key file that is read, in bytes: about 8 million subjects.
const BYTES_MAX: u64 = 2 << 30;

/// Keys in a file of their own: the default key store.
///
/// Keep it outside of the journal's folder, so that copies of the journal contain no key. Only its owner may have access to it: it is created with the
/// permissions 600, and not opened with others. A new entry is appended and synced. A changed entry rewrites the file: a new file is synced and renamed over
/// it, and the old bytes are overwritten with zeros. Several processes can use one file; a lock on `FILE.lock` lets one at a time write. Another
/// process notices a change at its next encryption or decryption.
///
/// Overwriting reaches neither backups and copies of the file, nor the old blocks of a copy-on-write file system or a flash drive. A copy that is
/// restored does not bring a key back where the store's log has the mark of its erasure.
pub struct KeyFile {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

/// The file as it was read last. The handle stays open: no other file gets its number meanwhile.
struct Loaded {
    file: File,
    len: u64,
    revision: u64,
    entries: HashMap<String, Secret>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Creates an empty key file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when there is a file already, or it cannot be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let _lock = lock(path, true)?;
        let create = || {
            let mut file = private().read(true).create_new(true).open(path)?;
            file.write_all(HEADER)?;
            file.sync_all()?;
            sync_folder(path)
        };
        create().map_err(failed("create", path))?;
        Self::load(path)
    }

    /// Opens a key file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when it is missing or damaged, cannot be read, or users other than its owner have access to it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let _lock = lock(path.as_ref(), false)?;
        Self::load(path.as_ref())
    }

    /// Opens a key file, or creates it if it is missing. Prefer [`open`](Self::open) in production: a key file that is missing there is lost.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        if fs::exists(path).map_err(failed("read", path))? {
            return Self::open(path);
        }
        Self::create(path).or_else(|error| if path.exists() { Self::open(path) } else { Err(error) })
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let loaded = Loaded::read(path, 1)?;
        Ok(Self {
            path: path.to_owned(),
            loaded: Mutex::new(loaded),
        })
    }

    /// Reads the file again, if another process has changed it. The caller has the lock file.
    fn reload(&self, loaded: &mut Loaded) -> Result<(), KeyError> {
        if !loaded.is_current(&self.path)? {
            *loaded = Loaded::read(&self.path, loaded.revision + 1)?;
        }
        Ok(())
    }

    fn append(&self, loaded: &mut Loaded, name: &str, new: &Secret) -> Result<(), KeyError> {
        let append = || {
            let mut file = OpenOptions::new().write(true).open(&self.path)?;
            // What a crash left behind the last whole line was never used.
            file.set_len(loaded.len)?;
            file.seek(SeekFrom::End(0))?;
            let line = line(name, new);
            file.write_all(&line)?;
            file.sync_data()?;
            Ok(loaded.len + line.len() as u64)
        };
        loaded.len = append().map_err(failed("write", &self.path))?;
        Ok(())
    }

    /// Replaces the file by one with a changed entry, and overwrites the old one.
    fn rewrite(&self, loaded: &mut Loaded, name: &str, new: &Secret) -> Result<(), KeyError> {
        let fresh = fresh_path(&self.path);
        let write = || {
            remove_stale(&fresh)?;
            let mut bytes = Zeroizing::new(HEADER.to_vec());
            for (entry, secret) in &loaded.entries {
                let secret = if entry == name { new } else { secret };
                bytes.extend_from_slice(&line(entry, secret));
            }
            let mut file = private().read(true).create_new(true).open(&fresh)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            let old = OpenOptions::new().write(true).open(&self.path)?;
            fs::rename(&fresh, &self.path)?;
            sync_folder(&self.path)?;
            overwrite(old)?;
            Ok((file, bytes.len() as u64))
        };
        let (file, len) = write().map_err(failed("rewrite", &self.path))?;
        (loaded.file, loaded.len) = (file, len);
        Ok(())
    }
}

impl Loaded {
    fn read(path: &Path, revision: u64) -> Result<Self, KeyError> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        let metadata = file.metadata().map_err(failed("read", path))?;
        check_access(path, &metadata)?;
        if metadata.len() > BYTES_MAX {
            let what = format!(
                "cannot read the key file {}: it has {} bytes, and the limit is {BYTES_MAX}",
                path.display(),
                metadata.len()
            );
            return Err(KeyError::Storage { reason: what });
        }
        // With room for all: a buffer that grows leaves copies of the keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
        Read::by_ref(&mut file)
            .take(BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(failed("read", path))?;
        let (entries, len) = parse(&bytes).ok_or_else(|| KeyError::Storage {
            reason: format!("the key file {} is damaged: restore it from a backup", path.display()),
        })?;
        Ok(Self {
            file,
            len: len as u64,
            revision,
            entries,
        })
    }

    #[cfg(unix)]
    fn is_current(&self, path: &Path) -> Result<bool, KeyError> {
        use std::os::unix::fs::MetadataExt;
        let (now, then) = (fs::metadata(path), self.file.metadata());
        let (now, then) = (now.map_err(failed("read", path))?, then.map_err(failed("read", path))?);
        Ok((now.dev(), now.ino(), now.len()) == (then.dev(), then.ino(), self.len))
    }

    #[cfg(not(unix))]
    fn is_current(&self, path: &Path) -> Result<bool, KeyError> {
        let (now, then) = (fs::metadata(path), self.file.metadata());
        let (now, then) = (now.map_err(failed("read", path))?, then.map_err(failed("read", path))?);
        Ok((now.modified().ok(), now.len()) == (then.modified().ok(), self.len))
    }
}

impl KeyStore for KeyFile {
    fn revision(&self) -> Result<u64, KeyError> {
        let mut loaded = self.loaded.lock();
        if !loaded.is_current(&self.path)? {
            let _lock = lock(&self.path, false)?;
            self.reload(&mut loaded)?;
        }
        Ok(loaded.revision)
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, KeyError> {
        self.revision()?;
        Ok(self.loaded.lock().entries.get(name).cloned())
    }

    fn update(&self, name: &str, change: &mut KeyChange<'_>) -> Result<Secret, KeyError> {
        let mut loaded = self.loaded.lock();
        let _lock = lock(&self.path, true)?;
        self.reload(&mut loaded)?;
        let old = loaded.entries.get(name);
        let new = change(old.map(|bytes| bytes.as_slice()))?;
        match old {
            Some(old) if *old == new => return Ok(new),
            Some(_) => self.rewrite(&mut loaded, name, &new)?,
            None => self.append(&mut loaded, name, &new)?,
        }
        loaded.entries.insert(name.to_owned(), new.clone());
        loaded.revision += 1;
        Ok(new)
    }
}

/// The entries, and the length of the whole lines: a crash may leave a part of one.
fn parse(bytes: &[u8]) -> Option<(HashMap<String, Secret>, usize)> {
    let lines = bytes.strip_prefix(HEADER)?;
    let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut entries = HashMap::new();
    for line in lines[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let at = line.iter().position(|byte| *byte == b' ')?;
        let (name, secret) = line.split_at(at);
        let secret = Zeroizing::new(BASE64.decode(&secret[1..]).ok()?);
        entries.insert(str::from_utf8(name).ok()?.to_owned(), secret);
    }
    Some((entries, HEADER.len() + end))
}

fn line(name: &str, secret: &Secret) -> Zeroizing<Vec<u8>> {
    let mut encoded = BASE64.encode(secret);
    let mut line = Zeroizing::new(Vec::with_capacity(name.len() + encoded.len() + 2));
    line.extend_from_slice(name.as_bytes());
    line.push(b' ');
    line.extend_from_slice(encoded.as_bytes());
    line.push(b'\n');
    encoded.zeroize();
    line
}

/// Holds the lock file until it is dropped. It is never removed: another process may wait for it.
fn lock(path: &Path, writes: bool) -> Result<File, KeyError> {
    let lock_path = beside(path, "lock");
    let lock = || {
        let file = private().create(true).truncate(false).open(&lock_path)?;
        if writes {
            file.lock()?;
        } else {
            file.lock_shared()?;
        }
        Ok(file)
    };
    lock().map_err(failed("lock", &lock_path))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn fresh_path(path: &Path) -> PathBuf {
    beside(path, "new")
}

/// A crash may have left the new file: it is overwritten, too.
fn remove_stale(fresh: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(fresh) {
        Ok(stale) => {
            overwrite(stale)?;
            fs::remove_file(fresh)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn overwrite(mut file: File) -> io::Result<()> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut io::repeat(0).take(len), &mut file)?;
    file.sync_data()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn check_access(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(KeyError::Storage {
        reason: format!(
            "cannot use the key file {}: its permissions are {mode:o}, and only its owner may have access; run `chmod 600` on it",
            path.display()
        ),
    })
}

#[cfg(not(unix))]
fn check_access(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// Makes a creation or a renaming in the file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _: &Path = path;
    Ok(())
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |error| KeyError::Storage {
        reason: format!("cannot {what} the key file {path}: {error}"),
    }
}
