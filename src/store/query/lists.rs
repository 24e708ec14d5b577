//! Lists of the values of a field, a page at a time, from the index or from the table of aggregates.

use crate::list::compare;
use crate::store::collections::posting_list::PostingList;
use crate::store::log::directory::PageCache;
use crate::store::reader::EventReader;
use crate::store::streams::stream::Stream;
use crate::store::{Engine, Store};
use crate::{Error, Field, ListCursor, ListItem, ListOrder, ListPage, ListQuery, Name, Position, Result};

/// Attempts to read a page while events are being dropped. The last attempt leaves out values whose last event is gone.
const TRIES: usize = 3;

/// The events of a value up to a position.
#[derive(Clone, Copy, Debug)]
struct Tally {
    events: u64,
    last: u64,
}

/// A value of the list, with what it is ordered by.
#[derive(Clone, Debug)]
struct Value {
    rank: u64,
    name: Name,
    aggregate_type: Option<Name>,
    tally: Tally,
}

impl Value {
    fn key(&self) -> (u64, &str) {
        (self.rank, &self.name)
    }
}

/// The first values of a list, with at most twice as many in memory.
struct First<'a> {
    query: &'a ListQuery,
    as_of: u64,
    values: Vec<Value>,
    /// Whether the values are sorted, and all that are wanted: a value after the last of them is not.
    is_full: bool,
}

impl First<'_> {
    /// One more than the page has, to know of the next page.
    fn want(&self) -> usize {
        self.query.limit + 1
    }

    fn has_name(&self, name: &str) -> bool {
        name.starts_with(self.query.prefix.as_str())
    }

    fn rank(&self, tally: Tally) -> u64 {
        match self.query.order {
            ListOrder::Name => 0,
            ListOrder::Events => tally.events,
            ListOrder::LastActivity => tally.last,
        }
    }

    /// Adds a value that may be among the first. Most are not, and are not copied.
    fn add(&mut self, name: &Name, tally: Tally, aggregate_type: impl FnOnce() -> Option<Name>) {
        let rank = self.rank(tally);
        let cursor = self.query.cursor.as_ref();
        if tally.events == 0 || cursor.is_some_and(|cursor| !cursor.is_before(rank, name)) || self.is_late(rank, name) {
            return;
        }
        self.values.push(Value {
            rank,
            name: name.clone(),
            aggregate_type: aggregate_type(),
            tally,
        });
        if self.values.len() >= 2 * self.want() {
            self.keep_first();
        }
    }

    /// Whether as many values as are wanted come before this one.
    fn is_late(&self, rank: u64, name: &str) -> bool {
        let last = self.values.get(self.want() - 1).filter(|_| self.is_full);
        last.is_some_and(|last| compare((rank, name), last.key()).is_gt())
    }

    fn keep_first(&mut self) {
        let want = self.want();
        if self.values.len() > want {
            self.values
                .select_nth_unstable_by(want - 1, |one, other| compare(one.key(), other.key()));
            self.values.truncate(want);
        }
        self.values
            .sort_unstable_by(|one, other| compare(one.key(), other.key()));
        self.is_full = self.values.len() == want;
    }
}

impl Store {
    /// Lists the values of a field, a page at a time: aggregates, correlations, users, types or others, with the number of their events and
    /// their last activity.
    ///
    /// System events are not counted, and neither are dropped ones; a value without events is not listed. All pages count the events up to
    /// the position of the first page, so appends between two pages do not change the list. Events that are dropped between two pages are
    /// missing from the later page; in another order than by name, a value that lost events may be listed on both pages.
    ///
    /// The list comes from the index: it looks at each value of the field once, and at the last event of each listed value. If the store has
    /// system events with the field, or has dropped events that were not [compacted](Self::compact) yet, it looks at the positions of each value
    /// as well. Types and aggregates are listed without that cost, unless events were dropped.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) if the limit is out of range, the cursor belongs to another order, or the index is not registered.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage> {
        query.check()?;
        let engine = self.engine();
        engine.check_listed(&query.field)?;
        #[cfg(feature = "testing")]
        self.read_with_faults(None)?;
        let visible = engine.visible();
        let as_of = query
            .cursor
            .as_ref()
            .map_or(visible, |cursor| cursor.as_of.min(visible));
        for _ in 1..TRIES {
            let first = engine.first_of(query, as_of);
            let (page, is_whole) = engine.page_of(first);
            if is_whole {
                return Ok(page);
            }
        }
        Ok(engine.page_of(engine.first_of(query, as_of)).0)
    }
}

