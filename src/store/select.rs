//! From a query to positions: terms are looked up, the rarest leads, the others are met by skipping, the rest is tried on events.

use smallvec::SmallVec;

use super::Engine;
use super::ascending::Ascending;
use super::core::View;
use super::index::{LiveIndex, Terms};
use super::log::Log;
use super::matcher::Matcher;
use crate::query::Query;
use crate::{Field, Filter, Name, Result, Timestamp};

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
}

/// Fewer candidates than this are found in one go.
const WINDOW_CANDIDATES: u64 = 4096;

/// Fewer candidates than this are looked up one by one rather than merged.
const PROBE_CANDIDATES: usize = 32;

/// Days of a time range that are worth a union.
const DAYS_MAX: usize = 1000;

/// What a filter comes to in the index.
enum Node<'g> {
    /// The index does not know: anything may match.
    Unknown,
    Lists(SmallVec<[&'g Ascending; 2]>),
    Positions(Vec<u64>),
    All(Vec<Node<'g>>),
    Any(Vec<Node<'g>>),
}

impl Node<'_> {
    /// Matches within the bounds, at most.
    fn count_at_most(&self, bounds: Bounds) -> u64 {
        match self {
            Self::Unknown => bounds.len(),
            Self::Lists(lists) => {
                let sum: u64 = lists
                    .iter()
                    .map(|list| list.count_at_most(bounds.after, bounds.until))
                    .sum();
                sum.min(bounds.len())
            }
            Self::Positions(positions) => positions.len() as u64,
            Self::All(nodes) => nodes
                .iter()
                .map(|node| node.count_at_most(bounds))
                .min()
                .unwrap_or(bounds.len()),
            Self::Any(nodes) => nodes
                .iter()
                .map(|node| node.count_at_most(bounds))
                .sum::<u64>()
                .min(bounds.len()),
        }
    }

    /// Whether the index alone decides.
    fn is_exact(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Lists(_) | Self::Positions(_) => true,
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().all(Self::is_exact),
        }
    }

    /// Whether every candidate comes from a list.
    fn is_listed(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Lists(_) | Self::Positions(_) => true,
            Self::All(nodes) => nodes.iter().any(Self::is_listed),
            Self::Any(nodes) => nodes.iter().all(Self::is_listed),
        }
    }

    fn contains(&self, position: u64) -> bool {
        match self {
            Self::Unknown => true,
            Self::Lists(lists) => lists.iter().any(|list| list.contains(position)),
            Self::Positions(positions) => positions.binary_search(&position).is_ok(),
            Self::All(nodes) => nodes.iter().all(|node| node.contains(position)),
            Self::Any(nodes) => nodes.iter().any(|node| node.contains(position)),
        }
    }

    /// The candidates within the bounds, ascending.
    fn candidates(&self, bounds: Bounds, log: &Log) -> Vec<u64> {
        match self {
            Self::Unknown => log.positions(bounds.after + 1, bounds.until).collect(),
            Self::Lists(lists) => union(lists.iter().map(|list| list.range(bounds.after, bounds.until))),
            Self::Positions(positions) => positions
                .iter()
                .copied()
                .filter(|p| *p > bounds.after && *p <= bounds.until)
                .collect(),
            Self::All(nodes) => intersection(nodes, bounds, log),
            Self::Any(nodes) => union(nodes.iter().map(|node| node.candidates(bounds, log).into_iter())),
        }
    }

    /// Keeps of `candidates` those that may match.
    fn retain(&self, candidates: &mut Vec<u64>, log: &Log) {
        match self {
            Self::Unknown => {}
            Self::Lists(lists) if lists.len() == 1 => lists[0].retain_common(candidates),
            Self::All(nodes) => nodes.iter().for_each(|node| node.retain(candidates, log)),
            _ if candidates.len() <= PROBE_CANDIDATES => candidates.retain(|position| self.contains(*position)),
            Self::Lists(_) | Self::Positions(_) | Self::Any(_) => self.retain_merged(candidates, log),
        }
    }

    fn retain_merged(&self, candidates: &mut Vec<u64>, log: &Log) {
        let Some((&first, &last)) = candidates.first().zip(candidates.last()) else {
            return;
        };
        let bounds = Bounds {
            after: first - 1,
            until: last,
        };
        let others = self.candidates(bounds, log);
        let mut others = others.into_iter().peekable();
        candidates.retain(|candidate| {
            while others.next_if(|other| other < candidate).is_some() {}
            others.peek() == Some(candidate)
        });
    }
}

