//! Giving space back. *Drop* removes events from every read, *compact* rewrites memory or the journal without them, *purge* removes their bytes.
//!
//! It owns the usage of the budget, the record of what was dropped, and what is due. It calls the streams, the log and the trait `Compactor`.
//!
//! It must hold: nothing leaves memory before the journal has it, and a dropped event is gone from every read at once.

pub(crate) mod archive;
pub(super) mod budget;
pub(super) mod change;
pub(crate) mod dropping;
pub(super) mod drops;
pub(super) mod due;
pub(crate) mod gaps;
pub(crate) mod journal;
pub(crate) mod requests;
pub(super) mod snapshot;
mod type_budget;

use crate::settings::Budget;
use crate::store::retention::budget::Usage;
use crate::store::retention::drops::Drops;
use crate::store::retention::due::Due;
use crate::store::retention::type_budget::TypeBudgets;
#[cfg(all(feature = "analytics", feature = "json"))]
use crate::store::rollups::Rollups;
use crate::store::sync::{Mutex, RwLock};

/// The record of dropped events, the events that are due to be dropped, and the usage of the budget.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// Held for reading while an aggregate is changed, for writing while the store is forked.
    pub(super) changing: RwLock<()>,
    /// Held while the oldest events are dropped.
    pub(super) dropping: Mutex<()>,
    /// Counted only if the budget needs it.
    pub(super) usage: Option<Usage>,
    pub(super) types: TypeBudgets,
    pub(super) drops: Drops,
    pub(super) due: Due,
    #[cfg(all(feature = "analytics", feature = "json"))]
    pub(crate) rollups: Rollups,
}

impl Retention {
    pub(super) fn new(budget: &Budget) -> Self {
        let types = TypeBudgets::new(&budget.aggregate_types);
        let is_counted = budget.bytes.is_some() || budget.events.is_some() || !types.are_none();
        Self {
            usage: is_counted.then(Usage::default),
            types,
            ..Self::default()
        }
    }

    /// The retention of a copy of the store, whose index is of the epoch `compacted`. All shards are locked.
    pub(super) fn fork(&self, compacted: u64) -> Self {
        Self {
            usage: self.usage.as_ref().map(Usage::fork),
            types: self.types.fork(),
            drops: self.drops.fork(compacted),
            due: self.due.fork(),
            #[cfg(all(feature = "analytics", feature = "json"))]
            rollups: self.rollups.fork(),
            ..Self::default()
        }
    }
}
