//! Running a query: results in order, up to a limit, from the cache where that is faster.

use std::cmp::Reverse;

use crate::query::{AsOf, Cursor, Order, Query};
use crate::store::query::select::{Bounds, Direction, Scan, Work};
use crate::store::reader::EventReader;
use crate::store::{Engine, Store};
use crate::{Error, Event, EventRef, Gap, Position, Result, Timestamp};

/// Up to this many candidates the index is as fast as the cache.
#[cfg(feature = "cache")]
const WORTH_CANDIDATES: u64 = 64;

/// The sort key of a match: its time, if the query orders by time, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) time: i64,
    pub(crate) position: u64,
}

/// A query of a store, run by one of its methods.
///
/// Each call fixes the visible position once, at its start, and does not see later events.
#[derive(Debug)]
#[must_use = "a query is answered by one of its methods"]
pub struct QueryRun<'a> {
    store: &'a Store,
    pub(in crate::store) query: Query,
    cached: bool,
}

/// A page of a query's result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the query's order.
    pub events: Vec<Event>,
    /// The cursor of the next page, if there is one: see [`Query::cursor`].
    pub next: Option<Cursor>,
    /// The gaps of dropped events among the positions that the query covers.
    pub gaps: Vec<Gap>,
    /// The position as of which the result is complete.
    pub as_of: Position,
}

/// The cache outcome of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheState {
    /// The cache was not used: it is switched off, or the index is as fast.
    Bypassed,
    /// The cache had the whole result.
    Hit,
    /// The cache had the result without its tail, which was added.
    Extended,
    /// The cache had no result.
    Miss,
}

/// The keys of a result.
pub(crate) struct Found {
    pub(crate) keys: std::sync::Arc<Vec<Key>>,
    pub(crate) as_of: u64,
    pub(crate) cache: CacheState,
    pub(crate) work: Work,
}

impl Store {
    /// Returns a run of `query`.
    pub fn query(&self, query: Query) -> QueryRun<'_> {
        QueryRun {
            store: self,
            query,
            cached: true,
        }
    }
}