impl Engine {
    fn check_listed(&self, field: &Field) -> Result<()> {
        if let Field::Index(name) = field
            && self.indexes.indexer(name).is_none()
        {
            return Err(Error::invalid(format!(
                "no index '{name}' is registered: register it with Builder::indexer"
            )));
        }
        Ok(())
    }

    /// The first values of the list after its cursor, one more than a page has.
    fn first_of<'a>(&self, query: &'a ListQuery, as_of: u64) -> First<'a> {
        let mut first = First {
            query,
            as_of,
            values: Vec::new(),
            is_full: false,
        };
        if query.field == Field::Aggregate {
            self.add_aggregates(&mut first);
        } else {
            self.add_terms(&mut first);
        }
        first.keep_first();
        first
    }

    fn add_aggregates(&self, first: &mut First<'_>) {
        for shard in 0..self.core.shard_count() {
            let shard = self.core.read(shard);
            let own = shard.streams().filter(|stream| !stream.id.starts_with('$'));
            for stream in own.filter(|stream| stream.id.starts_with(first.query.prefix.as_str())) {
                if let Some(tally) = tally_of(stream, first.as_of) {
                    first.add(&stream.id, tally, || Some(shard.stream_id(stream).aggregate_type));
                }
            }
        }
    }

    fn add_terms(&self, first: &mut First<'_>) {
        let Some((index, number)) = self.indexes.of(&first.query.field) else {
            return;
        };
        let names_system = matches!(first.query.field, Field::EventType | Field::AggregateType);
        let has_system = !self
            .indexes
            .main
            .read_whole(&self.core, first.as_of)
            .system()
            .is_empty();
        let lists: Vec<(Name, PostingList)> = {
            let terms = index.read_whole(&self.core, first.as_of);
            if (names_system || !has_system) && !self.retention.drops.are_indexed() {
                return add_exact(
                    terms
                        .values(number)
                        .filter(|(name, _)| !names_system || !name.starts_with('$')),
                    first,
                );
            }
            let wanted = terms.values(number).filter(|(name, _)| first.has_name(name));
            wanted.map(|(name, list)| (name.clone(), list.clone())).collect()
        };
        let mut view = EventReader::new(&self.core);
        let floor = self.core.log.floor();
        for (name, list) in lists {
            let (mut events, mut last) = (0, 0);
            for position in list.range(floor, first.as_of) {
                if view.event(position).is_some_and(|event| !event.is_system()) {
                    (events, last) = (events + 1, position);
                }
            }
            first.add(&name, Tally { events, last }, || None);
        }
    }

    /// The page, and whether the last event of every value is there.
    fn page_of(&self, first: First<'_>) -> (ListPage, bool) {
        let (order, limit) = (first.query.order, first.query.limit);
        let last = first.values.get(limit - 1).filter(|_| first.values.len() > limit);
        let next = last.map(|last| ListCursor {
            order,
            as_of: first.as_of,
            rank: last.rank,
            name: last.name.clone(),
        });
        let mut pages = PageCache::default();
        let count = first.values.len().min(limit);
        let described = first.values.into_iter().take(limit).filter_map(|value| {
            let Tally { events, last } = value.tally;
            let last_at = self.core.with_event(last, &mut pages, |event| event.timestamp())?;
            Some(ListItem {
                name: value.name,
                aggregate_type: value.aggregate_type,
                events,
                last_position: Position(last),
                last_at,
            })
        });
        let items: Vec<_> = described.collect();
        let is_whole = items.len() == count;
        let as_of = Position(first.as_of);
        (ListPage { items, next, as_of }, is_whole)
    }
}

/// Adds values whose lists name no dropped event and no system event.
fn add_exact<'a>(values: impl Iterator<Item = (&'a Name, &'a PostingList)>, first: &mut First<'_>) {
    for (name, list) in values {
        if first.has_name(name) {
            let tally = Tally {
                events: list.count_up_to(first.as_of),
                last: list.last_up_to(first.as_of).unwrap_or(0),
            };
            first.add(name, tally, || None);
        }
    }
}

fn tally_of(stream: &Stream, as_of: u64) -> Option<Tally> {
    let events = stream.live_events() - stream.unseen_events(as_of);
    let last = stream.last_position_up_to(as_of).filter(|_| events > 0)?;
    Some(Tally { events, last })
}
