//! An append that outlives its caller: of a future.

use crate::{Expected, NewEvent, StreamId};

/// An append that owns its events.
#[derive(Clone, Debug)]
pub(in crate::store) struct OwnedAppend {
    pub(in crate::store) stream: StreamId,
    pub(in crate::store) expected: Expected,
    pub(in crate::store) events: Vec<NewEvent<'static>>,
}
