//! XChaCha20-Poly1305 with keys that are overwritten when they are dropped.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use uuid::Uuid;
use zeroize::Zeroize;

use super::KeyError;

pub(super) const KEY_BYTES: usize = 32;
pub(super) const NONCE_BYTES: usize = 24;

/// A key of 256 bits: overwritten when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// A key from the operating system's randomness.
    pub(super) fn random() -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_BYTES]);
        fill(&mut key.0)?;
        Ok(key)
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }

    /// Encrypts `plain` under a random nonce; the result opens only with the same `associated` data.
    pub(super) fn seal(&self, plain: &[u8], associated: &[u8]) -> Result<([u8; NONCE_BYTES], Vec<u8>), KeyError> {
        let mut nonce = [0; NONCE_BYTES];
        fill(&mut nonce)?;
        let payload = Payload {
            msg: plain,
            aad: associated,
        };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        sealed.map(|data| (nonce, data)).map_err(|_| KeyError::Storage {
            reason: "the cipher rejects the value: it is too long".to_owned(),
        })
    }

    /// `None` when the key, the nonce, the data or the associated data is another one.
    pub(super) fn open(&self, nonce: &[u8], data: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let payload = Payload {
            msg: data,
            aad: associated,
        };
        self.cipher().decrypt(&XNonce::from(nonce), payload).ok()
    }

    /// The first 16 bytes of a keyed hash of `parts`, in lower-case hexadecimal digits.
    pub(super) fn digest(&self, parts: &[&[u8]]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize().to_hex();
        hasher.zeroize();
        hash[..32].to_owned()
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| KeyError::Storage {
        reason: format!("the operating system provides no random bytes: {error}"),
    })
}

/// An id that is derived from nothing, so that it links to no name and no time.
pub(super) fn random_id() -> Result<Uuid, KeyError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
