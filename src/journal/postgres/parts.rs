//! Parts of the table: ranges of positions, and the numbers of their events and bytes.

use crate::journal::{Batch, JournalError, Part, Recover};
use crate::{EventRef, Position};

/// The number of positions of a part, as in the tables. The dropped events of a part are deleted in one transaction.
pub(super) const PART_POSITIONS: u64 = 4096;

/// The first position of the part that has a position.
pub(super) fn first_of(position: u64) -> u64 {
    position - position.saturating_sub(1) % PART_POSITIONS
}

/// The last position of the part that has a position.
pub(super) fn last_of(position: u64) -> u64 {
    first_of(position) + PART_POSITIONS - 1
}

/// The counts of each part, in order.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<Count>);

/// The counts of a part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// Events, including system events.
    pub(super) rows: u64,
    /// Events without changes of aggregates, which are retained.
    pub(super) events: u64,
    /// Bytes of names, metadata and data.
    bytes: u64,
}

impl Parts {
    /// Counts events that are in the table.
    pub(super) fn note(&mut self, batch: &Batch) {
        batch.events().for_each(|event| self.note_event(event));
    }

    fn note_event(&mut self, event: EventRef<'_>) {
        let (chunk, index) = event.place();
        let (metadata, data) = chunk.payload(index);
        let bytes = chunk.names(index).len() + metadata.len() + data.len();
        let count = self.at(event.raw_position());
        count.rows += 1;
        count.events += u64::from(!event.is_change());
        count.bytes += bytes as u64;
    }

    fn at(&mut self, position: u64) -> &mut Count {
        let place = usize::try_from((position - 1) / PART_POSITIONS).unwrap_or(usize::MAX);
        if self.0.len() <= place {
            self.0.resize(place + 1, Count::default());
        }
        &mut self.0[place]
    }

    /// All parts with rows, of a table that ends at position `last`.
    pub(super) fn all(&self, last: u64) -> Vec<Part> {
        let numbered = (1..).step_by(PART_POSITIONS as usize).zip(&self.0);
        let parts = numbered.filter(|(_, count)| count.rows > 0).map(|(first, count)| {
            let end = last_of(first).min(last);
            Part::new(Position(first), Position(end), count.events, count.bytes)
        });
        parts.collect()
    }

    /// Whether there is a part with this first position and with rows. Its last position may be higher by now.
    pub(super) fn has(&self, part: &Part) -> bool {
        let first = part.first.0;
        let place = usize::try_from(first.saturating_sub(1) / PART_POSITIONS).unwrap_or(usize::MAX);
        first > 0 && first_of(first) == first && self.0.get(place).is_some_and(|count| count.rows > 0)
    }

    /// Records the retained rows and events of a part. Returns its new size, assuming rows of equal size.
    pub(super) fn keep(&mut self, part: &Part, rows: u64, events: u64) -> u64 {
        let count = self.at(part.first.0);
        let bytes = count.bytes.saturating_mul(rows) / count.rows.max(1);
        *count = Count { rows, events, bytes };
        bytes
    }
}

/// Counts the events of recovery on their way to `into`.
pub(super) struct Counting<'a> {
    pub(super) into: &'a mut dyn Recover,
    pub(super) parts: &'a mut Parts,
}

impl Recover for Counting<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.parts.note(&batch);
        self.into.batch(batch)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.into.progress(done, total);
    }
}
