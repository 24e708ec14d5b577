//! What a store declares that it can do.

use std::fmt;

/// Something that not every store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// Appends to several aggregates, all or none.
    AppendAll,
    /// Appends on a condition over the whole log.
    AppendIf,
    /// Recognizes an append by the ids of its events, and acknowledges it again.
    Idempotence,
    /// Answers queries by type, aggregate, correlation, user, organization, tag and time.
    Query,
    /// Reads backwards.
    Backwards,
    /// Follows the log.
    Tail,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AppendAll,
        Self::AppendIf,
        Self::Idempotence,
        Self::Query,
        Self::Backwards,
        Self::Tail,
    ];

    /// What it is, in words that follow "this store cannot".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppendAll => "append to several aggregates at once",
            Self::AppendIf => "append on a condition",
            Self::Idempotence => "recognize repeated appends",
            Self::Query => "answer queries",
            Self::Backwards => "read backwards",
            Self::Tail => "follow the log",
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
    /// All of them.
    pub fn all() -> Self {
        Capability::ALL.into_iter().fold(Self::none(), Self::with)
    }

    /// Appends to one aggregate and reads in ascending order, nothing else.
    pub fn none() -> Self {
        Self(0)
    }

    /// The same with another one.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// The same without this one.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !capability.bit())
    }

    /// Whether it is among them.
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
