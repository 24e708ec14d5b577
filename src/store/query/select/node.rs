//! Filters resolved by the index: lists of positions, intersected and united.

use smallvec::SmallVec;

use super::Bounds;
use crate::store::collections::posting_list::PostingList;
use crate::store::log::positions::Log;

/// Up to this many candidates are looked up one by one rather than merged.
const PROBE_CANDIDATES: usize = 32;

/// A filter resolved by the index.
pub(super) enum Node<'g> {
    /// The index cannot decide: any event may match.
    Unknown,
    Lists(SmallVec<[&'g PostingList; 2]>),
    Positions(Vec<u64>),
    /// Every position within these bounds.
    Range(Bounds),
    /// The positions that the node does not name. It names all events that match its filter, and no other.
    Not(Box<Node<'g>>),
    All(Vec<Node<'g>>),
    Any(Vec<Node<'g>>),
}

impl<'g> Node<'g> {
    /// The events that do not match the filter of `node`.
    pub(super) fn except(node: Node<'g>) -> Self {
        if !node.is_exact() {
            return Self::Unknown;
        }
        let is_decided = node.is_decided();
        let except = Self::Not(Box::new(node));
        if is_decided {
            return except;
        }
        // A stream lets go of events before the log does: the events decide.
        Self::All(vec![except, Self::Unknown])
    }
}

impl Node<'_> {
    /// An upper bound of the matches within the bounds.
    pub(super) fn count_at_most(&self, bounds: Bounds) -> u64 {
        match self {
            Self::Unknown | Self::Not(_) => bounds.len(),
            Self::Lists(lists) => {
                let sum: u64 = lists
                    .iter()
                    .map(|list| list.count_at_most(bounds.after, bounds.until))
                    .sum();
                sum.min(bounds.len())
            }
            Self::Positions(positions) => positions.len() as u64,
            Self::Range(range) => range.within(bounds).len(),
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
    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Lists(_) | Self::Positions(_) | Self::Range(_) => true,
            Self::Not(node) => node.is_exact(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().all(Self::is_exact),
        }
    }

    /// Whether every live event that matches is named as long as the index is locked.
    fn is_decided(&self) -> bool {
        match self {
            Self::Unknown | Self::Positions(_) => false,
            Self::Lists(_) | Self::Range(_) => true,
            Self::Not(node) => node.is_decided(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().all(Self::is_decided),
        }
    }

    /// Whether every candidate comes from a list.
    pub(super) fn is_listed(&self) -> bool {
        match self {
            Self::Unknown | Self::Range(_) | Self::Not(_) => false,
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
            Self::Range(range) => range.contains(position),
            Self::Not(node) => !node.contains(position),
            Self::All(nodes) => nodes.iter().all(|node| node.contains(position)),
            Self::Any(nodes) => nodes.iter().any(|node| node.contains(position)),
        }
    }

    /// The candidates within the bounds, ascending.
    pub(super) fn candidates(&self, bounds: Bounds, log: &Log) -> Vec<u64> {
        match self {
            Self::Unknown => log.positions(bounds.after + 1, bounds.until).collect(),
            Self::Lists(lists) => union(lists.iter(), |list, all| {
                list.copy_range(bounds.after, bounds.until, all);
            }),
            Self::Positions(positions) => positions
                .iter()
                .copied()
                .filter(|p| *p > bounds.after && *p <= bounds.until)
                .collect(),
            Self::Range(range) => {
                let bounds = range.within(bounds);
                log.positions(bounds.after.saturating_add(1), bounds.until).collect()
            }
            Self::Not(node) => {
                let mut all: Vec<_> = log.positions(bounds.after + 1, bounds.until).collect();
                remove(&mut all, node.candidates(bounds, log));
                all
            }
            Self::All(nodes) => intersection(nodes, bounds, log),
            Self::Any(nodes) => union(nodes.iter(), |node, all| all.extend(node.candidates(bounds, log))),
        }
    }

    /// Keeps the candidates that may match.
    fn retain(&self, candidates: &mut Vec<u64>, log: &Log) {
        match self {
            Self::Unknown => {}
            Self::Lists(lists) if lists.len() == 1 => lists[0].retain_common(candidates),
            Self::All(nodes) => nodes.iter().for_each(|node| node.retain(candidates, log)),
            Self::Range(range) => candidates.retain(|position| range.contains(*position)),
            Self::Not(node) => {
                let mut excluded = candidates.clone();
                node.retain(&mut excluded, log);
                remove(candidates, excluded);
            }
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

/// Removes the numbers that are in `others` too; both are ascending.
fn remove(numbers: &mut Vec<u64>, others: Vec<u64>) {
    let mut others = others.into_iter().peekable();
    numbers.retain(|number| {
        while others.next_if(|other| other < number).is_some() {}
        others.peek() != Some(number)
    });
}

/// The numbers that `add` appends for each item, in ascending order.
fn union<T>(each: impl ExactSizeIterator<Item = T>, add: impl Fn(T, &mut Vec<u64>)) -> Vec<u64> {
    let several = each.len() > 1;
    let mut all = Vec::new();
    each.for_each(|one| add(one, &mut all));
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
