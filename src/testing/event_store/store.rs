//! [`Store`] as an [`EventStore`].

use std::time::Duration;

use super::{Capabilities, Capability, EventStore, EventTail, Range, unsupported};
use crate::{Append, Appended, Condition, Delivery, Event, Position, Query, Result, Store, Tail, Version};

impl Store {
    fn check(&self, capability: Capability) -> Result<()> {
        if self.capabilities().has(capability) {
            return Ok(());
        }
        Err(unsupported(capability))
    }
}

impl EventStore for Store {
    fn capabilities(&self) -> Capabilities {
        if !self.appends_to_several() {
            return Capabilities::all()
                .without(Capability::AppendAll)
                .without(Capability::AppendIf);
        }
        Capabilities::all()
    }

    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if let [only] = appends {
            return Ok(vec![Store::append(self, &only.stream, only.expected, &only.events)?]);
        }
        self.check(Capability::AppendAll)?;
        self.append_all(appends)
    }

    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.check(Capability::AppendIf)?;
        Store::append_if(self, condition, appends)
    }

    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>> {
        self.read_with_faults(Some(aggregate_id))?;
        let mut read = Store::read_stream(self, aggregate_id).limit(range.limit);
        if range.is_backwards {
            read = read.backwards();
        }
        if let Some(from) = range.from {
            read = read.from(from);
        }
        Ok(read.events())
    }

    fn read_all(&self, range: Range<Position>) -> Result<Vec<Event>> {
        self.read_with_faults(None)?;
        let mut read = Store::read_all(self).limit(range.limit);
        if range.is_backwards {
            read = read.backwards();
        }
        if let Some(from) = range.from {
            read = read.from(from);
        }
        Ok(read.events())
    }

    fn query(&self, query: &Query) -> Result<Vec<Event>> {
        Store::query(self, query.clone()).events()
    }

    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>> {
        Ok(Box::new(Store::tail(self, query.clone(), after)?))
    }
}

impl EventTail for Tail {
    fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>> {
        Ok(Tail::next_timeout(self, timeout))
    }
}
