//! The values of a field in one event, for what groups events by them.

use std::fmt;
use std::sync::Arc;

use crate::store::index::Indexer;
use crate::store::query::matcher::registered;
use crate::store::query::run::QueryRun;
use crate::{EventRef, Field, Result};

/// Finds the values of a field in events.
#[derive(Clone)]
pub(crate) enum Groups {
    /// One group for all events.
    One,
    Field(Field),
    Index(Arc<Indexer>),
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("One"),
            Self::Field(field) => field.fmt(f),
            Self::Index(_) => f.write_str("Index"),
        }
    }
}

impl Groups {
    /// Calls `each` for every value of the event; once with `None` if it has none.
    pub(crate) fn each(&self, event: EventRef<'_>, mut each: impl FnMut(Option<&str>)) {
        match self {
            Self::One => each(None),
            Self::Field(Field::Tag) if event.tags().next().is_some() => event.tags().for_each(|tag| each(Some(tag))),
            Self::Field(Field::Day) => each(Some(&event.timestamp().date())),
            Self::Field(field) => each(value(event, field)),
            Self::Index(indexer) => {
                let mut found = Vec::new();
                indexer(event, &mut found);
                found.sort_unstable();
                found.dedup();
                if found.is_empty() {
                    each(None);
                }
                for value in &found {
                    each(Some(value.as_str()));
                }
            }
        }
    }
}

/// The value of a field that has one at most.
fn value<'a>(event: EventRef<'a>, field: &Field) -> Option<&'a str> {
    match field {
        Field::EventType => Some(event.event_type()),
        Field::AggregateType => Some(event.aggregate_type()),
        Field::Aggregate => Some(event.aggregate_id()),
        Field::Correlation => event.correlation_id(),
        Field::Causation => event.causation_id(),
        Field::User => event.user_id(),
        Field::Organization => event.organization_id(),
        Field::Tag | Field::Day | Field::Index(_) => None,
    }
}

impl QueryRun<'_> {
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if no indexer has the name.
    pub(crate) fn groups(&self, by: Option<&Field>) -> Result<Groups> {
        Ok(match by {
            None => Groups::One,
            Some(Field::Index(name)) => Groups::Index(registered(name, &self.engine().indexes)?),
            Some(field) => Groups::Field(field.clone()),
        })
    }
}
