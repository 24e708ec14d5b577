//! What the store tells the crate `tracing`, with the feature of that name; nothing without it.
//!
//! Nothing that an event carries is told: no id, no type, no name of a user, no payload, and no reason of a handler, which may repeat any of them.

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::on::*;
