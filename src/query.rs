//! Queries as data: filter, order, limit, and the past to read.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Field, Filter, Name, Position, Timestamp};

/// The order of a query's result.
///
/// Exhaustive: a log is read forwards or backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Ascending by position.
    #[default]
    Position,
    /// Descending by position.
    PositionDescending,
    /// Ascending by the time of the event, then by position.
    Time,
    /// Descending by the time of the event, then by position.
    TimeDescending,
}

impl Order {
    pub(crate) fn is_by_time(self) -> bool {
        matches!(self, Self::Time | Self::TimeDescending)
    }

    pub(crate) fn is_descending(self) -> bool {
        matches!(self, Self::PositionDescending | Self::TimeDescending)
    }
}

/// The past that a query reads: later events are left out.
///
/// Events that were dropped since (truncated, deleted, beyond a limit or a budget) are missing in the past too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AsOf {
    /// Up to this position.
    Position(Position),
    /// Events that were recorded up to this time.
    Time(Timestamp),
}

impl From<Position> for AsOf {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl From<Timestamp> for AsOf {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

/// The end of a page: the same query continues after it.
///
/// It names an event, so appends between two pages do not shift the result. Its text form is for links and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// `None` in a result ordered by position.
    pub(crate) time: Option<Timestamp>,
    pub(crate) position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time {
            None => write!(f, "p{}", self.position),
            Some(time) => write!(f, "t{}.{}", time.as_micros(), self.position),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_cursor(text).ok_or_else(|| {
            Error::invalid(format!(
                "'{text}' is not a cursor: use the one that came with the page before"
            ))
        })
    }
}

fn parse_cursor(text: &str) -> Option<Cursor> {
    if let Some(position) = text.strip_prefix('p') {
        return Some(Cursor {
            time: None,
            position: Position(position.parse().ok()?),
        });
    }
    let (time, position) = text.strip_prefix('t')?.split_once('.')?;
    let time = Timestamp::from_micros(time.parse().ok()?);
    Some(Cursor {
        time: Some(time),
        position: Position(position.parse().ok()?),
    })
}

/// Selects events.
///
/// An event must meet all conditions. Alternatives are written with [`Filter::Any`], exceptions with
/// [`except`](Self::except).
///
/// ```
/// use annals::{Expected, Field, Filter, NewEvent, Query, Store, StreamId};
///
/// let store = Store::in_memory();
/// let invoice = StreamId::new("Invoice", "invoice-17");
/// store.append(&invoice, Expected::NoStream, vec![
///     NewEvent::new("InvoiceIssued").user("anna").data(r#"{"amount": 250}"#),
///     NewEvent::new("InvoicePaid").user("bob").data(r#"{"amount": 250}"#),
/// ])?;
///
/// let paid = Query::all().event_type("InvoicePaid").data("/amount", 250);
/// assert_eq!(store.query(paid).count()?, 1);
///
/// let either = Query::all().filter(Filter::Any(vec![
///     Filter::is(Field::User, "anna"),
///     Filter::is(Field::EventType, "InvoicePaid"),
/// ]));
/// assert_eq!(store.query(either).count()?, 2);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    pub(crate) filters: Vec<Filter>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
    pub(crate) after: Position,
    pub(crate) until: Option<Position>,
    pub(crate) order: Order,
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) as_of: Option<AsOf>,
    pub(crate) system: bool,
}

