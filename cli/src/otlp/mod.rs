//! Spans of `serve`, sent to a receiver of OpenTelemetry.

#[cfg(feature = "otlp")]
mod client;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod on;

#[cfg(not(feature = "otlp"))]
pub(crate) use self::off::{Spans, start};
#[cfg(feature = "otlp")]
pub(crate) use self::on::{Spans, start};

use tracing_subscriber::{Layer, Registry};

/// A layer that can be added to the log.
pub(crate) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;
