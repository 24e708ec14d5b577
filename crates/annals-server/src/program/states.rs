//! States of aggregates without their types.

use annals::Version;
use annals::cqrs::{Aggregate, Aggregates, Codec, LoadError};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::problem::{Kind, Problem};

/// An aggregate after one of its events.
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) json: Box<RawValue>,
}

/// The aggregates of one type.
pub(crate) trait States: Send + Sync {
    /// The state of an aggregate after a version, or after its last event.
    ///
    /// # Errors
    ///
    /// The [`Problem`] when the aggregate cannot be loaded, or its state is no JSON.
    fn at(&self, id: &str, version: Option<Version>) -> Result<State, Problem>;
}

impl<A, C> States for Aggregates<A, C>
where
    A: Aggregate + Serialize,
    C: Codec,
{
    fn at(&self, id: &str, version: Option<Version>) -> Result<State, Problem> {
        let loaded = match version {
            Some(version) => self.load_version(id, version)?,
            None => self.load(id)?,
        };
        let no_json = |error| Problem::new(Kind::NoState, format!("the state is not written as JSON: {error}"));
        Ok(State {
            version: loaded.version,
            json: to_raw_value(&loaded.state).map_err(no_json)?,
        })
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let kind = match error {
            LoadError::Store(error) => return error.into(),
            LoadError::NoSuchVersion { .. } => Kind::NotFound,
            LoadError::Deleted { .. } => Kind::Gone,
            LoadError::Undecodable(_)
            | LoadError::Incomplete { .. }
            | LoadError::OtherType { .. }
            | LoadError::NoPseudonym { .. }
            | LoadError::Snapshot { .. }
            | _ => Kind::NoState,
        };
        Self::new(kind, error.to_string())
    }
}
