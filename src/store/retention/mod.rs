//! Giving space back. *Drop* removes events from every read, *compact* rewrites memory or the journal without them, *purge* removes their bytes.
//!
//! It owns the counters of the budget and the gaps. It calls the streams, the log and the trait `Compactor`.
//!
//! It must hold: nothing leaves memory before the journal has it, and a dropped event is gone from every read at once.

pub(crate) mod archive;
pub(super) mod budget;
pub(super) mod change;
pub(crate) mod dropping;
pub(crate) mod gaps;
pub(crate) mod journal;
pub(super) mod snapshot;
