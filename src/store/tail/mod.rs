//! Following the log: existing events, then new ones, as a blocking iterator or as a stream.

mod cancel;
mod missing;
mod stream;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use self::cancel::Cancelled;
pub use self::cancel::TailCancel;
pub use self::stream::TailStream;
use crate::query::Query;
use crate::store::query::matcher::Matcher;
use crate::store::query::select::{self, Bounds, Direction, Scan};
use crate::store::reader::EventReader;
use crate::store::{Engine, Store};
use crate::{Error, Event, Gap, Position, Result};

/// Events taken from the log at once if the caller sets no number.
const BATCH_EVENTS: usize = 256;

/// Maximum deliveries of a batch.
const BATCH_MAX: usize = 4096;

/// Positions examined in one step.
const STEP_POSITIONS: u64 = 16 * 1024;

/// Events read in one step of a poll, if no index names the matching positions.
const STEP_EVENTS: usize = 1024;

/// Positions without an event passed over in one step.
const STEP_ABSENT: u64 = 1 << 28;

/// A delivery of a tail.
///
/// Exhaustive: a reader that does not handle a gap misses events without a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next event.
    Event(Event),
    /// Events that were dropped before this tail reached them, whether or not they would have matched its query. No event is in
    /// two gaps of a tail, or both in a gap and delivered.
    Gap(Gap),
}

/// Follows the log from a position on: delivers each matching event exactly once, in order.
///
/// | call | waits | examines |
/// |---|---|---|
/// | [`next`](Iterator::next), [`next_batch`](Self::next_batch) | until there is a delivery, or the tail ends | any number of positions |
/// | [`next_before`](Self::next_before), [`next_timeout`](Self::next_timeout) | the same, or until the deadline | the same, but nothing after the deadline |
/// | [`try_next`](Self::try_next), [`try_batch`](Self::try_batch) | never | at most 16,384 positions |
/// | a poll of the [stream](Self::into_stream) | never | at most 16,384 positions |
///
/// A tail ends when the store is closed and all events are delivered, when it reaches its query's `until`, or when it is
/// [cancelled](Self::cancel_handle). A slow tail does not block writers: its backlog is the log itself.
///
/// **Expired events** are never delivered. The calls that wait drop expired events first, as every read does.
/// The calls that never wait do not: they compare each event's own age with the limits before they deliver it, and report an expired
/// event as a [`Gap`]. Such an event is judged by its own timestamp, even if an aggregate with a limit by age
/// still retains it behind an event with a later timestamp. Truncation and deletion take effect when the tail takes events from the
/// log: it still delivers up to 4,096 events that it took before.
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
pub struct Tail {
    engine: Arc<Engine>,
    query: Query,
    matcher: Matcher,
    /// The last examined position.
    seen: u64,
    ready: VecDeque<Delivery>,
    /// Whether an event in `ready` may expire.
    may_age: bool,
    cancelled: Arc<Cancelled>,
    task: u64,
}

/// The work that a step through the log may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Bounded work: drops no events and builds no index.
    Poll,
    /// Drops expired events first, and extends the indexes that the query needs.
    Blocking,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("query", &self.query)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Follows the events after position `after` that match `query`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the query is invalid, or has an order, a limit, a cursor or an `as_of`, which tails do not support.
    pub fn tail(&self, query: Query, after: Position) -> Result<Tail> {
        if query.order != crate::Order::Position
            || query.limit.is_some()
            || query.cursor.is_some()
            || query.as_of.is_some()
        {
            return Err(Error::invalid(
                "a tail supports no order, limit, cursor or as_of: remove them from the query",
            ));
        }
        let engine = Arc::clone(self.engine_arc());
        let task = engine.core.log.visible_signal().new_task();
        Ok(Tail {
            matcher: Matcher::new(&query, &engine.indexes)?,
            seen: after.0.max(query.after.0),
            engine,
            query,
            ready: VecDeque::new(),
            may_age: false,
            cancelled: Arc::default(),
            task,
        })
    }
}

impl Tail {
    /// Returns the position up to which this tail has delivered everything: another tail can continue there.
    pub fn position(&self) -> Position {
        // A gap comes before the events of its batch.
        Position(match self.ready.front() {
            Some(Delivery::Event(event)) => event.position().0 - 1,
            Some(Delivery::Gap(gap)) => gap.first.0 - 1,
            None => self.seen,
        })
    }

    /// Continues after `position`: does not deliver the events and gaps up to it. A tail that is there already stays where it is.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Position, Query, Store, StreamId};
    /// # let store = Store::in_memory();
    /// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced"); 3])?;
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// tail.skip_to(Position(2));
    /// assert_eq!(tail.events().next().map(|event| event.position()), Some(Position(3)));
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn skip_to(&mut self, position: Position) {
        let is_after = |delivery: &Delivery| match delivery {
            Delivery::Event(event) => event.position() > position,
            Delivery::Gap(gap) => gap.last > position,
        };
        if !self.ready.is_empty() {
            self.ready.retain(is_after);
        }
        self.seen = self.seen.max(position.0);
    }

