//! The vault: the keys of subjects, and which of them are destroyed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::cipher::{Key, random_id};
use super::entries::{Entry, Keys, ROTATIONS_MAX, Subject, key_entry};
use super::keys::{KeyError, KeyStore, Secret};
use super::listener::Listener;
use super::mark::{self, Mark};
use crate::cqrs::NameKind;
use crate::{Store, Version};

/// The most entries that a vault caches; more are read from the key store again.
const CACHED_MAX: usize = 65_536;

/// The keys of subjects: creates, rotates and destroys them.
///
/// A vault belongs to one store. The store's log keeps a mark for each destroyed key, so a vault destroys a key again that comes back with an old
/// copy of the key store. Each encryption and decryption checks whether another handle or process has changed the key store or the log.
///
/// Losing the key store makes every encrypted value unreadable. Copies of the journal contain no key: back up the key store separately, and erase
/// its old copies.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::NameKind;
/// use annals::cqrs::erasure::{KeyError, MemoryKeys, Vault};
///
/// let store = Store::in_memory();
/// let vault = Vault::open(&store, MemoryKeys::new())?;
/// let user = vault.pseudonym("anna", NameKind::User, "anna")?;
/// assert_eq!(user, vault.pseudonym("anna", NameKind::User, "anna")?);
///
/// vault.erase("anna")?;
/// assert!(matches!(vault.pseudonym("anna", NameKind::User, "anna"), Err(KeyError::Erased { generation: 1 })));
/// vault.reopen("anna")?;
/// assert_ne!(user, vault.pseudonym("anna", NameKind::User, "anna")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Vault {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) keys: Box<dyn KeyStore>,
    /// Names the entries of subjects, so that the key store contains no name of a subject.
    salt: Key,
    cache: RwLock<Cache>,
    pub(super) listeners: Mutex<Vec<Listener>>,
    /// One erasure at a time.
    pub(super) erasing: Mutex<()>,
}

/// What was read from the key store at a revision, and from the log up to a version of the stream of marks.
#[derive(Default)]
struct Cache {
    state: Option<State>,
    entries: HashMap<Uuid, Arc<Entry>>,
    subjects: HashMap<String, Subject>,
    derived: Option<Uuid>,
    /// The keys that the log marks as destroyed.
    marked: HashSet<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    revision: u64,
    marks: Version,
}

impl Cache {
    fn make_room(&mut self) {
        if self.entries.len() >= CACHED_MAX {
            self.entries.clear();
        }
        if self.subjects.len() >= CACHED_MAX {
            self.subjects.clear();
        }
    }
}

/// The keys of a subject's present generation.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) key: Uuid,
    pub(super) generation: u32,
    pub(super) keys: Arc<Entry>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("keys", &self.inner.keys)
            .finish_non_exhaustive()
    }
}

/// What a pseudonym begins with.
const PSEUDONYM: &str = "anon-";

