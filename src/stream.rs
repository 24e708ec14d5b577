//! Streams: which aggregate, at which version, and what an append asks and answers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// The place of an event in its stream: 1, 2, 3 … without gaps. 0 means "no event yet".
    Version
}
number! {
    /// The place of an event in the whole store: 1, 2, 3 … without gaps, never reused. 0 is before the first.
    Position
}

/// Names a stream: the id of an aggregate, and its type.
///
/// The id alone identifies the aggregate; its type is settled by its first event, and an append that names another is refused.
///
/// Exhaustive: a stream will not have a third name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamId {
    /// What kind of entity it is, such as `Invoice`.
    pub aggregate_type: Name,
    /// Which one it is, such as `invoice-17`.
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

/// What the writer of an append believes about the stream.
///
/// Exhaustive: a [`Remote`](crate::journal::Remote) must check every one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Anything: append wherever the stream stands.
    #[default]
    Any,
    /// The stream has no event, or was softly deleted.
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
    /// What the writer believes about it.
    pub expected: Expected,
    /// What happened, in order.
    pub events: Vec<NewEvent<'a>>,
}

impl<'a> Append<'a> {
    /// `events` for `stream`, if it is where `expected` says.
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

/// How safe an acknowledged append is.
///
/// Exhaustive: a journal must know what each level promises, and a new level would change the promise of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// In memory: it ends with the process, unless the journal has come to it meanwhile.
    #[default]
    Volatile,
    /// Handed to the operating system, or to the server: it survives the process, not the machine.
    Written,
    /// On the disk, or committed: it survives the machine.
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

/// The acknowledgement of an append: its events are readable by everyone.
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
    /// How safe it is, at least.
    pub durability: Durability,
    /// The same events had been appended before; this is the first acknowledgement again, and nothing was stored now.
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
/// The dynamic consistency boundary: decide on what a query showed, append if nothing was added to its answer since.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Condition {
    /// What must not have happened. Its order, limit and cursor mean nothing here.
    pub query: Query,
    /// The last position that the decision has seen; 0 for "never at all".
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

/// What an aggregate's stream keeps. Older events are dropped at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamLimits {
    /// Keep at most this many events, the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Keep events whose timestamp is younger than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// What is known of a stream without reading its events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The aggregate.
    pub stream: StreamId,
    /// The version of its last event, dropped or not; 0 if it never had one.
    pub version: Version,
    /// Events that can be read.
    pub events: u64,
    /// Versions up to this one are gone: truncated, deleted, or past a limit. 0 if none is.
    pub dropped_to: Version,
    /// The version at which the aggregate was deleted last; 0 if it never was. What comes after it is a new beginning.
    pub deleted_to: Version,
    /// Deleted for good.
    pub tombstoned: bool,
    /// What it keeps.
    pub limits: StreamLimits,
}
