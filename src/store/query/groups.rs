//! The values of a field in one event, for what groups events by them.

use std::fmt;
use std::sync::Arc;

use crate::store::index::{Indexer, Indexes};
use crate::store::query::matcher::registered;
use crate::store::query::run::QueryRun;
use crate::{EventRef, Field, Name, Result};

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
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if no indexer has the name.
    pub(crate) fn new(by: Option<&Field>, indexes: &Indexes) -> Result<Self> {
        Ok(match by {
            None => Self::One,
            Some(Field::Index(name)) => Self::Index(registered(name, indexes)?),
            Some(field) => Self::Field(field.clone()),
        })
    }

    /// Calls `each` once for every distinct value of the event; once with `None` if it has none.
    pub(crate) fn each(&self, event: EventRef<'_>, mut each: impl FnMut(Option<&str>)) {
        match self {
            Self::One => each(None),
            Self::Field(Field::Tag) => each_once(event.tags().collect(), each),
            Self::Field(Field::Day) => each(Some(&event.timestamp().date())),
            Self::Field(field) => each(value(event, field)),
            Self::Index(indexer) => {
                let mut found = Vec::new();
                indexer(event, &mut found);
                each_once(found.iter().map(Name::as_str).collect(), each);
            }
        }
    }
}

/// Calls `each` for every distinct value; once with `None` if there is none.
fn each_once(mut values: Vec<&str>, mut each: impl FnMut(Option<&str>)) {
    values.sort_unstable();
    values.dedup();
    if values.is_empty() {
        each(None);
    }
    for value in values {
        each(Some(value));
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
        Groups::new(by, &self.engine().indexes)
    }
}