macro_rules! term {
    ($(#[$doc:meta])* $one:ident, $(#[$docs:meta])* $many:ident, $field:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $one(self, value: impl Into<Name>) -> Self {
            self.filter(Filter::is(Field::$field, value))
        }

        $(#[$docs])*
        #[must_use]
        pub fn $many<N: Into<Name>>(self, values: impl IntoIterator<Item = N>) -> Self {
            self.filter(Filter::one_of(Field::$field, values))
        }
    };
}

impl Query {
    /// Every event except system events.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only events that match `filter`.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Only events that do not match `filter`.
    #[must_use]
    pub fn except(self, filter: Filter) -> Self {
        self.filter(Filter::not(filter))
    }

    term! {
        /// Only events of this type.
        event_type,
        /// Only events of one of these types.
        event_types, EventType
    }
    term! {
        /// Only events of aggregates of this type.
        aggregate_type,
        /// Only events of aggregates of one of these types.
        aggregate_types, AggregateType
    }
    term! {
        /// Only events of this aggregate.
        aggregate,
        /// Only events of one of these aggregates.
        aggregates, Aggregate
    }
    term! {
        /// Only events of this conversation.
        correlation,
        /// Only events of one of these conversations.
        correlations, Correlation
    }
    term! {
        /// Only events caused by this event or command.
        causation,
        /// Only events caused by one of these events or commands.
        causations, Causation
    }
    term! {
        /// Only events of this user.
        user,
        /// Only events of one of these users.
        users, User
    }
    term! {
        /// Only events of this organization.
        organization,
        /// Only events of one of these organizations.
        organizations, Organization
    }
    term! {
        /// Only events of this UTC day, as `YYYY-MM-DD`.
        day,
        /// Only events of one of these UTC days, as `YYYY-MM-DD`.
        days, Day
    }
    term! {
        /// Only events with this tag.
        tag,
        /// Only events with one of these tags.
        tags, Tag
    }

    /// Only events in which the indexer `name` has found `value`.
    #[must_use]
    pub fn index(self, name: impl Into<Name>, value: impl Into<Name>) -> Self {
        self.filter(Filter::is(Field::Index(name.into()), value))
    }

    /// Only events whose metadata have `value` at this JSON pointer, such as `/request/ip`.
    #[cfg(feature = "json")]
    #[must_use]
    pub fn metadata(self, pointer: impl Into<String>, value: impl Into<crate::JsonValue>) -> Self {
        self.filter(Filter::Metadata(pointer.into(), value.into()))
    }

    /// Only events whose data have `value` at this JSON pointer, such as `/lines/0/amount`.
    #[cfg(feature = "json")]
    #[must_use]
    pub fn data(self, pointer: impl Into<String>, value: impl Into<crate::JsonValue>) -> Self {
        self.filter(Filter::Data(pointer.into(), value.into()))
    }

    /// Only events whose metadata or data contain `text`, case-insensitive in every script: `STRASSE` finds `Straße`, `ΚΩΣ` finds `κως`.
    ///
    /// The stored bytes are searched: an escape in JSON, such as `\u00e9`, does not match the letter that it represents.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.filter(Filter::Text(text.into()))
    }

    /// Only events at `time` or later.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Only events before `time`.
    #[must_use]
    pub fn before(mut self, time: Timestamp) -> Self {
        self.before = Some(time);
        self
    }

    /// Only events after this position.
    #[must_use]
    pub fn after(mut self, position: Position) -> Self {
        self.after = position;
        self
    }

    /// Only events up to this position.
    #[must_use]
    pub fn until(mut self, position: Position) -> Self {
        self.until = Some(position);
        self
    }

    /// Returns events in this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Returns at most this many events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Continues after the page that returned `cursor`.
    #[must_use]
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Returns the result as of this position or time.
    #[must_use]
    pub fn as_of(mut self, as_of: impl Into<AsOf>) -> Self {
        self.as_of = Some(as_of.into());
        self
    }

    /// Includes system events: those whose type begins with `$`.
    #[must_use]
    pub fn include_system(mut self) -> Self {
        self.system = true;
        self
    }

    /// Returns the parts of the query, for clients that send it to another process.
    pub fn parts(&self) -> QueryParts<'_> {
        QueryParts {
            filters: &self.filters,
            since: self.since,
            before: self.before,
            after: self.after,
            until: self.until,
            order: self.order,
            limit: self.limit,
            cursor: self.cursor,
            as_of: self.as_of,
            includes_system: self.system,
        }
    }
}

/// The parts of a [`Query`]. An event must meet all of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryParts<'a> {
    /// The filters.
    pub filters: &'a [Filter],
    /// Only events at or after this time.
    pub since: Option<Timestamp>,
    /// Only events before this time.
    pub before: Option<Timestamp>,
    /// Only events after this position; 0 for all.
    pub after: Position,
    /// Only events up to this position.
    pub until: Option<Position>,
    /// The order of the result.
    pub order: Order,
    /// Maximum number of events.
    pub limit: Option<usize>,
    /// The end of the page before.
    pub cursor: Option<Cursor>,
    /// The past that is read.
    pub as_of: Option<AsOf>,
    /// Whether system events match too.
    pub includes_system: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for cursor in [
            Cursor {
                time: None,
                position: Position(17),
            },
            Cursor {
                time: Some(Timestamp::from_micros(-5)),
                position: Position(u64::MAX),
            },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "p", "t1", "t1.x", "17", "p-1"] {
            assert!(matches!(text.parse::<Cursor>(), Err(Error::Invalid { .. })), "{text}");
        }
    }
}
