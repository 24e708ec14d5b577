//! What a vault keeps in a key store, as bytes.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, Key};
use super::keys::{KeyError, Secret};

/// The most keys of one generation of a subject.
pub(super) const ROTATIONS_MAX: usize = 1_000;

/// The first byte of an entry that has keys, and of one whose keys are destroyed.
const ALIVE: u8 = 1;
const DESTROYED: u8 = 0;

/// The keys with one id: of one generation of a subject, or of derived data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// The key of names: of pseudonyms.
    pub(super) names: Key,
    /// The keys of values, the first one first: the last one encrypts, all decrypt.
    pub(super) values: Vec<Key>,
}

impl Keys {
    pub(super) fn random() -> Result<Self, KeyError> {
        Ok(Self {
            names: Key::random()?,
            values: vec![Key::random()?],
        })
    }

    pub(super) fn to_bytes(&self) -> Secret {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + (1 + self.values.len()) * KEY_BYTES));
        bytes.push(ALIVE);
        for key in std::iter::once(&self.names).chain(&self.values) {
            bytes.extend_from_slice(key.bytes());
        }
        bytes
    }
}

/// An entry of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Alive(Keys),
    Destroyed,
}

impl Entry {
    pub(super) fn destroyed() -> Secret {
        Zeroizing::new(vec![DESTROYED])
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = || KeyError::Storage {
            reason: "an entry of the key store is damaged: restore the key store from a backup".to_owned(),
        };
        match bytes {
            [DESTROYED] => Ok(Self::Destroyed),
            [ALIVE, keys @ ..] if keys.len() >= 2 * KEY_BYTES && keys.len().is_multiple_of(KEY_BYTES) => {
                let mut keys = keys.chunks(KEY_BYTES).filter_map(Key::from_slice);
                let names = keys.next().ok_or_else(damaged)?;
                let values = keys.collect();
                Ok(Self::Alive(Keys { names, values }))
            }
            _ => Err(damaged()),
        }
    }
}

/// Which keys a subject has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) generation: u32,
    /// `None` after an erasure: no link from the subject to its former keys is left.
    pub(super) key: Option<Uuid>,
}

impl Subject {
    pub(super) fn to_bytes(self) -> Secret {
        let key = self.key.map_or(String::from("-"), |key| key.to_string());
        Zeroizing::new(format!("{} {key}", self.generation).into_bytes())
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let parse = || {
            let (generation, key) = str::from_utf8(bytes).ok()?.split_once(' ')?;
            let key = match key {
                "-" => None,
                key => Some(key.parse().ok()?),
            };
            let generation = generation.parse().ok()?;
            Some(Self { generation, key })
        };
        parse().ok_or_else(|| KeyError::Storage {
            reason: "the entry of a subject is damaged: restore the key store from a backup".to_owned(),
        })
    }
}

/// The name of the entry of keys.
pub(super) fn key_entry(key: Uuid) -> String {
    format!("key/{key}")
}
