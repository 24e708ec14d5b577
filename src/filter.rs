//! Filters: conditions on one event, which combine to queries.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use crate::{Name, Position, Timestamp, Version};

/// A field that the index finds events by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The event type.
    EventType,
    /// The type of the aggregate.
    AggregateType,
    /// The id of the aggregate.
    Aggregate,
    /// The correlation id: the conversation.
    Correlation,
    /// The causation id: the event or command that caused it.
    Causation,
    /// The user.
    User,
    /// The organization.
    Organization,
    /// The UTC day it happened on, as `YYYY-MM-DD`.
    Day,
    /// A tag.
    Tag,
    /// A value that the indexer of this name found in the event.
    Index(Name),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventType => "event type",
            Self::AggregateType => "aggregate type",
            Self::Aggregate => "aggregate",
            Self::Correlation => "correlation",
            Self::Causation => "causation",
            Self::User => "user",
            Self::Organization => "organization",
            Self::Day => "day",
            Self::Tag => "tag",
            Self::Index(name) => name,
        })
    }
}

/// A condition on one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// The field has one of these values.
    Is(Field, Vec<Name>),
    /// All of these match; an empty list matches every event.
    All(Vec<Filter>),
    /// At least one of these matches; an empty list matches no event.
    Any(Vec<Filter>),
    /// The value at this JSON pointer (RFC 6901) of the metadata equals this one.
    #[cfg(feature = "json")]
    Metadata(String, crate::JsonValue),
    /// The value at this JSON pointer (RFC 6901) of the data equals this one: numbers by value, whatever their size and notation. Nothing
    /// else of the data is looked at, but that it is JSON; of fields with one name the last counts.
    #[cfg(feature = "json")]
    Data(String, crate::JsonValue),
    /// Metadata or data contain this text, case-insensitive in every script (Unicode case folding).
    Text(String),
    /// The inner filter does not match.
    ///
    /// Beside other conditions, the index removes the events of the inner filter from the candidates. Alone, every event of the query's range is a
    /// candidate.
    Not(Box<Filter>),
    /// A value of the field begins with this text; with an empty text, the field has a value.
    ///
    /// The index looks for the prefix among the distinct values of the field, and unites the lists of those that match. The cost grows with the
    /// number of distinct values and of matches, not with the number of events. The events are tested instead if more than 16,384 values match,
    /// or if the filters of the query together would look up more than 16 values for each event of its range.
    Prefix(Field, Name),
    /// The version of the event is in this range.
    Versions(Between<Version>),
    /// The position of the event is in this range.
    Positions(Between<Position>),
    /// The event happened in this range of time.
    Times(Between<Timestamp>),
}

/// A range of values, both ends included. A range whose end is before its start is empty.
///
/// ```
/// use annals::{Between, Version};
///
/// assert!(Between::new(..Version(3)).contains(Version(2)));
/// assert_eq!(Between::new(Version(1)..Version(3)), Between::new(Version(1)..=Version(2)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Between<T> {
    /// The first value.
    pub from: T,
    /// The last value.
    pub to: T,
}

/// A value of which [`Between`] makes ranges: each value has one before it and one after it.
pub trait Discrete: Copy + Ord + private::Sealed {
    /// The smallest value.
    const MIN: Self;
    /// The greatest value.
    const MAX: Self;

    /// The next value, if there is one.
    fn next(self) -> Option<Self>;

    /// The value before, if there is one.
    fn previous(self) -> Option<Self>;
}

mod private {
    pub trait Sealed {}
}

macro_rules! discrete {
    ($($type:ty: $min:expr, $max:expr, |$value:ident| $number:expr, $from:expr;)*) => { $(
        impl private::Sealed for $type {}

        impl Discrete for $type {
            const MIN: Self = $min;
            const MAX: Self = $max;

            fn next(self) -> Option<Self> {
                let $value = self;
                (self < Self::MAX).then(|| $from($number + 1))
            }

            fn previous(self) -> Option<Self> {
                let $value = self;
                (self > Self::MIN).then(|| $from($number - 1))
            }
        }
    )* };
}

