//! The values of a field, as lists have them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Model;
use super::matching::field_values;
use crate::{Field, ListOrder, Name, Timestamp};

/// A value, the type of the aggregate that it names, the number of its events, and the position and time of the last of them.
pub type Listed = (Name, Option<Name>, u64, u64, Timestamp);

impl Model {
    /// The values of a field that begin with `prefix`, in this order.
    pub fn list(&self, field: &Field, prefix: &str, order: ListOrder) -> Vec<Listed> {
        let mut values: BTreeMap<Name, Listed> = BTreeMap::new();
        for event in self.events.iter().filter(|event| !event.dropped && !event.is_system()) {
            let mut names = field_values(event, field);
            names.sort_unstable();
            names.dedup();
            for name in names.into_iter().filter(|name| name.starts_with(prefix)) {
                let of_aggregate = (*field == Field::Aggregate).then(|| event.stream.aggregate_type.clone());
                let value = (name.clone(), of_aggregate, 0, 0, event.time);
                let known = values.entry(name).or_insert(value);
                (known.2, known.3, known.4) = (known.2 + 1, event.position, event.time);
            }
        }
        let mut list: Vec<_> = values.into_values().collect();
        match order {
            ListOrder::Name => {}
            ListOrder::Events => list.sort_by_key(|value| Reverse(value.2)),
            ListOrder::LastActivity => list.sort_by_key(|value| Reverse(value.3)),
        }
        list
    }
}
