//! The causes of the events of a conversation, as a tree.

use std::iter::FusedIterator;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use uuid::Uuid;

use crate::Event;

/// The events of a conversation as a tree: the children of an event are the events that it caused.
///
/// The causation id of an event names its parent. An event is a root when it has no causation id, or when no given event has that id.
/// The first event of a cycle, in which each event causes the next, is a root as well.
///
/// Every given event is in the tree once. Building, walking and dropping the tree need no recursion, at any depth.
///
/// ```
/// use annals::analytics::CausationTree;
/// # use annals::{Expected, NewEvent, Query, Store, StreamId};
/// #
/// # let store = Store::in_memory();
/// # let order = StreamId::new("Order", "order-17");
/// # let conversation = |event_type| NewEvent::new(event_type).correlation("order-17");
/// # store.append(&order, Expected::NoStream, vec![conversation("OrderPlaced")])?;
/// # let placed = store.read_stream("order-17").events()[0].id();
/// # store.append(&order, Expected::Any, vec![conversation("OrderPaid").causation(placed)])?;
/// #
/// let events = store.query(Query::all().correlation("order-17")).events()?;
/// let tree = CausationTree::new(&events);
/// let lines: Vec<_> = tree.walk().map(|node| format!("{}{}", "  ".repeat(node.depth()), node.event().event_type())).collect();
/// assert_eq!(lines, ["OrderPlaced", "  OrderPaid"]);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CausationTree<'a> {
    /// Ascending by position.
    entries: Vec<Entry<'a>>,
    first_root: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    event: &'a Event,
    parent: Option<usize>,
    first_child: Option<usize>,
    /// The next event with the same parent; for a root, the next root.
    next_sibling: Option<usize>,
    depth: usize,
}

impl<'a> CausationTree<'a> {
    /// Builds the tree of `events`, which can be in any order.
    pub fn new(events: &'a [Event]) -> Self {
        let mut events: Vec<_> = events.iter().collect();
        events.sort_by_key(|event| event.position());
        let mut parents = parents(&events);
        break_circles(&mut parents);
        let mut tree = link(&events, &parents);
        tree.measure();
        tree
    }

    /// The number of events in the tree.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the tree has no events.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The roots: events that no event of the tree caused, ascending by position.
    pub fn roots(&self) -> impl Iterator<Item = Node<'_, 'a>> {
        self.siblings(self.first_root)
    }

    /// Every event, each before the events that it caused, which are ascending by position: the order in which a tree is drawn.
    pub fn walk(&self) -> Walk<'_, 'a> {
        Walk {
            tree: self,
            next: self.first_root,
        }
    }

    fn siblings(&self, first: Option<usize>) -> impl Iterator<Item = Node<'_, 'a>> {
        std::iter::successors(first, |index| self.entries[*index].next_sibling).map(|index| self.node(index))
    }

    fn node(&self, index: usize) -> Node<'_, 'a> {
        Node { tree: self, index }
    }

    /// The index that follows `index` in a walk.
    fn after(&self, index: usize) -> Option<usize> {
        let entry = &self.entries[index];
        if entry.first_child.is_some() {
            return entry.first_child;
        }
        let mut lineage = std::iter::successors(Some(index), |index| self.entries[*index].parent);
        lineage.find_map(|index| self.entries[index].next_sibling)
    }

    /// Sets the depths in the order of the walk: a parent can have a higher position than its child.
    fn measure(&mut self) {
        let mut next = self.first_root;
        while let Some(index) = next {
            self.entries[index].depth = self.entries[index]
                .parent
                .map_or(0, |parent| self.entries[parent].depth + 1);
            next = self.after(index);
        }
    }
}

/// The index of each event's parent. When several events have the same id, the first is the parent.
fn parents(events: &[&Event]) -> Vec<Option<usize>> {
    let mut by_id = HashMap::<Uuid, usize, RandomState>::with_capacity_and_hasher(events.len(), RandomState::default());
    for (index, event) in events.iter().enumerate() {
        by_id.entry(event.id()).or_insert(index);
    }
    let parent = |event: &&Event| by_id.get(&Uuid::try_parse(event.causation_id()?).ok()?).copied();
    events.iter().map(parent).collect()
}

