//! Statistics of a field of the data: of all events, by the values of an indexed field, and over time.

mod distinct;
mod rollup;
mod sketch;
mod sum;
mod values;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::rollup::RollupRows;
pub use self::values::Values;
use super::bucket::Bucket;
use super::local::WallClock;
use super::zone::TimeZone;
use crate::store::query::groups::Groups;
use crate::store::query::run::QueryRun;
use crate::store::query::summary::Summary;
use crate::{Error, EventRef, Field, Result, Timestamp};

/// The most rows of a result.
const ROWS_MAX: usize = 10_000;

/// What to measure: a field of the data, and how to group its values. Run it with [`QueryRun::measure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    pointer: String,
    by: Option<Field>,
    every: Option<(Bucket, TimeZone)>,
}

impl Measure {
    /// Measures the value at a JSON pointer (RFC 6901) in the data, such as `/amount`.
    pub fn of(pointer: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            by: None,
            every: None,
        }
    }

    /// Groups by the values of a field. An event with several values, such as tags, counts in the group of each.
    #[must_use]
    pub fn by(mut self, field: Field) -> Self {
        self.by = Some(field);
        self
    }

    /// Groups by hour, day, week, month or year, in the calendar of a time zone.
    #[must_use]
    pub fn every(mut self, bucket: Bucket, zone: &TimeZone) -> Self {
        self.every = Some((bucket, zone.clone()));
        self
    }

    fn check(&self) -> Result<()> {
        if self.pointer.is_empty() || self.pointer.starts_with('/') {
            return Ok(());
        }
        let pointer = &self.pointer;
        Err(Error::invalid(format!(
            "'{pointer}' is not a JSON pointer: write '/{pointer}'"
        )))
    }
}

/// One row of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MeasuredRow {
    /// The value of the field that groups; `None` without such a field, and for events that have no value.
    pub group: Option<String>,
    /// The first moment of the row, if rows are grouped by time.
    pub start: Option<Timestamp>,
    /// The label of that time, such as `2026-01-31`.
    pub label: Option<String>,
    /// The values.
    pub values: Values,
}

/// The group and the bucket of a row.
type Key = (Option<Box<str>>, i64);

/// How a row beyond [`ROWS_MAX`] is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// It is left out, and the result is an error.
    Fail,
    /// The rows of the earliest time make room.
    ForgetEarliest,
}

/// Values by group and time, as they are fed.
#[derive(Clone, Debug)]
struct Measured {
    pointer: String,
    groups: Groups,
    every: Option<(Bucket, WallClock)>,
    rows: RowTable,
}

/// At most [`ROWS_MAX`] rows.
#[derive(Clone, Debug)]
struct RowTable {
    rows: BTreeMap<Key, Values>,
    overflow: Overflow,
    /// The latest time whose rows were forgotten.
    forgotten_to: Option<i64>,
    /// Whether there were more rows than [`ROWS_MAX`].
    is_cut: bool,
}

impl Measured {
    fn new(measure: &Measure, groups: Groups, overflow: Overflow) -> Self {
        let clock = |(bucket, zone): &(Bucket, TimeZone)| (*bucket, WallClock::new(zone.clone()));
        Self {
            pointer: measure.pointer.clone(),
            groups,
            every: measure.every.as_ref().map(clock),
            rows: RowTable {
                rows: BTreeMap::new(),
                overflow,
                forgotten_to: None,
                is_cut: false,
            },
        }
    }

    fn add(&mut self, event: EventRef<'_>) {
        let bucket = |(bucket, clock): &mut (Bucket, WallClock)| bucket.key(clock, event.timestamp());
        let time = self.every.as_mut().map_or(0, bucket);
        self.groups.each(event, |group| {
            if let Some(values) = self.rows.values_of((group.map(Box::from), time)) {
                values.add(event, &self.pointer);
            }
        });
    }

    /// The first moment that has rows, if earlier ones were forgotten.
    fn kept_from(&mut self) -> Option<Timestamp> {
        let forgotten = self.rows.forgotten_to?;
        let (bucket, clock) = self.every.as_mut()?;
        let next = bucket.next(clock, forgotten);
        Some(bucket.start(clock, next))
    }

