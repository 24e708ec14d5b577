//! A read model in memory, and how far it was fed.

use super::Projection;
use crate::cqrs::HandlerError;
use crate::cqrs::typed::Reader;
use crate::{Delivery, Event, Gap, Position};

/// A read model, with the last position that it has seen. Both change under one lock.
pub(in crate::cqrs) struct Model<P> {
    pub(in crate::cqrs) projection: P,
    pub(in crate::cqrs) seen: Position,
    /// The event applied last, and the number of its parts that are applied: a retry goes on after them.
    applied: (Position, u32),
    /// The last position of the past; `None` when it is live.
    past: Option<Position>,
}

/// What a read model failed at.
pub(in crate::cqrs) enum Failed<'a> {
    Event(&'a Event, HandlerError),
    Gap(&'a Gap, HandlerError),
}

impl<P: Projection> Model<P> {
    /// A read model before its first event, in a log whose past ends at `past`.
    pub(in crate::cqrs) fn new(projection: P, past: Position) -> Self {
        Self {
            projection,
            seen: Position(0),
            applied: (Position(0), 0),
            past: Some(past),
        }
    }

    /// Notes that the read model has seen the log up to a position.
    #[inline]
    pub(in crate::cqrs) fn saw(&mut self, position: Position) {
        self.seen = self.seen.max(position);
        self.go_live_at(self.seen.0 + 1);
    }

    /// Tells the projection that the past is over, if the next position is after it.
    #[inline]
    fn go_live_at(&mut self, next: u64) {
        if self.past.is_some_and(|past| next > past.0) {
            self.go_live();
        }
    }

    /// The read model replaces another one.
    pub(in crate::cqrs) fn go_live(&mut self) {
        if self.past.take().is_some() {
            self.projection.went_live();
        }
    }

    /// Applies an event, unless the read model has seen it: it may have been rebuilt meanwhile.
    pub(in crate::cqrs) fn apply(&mut self, reader: &Reader<P::Event>, event: &Event) -> Result<(), HandlerError> {
        if event.position() <= self.seen {
            return Ok(());
        }
        self.go_live_at(event.position().0);
        if self.applied.0 != event.position() {
            self.applied = (event.position(), 0);
        }
        let (mut applied, mut part) = (Ok(()), 0);
        let (projection, (_, parts)) = (&mut self.projection, &mut self.applied);
        let apply = &mut |typed| {
            part += 1;
            if applied.is_ok() && part > *parts {
                applied = projection.apply(typed, event);
                *parts += u32::from(applied.is_ok());
            }
        };
        let read = reader.read(event, apply);
        read.map_err(|error| HandlerError::permanent(error.to_string()))?;
        applied?;
        self.saw(event.position());
        Ok(())
    }

    /// Applies an event that is decoded already, after all that the read model has seen.
    pub(in crate::cqrs) fn apply_typed(
        &mut self,
        typed: impl Iterator<Item = P::Event>,
        event: &Event,
    ) -> Result<(), HandlerError> {
        self.go_live_at(event.position().0);
        for typed in typed {
            self.projection.apply(typed, event)?;
        }
        self.saw(event.position());
        Ok(())
    }

    pub(in crate::cqrs) fn gap(&mut self, gap: &Gap) -> Result<(), HandlerError> {
        if gap.last <= self.seen {
            return Ok(());
        }
        self.projection.gap(gap)
    }

    /// Applies deliveries in order, up to the first that fails.
    pub(in crate::cqrs) fn apply_all<'a>(
        &mut self,
        reader: &Reader<P::Event>,
        batch: &'a [Delivery],
        position: Position,
    ) -> Result<(), Failed<'a>> {
        for delivery in batch {
            match delivery {
                Delivery::Event(event) => self.apply(reader, event).map_err(|error| Failed::Event(event, error))?,
                Delivery::Gap(gap) => self.gap(gap).map_err(|error| Failed::Gap(gap, error))?,
            }
        }
        self.saw(position);
        Ok(())
    }
}
