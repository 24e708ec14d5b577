//! `cqrs-es` 0.5.0: a hash map of streams behind a lock, each copied by every append to it.

use std::collections::HashMap;
use std::convert::Infallible;

use cqrs_es::event_sink::EventSink;
use cqrs_es::mem_store::{MemStore, MemStoreAggregateContext};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, EventStore};
use serde::{Deserialize, Serialize};

use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Facts, Work};

/// An event of the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Happened {
    event_type: String,
    data: String,
}

impl DomainEvent for Happened {
    fn event_type(&self) -> String {
        self.event_type.clone()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

/// An account without any behaviour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Account;

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Command = ();
    type Event = Happened;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> std::result::Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, _: Happened) {}
}

/// `cqrs_es::mem_store::MemStore`.
///
/// An append is a `commit`, without the loading that a command would do first. The version goes with it, and is not checked.
/// Correlation, user and organization are metadata, as this crate has it: of a whole append, so those of its first event.
#[derive(Debug)]
pub struct CqrsEs(MemStore<Account>);

fn metadata(facts: &Facts<'_>) -> HashMap<String, String> {
    HashMap::from([
        ("correlation_id".to_owned(), facts.correlation.to_owned()),
        ("user_id".to_owned(), facts.user.to_owned()),
        ("organization_id".to_owned(), facts.organization.to_owned()),
    ])
}

impl Peer for CqrsEs {
    const NAME: &'static str = "cqrs-es";
    const HOT_EVENTS: usize = 2_000;
    const CAN: &'static [Work] = &[Work::Single, Work::Batches, Work::Hot, Work::Load];

    fn empty() -> Self {
        Self(MemStore::default())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let happened = |facts: Facts<'_>| Happened {
            event_type: facts.event_type.to_owned(),
            data: facts.data.to_owned(),
        };
        let events = content.batch(batch).map(happened).collect();
        let state = MemStoreAggregateContext {
            aggregate_id: content.aggregate(batch.aggregate).to_owned(),
            aggregate: Account,
            current_sequence: batch.version,
        };
        self.0
            .commit(events, state, metadata(&content.facts(batch.first)))
            .await?;
        Ok(())
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        let events: Vec<EventEnvelope<Account>> = self.0.load_events(aggregate).await?;
        Ok(events.len())
    }
}
