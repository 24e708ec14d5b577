//! Following the log: what is there, then what comes, as a blocking iterator or as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::core::EventReader;
use super::log::Log;
use super::select::{Bounds, Direction, Scan};
use super::{Engine, Store};
use crate::query::Query;
use crate::{Error, Event, Gap, GapReason, Position, Result};

/// Events taken at once.
const BATCH_EVENTS: usize = 256;

/// Positions looked through at once.
const BATCH_POSITIONS: u64 = 16 * 1024;

/// What a tail delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next event.
    Event(Event),
    /// Events that were dropped before this tail came to them, whether they would have matched its query or not. No event is in
    /// two of a tail's gaps, or in a gap and delivered.
    Gap(Gap),
}

/// Follows the log from a position on: each matching event once, in order, without gap or double.
///
/// Iterating blocks while there is nothing new, and ends when the store is closed. It is a [`Stream`] as well, of any runtime.
/// A tail that is read slowly costs the writers nothing: what it has not read yet is the log itself.
///
/// ```
/// # use annals::{Expected, NewEvent, Position, Query, Store, StreamId};
/// let store = Store::in_memory();
/// let mut paid = store.tail(Query::all().event_type("InvoicePaid"), Position(0))?;
/// assert!(paid.try_next().is_none());
///
/// store.append(&StreamId::new("Invoice", "invoice-1"), Expected::Any, vec![
///     NewEvent::new("InvoiceIssued"),
///     NewEvent::new("InvoicePaid"),
/// ])?;
/// assert_eq!(paid.events().next().map(|event| event.position()), Some(Position(2)));
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug)]
pub struct Tail {
    engine: Arc<Engine>,
    query: Query,
    /// Everything up to here was looked at.
    seen: u64,
    ready: VecDeque<Delivery>,
    task: u64,
}

impl Store {
    /// Follows what matches `query` after position `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the query is, or when it has an order, a limit, a cursor or an `as_of`: a tail has none.
    pub fn tail(&self, query: Query, after: Position) -> Result<Tail> {
        if query.order != crate::Order::Position
            || query.limit.is_some()
            || query.cursor.is_some()
            || query.as_of.is_some()
        {
            return Err(Error::invalid(
                "a tail has no order, limit, cursor or as_of: take them off the query",
            ));
        }
        let engine = Arc::clone(self.engine_arc());
        super::matcher::Matcher::new(&query, &engine.indexes)?;
        let task = engine.core.log.visible_signal().new_task();
        let seen = after.0.max(query.after.0);
        Ok(Tail {
            engine,
            query,
            seen,
            ready: VecDeque::new(),
            task,
        })
    }
}

impl Tail {
    /// The position up to which this tail has delivered everything.
    pub fn position(&self) -> Position {
        // A gap comes before the events of its batch.
        Position(match self.ready.front() {
            Some(Delivery::Event(event)) => event.position().0 - 1,
            Some(Delivery::Gap(gap)) => gap.first.0 - 1,
            None => self.seen,
        })
    }

    /// The next delivery, if there is one now.
    pub fn try_next(&mut self) -> Option<Delivery> {
        while self.ready.is_empty() && self.take_batch() {}
        self.ready.pop_front()
    }

