//! Appending: from the events that a caller passes to the watermark `published`.
//!
//! It owns nothing that lasts. It may call every other part of the store: the streams, the log, the budget, the backlog, the index and, for
//! conditions, the selection of events.
//!
//! It must hold: an append that is rejected changes nothing, and nothing waits between reserving positions and publishing them.

#[cfg(feature = "audit")]
pub(super) mod command;
pub(crate) mod future;
pub(super) mod one;
pub(super) mod own_ids;
pub(super) mod owned;
pub(super) mod prepare;
pub(super) mod repetition;
pub(super) mod several;
pub(crate) mod transact;
