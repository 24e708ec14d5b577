//! What the store tells the crate `tracing`, with the feature of that name; nothing without it.
//!
//! No field of an event is told: no id, no type, no name of a user, no payload, and no reason of a handler, which may repeat any of them. The error of a
//! journal is told as it is: it names files and servers, and PostgreSQL may quote the key of a row.

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::on::*;
