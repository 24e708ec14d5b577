//! Settings: plain data with defaults.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use crate::event::names::PART_BYTES_MAX;
use crate::setters::setters;
use crate::{Durability, Error, Name, Result};

/// The configuration of a store. The clock, the source of ids and indexers are set by the [`Builder`](crate::Builder).
///
/// ```
/// use annals::{Budget, Settings, WhenFull};
///
/// let budget = Budget::default().events(1_000_000).when_full(WhenFull::DropOldest);
/// let settings = Settings::default().shards(8).budget(budget);
/// assert_eq!(settings.budget.events, Some(1_000_000));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Number of locks that appends are spread over, a power of two; 0 chooses by the number of processors.
    pub shards: usize,
    /// The largest append that is accepted.
    pub limits: Limits,
    /// The memory and the number of events that the store may hold.
    pub budget: Budget,
    /// The size of the query cache.
    pub cache: CacheSettings,
    /// The durability that an event must have before readers see it, and so the lowest durability that an append waits for. A level above
    /// [`Volatile`](Durability::Volatile) requires a journal.
    pub durability: Durability,
    /// When events are written to the journal.
    pub flush: FlushSettings,
}

setters! {
    Settings {
        shards: usize,
        limits: Limits,
        budget: Budget,
        cache: CacheSettings,
        durability: Durability,
        flush: FlushSettings,
    }
}

/// When events are written to the journal, and what happens when the journal is slow. Ignored without a journal.
///
/// An append that waits for `written` or `synced` is flushed at once, together with everything appended before it. These settings apply to
/// events that no caller waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushSettings {
    /// Maximum bytes of one write. Events are written as soon as this many bytes have gathered. 1 MiB by default.
    pub bytes: usize,
    /// Maximum events of one write. Events are written as soon as this many have gathered. 16,384 by default.
    pub events: usize,
    /// Delay from the first unwritten event to the start of a write; 20 ms by default. It bounds the age of unwritten events only while the
    /// journal keeps up: when appends outrun it, up to `backlog_bytes` are unwritten.
    pub write_within: Duration,
    /// Whether appends wait, or are rejected (`when_behind`), while the oldest unwritten event is older than `write_within`. Then the end of the
    /// process loses at most the events appended within that time and during the last write. Off by default.
    pub enforce_write_within: bool,
    /// Maximum delay from a write to its sync; 1 s by default.
    pub sync_within: Duration,
    /// Maximum bytes of events that are not written yet; 64 MiB by default.
    pub backlog_bytes: u64,
    /// What happens to an append beyond `backlog_bytes`, or one that `enforce_write_within` holds back.
    pub when_behind: WhenBehind,
    /// How long a write that may succeed later is retried, for example on a full disk or while a server is unreachable, before the journal
    /// fails; 30 s by default.
    pub retry_for: Duration,
}

setters! {
    FlushSettings {
        bytes: usize,
        events: usize,
        write_within: Duration,
        enforce_write_within: bool,
        sync_within: Duration,
        backlog_bytes: u64,
        when_behind: WhenBehind,
        retry_for: Duration,
    }
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            events: 16_384,
            write_within: Duration::from_millis(20),
            enforce_write_within: false,
            sync_within: Duration::from_secs(1),
            backlog_bytes: 64 << 20,
            when_behind: WhenBehind::Wait,
            retry_for: Duration::from_secs(30),
        }
    }
}

/// What happens to an append when the backlog of the journal is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenBehind {
    /// The append waits until the journal has written enough.
    #[default]
    Wait,
    /// The append fails with [`Backlog`](crate::Error::Backlog).
    Refuse,
}

/// The limits of an append. A larger append fails with [`Invalid`](crate::Error::Invalid).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a name: 1 to 1,024; 255 by default. A name never contains U+0000.
    pub name_bytes_max: usize,
    /// Tags of an event: 0 to 32; 32 by default.
    pub tags_max: usize,
    /// Bytes of an event's metadata and data together: up to 1 GiB; 1 MiB by default.
    pub payload_bytes_max: usize,
    /// Events of one append: 1 to 100,000; 10,000 by default.
    pub batch_events_max: usize,
    /// Bytes of metadata and data of one append: 64 MiB by default.
    pub batch_bytes_max: usize,
}

