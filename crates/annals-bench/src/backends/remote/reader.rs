//! A reader that goes on behind the last position that it has passed.

use std::time::Duration;

use annals::Position;

use crate::store::{Follow, Look, Result, StoredEvent};

/// Called with each position that a read passes, and with its event if it is of this run.
pub(in crate::backends) type Pass<'a> = &'a mut dyn FnMut(Position, Option<StoredEvent<'_>>);

/// A reader whose `read` passes at most a number of events after a position, and waits for them for a time.
pub(in crate::backends) struct Reader<R> {
    read: R,
    after: Position,
    skipped: u64,
}

impl<R: FnMut(Position, usize, Duration, Pass<'_>) -> Result<()>> Reader<R> {
    pub(in crate::backends) fn new(after: Position, read: R) -> Self {
        Self {
            read,
            after,
            skipped: 0,
        }
    }
}

impl<R: FnMut(Position, usize, Duration, Pass<'_>) -> Result<()>> Follow for Reader<R> {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        let (after, skipped) = (&mut self.after, &mut self.skipped);
        (self.read)(*after, limit, wait, &mut |position, event| {
            *after = position;
            match event {
                Some(event) => look(event),
                None => *skipped += 1,
            }
        })
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_reader_asked_again_for_an_event_of_another_program() {
        let asked = RefCell::new(Vec::new());
        let mut reader = Reader::new(Position(3), |after, _, _, pass: Pass<'_>| {
            asked.borrow_mut().push(after);
            pass(Position(after.0 + 2), None);
            Ok(())
        });
        for _ in 0..2 {
            reader.next(1, Duration::ZERO, &mut |_| {}).unwrap();
        }
        assert_eq!(reader.skipped(), 2);
        assert_eq!(*asked.borrow(), [Position(3), Position(5)]);
    }
}