fn union(mut runs: impl ExactSizeIterator<Item = impl Iterator<Item = u64>>) -> Vec<u64> {
    let several = runs.len() > 1;
    let mut all = runs.next().map_or_else(Vec::new, Iterator::collect);
    runs.for_each(|run| all.extend(run));
    if several {
        all.sort_unstable();
        all.dedup();
    }
    all
}

fn intersection(nodes: &[Node<'_>], bounds: Bounds, log: &Log) -> Vec<u64> {
    let mut by_count: Vec<_> = nodes.iter().map(|node| (node.count_at_most(bounds), node)).collect();
    by_count.sort_by_key(|(count, _)| *count);
    let mut nodes = by_count.into_iter().map(|(_, node)| node);
    let Some(rarest) = nodes.next() else {
        return log.positions(bounds.after + 1, bounds.until).collect();
    };
    let mut candidates = rarest.candidates(bounds, log);
    for node in nodes {
        node.retain(&mut candidates, log);
    }
    candidates
}

/// How filters on aggregates are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregates {
    /// By asking their shards.
    Ask,
    /// Not at all: the shards are about to be locked.
    Leave,
}

/// A query beside the indexes it needs, which are held still.
pub(crate) struct Selection<'a> {
    engine: &'a Engine,
    query: &'a Query,
    aggregates: Aggregates,
    main: Terms<'a>,
    others: Vec<(&'a LiveIndex, Terms<'a>)>,
}

impl<'a> Selection<'a> {
    /// For a condition that is about to lock shards. The indexes are brought up to `position` first.
    pub(crate) fn for_condition(engine: &'a Engine, query: &'a Query, position: u64) -> Self {
        Self::with(engine, query, position, Aggregates::Leave)
    }

    fn with(engine: &'a Engine, query: &'a Query, position: u64, aggregates: Aggregates) -> Self {
        // Always in this order, which is the order of their locks.
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
        }
    }

    /// The position up to which every index is complete.
    fn complete_to(&self) -> u64 {
        let others = self.others.iter().map(|(_, terms)| terms.complete_to());
        others.fold(self.main.complete_to(), u64::min)
    }

    fn tree(&self, bounds: Bounds) -> Node<'_> {
        let mut nodes: Vec<_> = self
            .query
            .filters
            .iter()
            .map(|filter| self.node(filter, bounds))
            .collect();
        nodes.extend(self.days());
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
            Filter::Text(_) => Node::Unknown,
        }
    }

    fn lists(&self, field: &Field, values: &[Name]) -> Node<'_> {
        let Some((index, number)) = self.engine.indexes.of(field) else {
            return Node::Unknown;
        };
        let other = self
            .others
            .iter()
            .find(|(other, _)| std::ptr::eq(*other, index))
            .map(|(_, terms)| terms);
        let terms = other.unwrap_or(&self.main);
        let lists: SmallVec<_> = values
            .iter()
            .filter_map(|value| terms.positions(number, value))
            .collect();
        Node::Lists(lists)
    }

    fn aggregates(&self, ids: &[Name], bounds: Bounds) -> Node<'_> {
        if self.aggregates == Aggregates::Leave {
            return Node::Unknown;
        }
        let core = &self.engine.core;
        let mut positions = Vec::new();
        for id in ids {
            let hash = core.hash(id);
            let shard = core.read(core.shard_of(hash));
            let Some(key) = shard.find(hash, id) else {
                continue;
            };
            let events = shard.stream(key).positions_after(bounds.after);
            positions.extend(events.take_while(|position| *position <= bounds.until));
        }
        positions.sort_unstable();
        positions.dedup();
        Node::Positions(positions)
    }

    /// The days that a time range touches, to narrow it. The time itself is tried on the events.
    fn days(&self) -> Option<Node<'_>> {
        if !has_times(self.query) {
            return None;
        }
        let (since, before) = (self.query.since, self.query.before);
        let date = |time: Option<Timestamp>| time.map(Timestamp::date);
        let (since, before) = (date(since), date(before));
        // Years beyond four digits do not sort as text.
        let plain = |date: &Option<String>| date.as_ref().is_none_or(|date| date.len() == 10);
        if !plain(&since) || !plain(&before) {
            return None;
        }
        let (_, number) = self.engine.indexes.of(&Field::Day)?;
        let touched = |text: &Name| {
            text.len() != 10
                || since.as_ref().is_none_or(|since| text.as_str() >= since.as_str())
                    && before.as_ref().is_none_or(|before| text.as_str() <= before.as_str())
        };
        let lists: SmallVec<_> = self
            .main
            .values(number)
            .filter(|(text, _)| touched(text))
            .map(|(_, list)| list)
            .collect();
        (lists.len() <= DAYS_MAX).then_some(Node::Lists(lists))
    }

    /// Whether the tree decides alone, with the system's events left out by list.
    fn is_exact(&self, tree: &Node<'_>) -> bool {
        // Once compacted, the lists name no dropped event; a range of positions still does.
        let names_dropped = self.engine.has_dropped() || (self.engine.ever_dropped() && !tree.is_listed());
        tree.is_exact() && !needs_events(self.query) && !names_dropped
    }

    fn leave_system_out(&self, candidates: &mut Vec<u64>) {
        let system = self.main.system();
        if !self.query.system && !system.is_empty() {
            candidates.retain(|position| !system.contains(*position));
        }
    }

    /// The first match within the bounds, tried on the events.
    pub(crate) fn first_match(&self, matcher: Option<&Matcher>, bounds: Bounds) -> Result<Option<u64>> {
        if bounds.is_empty() {
            return Ok(None);
        }
        let indexed = Bounds {
            until: bounds.until.min(self.complete_to()),
            ..bounds
        };
        let (tree, log) = (self.tree(indexed), &self.engine.core.log);
        let mut spans = Spans::new(indexed, tree.count_at_most(indexed), Direction::Ascending);
        while let Some(span) = spans.next() {
            let found = first_matching(self.engine, self.query, matcher, tree.candidates(span, log))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let rest = log
            .positions(indexed.until.max(bounds.after) + 1, bounds.until)
            .collect();
        first_matching(self.engine, self.query, matcher, rest)
    }
}

