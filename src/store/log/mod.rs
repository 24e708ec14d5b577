//! The log: events in the lanes of threads, the directory of their places, positions and watermarks.
//!
//! It owns the bytes of events and their order. It calls the locks, reads what an append has prepared, and knows neither streams nor the index.
//!
//! It must hold: positions ascend in every lane, and `published` moves only over whole appends that are complete.

pub(super) mod directory;
pub(super) mod lane;
pub(super) mod positions;
pub(super) mod signal;
