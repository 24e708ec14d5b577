//! Anchors: signed statements that events were dropped on purpose.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain::{BLOCK, Chain, Checkpoint, Link};
use super::entry::Leaf;
use super::head::{Signature, store_bytes, write_checkpoint};
use super::{AuditKey, ChainEntry, Head, PublicKey, VerifyError};
use crate::{Error, Position, Timestamp};

const FORMAT: &str = "annals.audit.anchor/1";

/// Maximum bytes of an anchor as text: about three million events.
const TEXT_MAX: usize = 256 << 20;

/// A signed statement that events may be missing, with the hashes that the chain needs in their place.
///
/// An anchor of a [prefix](super::AuditChain::anchor) has the link at the end of the prefix, and a constant size. An anchor of [events](Self::of_events)
/// has the hash of each event: use it for aggregates that are truncated, deleted or archived, whose events are spread over the log. Make an anchor before
/// the events are dropped, or from the archive that contains them. Verification accepts missing events that an anchor contains, and checks all others.
/// An anchor of a prefix does not let it check the events between two checkpoints of the head of which some are missing:
/// [`Verified::first`](super::Verified::first) is after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Anchor {
    format: String,
    /// The [store](super::Head::store).
    pub store: Option<Uuid>,
    /// The first position of the store's chain; 0 when it is empty.
    pub first: Position,
    /// Why the events were dropped.
    pub reason: String,
    /// When the anchor was made.
    pub made_at: Timestamp,
    /// The end of a dropped prefix; position 0 if there is none.
    pub base: Checkpoint,
    /// The position and the hash of each dropped event after `base`, ascending.
    leaves: Vec<(Position, Link)>,
    /// The key that signed the anchor.
    pub public_key: PublicKey,
    signature: Signature,
}

impl Anchor {
    /// An anchor of the events `entries`, ascending by position. `head` is a head of their store, `reason` says why the events are dropped, and `made_at`
    /// is the time that the anchor states.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OutOfOrder`] when the positions do not ascend.
    pub fn of_events<'a>(
        head: &Head,
        entries: impl IntoIterator<Item = ChainEntry<'a>>,
        reason: &str,
        key: &AuditKey,
        made_at: Timestamp,
    ) -> Result<Self, VerifyError> {
        let (mut leaves, mut buffer, mut after) = (Vec::new(), Vec::new(), Position(0));
        for entry in entries {
            let position = entry.position;
            if position <= after {
                return Err(VerifyError::OutOfOrder { position, after });
            }
            after = position;
            if entry.is_chained() {
                leaves.push((position, Link(entry.leaf(&mut buffer))));
            }
        }
        let first = head.store.map(|id| (head.first, id));
        let unsigned = Self {
            leaves,
            ..Self::unsigned(first, reason, key, made_at)
        };
        Ok(unsigned.sign(key))
    }

    pub(super) fn of_prefix(chain: &Chain, reason: &str, key: &AuditKey, made_at: Timestamp) -> Self {
        let leaves = chain
            .open_leaves()
            .map(|(position, leaf)| (Position(position), Link(leaf)));
        let unsigned = Self {
            base: chain.base(),
            leaves: leaves.collect(),
            ..Self::unsigned(chain.first(), reason, key, made_at)
        };
        unsigned.sign(key)
    }

    /// An anchor of no events, for the store whose chain begins with `first`.
    fn unsigned(first: Option<(Position, Uuid)>, reason: &str, key: &AuditKey, made_at: Timestamp) -> Self {
        Self {
            format: FORMAT.to_owned(),
            store: first.map(|(_, id)| id),
            first: first.map_or(Position(0), |(position, _)| position),
            reason: reason.to_owned(),
            made_at,
            base: Checkpoint::default(),
            leaves: Vec::new(),
            public_key: key.public(),
            signature: Signature([0; 64]),
        }
    }

    fn sign(mut self, key: &AuditKey) -> Self {
        self.signature = Signature(key.sign(&self.signed_bytes()));
        self
    }

    /// The number of events that may be missing.
    pub fn count(&self) -> u64 {
        self.base.count.saturating_add(self.leaves.len() as u64)
    }

    /// The last position that may be missing; 0 for none.
    pub fn last(&self) -> Position {
        self.leaves.last().map_or(self.base.position, |(position, _)| *position)
    }

    /// Parses an anchor. Its signature is checked when it is used.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the text has more than 256 MiB, or is not an anchor.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let refused = |reason: &dyn fmt::Display| Error::invalid(format!("invalid audit anchor: {reason}"));
        if text.len() > TEXT_MAX {
            return Err(refused(&format!(
                "it has {} bytes, and the maximum is {TEXT_MAX}",
                text.len()
            )));
        }
        let anchor: Self = serde_json::from_str(text).map_err(|error| refused(&error))?;
        if anchor.format != FORMAT {
            return Err(refused(&format!("its format is '{}', not '{FORMAT}'", anchor.format)));
        }
        let is_sound = anchor.base.position.0.is_multiple_of(BLOCK)
            && anchor.leaves.is_sorted_by(|one, next| one.0 < next.0)
            && anchor
                .leaves
                .first()
                .is_none_or(|(first, _)| *first > anchor.base.position);
        if !is_sound {
            return Err(refused(&"its positions do not ascend"));
        }
        Ok(anchor)
    }

    /// The anchor as one JSON object, on one line.
    pub fn to_json(&self) -> String {
        // Numbers and texts alone: serializing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks that `key` has signed the anchor.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`], [`VerifyError::Signature`].
    pub fn check_signature(&self, key: &PublicKey) -> Result<(), VerifyError> {
        self.signature
            .check("anchor", &self.public_key, key, &self.signed_bytes())
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{FORMAT}\0").into_bytes();
        bytes.extend_from_slice(&store_bytes(self.store));
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.made_at.as_micros().to_le_bytes());
        bytes.extend_from_slice(&(self.reason.len() as u64).to_le_bytes());
        bytes.extend_from_slice(self.reason.as_bytes());
        write_checkpoint(&self.base, &mut bytes);
        for (position, leaf) in &self.leaves {
            bytes.extend_from_slice(&position.0.to_le_bytes());
            bytes.extend_from_slice(&leaf.0);
        }
        bytes
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = (u64, Leaf)> {
        self.leaves.iter().map(|(position, leaf)| (position.0, leaf.0))
    }

    /// Whether the event at this position may be missing.
    pub(super) fn has(&self, position: Position) -> bool {
        let is_leaf = || self.leaves.binary_search_by_key(&position, |(at, _)| *at).is_ok();
        position <= self.base.position || is_leaf()
    }
}