setters! {
    Limits {
        name_bytes_max: usize,
        tags_max: usize,
        payload_bytes_max: usize,
        batch_events_max: usize,
        batch_bytes_max: usize,
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name_bytes_max: 255,
            tags_max: 32,
            payload_bytes_max: 1 << 20,
            batch_events_max: 10_000,
            batch_bytes_max: 64 << 20,
        }
    }
}

/// The most events one append can ever have: its length is written into its first event's entry of the directory.
pub(crate) const BATCH_EVENTS_MAX: usize = 100_000;
pub(crate) const SHARDS_MAX: usize = 1024;
pub(crate) const LANES_MAX: usize = 64;
const FLUSH_BYTES_MAX: usize = 1 << 30;
const FLUSH_EVENTS_MAX: usize = 1 << 20;
pub(crate) const NAME_BYTES_MAX: usize = 1024;
pub(crate) const TAGS_MAX: usize = 32;

// An event's tags are written as one part of its names.
const _: () = assert!(TAGS_MAX * (NAME_BYTES_MAX + 3) <= PART_BYTES_MAX);

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        let limits = &self.limits;
        check_range("shards", self.shards, 0, SHARDS_MAX)?;
        check_range("limits.name_bytes_max", limits.name_bytes_max, 1, NAME_BYTES_MAX)?;
        check_range("limits.tags_max", limits.tags_max, 0, TAGS_MAX)?;
        check_range("limits.payload_bytes_max", limits.payload_bytes_max, 0, 1 << 30)?;
        check_range("flush.bytes", self.flush.bytes, 1, FLUSH_BYTES_MAX)?;
        check_range("flush.events", self.flush.events, 1, FLUSH_EVENTS_MAX)?;
        check_range("limits.batch_events_max", limits.batch_events_max, 1, BATCH_EVENTS_MAX)?;
        if let Some(name) = self
            .budget
            .aggregate_types
            .keys()
            .find(|name| name.is_empty() || name.starts_with('$'))
        {
            return Err(Error::invalid(format!(
                "budget.aggregate_types has '{name}', which is no type of aggregates"
            )));
        }
        if self.shards != 0 && !self.shards.is_power_of_two() {
            return Err(Error::invalid(format!(
                "shards is {}, but must be a power of two",
                self.shards
            )));
        }
        Ok(())
    }

    pub(crate) fn shard_count(&self) -> usize {
        if self.shards != 0 {
            return self.shards;
        }
        (processors() * 8).next_power_of_two().clamp(8, 256)
    }
}

/// Lanes that events are written to: one for each thread that can run at once.
pub(crate) fn lane_count() -> usize {
    processors().min(LANES_MAX)
}

/// Threads that can run at once. Asking the system takes longer than making a store, so it is asked once.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn check_range(name: &str, value: usize, min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} is {value}, but must be from {min} to {max}"
    )))
}

/// Upper bounds of what the store holds. Nothing is bounded by default. System events do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// Bytes of events, including their index entries and streams.
    pub bytes: Option<u64>,
    /// Number of events.
    pub events: Option<u64>,
    /// Maximum age since an event was recorded. Older events are dropped, also with [`WhenFull::Refuse`].
    pub age: Option<Duration>,
    /// The number of events of an aggregate type. The oldest events of the type beyond it are dropped, also with [`WhenFull::Refuse`].
    pub aggregate_types: BTreeMap<Name, u64>,
    /// The reaction to an append beyond `bytes` or `events`.
    pub when_full: WhenFull,
}

setters! {
    Budget {
        bytes: u64,
        events: u64,
        age: Duration,
        aggregate_types: BTreeMap<Name, u64>,
        when_full: WhenFull,
    }
}

/// What happens to an append beyond the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The append fails with [`Full`](crate::Error::Full).
    #[default]
    Refuse,
    /// The oldest events are dropped, and reported as a [`Gap`](crate::Gap).
    DropOldest,
}

/// The size of the query cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheSettings {
    /// Bytes of answers; 0 switches the cache off. 32 MiB by default.
    pub bytes: u64,
    /// How long an answer is kept; 300 seconds by default.
    pub time_to_live: Duration,
}

setters! {
    CacheSettings {
        bytes: u64,
        time_to_live: Duration,
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            time_to_live: Duration::from_secs(300),
        }
    }
}