/// The first of `candidates` that answers the query; `matcher` is made of it if it is not there already.
pub(crate) fn first_matching(
    engine: &Engine,
    query: &Query,
    matcher: Option<&Matcher>,
    candidates: Vec<u64>,
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
    let mut view = View::new(&engine.core);
    let answers = |position: &u64| view.event(*position).is_some_and(|event| matcher.matches(event));
    Ok(candidates.into_iter().find(answers))
}

/// Whether the filters ask for nothing but the main index.
fn is_plain(filters: &[Filter]) -> bool {
    filters.iter().all(|filter| match filter {
        Filter::Is(field, _) => !matches!(field, Field::Causation | Field::Index(_)),
        Filter::All(filters) | Filter::Any(filters) => is_plain(filters),
        #[cfg(feature = "json")]
        Filter::Metadata(..) | Filter::Data(..) => true,
        Filter::Text(_) => true,
    })
}

fn uses_any(filters: &[Filter], engine: &Engine, index: &LiveIndex) -> bool {
    filters.iter().any(|filter| match filter {
        Filter::Is(field, _) => engine.indexes.of(field).is_some_and(|(of, _)| std::ptr::eq(of, index)),
        Filter::All(filters) | Filter::Any(filters) => uses_any(filters, engine, index),
        #[cfg(feature = "json")]
        Filter::Metadata(..) | Filter::Data(..) => false,
        Filter::Text(_) => false,
    })
}

fn has_times(query: &Query) -> bool {
    query.since.is_some() || query.before.is_some()
}

/// Whether conditions beyond the filters must be tried on the events.
fn needs_events(query: &Query) -> bool {
    has_times(query) || matches!(query.as_of, Some(crate::AsOf::Time(_)))
}

/// Which way windows move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// Cuts bounds into windows of about as many candidates each.
struct Spans {
    left: Bounds,
    width: u64,
    direction: Direction,
}

impl Spans {
    fn new(bounds: Bounds, candidates: u64, direction: Direction) -> Self {
        let width = match candidates {
            0..=WINDOW_CANDIDATES => bounds.len(),
            more => (bounds.len() / (more / WINDOW_CANDIDATES)).max(WINDOW_CANDIDATES),
        };
        Self {
            left: bounds,
            width: width.max(1),
            direction,
        }
    }

    fn next(&mut self) -> Option<Bounds> {
        if self.left.is_empty() {
            return None;
        }
        let width = self.width.min(self.left.len());
        let span = match self.direction {
            Direction::Ascending => Bounds {
                after: self.left.after,
                until: self.left.after + width,
            },
            Direction::Descending => Bounds {
                after: self.left.until - width,
                until: self.left.until,
            },
        };
        match self.direction {
            Direction::Ascending => self.left.after = span.until,
            Direction::Descending => self.left.until = span.after,
        }
        self.width = self.width.saturating_mul(2);
        Some(span)
    }
}

