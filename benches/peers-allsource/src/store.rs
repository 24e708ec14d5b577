//! `allsource-core` 0.27.0 without its server: a vector of events and concurrent hash maps by aggregate, by type and by id.

use std::fmt;

use allsource_core::store::EventStore;
use allsource_core::{Event, QueryEventsRequest};
use annals_peers::peer::{Peer, Result};
use annals_peers::work::{Batch, Content, Facts, Work};
use serde_json::{Value, json};

/// `allsource_core::store::EventStore`, with the settings of `new`: in memory, without a write-ahead log.
///
/// * A payload is a parsed JSON value, and so making an event parses its 128 bytes. Correlation, user and organization are metadata, by
///   which it does not search.
/// * A single append checks the expected version. A batch has no expected version.
/// * Besides, an append updates two projections and an inferred schema of the payload, and copies the event for subscribers.
/// * A read returns copies in the order of time, sorted by each read.
pub struct AllSource(EventStore);

impl fmt::Debug for AllSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllSource").finish_non_exhaustive()
    }
}

fn event(aggregate: &str, facts: &Facts<'_>) -> Result<Event> {
    let payload: Value = serde_json::from_str(facts.data)?;
    let metadata = json!({
        "correlation_id": facts.correlation,
        "user_id": facts.user,
        "organization_id": facts.organization,
    });
    Ok(Event::from_strings(
        event_type(facts.event_type),
        aggregate.to_owned(),
        "default".to_owned(),
        payload,
        Some(metadata),
    )?)
}

/// Types are lower-case there.
fn event_type(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl AllSource {
    fn count(&self, request: &QueryEventsRequest) -> Result<usize> {
        Ok(self.0.query(request)?.len())
    }
}

impl Peer for AllSource {
    const NAME: &'static str = "allsource-core";
    const CAN: &'static [Work] = &[Work::Single, Work::Batches, Work::Hot, Work::Load, Work::ByType];

    fn empty() -> Self {
        Self(EventStore::new())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let aggregate = content.aggregate(batch.aggregate);
        if batch.count == 1 {
            let event = event(aggregate, &content.facts(batch.first))?;
            self.0
                .ingest_with_expected_version(&event, Some(batch.version as u64))?;
            return Ok(());
        }
        let events: Result<Vec<_>> = content.batch(batch).map(|facts| event(aggregate, &facts)).collect();
        Ok(self.0.ingest_batch(events?)?)
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        self.count(&QueryEventsRequest {
            entity_id: Some(aggregate.to_owned()),
            ..QueryEventsRequest::default()
        })
    }

    fn by_type(&self, name: &str) -> Result<usize> {
        self.count(&QueryEventsRequest {
            event_type: Some(event_type(name)),
            ..QueryEventsRequest::default()
        })
    }
}