/// Makes the first event of each cycle a root.
fn break_circles(parents: &mut [Option<usize>]) {
    // The path upwards on which an event was first visited: paths are numbered from 1 by their first event.
    let mut seen_on = vec![0; parents.len()];
    for start in 0..parents.len() {
        let path = start + 1;
        let mut current = Some(start);
        while let Some(index) = current.filter(|index| seen_on[*index] == 0) {
            seen_on[index] = path;
            current = parents[index];
        }
        if let Some(met) = current.filter(|index| seen_on[*index] == path) {
            parents[first_of_circle(parents, met)] = None;
        }
    }
}

fn first_of_circle(parents: &[Option<usize>], met: usize) -> usize {
    let others = std::iter::successors(parents[met], |index| parents[*index]).take_while(|index| *index != met);
    others.fold(met, usize::min)
}

fn link<'a>(events: &[&'a Event], parents: &[Option<usize>]) -> CausationTree<'a> {
    let entry = |(event, parent): (&&'a Event, &Option<usize>)| Entry {
        event,
        parent: *parent,
        first_child: None,
        next_sibling: None,
        depth: 0,
    };
    let mut tree = CausationTree {
        entries: events.iter().zip(parents).map(entry).collect(),
        first_root: None,
    };
    // In reverse order, so that each list ends up ascending by position.
    for (index, parent) in parents.iter().enumerate().rev() {
        let list = match parent {
            Some(parent) => &mut tree.entries[*parent].first_child,
            None => &mut tree.first_root,
        };
        let next = list.replace(index);
        tree.entries[index].next_sibling = next;
    }
    tree
}

/// An event and its place in a [`CausationTree`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'t, 'a> {
    tree: &'t CausationTree<'a>,
    index: usize,
}

impl<'t, 'a> Node<'t, 'a> {
    /// The event.
    pub fn event(self) -> &'a Event {
        self.entry().event
    }

    /// The number of its ancestors: 0 for a root.
    pub fn depth(self) -> usize {
        self.entry().depth
    }

    /// The event that caused it.
    pub fn parent(self) -> Option<Node<'t, 'a>> {
        self.entry().parent.map(|parent| self.tree.node(parent))
    }

    /// The events that it caused, ascending by position.
    pub fn children(self) -> impl Iterator<Item = Node<'t, 'a>> {
        self.tree.siblings(self.entry().first_child)
    }

    /// Whether it is the last event of its parent, or the last root: its branch is drawn as `└` instead of `├`.
    pub fn is_last(self) -> bool {
        self.entry().next_sibling.is_none()
    }

    /// For each level above its own, from the outermost, whether a vertical line is drawn: it is when more roots or children of that level
    /// follow below. The number of entries is the depth.
    ///
    /// ```
    /// # use annals::analytics::Node;
    /// fn prefix(node: Node<'_, '_>) -> String {
    ///     let lines = node.lines().into_iter().map(|passes| if passes { "│  " } else { "   " });
    ///     lines.chain([if node.is_last() { "└─ " } else { "├─ " }]).collect()
    /// }
    /// ```
    pub fn lines(self) -> Vec<bool> {
        let ancestors = std::iter::successors(self.parent(), |node| node.parent());
        let mut lines: Vec<_> = ancestors.map(|node| !node.is_last()).collect();
        lines.reverse();
        lines
    }

    fn entry(self) -> &'t Entry<'a> {
        &self.tree.entries[self.index]
    }
}

/// Iterates over the events of a [`CausationTree`], each before the events that it caused.
#[derive(Clone, Debug)]
pub struct Walk<'t, 'a> {
    tree: &'t CausationTree<'a>,
    next: Option<usize>,
}

impl<'t, 'a> Iterator for Walk<'t, 'a> {
    type Item = Node<'t, 'a>;

    fn next(&mut self) -> Option<Node<'t, 'a>> {
        let index = self.next?;
        self.next = self.tree.after(index);
        Some(self.tree.node(index))
    }
}

