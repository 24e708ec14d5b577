//! The capabilities that a store declares.

use std::fmt;

/// An operation that not every event store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// Appends to several aggregates in one call, all or none.
    AppendAll,
    /// Appends on a [condition](crate::Condition) over the whole log.
    AppendIf,
    /// Recognizes a repeated append by the ids of its events, and acknowledges it without storing the events again.
    Idempotence,
    /// Queries by type, aggregate, correlation, user, organization, tag and time.
    Query,
    /// Reads in descending order.
    Backwards,
    /// Follows the log as it grows.
    Tail,
    /// Keeps every field of an event byte for byte: a given id and time, tags, metadata, and data of any content type. A store without it keeps the type,
    /// the schema version, data that is JSON, and the names of user, organization, correlation and causation.
    Fields,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 7] = [
        Self::AppendAll,
        Self::AppendIf,
        Self::Idempotence,
        Self::Query,
        Self::Backwards,
        Self::Tail,
        Self::Fields,
    ];

    /// The operation, as a verb that follows "this store cannot".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppendAll => "append to several aggregates at once",
            Self::AppendIf => "append on a condition",
            Self::Idempotence => "recognize repeated appends",
            Self::Query => "answer queries",
            Self::Backwards => "read backwards",
            Self::Tail => "follow the log",
            Self::Fields => "keep every field of an event",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// A set of [capabilities](Capability).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Every capability.
    pub fn all() -> Self {
        Capability::ALL.into_iter().fold(Self::none(), Self::with)
    }

    /// No capability: a store that appends to one aggregate and reads in ascending order.
    pub fn none() -> Self {
        Self(0)
    }

    /// Adds a capability.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// Removes a capability.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !capability.bit())
    }

    /// Whether the set contains a capability.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = Capability::ALL.into_iter().filter(|one| self.has(*one));
        f.debug_set().entries(present).finish()
    }
}
