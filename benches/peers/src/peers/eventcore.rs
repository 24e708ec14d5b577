//! `eventcore-memory` 2.1.0: a hash map of streams and a global log of JSON behind one lock.

use std::fmt;

use eventcore_memory::InMemoryEventStore;
use eventcore_types::{Event, EventStore as _, StreamId, StreamVersion, StreamWrites, collect_events};
use serde::{Deserialize, Serialize};

use super::sourcerer::Happened;
use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Facts, Work};

/// An event of the application. The type that the store records is one for all values of a Rust type.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AccountEvent {
    stream_id: StreamId,
    happened: Happened,
}

impl AccountEvent {
    fn new(stream_id: &StreamId, facts: &Facts<'_>) -> Self {
        Self {
            stream_id: stream_id.clone(),
            happened: Happened::from(facts),
        }
    }
}

impl Event for AccountEvent {
    fn stream_id(&self) -> &StreamId {
        &self.stream_id
    }

    fn event_type_name() -> &'static str {
        "AccountEvent"
    }
}

/// `eventcore_memory::InMemoryEventStore`.
pub struct EventCore(InMemoryEventStore);

impl fmt::Debug for EventCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCore").finish_non_exhaustive()
    }
}

impl Peer for EventCore {
    const NAME: &'static str = "eventcore-memory";
    const CAN: &'static [Work] = &[Work::Single, Work::Batches, Work::Hot, Work::Load];

    fn empty() -> Self {
        Self(InMemoryEventStore::new())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let stream = StreamId::try_new(content.aggregate(batch.aggregate))?;
        let writes = StreamWrites::new().register_stream(stream.clone(), StreamVersion::new(batch.version))?;
        let writes = content.batch(batch).try_fold(writes, |writes, facts| {
            writes.append(AccountEvent::new(&stream, &facts))
        })?;
        self.0.append_events(writes).await?;
        Ok(())
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        let stream = self.0.read_stream(StreamId::try_new(aggregate)?).await?;
        let events: Vec<AccountEvent> = collect_events(stream).await?;
        Ok(events.len())
    }
}
