//! From a query to positions: looks up the terms, intersects the rarest with the others, and tests other conditions on events.

mod node;
mod ranges;
mod scan;

use std::cell::Cell;

use smallvec::SmallVec;

use self::node::Node;
pub(crate) use self::ranges::Direction;
use self::ranges::Ranges;
pub(crate) use self::scan::{Scan, Work};
use crate::query::Query;
use crate::store::Engine;
use crate::store::index::{FieldNumber, LiveIndex, Terms};
use crate::store::query::matcher::Matcher;
use crate::store::reader::EventReader;
use crate::{Between, Field, Filter, Name, Position, Result, Timestamp};

/// Positions above `after`, up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) after: u64,
    pub(crate) until: u64,
}

impl Bounds {
    pub(crate) fn is_empty(self) -> bool {
        self.after >= self.until
    }

    fn len(self) -> u64 {
        self.until.saturating_sub(self.after)
    }

    fn contains(self, position: u64) -> bool {
        position > self.after && position <= self.until
    }

    /// The bounds that both have.
    fn within(self, other: Self) -> Self {
        Self {
            after: self.after.max(other.after),
            until: self.until.min(other.until),
        }
    }
}

/// The bounds of a range of positions.
fn range(positions: Between<Position>) -> Bounds {
    if positions.to < positions.from {
        return Bounds { after: 0, until: 0 };
    }
    Bounds {
        after: positions.from.0.saturating_sub(1),
        until: positions.to.0,
    }
}

/// Maximum days of a time range whose lists are united.
const DAYS_MAX: usize = 1000;

/// Maximum values of a prefix whose lists are united.
const PREFIX_MAX: usize = 16 * 1024;

/// The prefixes and the aggregates of a query look at no more values and positions than this many times the events of its range.
const LOOKUPS_PER_EVENT: u64 = 16;

/// How filters on aggregates are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregates {
    /// By locking their shards.
    Ask,
    /// Not at all: the caller is about to lock the shards.
    Leave,
}

/// A query with the indexes it needs, locked for reading.
pub(crate) struct Selection<'a> {
    engine: &'a Engine,
    query: &'a Query,
    aggregates: Aggregates,
    main: Terms<'a>,
    others: Vec<(&'a LiveIndex, Terms<'a>)>,
    /// Values and positions that the filters of the tree may still look up, which bounds its time and its memory.
    lookups_left: Cell<u64>,
}

impl<'a> Selection<'a> {
    /// Creates a selection for a condition that is about to lock shards. Extends the indexes up to `position` first.
    pub(crate) fn for_condition(engine: &'a Engine, query: &'a Query, position: u64) -> Self {
        Self::with(engine, query, position, Aggregates::Leave)
    }

    fn with(engine: &'a Engine, query: &'a Query, position: u64, aggregates: Aggregates) -> Self {
        // Always in this order, which is the lock order of the indexes.
        let main = engine.indexes.main.read(&engine.core, position);
        let needs = |index: &&LiveIndex| {
            !std::ptr::eq(*index, &raw const engine.indexes.main) && uses_any(&query.filters, engine, index)
        };
        let others = if is_plain(&query.filters) {
            Vec::new()
        } else {
            let needed = engine.indexes.all().filter(needs);
            needed
                .map(|index| (index, index.read(&engine.core, position)))
                .collect()
        };
        Self {
            engine,
            query,
            aggregates,
            main,
            others,
            lookups_left: Cell::new(0),
        }
    }

    /// The position up to which every index is complete.
    fn complete_to(&self) -> u64 {
        let others = self.others.iter().map(|(_, terms)| terms.complete_to());
        others.fold(self.main.complete_to(), u64::min)
    }