/// Whether a name is a pseudonym already: `anon-` and 32 hexadecimal digits.
pub(super) fn is_pseudonym(name: &str) -> bool {
    name.strip_prefix(PSEUDONYM).is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const SALT: &str = "salt";
/// Is written after the salt: where it stands without a salt, the salt was lost.
const SALTED: &str = "salted";
const DERIVED: &str = "derived";

impl Vault {
    /// A vault for the personal data in `store`, with its keys in `keys`. Destroys again the keys that the store's log marks as destroyed.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when the key store or the marks cannot be read.
    pub fn open(store: &Store, keys: impl KeyStore) -> Result<Self, KeyError> {
        let salt = salt_of(&keys)?;
        let vault = Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                keys: Box::new(keys),
                salt,
                cache: RwLock::default(),
                listeners: Mutex::default(),
                erasing: Mutex::default(),
            }),
        };
        vault.inner.refresh()?;
        Ok(vault)
    }

    /// Adds a key to the subject's generation: new values are encrypted with it, and values of the former keys stay readable.
    ///
    /// Stored values are not encrypted again: the log is append-only. Pseudonyms stay the same. A generation has at most 1,000 keys.
    ///
    /// # Errors
    ///
    /// [`KeyError::Erased`] when the subject is erased; [`KeyError::Storage`].
    pub fn rotate(&self, subject: &str) -> Result<(), KeyError> {
        let live = self.inner.live(subject)?;
        let fresh = Key::random()?;
        let rotate = &mut |old: Option<&[u8]>| match Entry::parse(old.unwrap_or_default())? {
            Entry::Destroyed => Err(KeyError::Erased {
                generation: live.generation,
            }),
            Entry::Alive(keys) if keys.values.len() >= ROTATIONS_MAX => Err(KeyError::Storage {
                reason: format!("the subject has {ROTATIONS_MAX} keys already, which is the most of one generation"),
            }),
            Entry::Alive(mut keys) => {
                keys.values.push(fresh.clone());
                Ok(keys.to_bytes())
            }
        };
        self.inner.keys.update(&key_entry(live.key), rotate).map(drop)
    }

    /// Begins a new generation of an erased subject: personal data of it can be written again, with a new key. What was erased stays erased.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotErased`]; [`KeyError::Storage`].
    pub fn reopen(&self, subject: &str) -> Result<(), KeyError> {
        let inner = &self.inner;
        match inner.live(subject) {
            Ok(_) => return Err(KeyError::NotErased),
            Err(KeyError::Erased { .. }) => {}
            Err(error) => return Err(error),
        }
        let key = inner.create_keys()?;
        let marked = |key: Uuid| inner.cache.read().marked.contains(&key);
        let reopen = &mut |old: Option<&[u8]>| {
            let old = Subject::parse(old.unwrap_or_default())?;
            let is_erased = old.key.is_none_or(&marked);
            if !is_erased {
                return Err(KeyError::NotErased);
            }
            let generation = old.generation.saturating_add(1);
            Ok(Subject {
                generation,
                key: Some(key),
            }
            .to_bytes())
        };
        inner.keys.update(&inner.subject_entry(subject), reopen).map(drop)
    }

    /// A pseudonym for a name that belongs to a subject: `anon-` and 32 hexadecimal digits that depend on the subject's key, the kind and the name.
    ///
    /// Write it instead of the name, and query by it: it is the same at every call until the subject is erased. After that nothing derives it from
    /// the name any more. For a name that is a subject itself, such as a user id, pass it as both. [`Personal::name`](super::Personal::name) declares
    /// such names, and the toolkit then replaces them.
    ///
    /// # Errors
    ///
    /// [`KeyError::Erased`] when the subject is erased; [`KeyError::Storage`].
    pub fn pseudonym(&self, subject: &str, kind: NameKind, name: &str) -> Result<String, KeyError> {
        let live = self.inner.live(subject)?;
        let Entry::Alive(keys) = &*live.keys else {
            return Err(KeyError::Erased {
                generation: live.generation,
            });
        };
        let digest = keys.names.digest(&[kind.as_str().as_bytes(), name.as_bytes()]);
        Ok(format!("{PSEUDONYM}{digest}"))
    }

    /// Whether the subject ever had a key.
    pub(super) fn knows(&self, subject: &str) -> Result<bool, KeyError> {
        let state = self.inner.refresh()?;
        let entry = self.inner.subject_entry(subject);
        Ok(self.inner.subject(state, &entry)?.is_some())
    }

    /// Whether the subject is erased, and not reopened since.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`].
    pub fn is_erased(&self, subject: &str) -> Result<bool, KeyError> {
        let state = self.inner.refresh()?;
        let Some(subject) = self.inner.subject(state, &self.inner.subject_entry(subject))? else {
            return Ok(false);
        };
        let Some(key) = subject.key else {
            return Ok(true);
        };
        Ok(matches!(
            self.inner.entry(state, key)?.as_deref(),
            Some(Entry::Destroyed)
        ))
    }
}

impl Inner {
    /// Notices what other handles and processes have changed. The fast path reads two numbers.
    fn refresh(&self) -> Result<State, KeyError> {
        let state = State {
            revision: self.keys.revision()?,
            marks: mark::version(&self.store),
        };
        let before = self.cache.read().state;
        if before == Some(state) {
            return Ok(state);
        }
        let seen = before.map_or(Version(0), |state| state.marks);
        let marks = if state.marks == seen {
            Vec::new()
        } else {
            mark::read(&self.store)?
        };
        self.install(state, &marks);
        self.destroy_again(&marks)?;
        Ok(state)
    }

    fn install(&self, state: State, marks: &[Mark]) {
        let mut cache = self.cache.write();
        cache.entries.clear();
        cache.subjects.clear();
        cache.derived = None;
        cache
            .marked
            .extend(marks.iter().flat_map(|mark| [mark.key, mark.derived]));
        cache.state = Some(state);
    }

    /// A key that the log marks as destroyed, and that is there, came back with an old copy of the key store.
    fn destroy_again(&self, marks: &[Mark]) -> Result<(), KeyError> {
        for key in marks.iter().flat_map(|mark| [mark.key, mark.derived]) {
            let there = self.keys.read(&key_entry(key))?;
            if there.is_some_and(|bytes| bytes != Entry::destroyed()) {
                self.destroy(key)?;
            }
        }
        Ok(())
    }

