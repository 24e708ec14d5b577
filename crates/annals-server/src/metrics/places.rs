//! The metrics of the limits of the server.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tokio::sync::Semaphore;

/// Places of a limit, and the value of the label `of` that they have.
pub(crate) type PlacesOf = (&'static str, Arc<Semaphore>, usize);

/// The limits, whose figures are read with the metrics.
#[derive(Debug)]
pub(super) struct Places(pub(super) Vec<PlacesOf>);

impl Collector for Places {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Live tails, and threads for reads and writes, that are in use";
        let mut metric = encoder.encode_descriptor("server_places_in_use", help, None, MetricType::Gauge)?;
        for (of, free, all) in &self.0 {
            let used = all.saturating_sub(free.available_permits()) as u64;
            metric.encode_family(&[("of", *of)])?.encode_gauge(&used)?;
        }
        let help = "Live tails, and threads for reads and writes, that there may be";
        let mut metric = encoder.encode_descriptor("server_places", help, None, MetricType::Gauge)?;
        for (of, _, all) in &self.0 {
            metric.encode_family(&[("of", *of)])?.encode_gauge(&(*all as u64))?;
        }
        Ok(())
    }
}
