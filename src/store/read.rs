//! Reading one aggregate or the whole log: forwards or backwards, owned or in place.

use crate::store::reader::EventReader;
use crate::store::streams::stream::Stream;
use crate::store::{Engine, Store};
use crate::{AsOf, Event, EventRef, Position, Timestamp, Version};

/// Positions of a stream copied per lock acquisition; bounds how long writers wait.
const BATCH: usize = 512;

/// The events that a read may see.
#[derive(Clone, Copy, Debug)]
struct Horizon {
    until: u64,
    recorded_until: Timestamp,
}

impl Horizon {
    fn new(engine: &Engine, as_of: Option<AsOf>) -> Self {
        let visible = engine.visible();
        match as_of {
            None => Self {
                until: visible,
                recorded_until: Timestamp::MAX,
            },
            Some(AsOf::Position(position)) => Self {
                until: visible.min(position.0),
                recorded_until: Timestamp::MAX,
            },
            Some(AsOf::Time(time)) => Self {
                until: visible,
                recorded_until: time,
            },
        }
    }

    #[inline]
    fn admits(&self, event: EventRef<'_>) -> bool {
        event.raw_position() <= self.until
            && (self.recorded_until == Timestamp::MAX || event.recorded_at() <= self.recorded_until)
    }
}

/// The options that reads of a stream and of the log share.
#[derive(Clone, Copy, Debug)]
struct Options {
    backwards: bool,
    limit: usize,
    as_of: Option<AsOf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backwards: false,
            limit: usize::MAX,
            as_of: None,
        }
    }
}

/// The methods of a reader with `options` and a `fold`.
macro_rules! read_with_options {
    ($reader:ident) => {
        impl $reader<'_> {
            /// Reads in descending order.
            pub fn backwards(mut self) -> Self {
                self.options.backwards = true;
                self
            }

            /// Reads at most `limit` events.
            pub fn limit(mut self, limit: usize) -> Self {
                self.options.limit = limit;
                self
            }

            /// Reads the store as it was at this position or time.
            pub fn as_of(mut self, as_of: impl Into<AsOf>) -> Self {
                self.options.as_of = Some(as_of.into());
                self
            }

            /// Calls `look` with each event, in place. No lock is held meanwhile.
            pub fn for_each(&self, mut look: impl FnMut(EventRef<'_>)) {
                self.fold((), |(), event| look(event));
            }
        }
    };
}

/// A read of the events of one aggregate.
///
/// ```
/// # use annals::{Expected, NewEvent, Store, StreamId, Version};
/// # let store = Store::in_memory();
/// # let order = StreamId::new("Order", "order-1");
/// # store.append(&order, Expected::Any, vec![NewEvent::new("OrderPlaced"), NewEvent::new("OrderPaid")])?;
/// let latest = store.read_stream("order-1").backwards().limit(1).events();
/// assert_eq!(latest[0].event_type(), "OrderPaid");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a stream is read by one of its methods"]
pub struct StreamRead<'a> {
    store: &'a Store,
    id: Box<str>,
    from: Option<Version>,
    options: Options,
}

impl Store {
    /// Reads the events of the aggregate `aggregate_id`, ascending by version. An unknown aggregate has none.
    pub fn read_stream(&self, aggregate_id: &str) -> StreamRead<'_> {
        StreamRead {
            store: self,
            id: aggregate_id.into(),
            from: None,
            options: Options::default(),
        }
    }

    /// Reads all events, ascending by position.
    pub fn read_all(&self) -> LogRead<'_> {
        LogRead {
            store: self,
            from: None,
            options: Options::default(),
            system: false,
        }
    }
}

impl StreamRead<'_> {
    /// Starts at this version.
    pub fn from(mut self, version: Version) -> Self {
        self.from = Some(version);
        self
    }

    /// Starts after this version, for example that of a snapshot or of the last event read.
    pub fn after(self, version: Version) -> Self {
        self.from(Version(version.0.saturating_add(1)))
    }

    /// Returns the events.
    pub fn events(&self) -> Vec<Event> {
        self.fold(Vec::new(), |mut events, event| {
            events.push(event.to_event());
            events
        })
    }

    /// Folds the events, in place, into one value. No lock is held meanwhile: `step` may call the store.
    pub fn fold<T>(&self, init: T, mut step: impl FnMut(T, EventRef<'_>) -> T) -> T {
        let mut value = init;
        let mut left = self.options.limit;
        let mut batches = Batches::new(self);
        let mut reader = EventReader::new(&self.store.engine().core);
        while left > 0
            && let Some(positions) = batches.next()
        {
            let mut events = reader.each(positions.iter().copied());
            while let Some(event) = events.next() {
                if let Some(event) = event.filter(|event| left > 0 && batches.horizon.admits(*event)) {
                    value = step(value, event);
                    left -= 1;
                }
            }
        }
        value
    }
}

