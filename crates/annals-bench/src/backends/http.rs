//! `http://HOST:PORT`: a server with the HTTP API of `annals serve`.
//!
//! The streams of a run have names of their own, and its log begins where that of the server ended: the server may hold other events, and those of the run
//! stay there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{Expected, Position, Version};
use serde_json::Value;

use super::remote::{Client, JsonEvent, OrFailed as _, described, escaped, time, without_password};
use crate::store::{
    Backend, By, Description, DurabilityClass, EventStore, Follow, Look, LookAtTrace, NewEvent, Place, Question,
    Result, StoreError, StoredEvent, Usage,
};

/// How the URLs of this backend begin.
pub(super) const SCHEME: &str = "http://";
/// The distance of two looks of a reader.
const POLL: Duration = Duration::from_millis(1);

/// A server.
#[derive(Debug)]
pub struct Http {
    client: Client,
    /// The last position of the server before this run.
    base: AtomicU64,
    /// The memory that the server used before this run, in bytes.
    used: AtomicU64,
    description: Description,
}

impl Http {
    /// Asks the server at `url` what it is. A number after `#` is the position before the run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or the server cannot be reached, or has another API.
    pub fn connect(url: &str) -> Result<Self> {
        without_password(url)?;
        let (url, base) = url.split_once('#').unwrap_or((url, ""));
        let client = Client::new(url.trim_end_matches('/'));
        let is_ephemeral = client.state()?.get("ephemeral").and_then(Value::as_bool);
        let (settings, durability) = match is_ephemeral {
            Some(true) => ("in memory", DurabilityClass::Volatile),
            Some(false) => ("durability=synced", DurabilityClass::PowerSafe),
            None => return Err(StoreError::Failed(format!("{url} is no server of Annals"))),
        };
        let software = "annals serve, over HTTP".to_owned();
        Ok(Self {
            client,
            base: AtomicU64::new(base.parse().unwrap_or(0)),
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
        let base = self.base.load(Ordering::Relaxed);
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
        self.base.store(visible, Ordering::Relaxed);
        self.used.store(memory(&state).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        let name = format!("{}#{}", self.client.url(), self.base.load(Ordering::Relaxed));
        Some(Place::of_name(&name))
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
        self.client
            .pages(path, limit, &mut |found| self.show_own(found.event(), &mut *look))
    }

    /// Shows an event if it is of this run, and returns whether it is.
    fn show_own(&self, event: StoredEvent<'_>, look: Look<'_>) -> bool {
        let own = event.stream.strip_prefix(&self.prefix);
        if let Some(stream) = own {
            look(StoredEvent { stream, ..event });
        }
        own.is_some()
    }
}

/// A reader that goes on behind the events of other programs too, so that it asks for each of them once.
struct Skipping<'a> {
    remote: &'a Remote,
    after: Position,
    skipped: u64,
}

impl Follow for Skipping<'_> {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        let (before, path) = (self.after, format!("/events?after={}", self.after.0));
        self.remote.client.pages(&path, limit, &mut |found| {
            let event = found.event();
            self.after = event.position.unwrap_or(self.after);
            self.skipped += u64::from(!self.remote.show_own(event, &mut *look));
            true
        })?;
        if self.after == before {
            std::thread::park_timeout(wait.min(POLL));
        }
        Ok(())
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl EventStore for Remote {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let mut body = Vec::new();
        for event in events {
            serde_json::to_writer(&mut body, &JsonEvent::new(event)?).or_failed()?;
            body.push(b'\n');
        }
        let expected = match expected {
            Expected::Any => "any".to_owned(),
            Expected::NoStream | Expected::Exactly(Version(0)) => "none".to_owned(),
            Expected::StreamExists => "exists".to_owned(),
            Expected::Exactly(version) => version.0.to_string(),
        };
        let (path, durability) = (self.stream(stream), self.durability);
        let path = format!("{path}?aggregateType=Bench&expectedVersion={expected}{durability}");
        let first = self
            .client
            .post(&path, &body)?
            .get("firstVersion")
            .and_then(Value::as_u64);
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
        Ok(Some(Box::new(Skipping {
            remote: self,
            after: after.max(Position(self.base)),
            skipped: 0,
        })))
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