    /// Returns whether all visible positions were examined and all matches delivered.
    ///
    /// [`try_next`](Self::try_next) and [`try_batch`](Self::try_batch) may return nothing although there are more positions to examine; this
    /// distinguishes the two.
    pub fn is_caught_up(&self) -> bool {
        self.ready.is_empty() && self.seen >= self.visible()
    }

    /// Returns the next delivery, if there is one within the next 16,384 positions. Never waits.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Position, Query, Store, StreamId};
    /// # let store = Store::in_memory();
    /// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced"); 3])?;
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// let mut count = 0;
    /// while !tail.is_caught_up() {
    ///     count += usize::from(tail.try_next().is_some());
    /// }
    /// assert_eq!(count, 3);
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn try_next(&mut self) -> Option<Delivery> {
        if self.ready.is_empty() {
            self.step(Step::Poll, BATCH_EVENTS);
        }
        self.deliver()
    }

    /// Returns the deliveries within the next 16,384 positions: at most `max`, and at most 4,096. Never waits.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Position, Query, Store, StreamId};
    /// # let store = Store::in_memory();
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// assert!(tail.try_batch(100).is_empty());
    ///
    /// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced"); 3])?;
    /// assert_eq!(tail.try_batch(100).len(), 3);
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn try_batch(&mut self, max: usize) -> Vec<Delivery> {
        let max = max.min(BATCH_MAX);
        if self.ready.len() < max {
            self.step(Step::Poll, max - self.ready.len());
        }
        self.deliver_batch(max)
    }

    /// Waits for the next deliveries: at least one, at most `max`, and at most 4,096. Returns an empty list when the tail has ended, and
    /// immediately when `max` is 0.
    ///
    /// It returns the deliveries of one step through the log, and does not wait for a batch to fill.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Position, Query, Store, StreamId};
    /// # let store = Store::in_memory();
    /// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced"); 3])?;
    /// # store.close()?;
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// let mut sizes = Vec::new();
    /// loop {
    ///     let batch = tail.next_batch(2);
    ///     if batch.is_empty() {
    ///         break;
    ///     }
    ///     sizes.push(batch.len());
    /// }
    /// assert_eq!(sizes, [2, 1]);
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn next_batch(&mut self, max: usize) -> Vec<Delivery> {
        let max = max.min(BATCH_MAX);
        if self.ready.len() < max {
            self.fill(max - self.ready.len(), None);
        }
        self.engine.expire_due();
        self.deliver_batch(max)
    }

    /// Waits for the next delivery until `deadline`. Returns `None` at the deadline, or when the tail has ended.
    ///
    /// With a deadline in the past it takes one step through the log without waiting.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use annals::{Position, Query, Store};
    /// # let store = Store::in_memory();
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// let deadline = Instant::now() + Duration::from_millis(5);
    /// assert!(tail.next_before(deadline).is_none());
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn next_before(&mut self, deadline: Instant) -> Option<Delivery> {
        self.next_until(Some(deadline))
    }

