//! Budgets of single aggregate types: how many of their events the store holds, and where the oldest are.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Name;
use crate::store::append::prepare::PreparedAppend;

/// The budgets of aggregate types. Their events are counted under the lock of a shard, so that a fork counts exactly its own.
#[derive(Debug, Default)]
pub(crate) struct TypeBudgets(Vec<TypeBudget>);

#[derive(Debug)]
pub(super) struct TypeBudget {
    pub(super) aggregate_type: Name,
    max: u64,
    held: AtomicU64,
    /// No event of the type is held at or below this position.
    dropped_to: AtomicU64,
}

impl TypeBudgets {
    pub(super) fn new<'a>(budgets: impl IntoIterator<Item = (&'a Name, &'a u64)>) -> Self {
        let budget = |(aggregate_type, max): (&Name, &u64)| TypeBudget {
            aggregate_type: aggregate_type.clone(),
            max: *max,
            held: AtomicU64::new(0),
            dropped_to: AtomicU64::new(0),
        };
        Self(budgets.into_iter().map(budget).collect())
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TypeBudget> {
        self.0.iter()
    }

    fn of(&self, aggregate_type: &str) -> Option<&TypeBudget> {
        // In ascending order of the types.
        let place = self
            .0
            .binary_search_by(|budget| budget.aggregate_type.as_str().cmp(aggregate_type));
        self.0.get(place.ok()?)
    }

    /// Counts the events of written appends.
    pub(in crate::store) fn add_written(&self, parts: &[PreparedAppend<'_>]) {
        for part in parts {
            self.add(&part.stream.aggregate_type, part.events.len() as u64);
        }
    }

    /// Counts events of a type.
    pub(in crate::store) fn add(&self, aggregate_type: &str, count: u64) {
        if let Some(budget) = self.of(aggregate_type) {
            budget.held.fetch_add(count, Ordering::AcqRel);
        }
    }

    /// Counts an event of a type as dropped.
    pub(super) fn subtract(&self, aggregate_type: &str) {
        if let Some(budget) = self.of(aggregate_type) {
            budget.held.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The budgets of a copy of the store. All shards are locked.
    pub(super) fn fork(&self) -> Self {
        let copy = |budget: &TypeBudget| TypeBudget {
            aggregate_type: budget.aggregate_type.clone(),
            max: budget.max,
            held: AtomicU64::new(budget.held.load(Ordering::Acquire)),
            dropped_to: AtomicU64::new(budget.dropped_to()),
        };
        Self(self.0.iter().map(copy).collect())
    }
}

impl TypeBudget {
    /// The events held, and by how many they exceed the budget, if they do.
    pub(super) fn surplus(&self) -> Option<(u64, u64)> {
        let held = self.held.load(Ordering::Acquire);
        let surplus = held.checked_sub(self.max).filter(|surplus| *surplus > 0)?;
        Some((held, surplus))
    }

    pub(super) fn dropped_to(&self) -> u64 {
        self.dropped_to.load(Ordering::Acquire)
    }

    pub(super) fn note_dropped_to(&self, position: u64) {
        self.dropped_to.fetch_max(position, Ordering::AcqRel);
    }
}
