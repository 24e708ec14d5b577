//! Snapshots and reasons: encrypted with a key that every erasure replaces.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Vault;
use super::entries::Entry;
use crate::cqrs::DerivedData;

/// What derived data is bound to.
const ASSOCIATED: &[u8] = b"annals.derived.1";

#[derive(Serialize, Deserialize)]
struct Sealed {
    key: Uuid,
    nonce: String,
    data: String,
}

impl DerivedData for Vault {
    fn epoch(&self) -> Result<Uuid, String> {
        self.inner.derived().map_err(|error| error.to_string())
    }

    fn seal(&self, epoch: Uuid, data: &[u8]) -> Result<String, String> {
        let over = || "a subject was erased since its events were read: read them again".to_owned();
        let entry = self.inner.opening(epoch).map_err(|error| error.to_string())?;
        let Some(Entry::Alive(keys)) = entry.as_deref() else {
            return Err(over());
        };
        let key = keys.values.last().ok_or_else(over)?;
        let (nonce, data) = key.seal(data, ASSOCIATED).map_err(|error| error.to_string())?;
        let sealed = Sealed {
            key: epoch,
            nonce: BASE64.encode(nonce),
            data: BASE64.encode(data),
        };
        serde_json::to_string(&sealed).map_err(|error| error.to_string())
    }

    fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        let sealed: Sealed = serde_json::from_str(sealed).ok()?;
        let entry = self.inner.opening(sealed.key).ok()?;
        let Some(Entry::Alive(keys)) = entry.as_deref() else {
            return None;
        };
        let (nonce, data) = (BASE64.decode(&sealed.nonce).ok()?, BASE64.decode(&sealed.data).ok()?);
        keys.values.last()?.open(&nonce, &data, ASSOCIATED)
    }

    fn blind(&self, digest: Uuid) -> Uuid {
        self.inner.blind(digest)
    }
}
