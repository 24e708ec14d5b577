//! The streams of aggregates, in shards: versions, positions of events, and aggregate types.
//!
//! A shard owns the streams whose ids hash to it. It calls the collections alone.
//!
//! It must hold: the versions of a stream have no gap, and its positions ascend.

pub(super) mod shard;
pub(super) mod stream;
pub(super) mod table;
pub(super) mod type_table;