    pub(super) fn destroy(&self, key: Uuid) -> Result<(), KeyError> {
        self.keys
            .update(&key_entry(key), &mut |_| Ok(Entry::destroyed()))
            .map(drop)
    }

    /// The keys with an id; `None` when the key store does not know them.
    fn entry(&self, state: State, key: Uuid) -> Result<Option<Arc<Entry>>, KeyError> {
        {
            let cache = self.cache.read();
            if cache.marked.contains(&key) {
                return Ok(Some(Arc::new(Entry::Destroyed)));
            }
            if let Some(entry) = cache.entries.get(&key).filter(|_| cache.state == Some(state)) {
                return Ok(Some(Arc::clone(entry)));
            }
        }
        let Some(bytes) = self.keys.read(&key_entry(key))? else {
            return Ok(None);
        };
        let entry = Entry::parse(&bytes).map_err(|_| damaged(key))?;
        let entry = Arc::new(entry);
        let mut cache = self.cache.write();
        if cache.state == Some(state) {
            cache.make_room();
            cache.entries.insert(key, Arc::clone(&entry));
        }
        Ok(Some(entry))
    }

    fn subject(&self, state: State, name: &str) -> Result<Option<Subject>, KeyError> {
        let cached = self.cache.read();
        if let Some(subject) = cached.subjects.get(name).filter(|_| cached.state == Some(state)) {
            return Ok(Some(*subject));
        }
        drop(cached);
        let Some(bytes) = self.keys.read(name)? else {
            return Ok(None);
        };
        let subject = Subject::parse(&bytes)?;
        let mut cache = self.cache.write();
        if cache.state == Some(state) {
            cache.make_room();
            cache.subjects.insert(name.to_owned(), subject);
        }
        Ok(Some(subject))
    }

    pub(super) fn subject_entry(&self, subject: &str) -> String {
        format!("subject/{}", self.salt.digest(&[b"subject", subject.as_bytes()]))
    }

    /// A keyed digest of a digest: without the key store it confirms no guess.
    pub(super) fn blind(&self, digest: Uuid) -> Uuid {
        let digest = self.salt.digest(&[b"command", digest.as_bytes()]);
        Uuid::try_parse(&digest).unwrap_or_default()
    }

    /// The keys that encrypt values of a subject; creates the first ones.
    ///
    /// # Errors
    ///
    /// [`KeyError::Erased`] when the subject is erased; [`KeyError::NoKey`] when its key is lost; [`KeyError::Storage`].
    pub(super) fn live(&self, subject: &str) -> Result<Live, KeyError> {
        let (state, name) = (self.refresh()?, self.subject_entry(subject));
        let Some(subject) = self.subject(state, &name)? else {
            self.create_subject(&name)?;
            let state = self.refresh()?;
            let created = self.subject(state, &name)?;
            let created = created.ok_or_else(|| KeyError::Storage {
                reason: "the key store lost an entry that it has stored".to_owned(),
            })?;
            return self.live_of(state, created);
        };
        self.live_of(state, subject)
    }

    fn live_of(&self, state: State, subject: Subject) -> Result<Live, KeyError> {
        let generation = subject.generation;
        let erased = KeyError::Erased { generation };
        let Some(key) = subject.key else {
            return Err(erased);
        };
        let keys = self.entry(state, key)?.ok_or(KeyError::NoKey { key })?;
        if *keys == Entry::Destroyed {
            return Err(erased);
        }
        Ok(Live { key, generation, keys })
    }

    /// What the key store says about a subject now, past the cache.
    pub(super) fn subject_now(&self, subject: &str) -> Result<Option<Subject>, KeyError> {
        let bytes = self.keys.read(&self.subject_entry(subject))?;
        bytes.map(|bytes| Subject::parse(&bytes)).transpose()
    }

    fn create_keys(&self) -> Result<Uuid, KeyError> {
        let key = random_id()?;
        let create = &mut |old: Option<&[u8]>| match old {
            None => Keys::random().map(|keys| keys.to_bytes()),
            Some(_) => Err(KeyError::Storage {
                reason: format!("the key store has a key {key} already: try again"),
            }),
        };
        self.keys.update(&key_entry(key), create)?;
        Ok(key)
    }

    fn create_subject(&self, name: &str) -> Result<(), KeyError> {
        let key = self.create_keys()?;
        let created = Subject {
            generation: 1,
            key: Some(key),
        };
        let stored = self.keys.update(name, &mut |old| match old {
            Some(old) => Ok(Zeroizing::new(old.to_vec())),
            None => Ok(created.to_bytes()),
        })?;
        // Another handle was first.
        if Subject::parse(&stored)? != created {
            self.destroy(key)?;
        }
        Ok(())
    }

