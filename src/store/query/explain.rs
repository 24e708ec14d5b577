//! Explaining a query: the terms that the index has for it, and the work that it took.

use std::fmt;
use std::time::{Duration, Instant};

use crate::store::Engine;
use crate::store::query::run::{CacheState, QueryRun};
use crate::{Field, Filter, Name, Result};

/// How a query was run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The terms of the query, the rarest first.
    pub terms: Vec<ExplainedTerm>,
    /// Whether every event of the query's range was a candidate: no term names the matching events, as when the only condition is a
    /// [`Not`](Filter::Not).
    pub scanned: bool,
    /// Whether conditions were tested on the events themselves.
    pub tried_on_events: bool,
    /// Candidates from the index.
    pub candidates: u64,
    /// Events on which conditions were tested.
    pub examined: u64,
    /// Events in the result.
    pub matches: u64,
    /// Windows of positions that the query ran in.
    pub windows: u64,
    /// Shards of the store.
    pub shards: usize,
    /// The cache outcome.
    pub cache: CacheState,
    /// The duration of the query.
    pub elapsed: Duration,
}

/// A condition of a query that the index has lists for. Formatted as `event type is Paid or Sent`, `user begins with an`, or `user is any`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedTerm {
    /// The field.
    pub field: Field,
    /// The values, or the prefix.
    pub values: Vec<Name>,
    /// Whether the values of the field need only begin with these.
    pub is_prefix: bool,
    /// Whether events with these values do not match.
    pub is_excluded: bool,
    /// The number of events that the index has for these values, including dropped ones.
    pub events: u64,
}

impl fmt::Display for ExplainedTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_prefix && self.values.iter().all(|prefix| prefix.is_empty()) {
            let relation = if self.is_excluded { "is none" } else { "is any" };
            return write!(f, "{} {relation}", self.field);
        }
        let relation = match (self.is_prefix, self.is_excluded) {
            (false, false) => "is",
            (false, true) => "is not",
            (true, false) => "begins with",
            (true, true) => "does not begin with",
        };
        let values: Vec<_> = self.values.iter().take(5).map(Name::as_str).collect();
        write!(f, "{} {relation} {}", self.field, values.join(" or "))?;
        match self.values.len() - values.len() {
            0 => Ok(()),
            more => write!(f, " or {more} others"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for term in &self.terms {
            writeln!(f, "term       {term}: {} events", term.events)?;
        }
        if self.terms.is_empty() {
            writeln!(f, "term       none")?;
        }
        if self.scanned {
            writeln!(f, "scan       every event of the range is a candidate")?;
        }
        let windows = if self.windows == 1 { "window" } else { "windows" };
        writeln!(f, "candidates {} in {} {windows}", self.candidates, self.windows)?;
        writeln!(f, "examined   {} events", self.examined)?;
        writeln!(f, "matches    {}", self.matches)?;
        writeln!(f, "cache      {}", format!("{:?}", self.cache).to_lowercase())?;
        writeln!(f, "shards     {}", self.shards)?;
        write!(f, "elapsed    {:?}", self.elapsed)
    }
}

impl QueryRun<'_> {
    /// Runs the query and returns how it was run.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn explain(&self) -> Result<Explanation> {
        let start = Instant::now();
        let found = self.find(self.query.limit)?;
        let elapsed = start.elapsed();
        let mut terms = Vec::new();
        collect_terms(self.engine(), &self.query.filters, false, &mut terms);
        terms.sort_by_key(|term| term.events);
        Ok(Explanation {
            terms,
            scanned: found.work.scanned,
            tried_on_events: found.work.examined > 0,
            candidates: found.work.candidates,
            examined: found.work.examined,
            matches: found.keys.len() as u64,
            windows: found.work.windows,
            shards: self.engine().core.shard_count(),
            cache: found.cache,
            elapsed,
        })
    }
}

fn collect_terms(engine: &Engine, filters: &[Filter], is_excluded: bool, terms: &mut Vec<ExplainedTerm>) {
    for filter in filters {
        match filter {
            Filter::Is(field, values) => terms.push(ExplainedTerm {
                field: field.clone(),
                values: values.clone(),
                is_prefix: false,
                is_excluded,
                events: values.iter().map(|value| engine.count_of(field, value)).sum(),
            }),
            Filter::Prefix(field, prefix) => terms.push(ExplainedTerm {
                field: field.clone(),
                values: vec![prefix.clone()],
                is_prefix: true,
                is_excluded,
                events: engine.count_with_prefix(field, prefix),
            }),
            Filter::All(_) | Filter::Any(_) => collect_terms(engine, filter.inner(), is_excluded, terms),
            Filter::Not(_) => collect_terms(engine, filter.inner(), !is_excluded, terms),
            #[cfg(feature = "json")]
            Filter::Metadata(..) | Filter::Data(..) => {}
            Filter::Text(_) | Filter::Versions(_) | Filter::Positions(_) | Filter::Times(_) => {}
        }
    }
}
