//! From a query to events: the selection by the index, the test of one event, results in order, pages, caches and lists.
//!
//! It owns the caches. It reads the index, the streams and the log, and changes nothing, except that a query extends the index.
//!
//! It must hold: a result is complete up to one position, and a cached result is never stale.

#[cfg(feature = "cache")]
pub(crate) mod cache;
#[cfg(feature = "cache")]
pub(super) mod caches;
pub(crate) mod explain;
#[cfg(all(feature = "analytics", feature = "json"))]
pub(crate) mod groups;
pub(super) mod lists;
pub(super) mod matcher;
pub(crate) mod run;
pub(super) mod select;
#[cfg(feature = "analytics")]
pub(crate) mod summary;