read_with_options!(StreamRead);

/// The positions of a stream, in batches; writers wait for one batch at most.
struct Batches<'a> {
    engine: &'a Engine,
    id: &'a str,
    hash: u64,
    horizon: Horizon,
    /// The first version of the next batch.
    next: u64,
    backwards: bool,
    size: u64,
}

impl<'a> Batches<'a> {
    fn new(read: &'a StreamRead<'_>) -> Self {
        let engine = read.store.engine();
        let start = if read.options.backwards { u64::MAX } else { 1 };
        Self {
            engine,
            id: &read.id,
            hash: engine.core.hash(&read.id),
            horizon: Horizon::new(engine, read.options.as_of),
            next: read.from.map_or(start, |version| version.0),
            backwards: read.options.backwards,
            size: read.options.limit.clamp(1, BATCH) as u64,
        }
    }

    /// The positions of the next batch; `None` at the end.
    fn next(&mut self) -> Option<Vec<u64>> {
        let shard = self.engine.core.read(self.engine.core.shard_of(self.hash));
        let stream = shard.stream(shard.find(self.hash, self.id)?);
        let positions = if self.backwards {
            self.positions_before(stream)
        } else {
            self.positions_after(stream)
        };
        (!positions.is_empty()).then_some(positions)
    }

    fn positions_after(&mut self, stream: &Stream) -> Vec<u64> {
        let first = self.next.max(u64::from(stream.dropped_to) + 1);
        let count = (u64::from(stream.version) + 1).saturating_sub(first).min(self.size);
        self.next = first + count;
        take(stream, first, count)
    }

    fn positions_before(&mut self, stream: &Stream) -> Vec<u64> {
        let last = self.next.min(u64::from(stream.version));
        let first = (last + 1)
            .saturating_sub(self.size)
            .max(u64::from(stream.dropped_to) + 1);
        self.next = first - 1;
        let mut positions = take(stream, first, (last + 1).saturating_sub(first));
        positions.reverse();
        positions
    }
}

fn take(stream: &Stream, first: u64, count: u64) -> Vec<u64> {
    stream.some_positions_from(first, usize::try_from(count).unwrap_or(0))
}

/// A read of the whole log.
#[derive(Clone, Debug)]
#[must_use = "the log is read by one of its methods"]
pub struct LogRead<'a> {
    store: &'a Store,
    from: Option<Position>,
    options: Options,
    system: bool,
}

impl LogRead<'_> {
    /// Starts at this position.
    pub fn from(mut self, position: Position) -> Self {
        self.from = Some(position);
        self
    }

    /// Starts after this position.
    pub fn after(self, position: Position) -> Self {
        self.from(Position(position.0.saturating_add(1)))
    }

    /// Includes system events, whose type begins with `$`.
    pub fn include_system(mut self) -> Self {
        self.system = true;
        self
    }

    /// The first and the last position to read.
    fn range(&self, horizon: Horizon) -> (u64, u64) {
        let floor = self.store.engine().core.log.floor();
        let from = self.from.map(|position| position.0);
        if self.options.backwards {
            (floor + 1, horizon.until.min(from.unwrap_or(u64::MAX)))
        } else {
            (from.unwrap_or(1).max(floor + 1), horizon.until)
        }
    }

    fn admits(&self, event: EventRef<'_>, horizon: Horizon) -> bool {
        horizon.admits(event) && (self.system || !event.is_system())
    }

    /// Returns the events.
    pub fn events(&self) -> Vec<Event> {
        self.fold(Vec::new(), |mut events, event| {
            events.push(event.to_event());
            events
        })
    }

    /// Folds the events, in place, into one value. No lock is held meanwhile: `step` may call the store.
    pub fn fold<T>(&self, init: T, step: impl FnMut(T, EventRef<'_>) -> T) -> T {
        let horizon = Horizon::new(self.store.engine(), self.options.as_of);
        let (first, last) = self.range(horizon);
        let positions = self.store.engine().core.log.positions(first, last);
        if self.options.backwards {
            self.fold_positions(positions.rev(), horizon, init, step)
        } else {
            self.fold_positions(positions, horizon, init, step)
        }
    }

    fn fold_positions<T>(
        &self,
        positions: impl Iterator<Item = u64> + Clone,
        horizon: Horizon,
        init: T,
        mut step: impl FnMut(T, EventRef<'_>) -> T,
    ) -> T {
        let mut reader = EventReader::new(&self.store.engine().core);
        let mut events = reader.each(positions);
        let mut left = self.options.limit;
        let mut value = init;
        while left > 0
            && let Some(event) = events.next()
        {
            if let Some(event) = event.filter(|event| self.admits(*event, horizon)) {
                value = step(value, event);
                left -= 1;
            }
        }
        value
    }
}

read_with_options!(LogRead);