    /// The next delivery, if there is one within `timeout`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Delivery> {
        // Too far for the clock is as good as never.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let delivery = self.try_next();
            if delivery.is_some() || self.is_at_end() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return delivery;
            }
            self.wait(deadline);
        }
    }

    /// The events alone, without the gaps.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        self.filter_map(|delivery| match delivery {
            Delivery::Event(event) => Some(event),
            Delivery::Gap(_) => None,
        })
    }

    fn end(&self) -> u64 {
        self.query.until.map_or(u64::MAX, |until| until.0)
    }

    /// Whether nothing will ever come.
    fn is_at_end(&self) -> bool {
        self.seen >= self.end() || (self.engine.core.log.is_closed() && self.seen >= self.engine.core.log.visible())
    }

    fn wait(&self, deadline: Option<Instant>) {
        let log = &self.engine.core.log;
        log.visible_signal()
            .wait_while(deadline, || log.visible() <= self.seen && !log.is_closed());
    }

    /// Looks through the next positions; answers whether there were any.
    fn take_batch(&mut self) -> bool {
        let visible = self.engine.visible().min(self.end());
        if self.seen >= visible {
            return false;
        }
        // What is below the floor is gone in one go, however long ago it was, and so is what never had an event.
        let log = &self.engine.core.log;
        let next = log.positions(self.seen + 1, visible).next().unwrap_or(visible);
        let reach = (self.seen + BATCH_POSITIONS)
            .max(log.floor())
            .max(next.saturating_sub(1));
        let mut bounds = Bounds {
            after: self.seen,
            until: visible.min(reach),
        };
        let mut positions = self.matches(bounds);
        if positions.len() > BATCH_EVENTS {
            positions.truncate(BATCH_EVENTS);
            bounds.until = positions.last().copied().unwrap_or(bounds.until);
        }
        let events = self.engine.core.events(&positions);
        self.ready.extend(self.missing(bounds, &events).map(Delivery::Gap));
        self.ready.extend(events.into_iter().map(Delivery::Event));
        self.seen = bounds.until;
        true
    }

    /// What was dropped within the bounds before it could be delivered, as one gap. Looked for after the events were taken.
    fn missing(&self, bounds: Bounds, delivered: &[Event]) -> Option<Gap> {
        let mut gaps = self.engine.gaps.lock().between(bounds.after, bounds.until);
        // Snapshots that are gone are nothing to miss for who reads users' events.
        gaps.retain(|gap| self.query.system || gap.reason != GapReason::Snapshot);
        let reason = match gaps.as_slice() {
            [] => return None,
            [gap] => gap.reason.clone(),
            _ => GapReason::Several,
        };
        let mut missing = Missing {
            log: &self.engine.core.log,
            view: EventReader::new(&self.engine.core),
            found: None,
        };
        let mut delivered = delivered.iter().map(|event| event.position().0).peekable();
        for (first, last) in runs(&gaps, bounds) {
            let mut next = first;
            while delivered.next_if(|position| *position < first).is_some() {}
            while let Some(position) = delivered.next_if(|position| *position <= last) {
                missing.look(next, position - 1);
                next = position + 1;
            }
            missing.look(next, last);
        }
        let (first, last, count) = missing.found?;
        Some(Gap {
            first: Position(first),
            last: Position(last),
            count,
            reason,
        })
    }

    fn matches(&self, bounds: Bounds) -> Vec<u64> {
        let mut positions = Vec::new();
        // The query was found valid when the tail was made.
        let Ok(mut scan) = Scan::new(&self.engine, &self.query, bounds, Direction::Ascending) else {
            return positions;
        };
        while let Ok(Some(window)) = scan.next() {
            positions.extend(window);
            if positions.len() > BATCH_EVENTS {
                break;
            }
        }
        positions
    }
}

/// Counts what is gone of what was not delivered.
struct Missing<'a> {
    log: &'a Log,
    view: EventReader<'a>,
    /// The first position, the last, and how many are gone.
    found: Option<(u64, u64, u64)>,
}

impl Missing<'_> {
    /// Looks at positions that gaps tell of: at those that may have an event, however many never had one, or lie below the floor.
    fn look(&mut self, first: u64, last: u64) {
        let mut next = first;
        for position in self.log.positions(first.max(self.log.floor() + 1), last) {
            if self.view.event(position).is_some() {
                self.add(next, position - 1);
                next = position + 1;
            }
        }
        self.add(next, last);
    }

    fn add(&mut self, first: u64, last: u64) {
        if first <= last {
            let (from, _, before) = self.found.unwrap_or((first, last, 0));
            self.found = Some((from, last, before + (last - first + 1)));
        }
    }
}

/// The positions within bounds that gaps tell of: first and last of each run, ascending and apart.
fn runs(gaps: &[Gap], bounds: Bounds) -> Vec<(u64, u64)> {
    let within = |gap: &Gap| (gap.first.0.max(bounds.after + 1), gap.last.0.min(bounds.until));
    let mut all: Vec<_> = gaps.iter().map(within).filter(|(first, last)| first <= last).collect();
    all.sort_unstable();
    all.dedup_by(|next, run| {
        let meets = next.0 <= run.1.saturating_add(1);
        if meets {
            run.1 = run.1.max(next.1);
        }
        meets
    });
    all
}

impl Iterator for Tail {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.try_next();
            if delivery.is_some() || self.is_at_end() {
                return delivery;
            }
            self.wait(None);
        }
    }
}

impl Stream for Tail {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let delivery = self.try_next();
        if delivery.is_some() || self.is_at_end() {
            return Poll::Ready(delivery);
        }
        self.engine
            .core
            .log
            .visible_signal()
            .register(self.task, context.waker());
        // What came before the waker was registered did not wake it.
        let delivery = self.try_next();
        if delivery.is_some() || self.is_at_end() {
            Poll::Ready(delivery)
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.engine.core.log.visible_signal().unregister(self.task);
    }
}
