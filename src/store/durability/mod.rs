//! The journal's side of the store: the thread that writes what is published, waits for durability, recovery, and stores that follow another.
//!
//! It owns the backlog and the watermarks `written` and `synced`. It reads the log, and calls the traits `Journal`, `Feed` and `Remote`.
//!
//! It must hold: batches are whole appends in order, and nothing is acknowledged before the journal has confirmed it.

pub(crate) mod flush;
pub(super) mod follow;
pub(super) mod follow_future;
mod follow_several;
pub(super) mod recover;
pub(crate) mod ticket;
pub(crate) mod visible;
