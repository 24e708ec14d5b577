//! Measurements that outlast the events: what a store has counted by hour or day, after its budget has dropped the events.

use std::any::Any;

use super::{Measure, Measured, MeasuredRow, Overflow};
use crate::store::builder::Builder;
use crate::store::query::groups::Groups;
use crate::store::rollups::{Rolled, Rollup};
use crate::{Error, EventRef, Name, Position, Query, Result, Store, Timestamp};

/// The rows of a rollup: see [`Builder::rollup`](crate::Builder::rollup).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RollupRows {
    /// The rows, by group, then by time.
    pub rows: Vec<MeasuredRow>,
    /// The position up to which every event is counted.
    pub position: Position,
    /// The first moment that has rows, if earlier ones were given up because there were too many.
    pub kept_from: Option<Timestamp>,
}

impl Rolled for Measured {
    fn take(&mut self, event: EventRef<'_>) {
        self.add(event);
    }

    fn fork(&self) -> Box<dyn Rolled> {
        Box::new(self.clone())
    }
}

impl Builder {
    /// Measures the events of `query` as they come, and keeps the rows when the events are dropped.
    ///
    /// So a tracker with a [budget](crate::Budget) keeps its counts by hour or day, and drops the events. [`Store::rollup`] returns the rows.
    ///
    /// Every event that becomes visible counts once, and stays counted when it is dropped: by the budget, by a limit, and also by a truncation or
    /// deletion. The rows hold the values of the field that groups, which may be personal data. System events do not count.
    ///
    /// There are at most 10,000 rows. Beyond that the rows of the earliest hours or days are given up, and
    /// [`RollupRows::kept_from`] says up to when.
    ///
    /// The rows are in memory. A store with a journal counts again what it recovers: events that the journal no longer has, because it was
    /// [compacted](Store::compact_journal) or archived, count no more after a restart. A [fork](Store::fork) has a copy of the rows.
    ///
    /// ```
    /// use annals::analytics::{Bucket, Measure, TimeZone};
    /// use annals::{Budget, Expected, Field, NewEvent, Query, Settings, Store, StreamId, WhenFull};
    ///
    /// let budget = Budget::default().events(2).when_full(WhenFull::DropOldest);
    /// let daily = Measure::of("/ms").by(Field::User).every(Bucket::Day, &TimeZone::UTC);
    /// let store = Store::builder()
    ///     .settings(Settings::default().budget(budget))
    ///     .rollup("views", Query::all().event_type("PageViewed"), daily)
    ///     .open()?;
    /// for ms in [12, 18, 30, 40] {
    ///     let viewed = NewEvent::new("PageViewed").user("anna").data(format!(r#"{{"ms": {ms}}}"#));
    ///     store.append(&StreamId::new("Session", "session-1"), Expected::Any, viewed)?;
    /// }
    /// assert_eq!(store.query(Query::all()).count()?, 2);
    /// let views = store.rollup("views")?;
    /// assert_eq!(views.rows.iter().map(|row| row.values.count()).sum::<u64>(), 4);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`open`](Self::open) fails with [`Error::Invalid`] if two rollups have one name, the measure has no time to group by or its pointer is none, no
    /// indexer has the name of a field, or the query has a limit, a cursor or `as_of`.
    pub fn rollup(mut self, name: impl Into<Name>, query: Query, measure: Measure) -> Self {
        let name = name.into();
        self.rollups.push((
            name.clone(),
            Box::new(move |indexes| {
                measure.check()?;
                if measure.every.is_none() {
                    return Err(Error::invalid(format!(
                        "the rollup '{name}' is by no time: set one by `Measure::every`, such as by day"
                    )));
                }
                let groups = Groups::new(measure.by.as_ref(), indexes)?;
                let measured = Measured::new(&measure, groups, Overflow::ForgetEarliest);
                Rollup::new(&name, &query, measured, indexes)
            }),
        ));
        self
    }
}

impl Store {
    /// The rows of a rollup that was registered by [`Builder::rollup`](crate::Builder::rollup), with every visible event.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no rollup has this name, or its groups alone are more than 10,000 in one hour or day.
    pub fn rollup(&self, name: &str) -> Result<RollupRows> {
        let engine = self.engine();
        let visible = engine.visible();
        let value = |value: &dyn Rolled| {
            let value: &dyn Any = value;
            value.downcast_ref::<Measured>().cloned()
        };
        let rollups = &engine.retention.rollups;
        let Some((Some(mut measured), position)) = rollups.read(&engine.core, name, visible, value) else {
            return Err(Error::invalid(format!(
                "no rollup '{name}' is registered: register it with Builder::rollup"
            )));
        };
        Ok(RollupRows {
            position: Position(position),
            kept_from: measured.kept_from(),
            rows: measured.into_rows()?,
        })
    }
}
