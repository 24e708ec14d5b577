//! What verification finds.

use crate::{Gap, Position};

use super::{Link, PublicKey};

/// The first fault that verification found. Positions are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An event between these positions is not what it was.
    #[error(
        "the log was changed: an event from position {first} to {last} is not what it was when the head was signed"
    )]
    Changed {
        /// The first position that may be changed.
        first: Position,
        /// The last position that may be changed.
        last: Position,
    },
    /// Events between these positions are gone, and no anchor has them.
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
    /// Events between these positions were not there.
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
    /// The log begins after its first event, and no anchor has what is missing.
    #[error(
        "the log begins at position {first}, not at {expected}, and no anchor says that its beginning was dropped on purpose"
    )]
    CutAtStart {
        /// The first position of the log.
        first: Position,
        /// The first position when the head was signed.
        expected: Position,
    },
    /// The first event is another one.
    #[error("the first event is {actual}, not {expected}: this is another store, or its first event was replaced")]
    OtherStore {
        /// The id of the first event when the head was signed.
        expected: uuid::Uuid,
        /// The id of the first event.
        actual: uuid::Uuid,
    },
    /// A head or an anchor is signed by another key than the one that is trusted.
    #[error("the {what} is signed by the key {actual}, not by {expected}")]
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
    #[error("the {what} belongs to another chain than the head")]
    OtherChain {
        /// `head` or `anchor`.
        what: &'static str,
    },
    /// A reader that follows the log met events that were dropped before it read them.
    #[error(
        "cannot continue the chain after position {after}: {gap}; give an anchor of them, or begin a chain of what is left"
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

/// What was verified: every event from `first` to `last` is what it was when the head was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The first position that was verified; 0 when there was nothing to verify.
    pub first: Position,
    /// The position of the head.
    pub last: Position,
    /// The number of events in the chain up to there.
    pub count: u64,
    /// The number of these that are gone, and that an anchor has; those before `first` are not counted.
    pub anchored: u64,
    /// The link of the head.
    pub link: Link,
    /// The last visible position. Events after the head are not covered by it.
    pub visible: Position,
}