/// What the work for an answer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Candidates that the index named.
    pub(crate) candidates: u64,
    /// Events looked at.
    pub(crate) examined: u64,
    pub(crate) windows: u64,
}

/// A query at work: gives the matching positions, a window at a time.
pub(crate) struct Scan<'a> {
    engine: &'a Engine,
    query: &'a Query,
    matcher: Option<Matcher>,
    direction: Direction,
    spans: Option<Spans>,
    bounds: Bounds,
    pub(crate) work: Work,
}

impl<'a> Scan<'a> {
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) as [`Matcher::new`].
    pub(crate) fn new(engine: &'a Engine, query: &'a Query, bounds: Bounds, direction: Direction) -> Result<Self> {
        // A query of terms alone is checked by resolving them; anything else by making its conditions ready.
        let matcher = if is_simple(query) {
            None
        } else {
            Some(Matcher::new(query, &engine.indexes)?)
        };
        Ok(Self {
            engine,
            query,
            matcher,
            direction,
            spans: None,
            bounds,
            work: Work::default(),
        })
    }

    /// All matching positions, if the index names at most `few` candidates.
    #[cfg(feature = "cache")]
    pub(crate) fn all_if_few(&mut self, few: u64) -> Result<Option<Vec<u64>>> {
        let selection = Selection::with(self.engine, self.query, self.bounds.until, Aggregates::Ask);
        let tree = selection.tree(self.bounds);
        let bounds = self.bounds;
        if bounds.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if tree.count_at_most(bounds) > few {
            return Ok(None);
        }
        let (mut positions, exact) = self.candidates(&selection, &tree, bounds);
        drop(tree);
        drop(selection);
        self.complete(&mut positions, exact)?;
        Ok(Some(positions))
    }

    /// The matching positions of the next window, in the scan's direction; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u64>>> {
        if self.bounds.is_empty() {
            return Ok(None);
        }
        let selection = Selection::with(self.engine, self.query, self.bounds.until, Aggregates::Ask);
        let tree = selection.tree(self.bounds);
        let direction = self.direction;
        let bounds = self.bounds;
        let spans = self
            .spans
            .get_or_insert_with(|| Spans::new(bounds, tree.count_at_most(bounds), direction));
        let Some(span) = spans.next() else {
            return Ok(None);
        };
        let (mut positions, exact) = self.candidates(&selection, &tree, span);
        drop(tree);
        drop(selection);
        self.complete(&mut positions, exact)?;
        Ok(Some(positions))
    }

    /// The candidates within `span`, and whether the index alone has decided.
    fn candidates(&mut self, selection: &Selection<'_>, tree: &Node<'_>, span: Bounds) -> (Vec<u64>, bool) {
        let indexed = Bounds {
            until: span.until.min(selection.complete_to()).max(span.after),
            after: span.after,
        };
        let log = &self.engine.core.log;
        let mut positions = tree.candidates(indexed, log);
        let exact = indexed.until == span.until && selection.is_exact(tree);
        if exact {
            selection.leave_system_out(&mut positions);
        } else {
            positions.extend(log.positions(indexed.until + 1, span.until));
        }
        self.work.candidates += positions.len() as u64;
        self.work.windows += 1;
        (positions, exact)
    }

    /// Tries on events what the index could not decide, and brings the positions into the scan's direction.
    fn complete(&mut self, positions: &mut Vec<u64>, exact: bool) -> Result<()> {
        if !exact {
            self.try_on_events(positions)?;
        }
        if self.direction == Direction::Descending {
            positions.reverse();
        }
        Ok(())
    }

    fn try_on_events(&mut self, positions: &mut Vec<u64>) -> Result<()> {
        let matcher = match &self.matcher {
            Some(matcher) => matcher,
            None => self.matcher.insert(Matcher::new(self.query, &self.engine.indexes)?),
        };
        self.work.examined += positions.len() as u64;
        let mut view = View::new(&self.engine.core);
        positions.retain(|position| view.event(*position).is_some_and(|event| matcher.matches(event)));
        Ok(())
    }
}

/// Whether the query is a few terms and nothing that could be invalid.
pub(crate) fn is_simple(query: &Query) -> bool {
    let simple = |filter: &Filter| matches!(filter, Filter::Is(field, values) if !matches!(field, Field::Index(_) | Field::Day) && values.len() < 64);
    query.filters.len() < 64 && query.filters.iter().all(simple) && !needs_events(query)
}
