//! JSON on the wire: events, expected versions and queries.

pub(crate) mod cloud;
pub(crate) mod event;
pub(crate) mod expected;
pub(crate) mod filter;
pub(crate) mod hex;
pub(crate) mod new_event;
pub(crate) mod query;