    fn into_rows(self) -> Result<Vec<MeasuredRow>> {
        if self.rows.is_cut {
            return Err(Error::invalid(format!(
                "the measurement of {} has more than {ROWS_MAX} rows: narrow the query, or group by less",
                self.pointer
            )));
        }
        let mut every = self.every;
        let rows = self.rows.rows.into_iter().map(|((group, time), values)| MeasuredRow {
            group: group.map(String::from),
            start: every.as_ref().map(|(bucket, clock)| bucket.start(clock, time)),
            label: every.as_mut().map(|(bucket, clock)| bucket.label(clock, time)),
            values,
        });
        Ok(rows.collect())
    }
}

impl RowTable {
    /// The values of a row, which is added if there is room for it.
    fn values_of(&mut self, key: Key) -> Option<&mut Values> {
        self.has_room_for(&key).then(|| self.rows.entry(key).or_default())
    }

    /// Whether there is room for a row; makes some if earlier rows may be forgotten.
    fn has_room_for(&mut self, key: &Key) -> bool {
        if self.forgotten_to.is_some_and(|forgotten| key.1 <= forgotten) {
            return false;
        }
        if self.rows.len() < ROWS_MAX || self.rows.contains_key(key) {
            return true;
        }
        let earliest = self.rows.keys().map(|(_, time)| *time).min();
        match earliest.filter(|earliest| self.overflow == Overflow::ForgetEarliest && *earliest < key.1) {
            Some(earliest) => {
                self.rows.retain(|(_, time), _| *time > earliest);
                self.forgotten_to = Some(earliest);
                true
            }
            // An event earlier than all rows is forgotten as they would be.
            None if self.overflow == Overflow::ForgetEarliest && earliest > Some(key.1) => {
                self.forgotten_to = Some(key.1);
                false
            }
            None => {
                self.is_cut = true;
                false
            }
        }
    }
}

impl Summary for Measured {
    fn take(&mut self, event: EventRef<'_>) {
        self.add(event);
    }

    #[cfg(feature = "cache")]
    fn weight(&self) -> usize {
        let texts: usize = self
            .rows
            .rows
            .keys()
            .map(|(group, _)| group.as_deref().map_or(0, str::len))
            .sum();
        size_of::<Self>() + texts + self.rows.rows.values().map(Values::bytes).sum::<usize>()
    }
}

impl QueryRun<'_> {
    /// Measures a field of the data: count, sum, mean, least, largest, percentiles and distinct values.
    ///
    /// Rows ascend by group, then by time; groups and times without events have none. Cached and extended like [`statistics`](Self::statistics).
    ///
    /// ```
    /// use annals::analytics::{Bucket, Measure, TimeZone};
    /// use annals::{Expected, Field, NewEvent, Query, Store, StreamId};
    ///
    /// let store = Store::in_memory();
    /// for (user, ms) in [("anna", 12), ("ben", 40), ("anna", 18)] {
    ///     let viewed = NewEvent::new("PageViewed").user(user).data(format!(r#"{{"ms": {ms}}}"#));
    ///     store.append(&StreamId::new("Session", user), Expected::Any, viewed)?;
    /// }
    /// let measure = Measure::of("/ms").by(Field::User).every(Bucket::Day, &TimeZone::UTC);
    /// let rows = store.query(Query::all()).measure(&measure)?;
    /// assert_eq!((rows[0].group.as_deref(), rows[0].values.mean()), (Some("anna"), Some(15.0)));
    /// assert_eq!((rows[1].group.as_deref(), rows[1].values.max()), (Some("ben"), Some(40.0)));
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the query is invalid, the pointer is none, no indexer has the name of the field, or there are more than 10,000 rows.
    pub fn measure(&self, measure: &Measure) -> Result<Vec<MeasuredRow>> {
        measure.check()?;
        let groups = self.groups(measure.by.as_ref())?;
        let measured = self.summary(&format!("{measure:?}"), &Measured::new(measure, groups, Overflow::Fail))?;
        measured.into_rows()
    }
}
