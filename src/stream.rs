//! Streams: which aggregate, at which version, and what an append asks and answers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setters::setters;
use crate::{Error, Name, NewEvent, Query};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// The version of an event in its stream: 1, 2, 3 … without gaps. 0 means that there is no event.
    Version
}
number! {
    /// The position of an event in the whole store: 1, 2, 3 … without gaps, never reused. 0 is before the first event.
    Position
}

/// Identifies a stream: the id of an aggregate, and its type.
///
/// The id alone identifies the aggregate. The first event fixes its type, and an append with another type is rejected.
///
/// Exhaustive: a stream will not have a third name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamId {
    /// The type of the aggregate, such as `Invoice`.
    pub aggregate_type: Name,
    /// The id of the aggregate, such as `invoice-17`.
    pub aggregate_id: Name,
}

impl StreamId {
    /// The stream of the aggregate `aggregate_id` of type `aggregate_type`.
    pub fn new(aggregate_type: impl Into<Name>, aggregate_id: impl Into<Name>) -> Self {
        Self {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.aggregate_type, self.aggregate_id)
    }
}

/// The expected version of an append: what the stream must be, or the append fails with a [`Conflict`](crate::Conflict).
///
/// Exhaustive: a [`Remote`](crate::journal::Remote) must check every one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Any version: no check.
    #[default]
    Any,
    /// The stream has no event, or was deleted (not tombstoned).
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The last event of the stream has this version; 0 is the same as [`NoStream`](Self::NoStream) for a stream never written.
    Exactly(Version),
}

impl Expected {
    /// The last event of the stream has version `version`.
    pub const fn exactly(version: u64) -> Self {
        Self::Exactly(Version(version))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exactly(version) => write!(f, "version {version}"),
        }
    }
}

/// One aggregate's part of an append to several.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Append<'a> {
    /// The stream to append to.
    pub stream: Cow<'a, StreamId>,
    /// The expected version.
    pub expected: Expected,
    /// The events, in order.
    pub events: Vec<NewEvent<'a>>,
}

impl<'a> Append<'a> {
    /// Appends `events` to `stream`, if the stream is as expected.
    pub fn new(stream: impl Into<Cow<'a, StreamId>>, expected: Expected, events: impl Into<Vec<NewEvent<'a>>>) -> Self {
        Self {
            stream: stream.into(),
            expected,
            events: events.into(),
        }
    }
}

impl<'a> From<&'a StreamId> for Cow<'a, StreamId> {
    fn from(stream: &'a StreamId) -> Self {
        Self::Borrowed(stream)
    }
}

impl From<StreamId> for Cow<'_, StreamId> {
    fn from(stream: StreamId) -> Self {
        Self::Owned(stream)
    }
}

impl<'a> From<NewEvent<'a>> for Vec<NewEvent<'a>> {
    fn from(event: NewEvent<'a>) -> Self {
        vec![event]
    }
}

/// A part is a slice of one: it is appended as it is.
impl<'a> AsRef<[Append<'a>]> for Append<'a> {
    fn as_ref(&self) -> &[Append<'a>] {
        std::slice::from_ref(self)
    }
}

/// What an acknowledged append survives.
///
/// Exhaustive: a journal must know what each level promises, and a new level would change the promise of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// In memory: it is lost when the process ends, unless the journal has written it meanwhile.
    #[default]
    Volatile,
    /// Written to the operating system or the server: it survives the end of the process, but not of the machine.
    Written,
    /// Synced to the disk, or committed: it survives the end of the machine.
    Synced,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volatile => "volatile",
            Self::Written => "written",
            Self::Synced => "synced",
        })
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "volatile" => Ok(Self::Volatile),
            "written" => Ok(Self::Written),
            "synced" | "sync" => Ok(Self::Synced),
            _ => Err(Error::invalid(format!(
                "'{text}' is no durability: write volatile, written or synced"
            ))),
        }
    }
}

/// The acknowledgement of an append. Every reader of the store sees its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Appended {
    /// The version of the first event.
    pub first_version: Version,
    /// The version of the last event, and so of the stream.
    pub last_version: Version,
    /// The position of the first event.
    pub first_position: Position,
    /// The position of the last event.
    pub last_position: Position,
    /// The durability that the append has reached, at least.
    pub durability: Durability,
    /// Whether the append was a duplicate, recognized by the ids of its events. Then nothing was stored, and this is the first acknowledgement.
    pub repeated: bool,
}

impl Appended {
    /// The acknowledgement of events that were stored now, from the version and position of the first to those of the last. For a
    /// [`Remote`](crate::journal::Remote); other fields can be set afterwards.
    pub fn new(first: (Version, Position), last: (Version, Position), durability: Durability) -> Self {
        Self {
            first_version: first.0,
            last_version: last.0,
            first_position: first.1,
            last_position: last.1,
            durability,
            repeated: false,
        }
    }
}

/// A condition on the whole store: no event that matches `query` after position `after`.
///
/// The dynamic consistency boundary: decide on the result of a query, and append if no matching event was added since.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Condition {
    /// Events that must not exist. The order, limit and cursor of the query are ignored.
    pub query: Query,
    /// The last position that the decision has seen; 0 checks all events.
    pub after: Position,
}

impl Condition {
    /// No event that matches `query`, ever.
    pub fn none(query: Query) -> Self {
        Self {
            query,
            after: Position(0),
        }
    }

    /// No event that matches `query` after position `after`.
    pub fn none_after(query: Query, after: Position) -> Self {
        Self { query, after }
    }
}

/// The limits of a stream. Events beyond them are dropped at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct StreamLimits {
    /// Maximum number of events; the oldest are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Maximum age of events, by their timestamps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

setters! {
    StreamLimits {
        max_count: u64,
        max_age: Duration,
    }
}

/// Information about a stream that needs no reading of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The aggregate.
    pub stream: StreamId,
    /// The version of its last event, dropped or not; 0 if it never had one.
    pub version: Version,
    /// Number of events that can be read.
    pub events: u64,
    /// Events up to this version are dropped: truncated, deleted, or beyond a limit. 0 if none is.
    pub dropped_to: Version,
    /// The version at which the aggregate was last deleted; 0 if never. Later events begin a new history.
    pub deleted_to: Version,
    /// Whether the aggregate is tombstoned: deleted for ever.
    pub tombstoned: bool,
    /// The limits.
    pub limits: StreamLimits,
}