impl QueryRun<'_> {
    /// Runs without the cache.
    pub fn uncached(mut self) -> Self {
        self.cached = false;
        self
    }

    pub(in crate::store) fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// Returns the events.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the query is invalid: too deep or too many filters, an unregistered index, a cursor of
    /// another order, a JSON pointer without its slash.
    pub fn events(&self) -> Result<Vec<Event>> {
        let found = self.find(self.query.limit)?;
        Ok(self.load(&found.keys))
    }

    /// Returns the events up to the query's limit, and the cursor of the next page.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn page(&self) -> Result<Page> {
        let found = self.find(self.query.limit.map(|limit| limit.saturating_add(1)))?;
        let limit = self.query.limit.unwrap_or(usize::MAX);
        let keys = &found.keys[..found.keys.len().min(limit)];
        let next = keys
            .last()
            .filter(|_| found.keys.len() > limit)
            .map(|last| self.cursor_at(*last));
        // Also below the floor, where a budget has dropped all events.
        let bounds = bounds(&self.query, 0, found.as_of)?;
        Ok(Page {
            events: self.load(keys),
            next,
            gaps: self.engine().retention.drops.between(bounds.after, bounds.until),
            as_of: Position(found.as_of),
        })
    }

    fn cursor_at(&self, key: Key) -> Cursor {
        let time = self.query.order.is_by_time().then(|| Timestamp::from_micros(key.time));
        Cursor {
            time,
            position: Position(key.position),
        }
    }

    pub(in crate::store) fn query_bounds(&self, visible: u64) -> Result<Bounds> {
        #[cfg(feature = "testing")]
        self.store.read_with_faults(None)?;
        bounds(&self.query, self.engine().core.log.floor(), visible)
    }

    fn load(&self, keys: &[Key]) -> Vec<Event> {
        let positions: Vec<_> = keys.iter().map(|key| key.position).collect();
        self.engine().core.events(&positions)
    }

    /// Returns the positions of the events, in the query's order.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn positions(&self) -> Result<Vec<Position>> {
        let found = self.find(self.query.limit)?;
        Ok(found.keys.iter().map(|key| Position(key.position)).collect())
    }

    /// Returns the number of events, up to the query's limit.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn count(&self) -> Result<u64> {
        Ok(self.find(self.query.limit)?.keys.len() as u64)
    }

    /// Calls `look` with each event, in place and in order.
    ///
    /// No lock is held meanwhile: `look` may be slow, and may call the store.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn for_each(&self, mut look: impl FnMut(EventRef<'_>)) -> Result<()> {
        self.fold((), |(), event| look(event))
    }

    /// Folds the events, in place and in order, into one value.
    ///
    /// No lock is held meanwhile: `step` may be slow, and may call the store.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Query, Store, StreamId};
    /// # let store = Store::in_memory();
    /// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced").data("{}")])?;
    /// let bytes = store.query(Query::all()).fold(0, |sum, event| sum + event.data().len())?;
    /// assert_eq!(bytes, 2);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn fold<T>(&self, init: T, mut step: impl FnMut(T, EventRef<'_>) -> T) -> Result<T> {
        let mut reader = EventReader::new(&self.engine().core);
        let mut value = init;
        let mut left = self.query.limit.unwrap_or(usize::MAX);
        let mut windows = self.windows()?;
        while left > 0
            && let Some(positions) = windows.next()?
        {
            let mut events = reader.each(positions.iter().copied().take(left));
            while let Some(event) = events.next() {
                if let Some(event) = event {
                    value = step(value, event);
                }
            }
            left = left.saturating_sub(positions.len());
        }
        Ok(value)
    }

    /// The positions in the query's order, a window at a time; in one window if the order is by time.
    fn windows(&self) -> Result<Windows<'_>> {
        let engine = self.engine();
        let bounds = self.query_bounds(engine.visible())?;
        if self.query.order.is_by_time() {
            let (keys, _) = engine.collect(&self.query, bounds, usize::MAX)?;
            return Ok(Windows::Sorted(Some(
                keys.into_iter().map(|key| key.position).collect(),
            )));
        }
        Ok(Windows::Scan(Box::new(Scan::new(
            engine,
            &self.query,
            bounds,
            direction(self.query.order),
        )?)))
    }

    /// The first `want` keys of the result.
    pub(in crate::store) fn find(&self, want: Option<usize>) -> Result<Found> {
        let engine = self.engine();
        let visible = engine.visible();
        let bounds = self.query_bounds(visible)?;
        let want = want.unwrap_or(usize::MAX);
        #[cfg(feature = "cache")]
        if self.may_be_cached() {
            let mut scan = Scan::new(engine, &self.query, bounds, direction(self.query.order))?;
            if let Some(positions) = scan.all_if_few(WORTH_CANDIDATES)? {
                let keys = engine.order(&self.query, positions, want);
                return Ok(Found {
                    keys: keys.into(),
                    as_of: visible,
                    cache: CacheState::Bypassed,
                    work: scan.work,
                });
            }
            if let Some(cache) = engine.caches.queries.get(&engine.settings.cache) {
                return cache.find(engine, &self.query, want, visible, |visible| self.query_bounds(visible));
            }
        }
        let (keys, work) = engine.collect(&self.query, bounds, want)?;
        Ok(Found {
            keys: keys.into(),
            as_of: visible,
            cache: CacheState::Bypassed,
            work,
        })
    }

    #[cfg(feature = "cache")]
    pub(in crate::store) fn may_be_cached(&self) -> bool {
        self.cached && self.query.as_of.is_none() && self.engine().settings.cache.bytes > 0
    }
}

