//! `kurrentdb://HOST:PORT?tls=false`, or `esdb://…`: a stream of `KurrentDB` for each aggregate. It has not met a real server: see `docs/bench.md`.
//!
//! The streams of a run have names of their own, and its log begins where that of the server ended: deleted events would stay in the log of all streams.

use std::sync::Arc;

use ::kurrentdb::{
    AppendToStreamOptions, Client, EventData, ReadAllOptions, ReadStreamOptions, RecordedEvent, StreamPosition,
};
use annals::{Expected, Position, Version};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::remote::kurrent::{ANSWER, beginning, connected, first, refused, sent, shown, state};
use super::remote::{OrFailed as _, Since, described};
use crate::crash::owner;
use crate::store::{Backend, Description, DurabilityClass, EventStore, Look, NewEvent, Place, Result, StoredEvent};

/// The beginning of the URLs of this backend.
pub(super) const SCHEMES: &[&str] = &["kurrentdb://", "esdb://"];
/// By default a server syncs each append, but a client does not see whether it does, or whether it keeps anything on a disk.
const SETTINGS: &str = "the server's own; by default it syncs each append, which is not asked";

/// A server.
pub struct KurrentDb {
    runtime: Arc<Runtime>,
    client: Client,
    place: Since,
}

impl std::fmt::Debug for KurrentDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("KurrentDb");
        shown.field("url", &self.place.url).finish_non_exhaustive()
    }
}

impl KurrentDb {
    /// Connects to the server at `url`. A number after `#` is the position before the run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`](crate::StoreError::Failed) if the URL has a password or is none, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        let place = Since::of(url)?;
        let (runtime, client) = connected(&place.url)?;
        Ok(Self {
            runtime: Arc::new(runtime),
            client,
            place,
        })
    }
}

impl Backend for KurrentDb {
    fn description(&self) -> Description {
        let software = "KurrentDB, over gRPC".to_owned();
        let settings = SETTINGS.to_owned();
        Description {
            has_queries: false,
            ..described("kurrentdb", software, settings, DurabilityClass::ProcessCrashSafe)
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let base = self.place.position();
        Ok(Arc::new(Streams {
            runtime: Arc::clone(&self.runtime),
            client: self.client.clone(),
            base,
            prefix: format!("annals_bench_{}_{base}-", owner()),
        }))
    }

    fn wipe(&self) -> Result<()> {
        let last = ReadAllOptions::default().position(StreamPosition::End).max_count(1);
        let mut base = 0;
        self.runtime.block_on(async {
            let found = timeout(ANSWER, self.client.read_all(&last)).await.or_failed()?;
            let look = |event: &RecordedEvent| {
                base = event.position.commit;
                true
            };
            shown(found, look).await
        })?;
        self.place.set(base);
        Ok(())
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }

    fn place(&self) -> Option<Place> {
        Some(self.place.place())
    }
}

/// The streams of a run.
struct Streams {
    runtime: Arc<Runtime>,
    client: Client,
    base: u64,
    prefix: String,
}

impl Streams {
    fn name(&self, stream: &str) -> String {
        format!("{}{stream}", self.prefix)
    }

    /// Shows an event, and returns whether it is of this run.
    fn show(&self, event: &RecordedEvent, look: Look<'_>) -> bool {
        let stream = event.stream_id().strip_prefix(&self.prefix);
        if let Some(stream) = stream {
            look(StoredEvent {
                stream,
                version: Version(event.revision + 1),
                position: Some(Position(event.position.commit)),
                data: &event.data,
            });
        }
        stream.is_some()
    }
}

impl EventStore for Streams {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let sent: Vec<EventData> = events.iter().map(sent).collect::<Result<_>>()?;
        let options = AppendToStreamOptions::default().stream_state(state(expected));
        let appended = self.client.append_to_stream(self.name(stream), &options, sent);
        let written = self.runtime.block_on(async { timeout(ANSWER, appended).await });
        let written = written.or_failed()?.map_err(|error| refused(&error))?;
        Ok(first(written.next_expected_version, events.len()))
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(after.0));
        self.runtime.block_on(async {
            let reading = self.client.read_stream(self.name(stream), &options);
            let found = timeout(ANSWER, reading).await.or_failed()?;
            let look = |event: &RecordedEvent| {
                self.show(event, look);
                true
            };
            shown(found, look).await
        })
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let after = after.0.max(self.base);
        let options = ReadAllOptions::default().position(beginning(after));
        let mut left = limit;
        self.runtime.block_on(async {
            let found = timeout(ANSWER, self.client.read_all(&options)).await.or_failed()?;
            let look = |event: &RecordedEvent| {
                let is_later = event.position.commit > after && left > 0;
                left -= usize::from(is_later && self.show(event, look));
                left > 0
            };
            shown(found, look).await
        })
    }
}