    /// Waits for the next delivery for at most `timeout`: see [`next_before`](Self::next_before).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use annals::{Position, Query, Store};
    /// # let store = Store::in_memory();
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// assert!(tail.next_timeout(Duration::from_millis(5)).is_none());
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Delivery> {
        // A timeout beyond the range of the clock waits forever.
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// Iterates over the events, without the gaps.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        self.filter_map(|delivery| match delivery {
            Delivery::Event(event) => Some(event),
            Delivery::Gap(_) => None,
        })
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Delivery> {
        if self.ready.is_empty() {
            self.fill(BATCH_EVENTS, deadline);
        }
        self.engine.expire_due();
        self.deliver()
    }

    /// Steps through the log and waits until there is a delivery, the tail ends, or `deadline` has passed.
    fn fill(&mut self, want: usize, deadline: Option<Instant>) {
        loop {
            let moved = self.step(Step::Blocking, want);
            let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !self.ready.is_empty() || self.is_ended() || is_late() {
                return;
            }
            if !moved {
                self.wait(deadline);
            }
        }
    }

    fn wait(&self, deadline: Option<Instant>) {
        let log = &self.engine.core.log;
        let waits = || log.visible() <= self.seen && !log.is_closed() && !self.cancelled.is_set();
        log.visible_signal().wait_while(deadline, waits);
    }

    fn register(&self, waker: &Waker) {
        self.engine.core.log.visible_signal().register(self.task, waker);
    }

    fn unregister(&self) {
        self.engine.core.log.visible_signal().unregister(self.task);
    }

    fn end(&self) -> u64 {
        self.query.until.map_or(u64::MAX, |until| until.0)
    }

    /// The last position that this tail may examine now.
    fn visible(&self) -> u64 {
        self.engine.core.log.visible().min(self.end())
    }

    /// Whether no further delivery can come.
    fn is_ended(&self) -> bool {
        let log = &self.engine.core.log;
        self.cancelled.is_set() || self.seen >= self.end() || (log.is_closed() && self.seen >= log.visible())
    }

    /// Examines the next positions and takes up to `want` events; returns whether there were any positions.
    fn step(&mut self, step: Step, want: usize) -> bool {
        if step == Step::Blocking {
            self.engine.expire_due();
        }
        let visible = self.visible();
        if self.seen >= visible || self.cancelled.is_set() {
            return false;
        }
        let (positions, bounds) = self.matches(step, self.reach(visible), want);
        let events = self.engine.core.events(&positions);
        self.ready.extend(self.missing(bounds, &events).map(Delivery::Gap));
        self.ready.extend(events.into_iter().map(Delivery::Event));
        self.seen = bounds.until;
        true
    }

    /// The next positions to examine. Positions below the floor are skipped in one step, and so are positions that
    /// never had an event.
    fn reach(&self, visible: u64) -> Bounds {
        let log = &self.engine.core.log;
        let horizon = visible.min(self.seen.saturating_add(STEP_ABSENT));
        let next = log.positions(self.seen + 1, horizon).next().unwrap_or(horizon);
        let reach = (self.seen + STEP_POSITIONS).max(log.floor()).max(next - 1);
        Bounds {
            after: self.seen,
            until: visible.min(reach),
        }
    }

    /// The first matching positions within `bounds`, at most `want`, and the bounds that they cover completely.
    fn matches(&self, step: Step, bounds: Bounds, want: usize) -> (Vec<u64>, Bounds) {
        // The index may still name dropped events.
        let live = Bounds {
            after: bounds.after.max(self.engine.core.log.floor()),
            ..bounds
        };
        let is_indexed = || select::is_indexed(&self.engine, &self.query, live.until);
        let (positions, until) = if step == Step::Blocking || is_indexed() {
            self.matches_of_index(live, want)
        } else {
            self.matches_of_log(live, want)
        };
        (positions, Bounds { until, ..bounds })
    }

    fn matches_of_index(&self, bounds: Bounds, want: usize) -> (Vec<u64>, u64) {
        let mut positions = Vec::new();
        // The query was valid when the tail was created.
        let Ok(mut scan) = Scan::new(&self.engine, &self.query, bounds, Direction::Ascending) else {
            return (positions, bounds.until);
        };
        while let Ok(Some(window)) = scan.next() {
            positions.extend(window);
            if positions.len() > want {
                break;
            }
        }
        if positions.len() <= want {
            return (positions, bounds.until);
        }
        positions.truncate(want);
        let last = positions.last().copied().unwrap_or(bounds.until);
        (positions, last)
    }

    /// The same by reading events: at most [`STEP_EVENTS`].
    fn matches_of_log(&self, bounds: Bounds, want: usize) -> (Vec<u64>, u64) {
        let core = &self.engine.core;
        let mut reader = EventReader::new(core);
        let mut unread = core.log.positions(bounds.after + 1, bounds.until);
        let step = unread.clone().take(STEP_EVENTS);
        let matching = reader.matching(step, |event| self.matcher.matches(event));
        let positions: Vec<_> = matching.take(want).collect();
        let last = match positions.last() {
            Some(last) if positions.len() == want => *last,
            _ => unread.nth(STEP_EVENTS).map_or(bounds.until, |position| position - 1),
        };
        (positions, last)
    }

    fn deliver_batch(&mut self, max: usize) -> Vec<Delivery> {
        let mut batch = Vec::with_capacity(max.min(self.ready.len()));
        while batch.len() < max
            && let Some(delivery) = self.deliver()
        {
            batch.push(delivery);
        }
        batch
    }

    /// The next ready delivery. Events that have expired since they were taken are one gap.
    fn deliver(&mut self) -> Option<Delivery> {
        if self.cancelled.is_set() {
            return None;
        }
        self.may_age |= self.engine.may_expire();
        if !self.may_age {
            return self.ready.pop_front();
        }
        self.aged().map(Delivery::Gap).or_else(|| self.ready.pop_front())
    }

    /// Removes the expired events from the front.
    fn aged(&mut self) -> Option<Gap> {
        let mut aged: Option<Gap> = None;
        while let Some(Delivery::Event(event)) = self.ready.front()
            && let Some(reason) = self.engine.expired(event)
        {
            let gap = Gap::at(event.position().0, reason);
            match &mut aged {
                Some(all) if all.reason == gap.reason => all.merge(&gap),
                Some(_) => break,
                none => *none = Some(gap),
            }
            self.ready.pop_front();
        }
        aged
    }
}

impl Iterator for Tail {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        self.next_until(None)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.unregister();
    }
}