    /// The keys with an id, for decryption; `None` when they are destroyed.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoKey`] when the key store does not know them; [`KeyError::Storage`].
    pub(super) fn opening(&self, key: Uuid) -> Result<Option<Arc<Entry>>, KeyError> {
        let state = self.refresh()?;
        let entry = self.entry(state, key)?.ok_or(KeyError::NoKey { key })?;
        Ok((*entry != Entry::Destroyed).then_some(entry))
    }

    /// The id of the key of derived data. Each erasure replaces it.
    pub(super) fn derived(&self) -> Result<Uuid, KeyError> {
        let state = self.refresh()?;
        let cached = self.cache.read();
        if let Some(key) = cached.derived.filter(|_| cached.state == Some(state)) {
            return Ok(key);
        }
        drop(cached);
        let key = match self.keys.read(DERIVED)? {
            Some(bytes) => parse_id(&bytes)?,
            None => self.replace_derived(None)?,
        };
        if !self.is_usable(key)? {
            return self.replace_derived(Some(key));
        }
        let mut cache = self.cache.write();
        if cache.state == Some(state) {
            cache.derived = Some(key);
        }
        Ok(key)
    }

    /// Whether a key of derived data can encrypt: it exists, and is neither damaged nor destroyed. Derived data is made again, so a lost key is no error.
    fn is_usable(&self, key: Uuid) -> Result<bool, KeyError> {
        match self.opening(key) {
            Ok(entry) => Ok(entry.is_some()),
            Err(KeyError::NoKey { .. }) => Ok(false),
            Err(_) if self.is_damaged(key)? => self.destroy(key).map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Whether the key store has an entry of a key that cannot be parsed.
    pub(super) fn is_damaged(&self, key: Uuid) -> Result<bool, KeyError> {
        let bytes = self.keys.read(&key_entry(key))?;
        Ok(bytes.is_some_and(|bytes| Entry::parse(&bytes).is_err()))
    }

    /// Replaces the key of derived data, if it is `old`. Returns the present one.
    pub(super) fn replace_derived(&self, old: Option<Uuid>) -> Result<Uuid, KeyError> {
        let fresh = self.create_keys()?;
        let replaced = self.keys.update(DERIVED, &mut |now| {
            let now_id = now.map(parse_id).transpose()?;
            match now {
                Some(now) if now_id != old => Ok(Zeroizing::new(now.to_vec())),
                _ => Ok(id_bytes(fresh)),
            }
        })?;
        let now = parse_id(&replaced)?;
        if now != fresh {
            self.destroy(fresh)?;
        }
        Ok(now)
    }

    /// Removes the link from a subject to its key, if it is `key`.
    pub(super) fn unlink(&self, subject: &str, key: Uuid) -> Result<(), KeyError> {
        let unlink = &mut |old: Option<&[u8]>| {
            let old = old.unwrap_or_default();
            let mut subject = Subject::parse(old)?;
            subject.key = subject.key.filter(|now| *now != key);
            Ok(subject.to_bytes())
        };
        self.keys.update(&self.subject_entry(subject), unlink).map(drop)
    }
}

/// The salt of a key store; creates the first one.
///
/// Another salt would give every subject another entry: its keys would be lost, and an erasure would destroy others.
fn salt_of(keys: &impl KeyStore) -> Result<Key, KeyError> {
    let unusable = |what: &str| KeyError::Storage {
        reason: format!("the salt of the key store is {what}: restore it from a backup"),
    };
    let is_salted = keys.read(SALTED)?.is_some();
    let salt = keys.update(SALT, &mut |old| match old {
        Some(old) => Ok(Zeroizing::new(old.to_vec())),
        None if is_salted => Err(unusable("missing")),
        None => Key::random().map(|key| Zeroizing::new(key.bytes().to_vec())),
    })?;
    let salt = Key::from_slice(&salt).ok_or_else(|| unusable("damaged"))?;
    keys.update(SALTED, &mut |_| Ok(Zeroizing::new(vec![1])))?;
    Ok(salt)
}

fn damaged(key: Uuid) -> KeyError {
    KeyError::Storage {
        reason: format!("the entry of key {key} in the key store is damaged: restore the key store from a backup"),
    }
}

fn id_bytes(id: Uuid) -> Secret {
    Zeroizing::new(id.to_string().into_bytes())
}

fn parse_id(bytes: &[u8]) -> Result<Uuid, KeyError> {
    Uuid::try_parse_ascii(bytes).map_err(|_| KeyError::Storage {
        reason: "the entry of derived data is damaged: restore the key store from a backup".to_owned(),
    })
}
