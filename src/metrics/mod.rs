//! Metrics of stores, and of a program's buses, processors, sagas and groups, in the `OpenMetrics` text format.
//!
//! The store does no work for them between two collections: [`StoreMetrics`] reads [`Store::stats`](crate::Store::stats) when metrics are collected.
//! Callers record times of appends and reads with [`EventMetrics`]. `ToolkitMetrics` (feature `cqrs`) has the buses,
//! processors, sagas and groups.
//!
//! [`Exporter::text`] is what an HTTP route of the program returns to Prometheus. A program that has a registry of the crate `prometheus-client` registers
//! the collectors there. `annals-server` exports the same metrics at `/metrics`; `docs/server.md` lists them.
//!
//! ```
//! use annals::metrics::{EventMetrics, Exporter, StoreMetrics};
//! use annals::{Expected, NewEvent, Store, StreamId};
//!
//! let store = Store::in_memory();
//! let events = EventMetrics::new();
//! let order = StreamId::new("Order", "order-1");
//! events.append("shop", || store.append(&order, Expected::NoStream, NewEvent::new("OrderPlaced")))?;
//!
//! let exporter = Exporter::new().with(StoreMetrics::named("shop", &store)).with(events);
//! let text = exporter.text();
//! for line in [
//!     "event_store_event_count{namespace=\"shop\"} 1",
//!     "events_published_total{namespace=\"shop\"} 1",
//!     "event_store_operations_total{operation=\"append\",outcome=\"success\"} 1",
//!     "# EOF",
//! ] {
//!     assert!(text.lines().any(|own| own == line), "{line}");
//! }
//! # Ok::<(), annals::Error>(())
//! ```

mod events;
mod stores;
#[cfg(feature = "cqrs")]
mod toolkit;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::registry::Registry;

pub use self::events::EventMetrics;
pub use self::stores::StoreMetrics;
#[cfg(feature = "cqrs")]
pub use self::toolkit::ToolkitMetrics;
/// The crate of the trait [`Collector`], in the version that the collectors here implement.
pub use prometheus_client;

/// Writes metrics as text.
///
/// No two of its collectors may export a metric of the same name: one [`StoreMetrics`] has several stores.
#[derive(Debug, Default)]
pub struct Exporter(Registry);

impl Exporter {
    /// The media type of [`text`](Self::text).
    pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// An exporter without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the metrics of a collector.
    #[must_use]
    pub fn with(mut self, collector: impl Collector) -> Self {
        self.0.register_collector(Box::new(collector));
        self
    }

    /// Collects the metrics, and returns them in the `OpenMetrics` text format, with its last line, `# EOF`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Only a writer fails, and a string does not.
        _ = prometheus_client::encoding::text::encode(&mut text, &self.0);
        text
    }
}

/// Writes a metric, unless it has no values.
fn encode_metric(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    if metric.is_empty() {
        return Ok(());
    }
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