/// The positions that a query covers, above `floor` and up to `visible`.
fn bounds(query: &Query, floor: u64, visible: u64) -> Result<Bounds> {
    let mut bounds = Bounds {
        after: query.after.0.max(floor),
        until: visible,
    };
    if let Some(until) = query.until {
        bounds.until = bounds.until.min(until.0);
    }
    if let Some(AsOf::Position(position)) = query.as_of {
        bounds.until = bounds.until.min(position.0);
    }
    if let Some(cursor) = query.cursor {
        if cursor.time.is_some() != query.order.is_by_time() {
            return Err(Error::invalid(format!(
                "cursor {cursor} belongs to a query with another order: use it with the order of its query"
            )));
        }
        match query.order {
            Order::Position => bounds.after = bounds.after.max(cursor.position.0),
            Order::PositionDescending => bounds.until = bounds.until.min(cursor.position.0.saturating_sub(1)),
            Order::Time | Order::TimeDescending => {}
        }
    }
    Ok(bounds)
}

impl Engine {
    /// The first `want` keys of a query's result within `bounds`.
    pub(crate) fn collect(&self, query: &Query, bounds: Bounds, want: usize) -> Result<(Vec<Key>, Work)> {
        let mut scan = Scan::new(self, query, bounds, direction(query.order))?;
        let mut found = Vec::new();
        while query.order.is_by_time() || found.len() < want {
            let Some(positions) = scan.next()? else { break };
            found.extend(positions);
        }
        Ok((self.order(query, found, want), scan.work))
    }

    /// The first `want` keys in the query's order, of positions in the order of the scan.
    fn order(&self, query: &Query, positions: Vec<u64>, want: usize) -> Vec<Key> {
        let mut keys: Vec<_> = positions
            .into_iter()
            .map(|position| Key { time: 0, position })
            .collect();
        if query.order.is_by_time() {
            self.sort_by_time(query, &mut keys, want);
        }
        keys.truncate(want);
        keys
    }

    fn sort_by_time(&self, query: &Query, keys: &mut Vec<Key>, want: usize) {
        let mut reader = EventReader::new(&self.core);
        let unsorted = std::mem::take(keys);
        let mut events = reader.each(unsorted.iter().map(|key| key.position));
        while let Some(event) = events.next() {
            keys.extend(event.map(|event| Key {
                time: event.raw_time(),
                position: event.raw_position(),
            }));
        }
        keys.retain(|key| query.cursor.is_none_or(|cursor| is_beyond(*key, cursor, query.order)));
        keep_first(keys, query.order, want);
    }
}

/// Positions, a window at a time.
enum Windows<'a> {
    Scan(Box<Scan<'a>>),
    Sorted(Option<Vec<u64>>),
}

impl Windows<'_> {
    fn next(&mut self) -> Result<Option<Vec<u64>>> {
        match self {
            Self::Scan(scan) => scan.next(),
            Self::Sorted(positions) => Ok(positions.take()),
        }
    }
}

/// The scan direction for an order; any direction if the order is by time.
fn direction(order: Order) -> Direction {
    match order {
        Order::PositionDescending => Direction::Descending,
        Order::Position | Order::Time | Order::TimeDescending => Direction::Ascending,
    }
}

/// Whether `key` comes after the cursor.
fn is_beyond(key: Key, cursor: Cursor, order: Order) -> bool {
    let cursor = Key {
        time: cursor.time.map_or(0, Timestamp::as_micros),
        position: cursor.position.0,
    };
    if order.is_descending() {
        key < cursor
    } else {
        key > cursor
    }
}

/// Sorts the keys in the order and keeps the first `want`.
pub(crate) fn keep_first(keys: &mut Vec<Key>, order: Order, want: usize) {
    if want < keys.len() / 2 {
        if order.is_descending() {
            keys.select_nth_unstable_by_key(want, |key| Reverse(*key));
        } else {
            keys.select_nth_unstable(want);
        }
        keys.truncate(want);
    }
    if order.is_descending() {
        keys.sort_unstable_by_key(|key| Reverse(*key));
    } else {
        keys.sort_unstable();
    }
    keys.truncate(want);
}
