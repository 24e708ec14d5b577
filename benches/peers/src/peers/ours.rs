//! Annals, with the settings it comes with, and three ways to read.

use annals::{EventRef, Expected, NewEvent, Query, QueryRun, Store, StreamId};

use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Facts, Work};

/// `annals::Store` in memory, every index kept. It answers without its cache, and with values to keep.
#[derive(Debug)]
pub struct Annals(Store);

/// The same, answering with its cache. Every answer was asked for before, but for the first few.
#[derive(Debug)]
pub struct AnnalsCached(Annals);

/// The same, answering without its cache, and showing the events in place: nothing is copied.
#[derive(Debug)]
pub struct AnnalsInPlace(Annals);

impl Annals {
    fn by_type(&self, event_type: &str) -> QueryRun<'_> {
        self.0.query(Query::all().event_type(event_type))
    }

    fn conversation(&self, correlation: &str) -> QueryRun<'_> {
        self.0.query(Query::all().correlation(correlation))
    }
}

/// Looks at the payload, as far as telling whether there is one.
fn look(count: usize, event: EventRef<'_>) -> usize {
    count + usize::from(!event.data().is_empty())
}

fn event<'a>(facts: &Facts<'a>) -> NewEvent<'a> {
    NewEvent::new(facts.event_type)
        .correlation(facts.correlation)
        .user(facts.user)
        .organization(facts.organization)
        .data(facts.data)
}

impl Peer for Annals {
    const NAME: &'static str = "annals";
    const CAN: &'static [Work] = &Work::ALL;

    fn empty() -> Self {
        Self(Store::in_memory())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        let events = content.batch(batch).map(|facts| event(&facts)).collect::<Vec<_>>();
        let stream = StreamId::new("Account", content.aggregate(batch.aggregate));
        self.0
            .append(&stream, Expected::exactly(batch.version as u64), events)?;
        Ok(())
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        Ok(self.0.read_stream(aggregate).events().len())
    }

    fn by_type(&self, event_type: &str) -> Result<usize> {
        Ok(Self::by_type(self, event_type).uncached().events()?.len())
    }

    fn conversation(&self, correlation: &str) -> Result<usize> {
        Ok(Self::conversation(self, correlation).uncached().events()?.len())
    }
}

impl Peer for AnnalsCached {
    const NAME: &'static str = "annals, cached";
    const CAN: &'static [Work] = &[Work::ByType];

    fn empty() -> Self {
        Self(Annals::empty())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        self.0.append(content, batch).await
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        self.0.load(aggregate).await
    }

    fn by_type(&self, event_type: &str) -> Result<usize> {
        Ok(self.0.by_type(event_type).events()?.len())
    }
}

impl Peer for AnnalsInPlace {
    const NAME: &'static str = "annals, in place";
    const CAN: &'static [Work] = &[Work::Load, Work::ByType, Work::Conversation];

    fn empty() -> Self {
        Self(Annals::empty())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        self.0.append(content, batch).await
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        Ok(self.0.0.read_stream(aggregate).fold(0, look))
    }

    fn by_type(&self, event_type: &str) -> Result<usize> {
        let answer = self.0.by_type(event_type).uncached();
        Ok(answer.fold(0, look)?)
    }

    fn conversation(&self, correlation: &str) -> Result<usize> {
        let answer = self.0.conversation(correlation).uncached();
        Ok(answer.fold(0, look)?)
    }
}
