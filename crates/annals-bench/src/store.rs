//! The interface of a measured store: the traits [`EventStore`] and [`Backend`], and the description of a backend.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use serde::{Deserialize, Serialize};

/// An event to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEvent<'a> {
    /// The event type, such as `PaymentReceived`.
    pub event_type: &'a str,
    /// The conversation that the event belongs to; empty for none.
    pub correlation: &'a str,
    /// The id in the payload of the event that caused it; empty for none.
    pub causation: &'a str,
    /// When it happened, in microseconds since 1970.
    pub micros: i64,
    /// The payload, which is JSON.
    pub data: &'a [u8],
}

/// An event that a store returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEvent<'a> {
    /// The stream of the event.
    pub stream: &'a str,
    /// Its number in its stream: 1, 2, 3 …
    pub version: Version,
    /// Its number in the store, if the store has one.
    pub position: Option<Position>,
    /// The payload.
    pub data: &'a [u8],
}

/// The correlation and cause of an event, as a store returns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// The number of the event in the store.
    pub position: Position,
    /// The payload.
    pub data: &'a [u8],
    /// The conversation; empty for none.
    pub correlation: &'a str,
    /// The cause; empty for none.
    pub causation: &'a str,
}

/// Called with the correlation and cause of each event.
pub type LookAtTrace<'a> = &'a mut dyn FnMut(Trace<'_>);

/// Called with each event that a read returns. It does not call the store: a read may hold a lock.
pub type Look<'a> = &'a mut dyn FnMut(StoredEvent<'_>);

/// The condition of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The field and its value.
    pub by: By,
    /// At most this many events, the last ones first.
    pub limit: usize,
    /// Whether the store may answer from a cache of queries.
    pub is_cached: bool,
}

/// The field that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The type of an event.
    Type(String),
    /// The conversation of an event.
    Correlation(String),
    /// From the first moment, inclusive, to the second, exclusive, in microseconds since 1970.
    Time(i64, i64),
}

/// The reason why a call to a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The expected version is wrong, and nothing was written.
    #[error("the stream is not at the expected version")]
    Conflict,
    /// The store cannot do this, and nothing was written.
    #[error("this backend cannot {0}")]
    Unsupported(&'static str),
    /// The call failed; it is unknown whether the events are stored.
    #[error("{0}")]
    Failed(String),
}

/// The result of a call to a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The bytes that a store uses, where it can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In memory.
    pub memory_bytes: Option<u64>,
    /// On disk.
    pub disk_bytes: Option<u64>,
}

/// An open event store. Several threads call it at the same time, and every call blocks until it is done.
pub trait EventStore: Send + Sync {
    /// Appends `events` to `stream`, all or none, and returns the version of the first one when they are as durable as the backend declares.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the stream is not as expected.
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version>;

    /// Calls `look` with the events of `stream` after version `after`, in order. A stream that does not exist has no events.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the store cannot be read.
    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()>;

    /// Calls `look` with at most `limit` events of the whole store after position `after`, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the store has no log.
    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()>;

    /// A reader of the events after position `after` that the store wakes. Without one, readers look at the log once in a millisecond.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the log cannot be followed.
    fn follow(&self, _after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        Ok(None)
    }

    /// Calls `look` with the events that `question` asks for.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the store has no such query.
    fn query(&self, _question: &Question, _look: Look<'_>) -> Result<()> {
        Err(StoreError::Unsupported("find events by a field"))
    }

    /// Whether payloads come back byte for byte. Otherwise they are the same JSON.
    fn keeps_bytes(&self) -> bool {
        true
    }

    /// Calls `look` with what ties at most `limit` events of the whole store after position `after` to others, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the store does not return it.
    fn read_traces(&self, _after: Position, _limit: usize, _look: LookAtTrace<'_>) -> Result<()> {
        Err(StoreError::Unsupported("return what caused an event"))
    }

