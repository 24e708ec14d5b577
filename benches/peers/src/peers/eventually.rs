//! `eventually` 0.4.0: a hash map of streams behind a lock, and a channel for subscribers.

use eventually::EventStore as _;
use eventually::inmemory::EventStore;
use eventually::store::{Expected, Persisted, Select};
use futures_util::TryStreamExt;

use super::sourcerer::Happened;
use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Work};

/// `eventually::inmemory::EventStore`.
#[derive(Debug)]
pub struct Eventually(EventStore<String, Happened>);

impl Peer for Eventually {
    const NAME: &'static str = "eventually";
    const CAN: &'static [Work] = &[Work::Single, Work::Batches, Work::Hot, Work::Load];

    fn empty() -> Self {
        Self(EventStore::default())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let events = content.batch(batch).map(|facts| Happened::from(&facts)).collect();
        let expected = Expected::Exact(u32::try_from(batch.version)?);
        self.0
            .append(content.aggregate(batch.aggregate).to_owned(), expected, events)
            .await?;
        Ok(())
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        let stream = self.0.stream(aggregate.to_owned(), Select::All).await?;
        let events: Vec<Persisted<String, Happened>> = stream.try_collect().await?;
        Ok(events.len())
    }
}
