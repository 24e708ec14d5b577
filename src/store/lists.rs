//! Lists of the values of a field, a page at a time, from the index or from the table of aggregates.

use super::core::EventReader;
use super::directory::PageCache;
use super::index::TermIndex;
use super::posting_list::PostingList;
use super::shard::{Shard, Stream};
use super::{Engine, Store};
use crate::list::compare;
use crate::{Error, Field, ListCursor, ListItem, ListOrder, ListPage, ListQuery, Name, Position, Result};

/// A list is made again this many times if events were dropped meanwhile. After the last time, the values that have lost their last event
/// are left out.
const TRIES: usize = 3;

/// A value, and its events up to a position.
#[derive(Clone, Debug)]
struct Tally {
    name: Name,
    aggregate_type: Option<Name>,
    events: u64,
    last: u64,
}

impl Tally {
    fn rank(&self, order: ListOrder) -> u64 {
        match order {
            ListOrder::Name => 0,
            ListOrder::Events => self.events,
            ListOrder::LastActivity => self.last,
        }
    }
}

/// The first values of a list, with at most twice as many in memory.
struct First<'a> {
    query: &'a ListQuery,
    as_of: u64,
    tallies: Vec<Tally>,
}

impl First<'_> {
    /// One more than the page has, to know of the next page.
    fn want(&self) -> usize {
        self.query.limit + 1
    }

    fn has_name(&self, name: &str) -> bool {
        name.starts_with(self.query.prefix.as_str())
    }

    fn add(&mut self, tally: Tally) {
        let rank = tally.rank(self.query.order);
        let cursor = self.query.cursor.as_ref();
        if tally.events == 0 || cursor.is_some_and(|cursor| !cursor.is_before(rank, &tally.name)) {
            return;
        }
        self.tallies.push(tally);
        if self.tallies.len() >= 2 * self.want() {
            self.keep_first();
        }
    }

    fn keep_first(&mut self) {
        let order = self.query.order;
        let by_order =
            |one: &Tally, other: &Tally| compare((one.rank(order), &one.name), (other.rank(order), &other.name));
        let want = self.want();
        if self.tallies.len() > want {
            self.tallies.select_nth_unstable_by(want - 1, by_order);
            self.tallies.truncate(want);
        }
        self.tallies.sort_unstable_by(by_order);
    }
}

impl Store {
    /// Lists the values of a field, a page at a time: aggregates, correlations, users, types or others, with the number of their events and
    /// their last activity.
    ///
    /// System events are not counted, and neither are dropped ones; a value without events is not listed. All pages count the events up to
    /// the position of the first page, so a list is the same whatever is appended between its pages. Events that are dropped between its
    /// pages are missing from the later ones.
    ///
    /// The list comes from the index: its cost is that of looking at each value of the field once, and at the last event of each listed
    /// value. If the store has system events with the field, or has dropped events that were not [compacted](Self::compact) yet, the
    /// positions of each value are looked at as well. Types and aggregates are listed without that cost, unless events were dropped.
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
            tallies: Vec::new(),
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
                if let Some(tally) = tally_of(&shard, stream, first.as_of) {
                    first.add(tally);
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
            if (names_system || !has_system) && !self.has_dropped() {
                return add_exact(&terms, number, first);
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
            first.add(Tally {
                name,
                aggregate_type: None,
                events,
                last,
            });
        }
    }

    /// The page, and whether the last event of every value is there.
    fn page_of(&self, first: First<'_>) -> (ListPage, bool) {
        let (order, limit) = (first.query.order, first.query.limit);
        let last = first.tallies.get(limit - 1).filter(|_| first.tallies.len() > limit);
        let next = last.map(|last| ListCursor {
            order,
            as_of: first.as_of,
            rank: last.rank(order),
            name: last.name.clone(),
        });
        let mut pages = PageCache::default();
        let count = first.tallies.len().min(limit);
        let described = first.tallies.into_iter().take(limit).filter_map(|tally| {
            let last_at = self
                .core
                .with_event(tally.last, &mut pages, |event| event.timestamp())?;
            Some(ListItem {
                name: tally.name,
                aggregate_type: tally.aggregate_type,
                events: tally.events,
                last_position: Position(tally.last),
                last_at,
            })
        });
        let items: Vec<_> = described.collect();
        let is_whole = items.len() == count;
        let as_of = Position(first.as_of);
        (ListPage { items, next, as_of }, is_whole)
    }
}

/// Adds the values of a field whose lists name no dropped event and no system event, except by the name of the value.
fn add_exact(terms: &TermIndex, number: u8, first: &mut First<'_>) {
    for (name, list) in terms.values(number) {
        if first.has_name(name) && !name.starts_with('$') {
            first.add(Tally {
                name: name.clone(),
                aggregate_type: None,
                events: list.count_up_to(first.as_of),
                last: list.last_up_to(first.as_of).unwrap_or(0),
            });
        }
    }
}

fn tally_of(shard: &Shard, stream: &Stream, as_of: u64) -> Option<Tally> {
    let events = stream.live_events() - stream.unseen_events(as_of);
    let last = stream.last_position_up_to(as_of).filter(|_| events > 0)?;
    let id = shard.stream_id(stream);
    Some(Tally {
        name: id.aggregate_id,
        aggregate_type: Some(id.aggregate_type),
        events,
        last,
    })
}
