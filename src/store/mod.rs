//! The engine.

pub(crate) mod chunk;
pub(crate) mod names;