impl FusedIterator for Walk<'_, '_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{Sample, events_of};
    use super::*;

    /// Events with the ids 1, 2, 3 and so on; a cause of 0 means none.
    fn caused_by(causes: &[u128]) -> Vec<Event> {
        let causation = |cause: u128| (cause > 0).then(|| Uuid::from_u128(cause).to_string());
        let sample = |(cause, id): (&u128, u128)| Sample {
            id,
            causation: causation(*cause),
            ..Sample::default()
        };
        events_of(&causes.iter().zip(1..).map(sample).collect::<Vec<_>>())
    }

    /// Draws the tree of events with these causes.
    fn draw(causes: &[u128]) -> Vec<String> {
        let events = caused_by(causes);
        let line = |node: Node<'_, '_>| {
            let lines: String = node
                .lines()
                .iter()
                .map(|passes| if *passes { '│' } else { ' ' })
                .collect();
            let branch = if node.is_last() { '└' } else { '├' };
            format!("{lines}{branch}{}", node.event().position())
        };
        CausationTree::new(&events).walk().map(line).collect()
    }

    #[test]
    fn events_hang_under_what_caused_them() {
        assert_eq!(
            draw(&[0, 1, 1, 2, 0, 3, 2]),
            ["├1", "│├2", "││├4", "││└7", "│└3", "│ └6", "└5"]
        );
    }

    #[test]
    fn a_cause_outside_the_conversation_makes_a_root() {
        assert_eq!(draw(&[99, 1]), ["└1", " └2"]);
    }

    #[test]
    fn an_event_that_caused_itself_is_a_root() {
        assert_eq!(draw(&[1, 1]), ["└1", " └2"]);
    }

    #[test]
    fn a_circle_begins_at_its_first_event() {
        assert_eq!(draw(&[3, 1, 2, 2]), ["└1", " └2", "  ├3", "  └4"]);
        assert_eq!(draw(&[2, 4, 2, 3]), ["└2", " ├1", " └3", "  └4"]);
    }

    #[test]
    fn a_cause_may_have_a_later_position() {
        assert_eq!(draw(&[2, 3, 0]), ["└3", " └2", "  └1"]);
    }

    #[test]
    fn the_cause_is_an_id_in_any_case_and_other_text_is_none() {
        let id = 0xABCD_EF00_0000_0000_0000_0000_0000_00FF;
        let upper = Uuid::from_u128(id).to_string().to_uppercase();
        let sample = |id, causation: &str| Sample {
            id,
            causation: Some(causation.to_owned()),
            ..Sample::default()
        };
        let events = events_of(&[sample(id, "command-7"), sample(1, &upper), sample(2, "")]);
        let depths: Vec<_> = CausationTree::new(&events).walk().map(Node::depth).collect();
        assert_eq!(depths, [0, 1, 0]);
    }

    #[test]
    fn of_events_with_one_id_the_first_is_the_cause() {
        let cause = Uuid::from_u128(7).to_string();
        let twice = Sample {
            id: 7,
            ..Sample::default()
        };
        let events = events_of(&[
            twice.clone(),
            twice,
            Sample {
                id: 8,
                causation: Some(cause),
                ..Sample::default()
            },
        ]);
        let tree = CausationTree::new(&events);
        let children: Vec<_> = tree.roots().map(|root| root.children().count()).collect();
        assert_eq!(children, [1, 0]);
    }

    #[test]
    fn a_long_chain_overflows_no_stack() {
        let causes: Vec<_> = (0..100_000).collect();
        let events = caused_by(&causes);
        let tree = CausationTree::new(&events);
        let depths: Vec<_> = tree.walk().map(Node::depth).collect();
        assert!(depths.into_iter().eq(0..100_000));
        assert_eq!(tree.walk().last().unwrap().lines().len(), 99_999);
    }

    #[test]
    fn a_long_circle_is_walked_once() {
        let causes: Vec<_> = (0..100_000)
            .map(|index| if index == 0 { 100_000 } else { index })
            .collect();
        assert_eq!(CausationTree::new(&caused_by(&causes)).walk().count(), 100_000);
    }

    #[test]
    fn no_events_make_no_tree() {
        let tree = CausationTree::new(&[]);
        assert!(tree.is_empty() && tree.walk().next().is_none() && tree.roots().next().is_none());
    }

    proptest! {
        #[test]
        fn every_event_is_walked_once_below_its_parent(causes in prop::collection::vec(0_u128..30, 0..30)) {
            let events = caused_by(&causes);
            let tree = CausationTree::new(&events);
            let mut walked: Vec<_> = tree.walk().map(|node| node.event().position().0).collect();
            for node in tree.walk() {
                prop_assert_eq!(node.lines().len(), node.depth());
                let Some(parent) = node.parent() else { continue };
                prop_assert!(parent.children().any(|child| child.event() == node.event()));
                prop_assert_eq!(parent.depth() + 1, node.depth());
            }
            walked.sort_unstable();
            prop_assert!(walked.into_iter().eq(1..=causes.len() as u64));
        }
    }
}
