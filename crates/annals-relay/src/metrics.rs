//! Metrics of relays, in the `OpenMetrics` text format, for a registry of the crate `prometheus-client` or an `Exporter` of the library.

#![expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers, by their format"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::relay::Relay;
use crate::status::{RelayState, RelayStatus};
use crate::work::Work;

/// What relays have done and what they wait for, with the name of each relay as the label `relay`. Cheap to clone; clones have the same relays.
///
/// `relay_delivered_events_total`, `relay_parked_events_total`, `relay_failed_attempts_total`, `relay_unknown_attempts_total`, `relay_unavailable_attempts_total`,
/// `relay_lag_events`, `relay_in_flight_events`, `relay_dead_letters`, `relay_waiting` (1 while the target takes nothing) and `relay_up` (0 if it has stopped).
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics(Arc<Mutex<BTreeMap<String, Arc<Work>>>>);

impl RelayMetrics {
    /// Metrics of no relay.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports a relay. A later one of the same name replaces it. The figures stay when the relay ends.
    pub fn relay(&self, relay: &Relay) {
        let name = relay.status().group.name.to_string();
        self.0.lock().insert(name, Arc::clone(relay.work()));
    }
}

/// A figure: name, help, counter or gauge, and the figure.
type Figure = (&'static str, &'static str, MetricType, fn(&RelayStatus) -> f64);

const FIGURES: [Figure; 10] = [
    (
        "relay_delivered_events",
        "Events that the target of a relay has acknowledged",
        MetricType::Counter,
        |status| status.counts.delivered as f64,
    ),
    (
        "relay_parked_events",
        "Events that the target of a relay did not take, and that became dead letters",
        MetricType::Counter,
        |status| status.counts.parked as f64,
    ),
    (
        "relay_failed_attempts",
        "Attempts at a message that the target did not take",
        MetricType::Counter,
        |status| status.counts.failed as f64,
    ),
    (
        "relay_unknown_attempts",
        "Attempts at a message whose outcome is not known",
        MetricType::Counter,
        |status| status.counts.unknown as f64,
    ),
    (
        "relay_unavailable_attempts",
        "Attempts while the target took no message",
        MetricType::Counter,
        |status| status.counts.unavailable as f64,
    ),
    (
        "relay_lag_events",
        "Positions that a relay has yet to publish",
        MetricType::Gauge,
        |status| status.group.lag_events as f64,
    ),
    (
        "relay_in_flight_events",
        "Events that a relay has read and not settled",
        MetricType::Gauge,
        |status| status.group.in_flight as f64,
    ),
    (
        "relay_dead_letters",
        "Dead letters of a relay",
        MetricType::Gauge,
        |status| status.group.letters as f64,
    ),
    (
        "relay_waiting",
        "1 while the target of a relay takes no message",
        MetricType::Gauge,
        |status| f64::from(u8::from(matches!(status.state, RelayState::Waiting { .. }))),
    ),
    (
        "relay_up",
        "0 if a relay has stopped or ended",
        MetricType::Gauge,
        |status| {
            f64::from(u8::from(matches!(
                status.state,
                RelayState::Running | RelayState::Waiting { .. }
            )))
        },
    ),
];

impl Collector for RelayMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let relays = self.0.lock().clone();
        let statuses: Vec<_> = relays
            .iter()
            .map(|(name, work)| (name.as_str(), work.status()))
            .collect();
        // A metric without any is omitted.
        for (name, help, kind, figure) in FIGURES.iter().filter(|_| !statuses.is_empty()) {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (relay, status) in &statuses {
                let labels = [("relay", *relay)];
                let mut family = metric.encode_family(&labels)?;
                if matches!(kind, MetricType::Counter) {
                    family.encode_counter::<NoLabelSet, f64, f64>(&figure(status), None)?;
                } else {
                    family.encode_gauge(&figure(status))?;
                }
            }
        }
        Ok(())
    }
}
