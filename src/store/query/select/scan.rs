//! A running query, a window at a time.

use super::node::Node;
use super::ranges::{Direction, Ranges};
use super::{Aggregates, Bounds, Selection, is_simple};
use crate::Result;
use crate::query::Query;
use crate::store::Engine;
use crate::store::query::matcher::Matcher;
use crate::store::reader::EventReader;

/// The work done for a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Candidates from the index.
    pub(crate) candidates: u64,
    /// Events tested.
    pub(crate) examined: u64,
    pub(crate) windows: u64,
    /// Whether every position of the bounds was a candidate.
    pub(crate) scanned: bool,
}

/// A running query: returns the matching positions, a window at a time.
pub(crate) struct Scan<'a> {
    engine: &'a Engine,
    query: &'a Query,
    matcher: Option<Matcher>,
    direction: Direction,
    spans: Option<Ranges>,
    bounds: Bounds,
    pub(crate) work: Work,
}

impl<'a> Scan<'a> {
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) as [`Matcher::new`].
    pub(crate) fn new(engine: &'a Engine, query: &'a Query, bounds: Bounds, direction: Direction) -> Result<Self> {
        // A query with only terms is always valid; compiling the conditions validates any other.
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
            .get_or_insert_with(|| Ranges::new(bounds, tree.count_at_most(bounds), direction));
        let Some(span) = spans.next() else {
            return Ok(None);
        };
        let (mut positions, exact) = self.candidates(&selection, &tree, span);
        drop(tree);
        drop(selection);
        self.complete(&mut positions, exact)?;
        Ok(Some(positions))
    }

    /// The candidates within `span`, and whether the index alone decided.
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
        self.work.scanned |= !tree.is_listed();
        (positions, exact)
    }

    /// Tests the events if the index did not decide, and orders the positions in the scan's direction.
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
        let mut reader = EventReader::new(&self.engine.core);
        let matching = reader.matching(positions.iter().copied(), |event| matcher.matches(event));
        *positions = matching.collect();
        Ok(())
    }
}
