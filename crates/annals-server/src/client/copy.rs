//! A copy of a store behind a server, in memory: it answers every query that the store answers.

use annals::journal::{Batch, Compactor, Journal, JournalError, Record, Recover, Recovered};
use annals::{Builder, Durability, Event, Gap, Position, Query, Store};

use super::Client;
use super::error::ClientError;

impl Client {
    /// Copies the store into memory: with its positions and versions, its gaps, and the changes that it keeps, such as snapshots. The copy is read-only,
    /// and does not follow later appends.
    ///
    /// `progress` gets the position that was reached and the last one after each page, and can stop the copy by an error.
    ///
    /// # Errors
    ///
    /// A [`ClientError`], or the error of `progress`.
    pub fn copy<E: From<ClientError>>(
        &self,
        builder: Builder,
        mut progress: impl FnMut(Position, Position) -> Result<(), E>,
    ) -> Result<Store, E> {
        let end = self.state()?.visible;
        let mut copied = Copied::default();
        while copied.position < end {
            let query = Query::all().include_system().after(copied.position).until(end);
            let page = self.page(&query)?;
            copied.add_gaps(page.gaps);
            let reached = match page.next {
                Some(_) => page.events.last().map(Event::position),
                None => Some(end),
            };
            let reached = reached.filter(|reached| *reached > copied.position);
            let Some(reached) = reached else {
                return Err(self.http.bad_answer("a page has no event, and is not the last").into());
            };
            copied.add(&page.events, reached);
            progress(reached, end)?;
        }
        let journal = Pages(copied.into_batches());
        let store = builder.journal(journal).read_only().open();
        Ok(store.map_err(ClientError::from)?)
    }
}

/// The part of the log read so far.
#[derive(Debug, Default)]
struct Copied {
    batches: Vec<Batch>,
    /// The gaps, each once: every page has those of its range, as they are then.
    gaps: Vec<Gap>,
    position: Position,
}

impl Copied {
    fn add_gaps(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            let is_it =
                |known: &&mut Gap| known.reason == gap.reason && known.first <= gap.last && gap.first <= known.last;
            match self.gaps.iter_mut().find(is_it) {
                // It may have grown since the page before.
                Some(known) => *known = gap,
                None => self.gaps.push(gap),
            }
        }
    }

    /// The batches; the last one has the gaps.
    fn into_batches(mut self) -> Vec<Batch> {
        if let Some(last) = self.batches.last_mut() {
            self.gaps.into_iter().for_each(|gap| last.push_gap(gap));
        }
        self.batches
    }

    /// Adds the events of a page that reaches up to a position. The other positions up to it have no event.
    fn add(&mut self, events: &[Event], reached: Position) {
        let mut batch = Batch::new();
        for event in events {
            self.skip_to(&mut batch, Position(event.position().0.saturating_sub(1)));
            if event.position() > self.position {
                push(&mut batch, event);
                self.position = event.position();
            }
        }
        self.skip_to(&mut batch, reached);
        self.batches.push(batch);
    }

    fn skip_to(&mut self, batch: &mut Batch, last: Position) {
        if last > self.position {
            batch.skip(Position(self.position.0 + 1), last);
            self.position = last;
        }
    }
}

fn push(batch: &mut Batch, event: &Event) {
    let (data_type, metadata_type) = (event.data_type(), event.metadata_type());
    let tags: Vec<&str> = event.tags().collect();
    let mut record = Record::new(event.position(), event.version(), event.id());
    record.timestamp = event.timestamp();
    record.recorded_at = event.recorded_at();
    record.aggregate_id = event.aggregate_id();
    record.aggregate_type = event.aggregate_type();
    record.event_type = event.event_type();
    record.schema_version = event.schema_version();
    record.correlation_id = event.correlation_id();
    record.causation_id = event.causation_id();
    record.user_id = event.user_id();
    record.organization_id = event.organization_id();
    record.tags = &tags;
    record.metadata_type = metadata_type.as_str();
    record.metadata = event.metadata();
    record.data_type = data_type.as_str();
    record.data = event.data();
    batch.push(&record);
}

/// The pages as a journal, which is read once and never written.
#[derive(Debug)]
struct Pages(Vec<Batch>);

impl Journal for Pages {
    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        for batch in std::mem::take(&mut self.0) {
            into.batch(batch)?;
        }
        Ok(Recovered::default())
    }

    fn write(&mut self, _: &Batch) -> Result<(), JournalError> {
        Err(JournalError::failed("a copy of a store is not written"))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use annals::GapReason;

    use super::*;

    #[test]
    fn a_gap_that_grew_during_the_copy_was_counted_twice() {
        let gap = |first: u64, last: u64, reason: &str| {
            let text = format!(
                r#"{{"first":{first},"last":{last},"count":{},"reason":"{reason}"}}"#,
                last - first + 1
            );
            serde_json::from_str::<Gap>(&text).unwrap()
        };
        let mut copied = Copied::default();
        copied.add_gaps(vec![gap(1, 500, "budget"), gap(600, 600, "age")]);
        copied.add_gaps(vec![gap(1, 700, "budget")]);
        let found: Vec<_> = copied
            .gaps
            .iter()
            .map(|gap| (gap.first.0, gap.last.0, gap.count))
            .collect();
        assert_eq!(found, [(1, 700, 700), (600, 600, 1)]);
        assert_eq!(copied.gaps[0].reason, GapReason::Budget);
    }
}
