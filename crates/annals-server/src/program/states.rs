//! States of aggregates without their types.

use std::io;

use annals::Version;
use annals::cqrs::{Aggregate, Aggregates, Codec, LoadError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};

/// An aggregate after one of its events.
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) json: Box<RawValue>,
}

/// The aggregates of one type.
pub(crate) trait States: Send + Sync {
    /// The state of an aggregate after a version, or after its last event, as JSON of at most `bytes_max`.
    ///
    /// # Errors
    ///
    /// The [`Problem`] when the aggregate cannot be loaded, or its state is no JSON or too large.
    fn at(&self, id: &str, version: Option<Version>, bytes_max: usize) -> Result<State, Problem>;
}

impl<A, C> States for Aggregates<A, C>
where
    A: Aggregate + Serialize,
    C: Codec,
{
    fn at(&self, id: &str, version: Option<Version>, bytes_max: usize) -> Result<State, Problem> {
        let loaded = match version {
            Some(version) => self.load_version(id, version)?,
            None => self.load(id)?,
        };
        Ok(State {
            version: loaded.version,
            json: written(&loaded.state, bytes_max)?,
        })
    }
}

/// Stops as soon as the JSON is too large.
fn written(state: &impl Serialize, bytes_max: usize) -> Result<Box<RawValue>, Problem> {
    let no_json = |error: serde_json::Error| {
        let detail = if error.is_io() {
            format!("the state has more than the {bytes_max} bytes of a page as JSON")
        } else {
            format!("the state is not written as JSON: {error}")
        };
        Problem::new(Kind::NoState, detail)
    };
    let mut bounded = Bounded {
        bytes: Vec::new(),
        left: bytes_max,
    };
    serde_json::to_writer(&mut bounded, state).map_err(no_json)?;
    let text = String::from_utf8(bounded.bytes).map_err(serde::ser::Error::custom);
    text.and_then(RawValue::from_string).map_err(no_json)
}

/// Takes a number of bytes, and fails at more.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
