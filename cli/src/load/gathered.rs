//! Consecutive events of a log that are appended at once, which costs a store less than one append for each.

use std::collections::HashSet;

use annals::{Append, Expected, NewEvent, StreamId};
use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::load::Entry;
use crate::load::pieces::NumberedLine;

/// Events of one append, at most.
const EVENTS_MAX: usize = 256;
/// Bytes of payload of one append, about: less than any store allows.
const BYTES_MAX: usize = 1 << 20;

/// Events with ids, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Gathered<'e> {
    pub(crate) appends: Vec<Append<'e>>,
    /// The lines of the events.
    pub(crate) lines: Vec<&'e NumberedLine>,
    bytes: usize,
    ids: HashSet<Uuid, RandomState>,
    aggregates: HashSet<&'e str, RandomState>,
}

impl<'e> Gathered<'e> {
    /// Whether the same append can have this event, too: an append names each id and each aggregate once. One event always has room.
    pub(crate) fn has_room_for(&self, entry: &Entry) -> bool {
        let Entry { stream, event, .. } = entry;
        let is_small = self.lines.len() < EVENTS_MAX && self.bytes + bytes_of(event) <= BYTES_MAX;
        let is_known = event.id.is_some_and(|id| self.ids.contains(&id));
        let is_named = self.aggregates.contains(&*stream.aggregate_id) && !self.continues(stream);
        self.lines.is_empty() || (is_small && !is_known && !is_named)
    }

    /// Forgets all of it, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.appends.clear();
        self.lines.clear();
        self.bytes = 0;
        self.ids.clear();
        self.aggregates.clear();
    }

    /// Adds the event of a line. It must have room.
    pub(crate) fn add(&mut self, line: &'e NumberedLine, entry: &'e Entry) {
        let Entry { stream, event, .. } = entry;
        if !self.continues(stream) {
            self.aggregates.insert(&stream.aggregate_id);
            self.appends.push(Append::new(stream, Expected::Any, Vec::new()));
        }
        if let Some(part) = self.appends.last_mut() {
            part.events.push(event.borrowed());
        }
        self.ids.extend(event.id);
        self.bytes += bytes_of(event);
        self.lines.push(line);
    }

    /// Whether the last part is of `stream`.
    fn continues(&self, stream: &StreamId) -> bool {
        self.appends.last().is_some_and(|part| *part.stream == *stream)
    }
}

fn bytes_of(event: &NewEvent<'_>) -> usize {
    event.data.len() + event.metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(aggregate: &str, id: u128, bytes: usize) -> NumberedLine {
        let event = NewEvent::new("T").id(Uuid::from_u128(id)).data(vec![b' '; bytes]);
        let entry = Entry {
            stream: StreamId::new("A", aggregate),
            event,
            recorded_at: None,
            place: None,
        };
        (1, Ok(entry))
    }

    /// The numbers of events of the parts of the first append.
    fn gather(lines: &[NumberedLine]) -> Vec<usize> {
        let mut gathered = Gathered::default();
        for line in lines {
            let entry = line.1.as_ref().unwrap();
            if !gathered.has_room_for(entry) {
                break;
            }
            gathered.add(line, entry);
        }
        gathered.appends.iter().map(|part| part.events.len()).collect()
    }

    #[test]
    fn consecutive_events_of_one_aggregate_are_one_part() {
        let lines = [line("a", 1, 0), line("a", 2, 0), line("b", 3, 0), line("c", 4, 0)];
        assert_eq!(gather(&lines), [2, 1, 1]);
    }

    #[test]
    fn an_append_ends_before_an_aggregate_or_an_id_comes_again() {
        assert_eq!(gather(&[line("a", 1, 0), line("b", 2, 0), line("a", 3, 0)]), [1, 1]);
        assert_eq!(gather(&[line("a", 1, 0), line("b", 1, 0)]), [1]);
        let mut other_type = line("a", 2, 0);
        other_type.1.as_mut().unwrap().stream = StreamId::new("B", "a");
        assert_eq!(gather(&[line("a", 1, 0), other_type]), [1]);
    }

    #[test]
    fn an_append_is_bounded() {
        let many: Vec<_> = (0..1_000).map(|number| line("a", number, 0)).collect();
        assert_eq!(gather(&many), [EVENTS_MAX]);
        let large: Vec<_> = (0..10).map(|number| line("a", number, BYTES_MAX / 2)).collect();
        assert_eq!(gather(&large), [2]);
        assert_eq!(gather(&[line("a", 1, BYTES_MAX + 1), line("b", 2, 0)]), [1]);
    }
}
