//! Lists of the values of a field, such as all users, as data.

use std::cmp::{Ordering, Reverse};
use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::percent::decode;
use crate::{Error, Field, Name, Position, Timestamp};

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListOrder {
    /// Ascending by name, byte by byte.
    #[default]
    Name,
    /// Descending by number of events, then ascending by name.
    Events,
    /// Descending by the position of the last event, then ascending by name.
    LastActivity,
}

/// Which values of a field to list: aggregates, correlations, users, types, tags or others.
///
/// ```
/// use annals::{Expected, Field, ListOrder, ListQuery, NewEvent, Store, StreamId};
///
/// let store = Store::in_memory();
/// for (order, events) in [("order-1", 2), ("order-2", 3), ("payment-1", 1)] {
///     let event = NewEvent::new("Changed").user("anna");
///     store.append(&StreamId::new("Thing", order), Expected::Any, vec![event; events])?;
/// }
/// let orders = ListQuery::of(Field::Aggregate).prefix("order-").order(ListOrder::Events).limit(1);
/// let page = store.list(&orders)?;
/// assert_eq!((page.items[0].name.as_str(), page.items[0].events), ("order-2", 3));
///
/// let next = store.list(&orders.cursor(page.next.expect("there is another order")))?;
/// assert_eq!((next.items[0].name.as_str(), next.next), ("order-1", None));
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListQuery {
    pub(crate) field: Field,
    pub(crate) prefix: Name,
    pub(crate) order: ListOrder,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<ListCursor>,
}

impl ListQuery {
    /// The number of values of a page, unless [`limit`](Self::limit) sets another.
    pub const LIMIT: usize = 100;
    /// The maximum number of values of a page.
    pub const LIMIT_MAX: usize = 10_000;

    /// The first 100 values of `field`, by name.
    pub fn of(field: Field) -> Self {
        Self {
            field,
            prefix: Name::default(),
            order: ListOrder::Name,
            limit: Self::LIMIT,
            cursor: None,
        }
    }

    /// Only values that begin with `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Name>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// List values in this order.
    #[must_use]
    pub fn order(mut self, order: ListOrder) -> Self {
        self.order = order;
        self
    }

    /// List at most this many values: 1 to [`LIMIT_MAX`](Self::LIMIT_MAX).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continue after the page that returned `cursor`.
    ///
    /// The field and the prefix must be those of that page: the cursor has only the order, so a list of another field continues at the same name
    /// or rank without an error.
    #[must_use]
    pub fn cursor(mut self, cursor: ListCursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] if the limit is out of range, or the cursor belongs to another order.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.limit == 0 || self.limit > Self::LIMIT_MAX {
            return Err(Error::invalid(format!(
                "the limit of a list is {}: set it from 1 to {}",
                self.limit,
                Self::LIMIT_MAX
            )));
        }
        if let Some(cursor) = self.cursor.as_ref().filter(|cursor| cursor.order != self.order) {
            return Err(Error::invalid(format!(
                "cursor {cursor} belongs to a list in another order: use it with the order of its list"
            )));
        }
        Ok(())
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The values, in the order of the list.
    pub items: Vec<ListItem>,
    /// The cursor of the next page, if there is one: see [`ListQuery::cursor`].
    pub next: Option<ListCursor>,
    /// The position up to which events are counted. All pages of a list have the position of its first page.
    pub as_of: Position,
}

/// A value of a field, with the number of its events and the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListItem {
    /// The value: the id of an aggregate or a user, the name of a type.
    pub name: Name,
    /// The type of the aggregate, in a list of aggregates.
    pub aggregate_type: Option<Name>,
    /// The number of events, without system events and dropped ones.
    pub events: u64,
    /// The position of the last of them.
    pub last_position: Position,
    /// When the last of them, by position, happened.
    pub last_at: Timestamp,
}

/// The end of a page of a list, from which the same list continues: see [`ListQuery::cursor`].
///
/// It names a value, so appends between two pages do not shift the list. Its text form is for links and flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListCursor {
    pub(crate) order: ListOrder,
    pub(crate) as_of: u64,
    /// What the list is ordered by: 0, the number of events, or a position.
    pub(crate) rank: u64,
    pub(crate) name: Name,
}

impl ListCursor {
    /// Whether a value with this rank and name comes after the cursor.
    pub(crate) fn is_before(&self, rank: u64, name: &str) -> bool {
        compare((self.rank, &self.name), (rank, name)) == Ordering::Less
    }
}

/// Compares two values by rank, the greatest first, then by name.
pub(crate) fn compare(one: (u64, &str), other: (u64, &str)) -> Ordering {
    (Reverse(one.0), one.1).cmp(&(Reverse(other.0), other.1))
}

/// The letter of an order in the text of a cursor.
const LETTERS: [(char, ListOrder); 3] = [
    ('n', ListOrder::Name),
    ('e', ListOrder::Events),
    ('l', ListOrder::LastActivity),
];

impl fmt::Display for ListCursor {
    /// Writes the order, the position, the rank and the name. Bytes of the name other than ASCII letters, digits, `-` and `_` become `%` and two
    /// hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = LETTERS.iter().find(|(_, order)| *order == self.order);
        let letter = letter.map_or('n', |(letter, _)| *letter);
        write!(f, "{letter}{}.{}.", self.as_of, self.rank)?;
        self.name.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => f.write_char(byte.into()),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

impl FromStr for ListCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_cursor(text).ok_or_else(|| {
            Error::invalid(format!(
                "'{text}' is not a cursor of a list: use the one that came with the page before"
            ))
        })
    }
}

fn parse_cursor(text: &str) -> Option<ListCursor> {
    let first = text.chars().next()?;
    let (_, order) = LETTERS.iter().find(|(letter, _)| *letter == first)?;
    let mut parts = text.get(1..)?.splitn(3, '.');
    let (as_of, rank) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let name = Name::from(decode(parts.next()?).ok()?);
    let cursor = ListCursor {
        order: *order,
        as_of,
        rank,
        name,
    };
    // A cursor has one way to be written.
    (cursor.to_string() == text).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(as_of in any::<u64>(), rank in any::<u64>(), name in "\\PC{0,20}|[a-z%. ]{0,9}", place in 0_usize..3) {
            let cursor = ListCursor { order: LETTERS[place].1, as_of, rank, name: name.into() };
            let text = cursor.to_string();
            prop_assert!(text.chars().all(|letter| letter.is_ascii_graphic()));
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn no_text_fails_otherwise_than_as_invalid(text in "[nelp]?[0-9.%A-F]{0,12}\\PC{0,4}") {
            let parsed = text.parse::<ListCursor>();
            let is_read = matches!(&parsed, Ok(cursor) if cursor.to_string() == text);
            let is_refused = matches!(parsed, Err(Error::Invalid { .. }));
            prop_assert!(is_read || is_refused);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "", "n", "n1", "n1.2", "p1", "x1.2.a", "n1.-2.a", "n1.2.a b", "n1.2.%4", "n1.2.%zz", "n1.2.%61", "n01.2.a",
            "n1.2.%+1",
        ] {
            assert!(
                matches!(text.parse::<ListCursor>(), Err(Error::Invalid { .. })),
                "{text}"
            );
        }
    }
}
