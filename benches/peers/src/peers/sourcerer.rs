//! `sourcerer` 0.1.1: a concurrent hash map of streams.

use std::convert::Infallible;
use std::fmt;

use serde::{Deserialize, Serialize};
use sourcerer::store::in_memory::InMemoryEventStore;
use sourcerer::{Aggregate, AggregateId, Event, EventStore, Snapshot, StoredEvent, async_trait};

use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Facts, TYPES, Work};

/// An event of the application. These stores know a type and keep the rest as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Happened {
    kind: usize,
    correlation_id: String,
    user_id: String,
    organization_id: String,
    data: String,
}

impl From<&Facts<'_>> for Happened {
    fn from(facts: &Facts<'_>) -> Self {
        Self {
            kind: TYPES
                .iter()
                .position(|name| std::ptr::eq(*name, facts.event_type))
                .unwrap_or_default(),
            correlation_id: facts.correlation.to_owned(),
            user_id: facts.user.to_owned(),
            organization_id: facts.organization.to_owned(),
            data: facts.data.to_owned(),
        }
    }
}

impl Event for Happened {
    fn event_type(&self) -> &'static str {
        TYPES[self.kind % TYPES.len()]
    }

    fn event_version(&self) -> u16 {
        1
    }

    fn event_source(&self) -> &'static str {
        "urn:annals:peers"
    }
}

/// The id of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct AccountId(String);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AggregateId for AccountId {
    fn new() -> Self {
        Self::default()
    }
}

/// An account without any behaviour.
#[derive(Debug, Default)]
pub(super) struct Account(AccountId);

/// The state of an account: nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Nothing;

impl Snapshot for Nothing {}

#[async_trait]
impl Aggregate for Account {
    type Id = AccountId;
    type Event = Happened;
    type Command = ();
    type Snapshot = Nothing;
    type Error = Infallible;

    fn id(&self) -> &AccountId {
        &self.0
    }

    fn version(&self) -> i64 {
        0
    }

    fn apply(&mut self, _: &Happened) {}

    async fn handle(&self, (): ()) -> std::result::Result<Vec<Happened>, Infallible> {
        Ok(Vec::new())
    }

    fn from_snapshot(_: Nothing) -> Self {
        Self::default()
    }

    fn snapshot(&self) -> Nothing {
        Nothing
    }
}

/// `sourcerer::store::in_memory::InMemoryEventStore`.
pub struct Sourcerer(InMemoryEventStore<Account>);

impl fmt::Debug for Sourcerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sourcerer").finish_non_exhaustive()
    }
}

impl Peer for Sourcerer {
    const NAME: &'static str = "sourcerer";
    const CAN: &'static [Work] = &[Work::Single, Work::Batches, Work::Hot, Work::Load];

    fn empty() -> Self {
        Self(InMemoryEventStore::default())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let events = content.batch(batch).map(|facts| Happened::from(&facts)).collect();
        let id = AccountId(content.aggregate(batch.aggregate).to_owned());
        self.0.append(&id, i64::try_from(batch.version)?, events).await?;
        Ok(())
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        let events: Vec<StoredEvent<Happened>> = self.0.load(&AccountId(aggregate.to_owned())).await?;
        Ok(events.len())
    }
}