    fn tree(&self, bounds: Bounds) -> Node<'_> {
        self.lookups_left.set(bounds.len().saturating_mul(LOOKUPS_PER_EVENT));
        let mut nodes: Vec<_> = self
            .query
            .filters
            .iter()
            .map(|filter| self.node(filter, bounds))
            .collect();
        nodes.extend(self.days_of_query());
        if nodes.len() == 1 {
            nodes.swap_remove(0)
        } else {
            Node::All(nodes)
        }
    }

    fn node(&self, filter: &Filter, bounds: Bounds) -> Node<'_> {
        match filter {
            Filter::Is(Field::Aggregate, ids) => self.aggregates(ids, bounds),
            Filter::Is(field, values) => self.lists(field, values),
            Filter::All(filters) => Node::All(filters.iter().map(|filter| self.node(filter, bounds)).collect()),
            Filter::Any(filters) => Node::Any(filters.iter().map(|filter| self.node(filter, bounds)).collect()),
            #[cfg(feature = "json")]
            Filter::Metadata(..) | Filter::Data(..) => Node::Unknown,
            Filter::Text(_) | Filter::Versions(_) => Node::Unknown,
            Filter::Not(filter) => Node::except(self.node(filter, bounds)),
            Filter::Prefix(Field::Aggregate, prefix) => self.aggregates_with(prefix, bounds),
            Filter::Prefix(field, prefix) => self.lists_with(field, prefix, bounds),
            Filter::Positions(positions) => Node::Range(range(*positions)),
            // The exact time is tested on the events.
            Filter::Times(times) => match self.days(times.from, times.to) {
                Some(days) => Node::All(vec![days, Node::Unknown]),
                None => Node::Unknown,
            },
        }
    }

    /// The locked index that has `field`, and the field's number in it.
    fn terms(&self, field: &Field) -> Option<(&Terms<'a>, FieldNumber)> {
        let (index, number) = self.engine.indexes.of(field)?;
        let other = self.others.iter().find(|(other, _)| std::ptr::eq(*other, index));
        Some((other.map_or(&self.main, |(_, terms)| terms), number))
    }

    fn lists(&self, field: &Field, values: &[Name]) -> Node<'_> {
        let Some((terms, number)) = self.terms(field) else {
            return Node::Unknown;
        };
        let lists: SmallVec<_> = values
            .iter()
            .filter_map(|value| terms.positions(number, value))
            .collect();
        Node::Lists(lists)
    }

    /// The lists of the values that begin with `prefix`; undecided if testing the events is less work.
    fn lists_with(&self, field: &Field, prefix: &str, bounds: Bounds) -> Node<'_> {
        let Some((terms, number)) = self.terms(field) else {
            return Node::Unknown;
        };
        if !self.may_look_at(terms.count_of(number) as u64, bounds) {
            return Node::Unknown;
        }
        let matching = terms.with_prefix(number, prefix);
        let lists: SmallVec<_> = matching.map(|(_, list)| list).take(PREFIX_MAX + 1).collect();
        if lists.len() > PREFIX_MAX {
            return Node::Unknown;
        }
        Node::Lists(lists)
    }

    /// Whether looking at this many values is less work than testing the events, and the prefixes before left room for it.
    fn may_look_at(&self, values: u64, bounds: Bounds) -> bool {
        let left = self.lookups_left.get().checked_sub(values);
        let left = left.filter(|_| values <= bounds.len());
        self.lookups_left.set(left.unwrap_or(self.lookups_left.get()));
        left.is_some()
    }

    /// The same as [`lists_with`](Self::lists_with) for the ids of aggregates: looks at as many ids as the range has events, and collects no
    /// more positions.
    fn aggregates_with(&self, prefix: &str, bounds: Bounds) -> Node<'_> {
        if self.aggregates == Aggregates::Leave || !self.may_look_at(bounds.len(), bounds) {
            return Node::Unknown;
        }
        let core = &self.engine.core;
        let mut left = bounds.len();
        let mut positions = Vec::new();
        for shard in 0..core.shard_count() {
            let shard = core.read(shard);
            for stream in shard.streams() {
                left = left.saturating_sub(1);
                if stream.id.starts_with(prefix) {
                    let events = stream.positions_after(bounds.after);
                    positions.extend(events.take_while(|position| *position <= bounds.until));
                }
            }
            if left == 0 {
                return Node::Unknown;
            }
        }
        positions.sort_unstable();
        Node::Positions(positions)
    }

    /// The positions of the events of these aggregates; undecided if earlier filters of the query have named many.
    fn aggregates(&self, ids: &[Name], bounds: Bounds) -> Node<'_> {
        if self.aggregates == Aggregates::Leave {
            return Node::Unknown;
        }
        let core = &self.engine.core;
        let most = usize::try_from(self.lookups_left.get()).unwrap_or(usize::MAX);
        let mut positions = Vec::new();
        for id in ids {
            let hash = core.hash(id);
            let shard = core.read(core.shard_of(hash));
            let Some(key) = shard.find(hash, id) else {
                continue;
            };
            let events = shard.stream(key).positions_after(bounds.after);
            let room = most - positions.len();
            let mut events = events.take_while(|position| *position <= bounds.until);
            positions.extend(events.by_ref().take(room));
            if events.next().is_some() {
                return Node::Unknown;
            }
        }
        self.lookups_left.set((most - positions.len()) as u64);
        positions.sort_unstable();
        positions.dedup();
        Node::Positions(positions)
    }

    /// The lists of the days of the query's time range. The exact time is tested on the events.
    fn days_of_query(&self) -> Option<Node<'_>> {
        if !has_times(self.query) {
            return None;
        }
        let (since, before) = (self.query.since, self.query.before);
        self.days(since.unwrap_or(Timestamp::MIN), before.unwrap_or(Timestamp::MAX))
    }

    /// The lists of the days from one time to another, if there are few.
    fn days(&self, from: Timestamp, to: Timestamp) -> Option<Node<'_>> {
        let lists: SmallVec<_> = self.main.days(from.day()..=to.day()).take(DAYS_MAX + 1).collect();
        (lists.len() <= DAYS_MAX).then_some(Node::Lists(lists))
    }

    /// Whether the tree alone decides, apart from system events, which are left out by their list.
    fn is_exact(&self, tree: &Node<'_>) -> bool {
        // After a compaction the lists name no dropped event, but a range of positions still does.
        let names_dropped =
            self.engine.retention.drops.are_indexed() || (self.engine.retention.drops.has_gaps() && !tree.is_listed());
        tree.is_exact() && !needs_events(self.query) && !names_dropped
    }

    fn leave_system_out(&self, candidates: &mut Vec<u64>) {
        let system = self.main.system();
        if !self.query.system && !system.is_empty() {
            candidates.retain(|position| !system.contains(*position));
        }
    }

    /// The first match within the bounds, tested on the events.
    pub(crate) fn first_match(&self, matcher: Option<&Matcher>, bounds: Bounds) -> Result<Option<u64>> {
        if bounds.is_empty() {
            return Ok(None);
        }
        let indexed = Bounds {
            until: bounds.until.min(self.complete_to()),
            ..bounds
        };
        let (tree, log) = (self.tree(indexed), &self.engine.core.log);
        let mut spans = Ranges::new(indexed, tree.count_at_most(indexed), Direction::Ascending);
        while let Some(span) = spans.next() {
            let found = first_matching(self.engine, self.query, matcher, &tree.candidates(span, log))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let rest: Vec<_> = log
            .positions(indexed.until.max(bounds.after) + 1, bounds.until)
            .collect();
        first_matching(self.engine, self.query, matcher, &rest)
    }
}

