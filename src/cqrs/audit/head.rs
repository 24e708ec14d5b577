//! Heads: the signed link of the chain at a position, kept outside of the store.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::chain::{BLOCK, CHECKPOINTS_MAX, Chain, Checkpoint};
use super::{AuditKey, PublicKey, VerifyError, hex};
use crate::{Error, Position, Timestamp};

const FORMAT: &str = "annals.audit.head/1";

/// Maximum bytes of a head as text.
const TEXT_MAX: usize = 1 << 20;

/// A signed statement of the whole log up to a position: the link of the hash chain there, and links before it.
///
/// A head makes tampering evident, so keep it where the store's administrators cannot replace it: with an auditor, in another system, on paper. It is one
/// JSON object with at most 1,024 checkpoints, so it has at most 150 KB for a log of any length.
///
/// ```
/// use annals::{Expected, NewEvent, Store, StreamId};
/// use annals::cqrs::audit::{AuditChain, AuditKey, Head, Verify};
///
/// let (store, key) = (Store::in_memory(), AuditKey::generate()?);
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced"); 3])?;
/// let text = AuditChain::of(&store)?.head(&key, store.now()).to_json();
///
/// // Later, elsewhere, with the public key alone.
/// let head = Head::from_json(&text)?;
/// let verified = Verify::new(&head, &key.public()).run(&store)?;
/// assert_eq!((verified.count, verified.last.0), (3, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Head {
    format: String,
    /// The store: the id of the first event of its chain; `None` when the chain is empty.
    pub store: Option<Uuid>,
    /// The position of the first event of the chain; 0 when it is empty.
    pub first: Position,
    /// The last event of the chain.
    pub tip: Checkpoint,
    /// The end of the last whole block: where a reader that resumes begins.
    pub base: Checkpoint,
    /// Links before, ascending. They tell between which positions the log was changed.
    pub checkpoints: Vec<Checkpoint>,
    /// When the head was made.
    pub made_at: Timestamp,
    /// The key that signed the head.
    pub public_key: PublicKey,
    signature: Signature,
}

impl Head {
    pub(super) fn sign(chain: &Chain, key: &AuditKey, made_at: Timestamp) -> Self {
        let first = chain.first();
        let mut head = Self {
            format: FORMAT.to_owned(),
            store: first.map(|(_, id)| id),
            first: first.map_or(Position(0), |(position, _)| position),
            tip: chain.tip(),
            base: chain.base(),
            checkpoints: chain.checkpoints().to_vec(),
            made_at,
            public_key: key.public(),
            signature: Signature([0; 64]),
        };
        head.signature = Signature(key.sign(&head.signed_bytes()));
        head
    }

    /// Parses a head. Its signature is checked when it is used.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the text has more than 1 MiB, or is not a head.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let refused = |reason: &dyn fmt::Display| Error::invalid(format!("invalid audit head: {reason}"));
        if text.len() > TEXT_MAX {
            return Err(refused(&format!(
                "it has {} bytes, and the maximum is {TEXT_MAX}",
                text.len()
            )));
        }
        let head: Self = serde_json::from_str(text).map_err(|error| refused(&error))?;
        if head.format != FORMAT {
            return Err(refused(&format!("its format is '{}', not '{FORMAT}'", head.format)));
        }
        if head.checkpoints.len() > CHECKPOINTS_MAX || !head.is_ascending() {
            return Err(refused(&"its checkpoints do not ascend, or there are more than 1,024"));
        }
        Ok(head)
    }

    /// The head as one JSON object, on one line.
    pub fn to_json(&self) -> String {
        // Numbers and texts alone: serializing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn is_ascending(&self) -> bool {
        let blocks = self
            .checkpoints
            .iter()
            .chain([&self.base])
            .map(|point| point.position.0);
        let mut positions = self.checkpoints.iter().map(|point| point.position);
        blocks.clone().all(|position| position.is_multiple_of(BLOCK))
            && positions.clone().is_sorted_by(|one, next| one < next)
            && positions.all(|position| position <= self.base.position)
            && self.base.position <= self.tip.position
    }

    /// Checks that `key` has signed the head.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`], [`VerifyError::Signature`].
    pub fn check_signature(&self, key: &PublicKey) -> Result<(), VerifyError> {
        self.signature
            .check("head", &self.public_key, key, &self.signed_bytes())
    }

    /// Every field but the signature, in a fixed order with fixed lengths.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{FORMAT}\0").into_bytes();
        bytes.extend_from_slice(&store_bytes(self.store));
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.made_at.as_micros().to_le_bytes());
        for point in [&self.tip, &self.base].into_iter().chain(&self.checkpoints) {
            write_checkpoint(point, &mut bytes);
        }
        bytes
    }
}

pub(super) fn store_bytes(store: Option<Uuid>) -> [u8; 17] {
    let mut bytes = [0; 17];
    if let Some(id) = store {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(id.as_bytes());
    }
    bytes
}

pub(super) fn write_checkpoint(point: &Checkpoint, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&point.position.0.to_le_bytes());
    bytes.extend_from_slice(&point.count.to_le_bytes());
    bytes.extend_from_slice(&point.link.0);
}

/// A signature: 128 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature(pub(super) [u8; 64]);

impl Signature {
    pub(super) fn check(
        self,
        what: &'static str,
        by: &PublicKey,
        key: &PublicKey,
        bytes: &[u8],
    ) -> Result<(), VerifyError> {
        if by != key {
            return Err(VerifyError::OtherKey {
                what,
                expected: *key,
                actual: *by,
            });
        }
        if key.has_signed(bytes, &self.0) {
            return Ok(());
        }
        Err(VerifyError::Signature { what })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(&text);
        bytes
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a signature has 128 hexadecimal digits"))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