discrete! {
    Version: Version(0), Version(u64::MAX), |version| version.0, Version;
    Position: Position(0), Position(u64::MAX), |position| position.0, Position;
    Timestamp: Timestamp::MIN, Timestamp::MAX, |time| time.as_micros(), Timestamp::from_micros;
}

impl<T: Discrete> Between<T> {
    /// The values of a range such as `from..`, `from..before`, `from..=to` or `..`.
    pub fn new(range: impl RangeBounds<T>) -> Self {
        let empty = Self {
            from: T::MAX,
            to: T::MIN,
        };
        let from = match range.start_bound() {
            Bound::Included(from) => Some(*from),
            Bound::Excluded(before) => before.next(),
            Bound::Unbounded => Some(T::MIN),
        };
        let to = match range.end_bound() {
            Bound::Included(to) => Some(*to),
            Bound::Excluded(after) => after.previous(),
            Bound::Unbounded => Some(T::MAX),
        };
        let range = from.zip(to).filter(|(from, to)| from <= to);
        range.map_or(empty, |(from, to)| Self { from, to })
    }

    /// Whether the range has this value.
    pub fn contains(&self, value: T) -> bool {
        self.from <= value && value <= self.to
    }
}

impl<T: fmt::Debug> fmt::Debug for Between<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..={:?}", self.from, self.to)
    }
}

impl Filter {
    /// `field` is `value`.
    pub fn is(field: Field, value: impl Into<Name>) -> Self {
        Self::Is(field, vec![value.into()])
    }

    /// `field` is one of `values`.
    pub fn one_of<N: Into<Name>>(field: Field, values: impl IntoIterator<Item = N>) -> Self {
        Self::Is(field, values.into_iter().map(Into::into).collect())
    }

    /// A value of `field` begins with `prefix`; see [`Prefix`](Self::Prefix) for its cost.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Store, StreamId};
    /// use annals::{Field, Filter, Query};
    /// # let store = Store::in_memory();
    /// # let order = StreamId::new("Order", "order-1");
    /// # store.append(&order, Expected::Any, vec![NewEvent::new("OrderPlaced"), NewEvent::new("PaymentReceived")])?;
    ///
    /// let of_orders = Filter::prefix(Field::EventType, "Order");
    /// assert_eq!(store.query(Query::all().filter(of_orders.clone())).count()?, 1);
    /// assert_eq!(store.query(Query::all().filter(Filter::not(of_orders))).count()?, 1);
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn prefix(field: Field, prefix: impl Into<Name>) -> Self {
        Self::Prefix(field, prefix.into())
    }

    /// `filter` does not match.
    #[expect(
        clippy::should_implement_trait,
        reason = "it makes a filter of another, as `is` does of a field"
    )]
    pub fn not(filter: Self) -> Self {
        Self::Not(Box::new(filter))
    }

    /// The filters directly inside this one.
    pub(crate) fn inner(&self) -> &[Self] {
        match self {
            Self::All(filters) | Self::Any(filters) => filters,
            Self::Not(filter) => std::slice::from_ref(filter),
            #[cfg(feature = "json")]
            Self::Metadata(..) | Self::Data(..) => &[],
            Self::Is(..)
            | Self::Prefix(..)
            | Self::Text(_)
            | Self::Versions(_)
            | Self::Positions(_)
            | Self::Times(_) => &[],
        }
    }

    /// Whether `is_meant` is true of this filter, or of one inside it.
    pub(crate) fn contains(&self, is_meant: &dyn Fn(&Self) -> bool) -> bool {
        is_meant(self) || self.inner().iter().any(|filter| filter.contains(is_meant))
    }

    /// The field whose terms the filter names.
    pub(crate) fn field(&self) -> Option<&Field> {
        if let Self::Is(field, _) | Self::Prefix(field, _) = self {
            Some(field)
        } else {
            None
        }
    }

    /// The version of the event is in `range`.
    pub fn versions(range: impl RangeBounds<Version>) -> Self {
        Self::Versions(Between::new(range))
    }

    /// The position of the event is in `range`.
    pub fn positions(range: impl RangeBounds<Position>) -> Self {
        Self::Positions(Between::new(range))
    }

    /// The event happened in `range`.
    pub fn times(range: impl RangeBounds<Timestamp>) -> Self {
        Self::Times(Between::new(range))
    }
}