/// The first of `candidates` that matches the query. A missing `matcher` is created.
pub(crate) fn first_matching(
    engine: &Engine,
    query: &Query,
    matcher: Option<&Matcher>,
    candidates: &[u64],
) -> Result<Option<u64>> {
    if candidates.is_empty() {
        return Ok(None);
    }
    let made;
    let matcher = if let Some(matcher) = matcher {
        matcher
    } else {
        made = Matcher::new(query, &engine.indexes)?;
        &made
    };
    let mut reader = EventReader::new(&engine.core);
    let mut matching = reader.matching(candidates.iter().copied(), |event| matcher.matches(event));
    Ok(matching.next())
}

/// Whether the query has terms, and every index that it reads is complete up to `position` and readable without waiting.
pub(crate) fn is_indexed(engine: &Engine, query: &Query, position: u64) -> bool {
    let is_read = |index: &&LiveIndex| {
        std::ptr::eq(*index, &raw const engine.indexes.main) || uses_any(&query.filters, engine, index)
    };
    let mut indexes = engine.indexes.all().filter(is_read);
    let is_prefix = |filter: &Filter| matches!(filter, Filter::Prefix(..));
    // The values of a prefix are looked for among all of their field, which is no bounded work.
    query.filters.iter().any(has_terms)
        && !query.filters.iter().any(|filter| filter.contains(&is_prefix))
        && indexes.all(|index| index.is_ready(position))
}

/// Whether terms name every candidate of the filter.
fn has_terms(filter: &Filter) -> bool {
    match filter {
        Filter::Is(..) => true,
        Filter::All(filters) => filters.iter().any(has_terms),
        Filter::Any(filters) => filters.iter().all(has_terms),
        #[cfg(feature = "json")]
        Filter::Metadata(..) | Filter::Data(..) => false,
        Filter::Prefix(..) => true,
        Filter::Text(_) | Filter::Not(_) | Filter::Versions(_) | Filter::Positions(_) | Filter::Times(_) => false,
    }
}

/// Whether the filters need only the main index.
fn is_plain(filters: &[Filter]) -> bool {
    let is_of_another = |filter: &Filter| {
        filter
            .field()
            .is_some_and(|field| matches!(field, Field::Causation | Field::Index(_)))
    };
    !filters.iter().any(|filter| filter.contains(&is_of_another))
}

fn uses_any(filters: &[Filter], engine: &Engine, index: &LiveIndex) -> bool {
    let is_index_of = |field: &Field| engine.indexes.of(field).is_some_and(|(of, _)| std::ptr::eq(of, index));
    let uses = |filter: &Filter| filter.field().is_some_and(is_index_of);
    filters.iter().any(|filter| filter.contains(&uses))
}

fn has_times(query: &Query) -> bool {
    query.since.is_some() || query.before.is_some()
}

/// Whether conditions other than the filters must be tested on the events.
fn needs_events(query: &Query) -> bool {
    has_times(query) || matches!(query.as_of, Some(crate::AsOf::Time(_)))
}

/// Whether the query has only a few terms, which cannot be invalid.
pub(crate) fn is_simple(query: &Query) -> bool {
    let simple = |filter: &Filter| matches!(filter, Filter::Is(field, values) if !matches!(field, Field::Index(_) | Field::Day) && values.len() < 64);
    query.filters.len() < 64 && query.filters.iter().all(simple) && !needs_events(query)
}
