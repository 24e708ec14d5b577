//! What verification finds wrong.

use crate::{Gap, Position};

use super::{Link, PublicKey};

/// The first thing wrong that verification finds. Positions are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// An event between these positions was changed.
    #[error(
        "the log was changed: an event from position {first} to {last} is not what it was when the head was signed"
    )]
    Changed {
        /// The first position that may be changed.
        first: Position,
        /// The last position that may be changed.
        last: Position,
    },
    /// Events between these positions are missing, and no anchor contains them.
    #[error(
        "{count} events are missing from position {first} to {last}, and no anchor says that they were dropped on purpose"
    )]
    Missing {
        /// The first position that may be missing.
        first: Position,
        /// The last position that may be missing.
        last: Position,
        /// How many are missing.
        count: u64,
    },
    /// Events between these positions were inserted.
    #[error("{count} events from position {first} to {last} were not there when the head was signed")]
    Inserted {
        /// The first position that may be inserted.
        first: Position,
        /// The last position that may be inserted.
        last: Position,
        /// How many are inserted.
        count: u64,
    },
    /// An event comes after one of a later or the same position.
    #[error("the event at position {position} comes after the one at position {after}: the log is out of order")]
    OutOfOrder {
        /// The event.
        position: Position,
        /// The event before it.
        after: Position,
    },
    /// The log ends before the head.
    #[error("the log ends at position {last}, and its head was signed at position {expected}: its end was cut off")]
    CutAtEnd {
        /// The last position of the log.
        last: Position,
        /// The last position when the head was signed.
        expected: Position,
    },
    /// The log begins after its first event, and no anchor contains the missing events.
    #[error(
        "the log begins at position {first}, not at {expected}, and no anchor says that its beginning was dropped on purpose"
    )]
    CutAtStart {
        /// The first position of the log.
        first: Position,
        /// The first position when the head was signed.
        expected: Position,
    },
    /// The first event has another id.
    #[error("the first event is {actual}, not {expected}: this is another store, or its first event was replaced")]
    OtherStore {
        /// The id of the first event when the head was signed.
        expected: uuid::Uuid,
        /// The id of the first event.
        actual: uuid::Uuid,
    },
    /// A head or an anchor is signed by another key than the one that is trusted.
    #[error(
        "the {what} is signed by the key {actual}, not by the trusted key {expected}: use the public key of its signer"
    )]
    OtherKey {
        /// `head` or `anchor`.
        what: &'static str,
        /// The trusted key.
        expected: PublicKey,
        /// The key that it names.
        actual: PublicKey,
    },
    /// A head or an anchor was changed after it was signed.
    #[error("the signature of the {what} is invalid: the {what} was changed after it was signed")]
    Signature {
        /// `head` or `anchor`.
        what: &'static str,
    },
    /// The head to start from, or an anchor, belongs to another chain.
    #[error(
        "the {what} does not belong to the chain of the head: it must be of the same store, and an earlier head must end before the head"
    )]
    OtherChain {
        /// `earlier head` or `anchor`.
        what: &'static str,
    },
    /// A chain reached events that were dropped before it read them.
    #[error(
        "cannot continue the chain after position {after}: {gap}; allow an anchor of these events, or begin a new chain of the remaining events"
    )]
    Crossed {
        /// The last position that was read.
        after: Position,
        /// The gap.
        gap: Gap,
    },
    /// The progress function stopped the verification.
    #[error("the verification was stopped after position {after}; nothing was found until there")]
    Stopped {
        /// The last position that was read.
        after: Position,
    },
}

/// The result of a verification without a fault: every event from `first` to `last` is as it was when the head was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The first position that was verified; 0 when there was nothing to verify.
    pub first: Position,
    /// The position of the head.
    pub last: Position,
    /// The number of events in the chain up to the head.
    pub count: u64,
    /// The number of missing events that an anchor contains, without those before `first`.
    pub anchored: u64,
    /// The link of the head.
    pub link: Link,
    /// The last visible position. Events after the head are not covered by it.
    pub visible: Position,
}
