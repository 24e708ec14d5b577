//! `http://HOST:PORT`: a server with the HTTP API of `annals serve`.
//!
//! The streams of a run have names of their own, and its log begins where that of the server ended: the server may hold other events, and those of the run
//! stay there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{Expected, Position, Version};
use serde_json::Value;

use super::remote::{Client, Pass, Reader, Since, condition, described, escaped, lines, time};
use crate::store::{
    Backend, By, Description, DurabilityClass, EventStore, Follow, Look, LookAtTrace, NewEvent, Place, Question,
    Result, StoreError, StoredEvent, Usage,
};

/// The beginning of the URLs of this backend.
pub(super) const SCHEME: &str = "http://";
/// The distance of two looks of a reader.
const POLL: Duration = Duration::from_millis(1);

/// A server.
#[derive(Debug)]
pub struct Http {
    client: Client,
    place: Since,
    /// The memory that the server used before this run, in bytes.
    used: AtomicU64,
    description: Description,
}

impl Http {
    /// Reads the description of the server at `url`. A number after `#` is the position before the run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or the server cannot be reached, or has another API.
    pub fn connect(url: &str) -> Result<Self> {
        let place = Since::of(url)?;
        let client = Client::new(place.url.trim_end_matches('/'));
        let is_ephemeral = client.state()?.get("ephemeral").and_then(Value::as_bool);
        let (settings, durability) = match is_ephemeral {
            Some(true) => ("in memory", DurabilityClass::Volatile),
            Some(false) => ("durability=synced", DurabilityClass::PowerSafe),
            None => return Err(StoreError::Failed(format!("{} is no server of Annals", place.url))),
        };
        let software = "annals serve, over HTTP".to_owned();
        Ok(Self {
            client,
            place,
            used: AtomicU64::new(0),
            description: described("http", software, settings.to_owned(), durability),
        })
    }
}

impl Backend for Http {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let base = self.place.position();
        let waits = self.description.durability != DurabilityClass::Volatile;
        Ok(Arc::new(Remote {
            client: self.client.clone(),
            base,
            used: self.used.load(Ordering::Relaxed),
            prefix: format!("bench-{base}-"),
            durability: if waits { "&durability=synced" } else { "" },
        }))
    }

    fn wipe(&self) -> Result<()> {
        let state = self.client.state()?;
        let visible = state.get("visible").and_then(Value::as_u64);
        let visible = visible.ok_or_else(|| StoreError::Failed("the server does not tell its position".to_owned()))?;
        self.place.set(visible);
        self.used.store(memory(&state).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Some(self.place.place())
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }
}

fn memory(state: &Value) -> Option<u64> {
    state.pointer("/stats/memoryBytes").and_then(Value::as_u64)
}

/// The part of a server that a run has.
struct Remote {
    client: Client,
    base: u64,
    used: u64,
    prefix: String,
    durability: &'static str,
}

impl Remote {
    /// The path of a stream.
    fn stream(&self, stream: &str) -> String {
        format!("/streams/{}/events", escaped(&format!("{}{stream}", self.prefix)))
    }

    /// Shows the events of the page at `path` and of those after it that are of this run, `limit` at most. Others do not count.
    fn show(&self, path: &str, limit: usize, look: Look<'_>) -> Result<()> {
        self.client.pages(path, limit, &mut |found| {
            let own = self.own(found.event());
            own.map(&mut *look).is_some()
        })
    }

    /// The event if it is of this run.
    fn own<'a>(&self, event: StoredEvent<'a>) -> Option<StoredEvent<'a>> {
        let stream = event.stream.strip_prefix(&self.prefix)?;
        Some(StoredEvent { stream, ..event })
    }

    /// Passes the events of other programs too, so that a reader asks for each of them once.
    fn read_behind(&self, after: Position, limit: usize, wait: Duration, pass: Pass<'_>) -> Result<()> {
        let mut is_end = true;
        self.client
            .pages(&format!("/events?after={}", after.0), limit, &mut |found| {
                let event = found.event();
                is_end = false;
                pass(event.position.unwrap_or(after), self.own(event));
                true
            })?;
        if is_end {
            std::thread::park_timeout(wait.min(POLL));
        }
        Ok(())
    }
}

impl EventStore for Remote {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let (path, durability) = (self.stream(stream), self.durability);
        let expected = condition(expected);
        let path = format!("{path}?aggregateType=Bench&expectedVersion={expected}{durability}");
        let done = self.client.post(&path, &lines(events)?)?;
        let first = done.get("firstVersion").and_then(Value::as_u64);
        let missing = || StoreError::Failed("the answer has no version".to_owned());
        first.map(Version).ok_or_else(missing)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        // A cursor is a version, and unlike `from` it goes with the links of pages.
        let path = format!("{}?cursor={}", self.stream(stream), after.0 + 1);
        self.show(&path, usize::MAX, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.show(&format!("/events?after={}", after.0.max(self.base)), limit, look)
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        let path = format!("/events?after={}", after.0.max(self.base));
        self.client.pages(&path, limit, &mut |found| {
            let is_own = found.event().stream.starts_with(&self.prefix);
            if is_own {
                found.show_trace(&mut *look);
            }
            is_own
        })
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let read = |after, limit, wait, pass: Pass<'_>| self.read_behind(after, limit, wait, pass);
        Ok(Some(Box::new(Reader::new(after.max(Position(self.base)), read))))
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        let filter = match &question.by {
            By::Type(name) => format!("eventType={}", escaped(name)),
            By::Correlation(id) => format!("correlation={}", escaped(id)),
            By::Time(from, to) => format!("since={}&before={}", time(*from)?, time(*to)?),
        };
        let path = format!("/events?{filter}&after={}&order=-position", self.base);
        self.show(&path, question.limit, look)
    }

    fn usage(&self) -> Usage {
        let state = self.client.state().unwrap_or_default();
        Usage {
            memory_bytes: memory(&state).map(|bytes| bytes.saturating_sub(self.used)),
            disk_bytes: None,
        }
    }
}
