//! Rows of a read model, indexed by their key and by other fields.

use std::collections::hash_map::{HashMap, RandomState};
use std::collections::{BTreeSet, btree_set};
use std::fmt;
use std::hash::Hash;

/// A row of a [`Table`].
pub trait Row {
    /// The secondary key: the type of the indexed field, or an enum with one variant per indexed field.
    type Secondary: Clone + Eq + Hash;

    /// The secondary keys of the row in its current state.
    fn secondary_keys(&self) -> Vec<Self::Secondary>;
}

/// Rows in memory, indexed by key and by secondary keys, for queries such as `find_by_status`.
///
/// ```
/// use annals::cqrs::{Row, Table};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// enum PaymentKey {
///     Status(&'static str),
///     Customer(String),
/// }
///
/// struct Payment {
///     status: &'static str,
///     customer: String,
/// }
///
/// impl Row for Payment {
///     type Secondary = PaymentKey;
///
///     fn secondary_keys(&self) -> Vec<PaymentKey> {
///         vec![PaymentKey::Status(self.status), PaymentKey::Customer(self.customer.clone())]
///     }
/// }
///
/// let mut payments = Table::new();
/// payments.insert("payment-1", Payment { status: "open", customer: "anna".into() });
/// payments.insert("payment-2", Payment { status: "open", customer: "bert".into() });
/// payments.update(&"payment-1", |payment| payment.status = "paid");
///
/// let open: Vec<_> = payments.find(&PaymentKey::Status("open")).map(|(id, _)| *id).collect();
/// assert_eq!(open, ["payment-2"]);
/// ```
pub struct Table<K, R: Row> {
    rows: HashMap<K, R>,
    by_secondary: HashMap<R::Secondary, BTreeSet<K>, RandomState>,
}

impl<K, R: Row> Default for Table<K, R> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            by_secondary: HashMap::default(),
        }
    }
}

impl<K, R: Row> fmt::Debug for Table<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl<K: Clone + Ord + Hash, R: Row> Table<K, R> {
    /// A table without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row with this key.
    pub fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
    }

    /// Inserts a row. Returns the row that it replaces, if any.
    pub fn insert(&mut self, key: K, row: R) -> Option<R> {
        let replaced = self.remove(&key);
        self.enter(&key, row.secondary_keys());
        self.rows.insert(key, row);
        replaced
    }

    /// Removes and returns a row.
    pub fn remove(&mut self, key: &K) -> Option<R> {
        let row = self.rows.remove(key)?;
        self.withdraw(key, &row.secondary_keys());
        Some(row)
    }

    /// Changes a row, and updates its secondary keys. Returns the result of `change`, or `None` if there is no such row.
    pub fn update<T>(&mut self, key: &K, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        let row = self.rows.get_mut(key)?;
        let before = row.secondary_keys();
        let changed = change(row);
        let after = row.secondary_keys();
        if before != after {
            self.withdraw(key, &before);
            self.enter(key, after);
        }
        Some(changed)
    }

    /// The rows with a secondary key, ascending by key.
    pub fn find<'a>(&'a self, secondary: &R::Secondary) -> impl Iterator<Item = (&'a K, &'a R)> {
        let keys = self.by_secondary.get(secondary).map(BTreeSet::iter);
        let keys: btree_set::Iter<'a, K> = keys.unwrap_or_default();
        keys.filter_map(|key| self.rows.get_key_value(key))
    }

    /// The number of rows with a secondary key.
    pub fn count(&self, secondary: &R::Secondary) -> usize {
        self.by_secondary.get(secondary).map_or(0, BTreeSet::len)
    }

    /// All rows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &R)> {
        self.rows.iter()
    }

    fn enter(&mut self, key: &K, secondary: Vec<R::Secondary>) {
        for secondary in secondary {
            self.by_secondary.entry(secondary).or_default().insert(key.clone());
        }
    }

    fn withdraw(&mut self, key: &K, secondary: &[R::Secondary]) {
        for secondary in secondary {
            if let Some(keys) = self.by_secondary.get_mut(secondary) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_secondary.remove(secondary);
                }
            }
        }
    }
}
