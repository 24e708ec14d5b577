//! Queries that return summaries, and the events of a conversation.

use super::{Bucket, Heatmap, Statistics, TimeZone, Trend};
use crate::store::query::run::QueryRun;
use crate::store::query::summary::Summary;
use crate::{Event, EventRef, Name, Query, Result, Store};

macro_rules! summary {
    ($type:ty) => {
        impl Summary for $type {
            fn take(&mut self, event: EventRef<'_>) {
                self.add(event);
            }

            #[cfg(feature = "cache")]
            fn weight(&self) -> usize {
                self.bytes()
            }
        }
    };
}

summary!(Statistics);
summary!(Trend);
summary!(Heatmap);

impl QueryRun<'_> {
    /// Counts events: in total, by hour of the day, by day, by organization and by user.
    ///
    /// The result is cached. The next call adds only the events that were appended since, so it costs as much as there are new events.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Query, Store, StreamId, analytics::TimeZone};
    /// # let store = Store::in_memory();
    /// # store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced").user("anna")])?;
    /// let statistics = store.query(Query::all()).statistics(&TimeZone::UTC)?;
    /// assert_eq!(statistics.by_user().get("anna"), 1);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when the query is invalid.
    pub fn statistics(&self, zone: &TimeZone) -> Result<Statistics> {
        self.summary(&format!("statistics {zone}"), &Statistics::new(zone.clone()))
    }

    /// Counts events by hour, day, ISO week or month. Cached and extended like [`statistics`](Self::statistics).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when the query is invalid.
    pub fn trend(&self, bucket: Bucket, zone: &TimeZone) -> Result<Trend> {
        self.summary(&format!("trend {bucket:?} {zone}"), &Trend::new(bucket, zone.clone()))
    }

    /// Counts events by weekday and hour. Cached and extended like [`statistics`](Self::statistics).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when the query is invalid.
    pub fn heatmap(&self, zone: &TimeZone) -> Result<Heatmap> {
        self.summary(&format!("heatmap {zone}"), &Heatmap::new(zone.clone()))
    }
}

impl Store {
    /// Every event of a conversation, ascending by position; [`CausationTree`](super::CausationTree) arranges them by cause.
    pub fn conversation(&self, correlation_id: impl Into<Name>) -> Vec<Event> {
        // A query of one term is always valid.
        self.query(Query::all().correlation(correlation_id))
            .events()
            .unwrap_or_default()
    }
}