    /// Removes the events that were appended longer than `age` ago. It is called many times in that time, where [`Backend::expires`] is true.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if they cannot be removed.
    fn expire(&self, _age: Duration) -> Result<()> {
        Ok(())
    }

    /// Waits until everything that was acknowledged is as durable as the store ever makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it cannot become durable.
    fn drain(&self) -> Result<()> {
        Ok(())
    }

    /// The bytes that the store uses.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// A reader of new events that the store wakes.
pub trait Follow {
    /// Waits for events, at most for `wait`, and calls `look` with at most `limit` of them, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the store cannot be read.
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()>;

    /// The events of other programs that it has skipped, where the log has some.
    fn skipped(&self) -> u64 {
        0
    }
}

impl fmt::Debug for dyn EventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStore")
    }
}

/// A kind of store, and where it keeps its data.
pub trait Backend: Send + Sync {
    /// Its description.
    fn description(&self) -> Description;

    /// Opens the store, with the events that it holds.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it cannot be opened.
    fn open(&self) -> Result<Arc<dyn EventStore>>;

    /// Removes all events. The store is not open.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if they cannot be removed.
    fn wipe(&self) -> Result<()>;

    /// The name by which another process opens it; `None` if it cannot.
    fn place(&self) -> Option<Place> {
        None
    }

    /// Whether its events can expire.
    fn expires(&self) -> bool {
        false
    }

    /// Opens the store, which may drop events by itself once they were appended longer than `age` ago.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it cannot be opened.
    fn open_expiring(&self, _age: Duration) -> Result<Arc<dyn EventStore>> {
        self.open()
    }

    /// The reason why several processes cannot append to it at the same time; `None` if they can.
    fn unshared(&self) -> Option<&'static str> {
        Some("one process alone can open it")
    }

    /// Opens the store while other processes append to it too.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it cannot be opened.
    fn open_shared(&self) -> Result<Arc<dyn EventStore>> {
        self.open()
    }
}

/// The arguments of [`backends::named`](crate::backends::named) with which another process opens a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name, or the URL of its server.
    pub name: String,
    /// The folder above that of its files.
    pub data: PathBuf,
}

impl Place {
    /// The place of a backend without files.
    pub fn of_name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            data: PathBuf::new(),
        }
    }
}

impl fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.description().name).finish()
    }
}

/// The failures that an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DurabilityClass {
    /// Nothing: it is in the memory of the process.
    Volatile,
    /// The end of the process: the operating system or another process has it.
    ProcessCrashSafe,
    /// The loss of power: it is synced to the disk.
    PowerSafe,
    /// The loss of a machine: others have a copy.
    Replicated,
}

impl DurabilityClass {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::ProcessCrashSafe => "process-crash-safe",
            Self::PowerSafe => "power-safe",
            Self::Replicated => "replicated",
        }
    }
}

/// The unit that a store writes atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchUnit {
    /// The events of an append.
    Append,
    /// One event: an append of several can be torn.
    Event,
}

impl BatchUnit {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Event => "event",
        }
    }
}

/// The condition that an append can depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencyCheck {
    /// Nothing: of two appends to one version, both are stored.
    None,
    /// The version of its stream.
    StreamVersion,
}

impl ConsistencyCheck {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StreamVersion => "stream version",
        }
    }
}

/// The description of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its name on the command line.
    pub name: String,
    /// The software and its version.
    pub software: String,
    /// The settings that matter, as they are in effect.
    pub settings: String,
    /// The failures that an acknowledged append survives.
    pub durability: DurabilityClass,
    /// The unit that it writes atomically.
    pub batch_unit: BatchUnit,
    /// The condition that an append can depend on.
    pub check: ConsistencyCheck,
    /// Whether it stores events. Otherwise the oracle checks nothing.
    pub keeps_events: bool,
    /// Whether it has a log over all streams.
    pub has_log: bool,
    /// Whether it finds events by a field.
    pub has_queries: bool,
}
