//! An append that outlives its caller: of a future.

use crate::{Expected, NewEvent, StreamId};

/// An append that owns its events.
#[derive(Clone, Debug)]
pub(super) struct OwnedAppend {
    pub(super) stream: StreamId,
    pub(super) expected: Expected,
    pub(super) events: Vec<NewEvent<'static>>,
}
