//! The metrics of appends and reads, which their callers record.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::encode_metric;
use crate::{Appended, Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    operation: &'static str,
    outcome: &'static str,
}

/// The metrics of events that were appended and read, and of the operations on stores.
///
/// The label `namespace` names a store. Its values, and those of operations and outcomes, must be of closed sets: each becomes a time series. Cheap to
/// clone; clones count together. An event that is recorded takes about as long as reading the clock, and no lock of the store.
#[derive(Clone, Debug, Default)]
pub struct EventMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    published: Family<Namespace, Counter>,
    publishing: Histogram,
    consumed: Family<Namespace, Counter>,
    missed: Family<Namespace, Counter>,
    consumption: Histogram,
    latency: Histogram,
    operations: Family<Executed, Counter>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            published: Family::default(),
            publishing: histogram(),
            consumed: Family::default(),
            missed: Family::default(),
            consumption: histogram(),
            latency: histogram(),
            operations: Family::default(),
        }
    }
}

/// From 16 microseconds to 8 seconds.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(16e-6, 2.0, 20))
}

impl EventMetrics {
    /// New metrics, all zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `append`, and records its time, its events and its outcome as the operation `append`.
    ///
    /// A conflict has the outcome `conflict`, an invalid append `refused`, and every other error `failed`. A repetition that an
    /// earlier append has acknowledged succeeds without adding events.
    ///
    /// # Errors
    ///
    /// Those of `append`.
    pub fn append(&self, namespace: &str, append: impl FnOnce() -> Result<Appended>) -> Result<Appended> {
        let began = Instant::now();
        let appended = append();
        self.operation("append", outcome(appended.as_ref()));
        if let Ok(appended) = &appended {
            let stored = appended.last_position.0 + 1 - appended.first_position.0;
            let events = if appended.repeated { 0 } else { stored };
            self.published(namespace, events, began.elapsed());
        }
        appended
    }

    /// Records an append of `events` events, which were visible and durable after `took`.
    pub fn published(&self, namespace: &str, events: u64, took: Duration) {
        add(&self.0.published, namespace, events);
        self.0.publishing.observe(took.as_secs_f64());
    }

    /// Records events that a reader of the log was given, and `missed` events that were dropped before it reached them. `latency` is the time since the
    /// append of the first event, if the reader was waiting then.
    pub fn consumed(&self, namespace: &str, events: u64, missed: u64, latency: Option<Duration>) {
        add(&self.0.consumed, namespace, events);
        if missed > 0 {
            add(&self.0.missed, namespace, missed);
        }
        if let Some(latency) = latency {
            self.0.latency.observe(latency.as_secs_f64());
        }
    }

    /// Records that a reader has handled a batch `took` after it was read.
    pub fn handled(&self, took: Duration) {
        self.0.consumption.observe(took.as_secs_f64());
    }

    /// Records an operation on a store.
    pub fn operation(&self, operation: &'static str, outcome: &'static str) {
        let executed = Executed { operation, outcome };
        self.0.operations.get_or_create(&executed).inc();
    }
}

fn add(family: &Family<Namespace, Counter>, namespace: &str, events: u64) {
    let namespace = namespace.to_owned();
    family.get_or_create(&Namespace { namespace }).inc_by(events);
}

fn outcome(appended: Result<&Appended, &Error>) -> &'static str {
    match appended {
        Ok(_) => "success",
        Err(Error::Conflict(_)) => "conflict",
        Err(Error::Invalid { .. } | Error::Deleted { .. } | Error::Unsupported { .. } | Error::ReadOnly { .. }) => {
            "refused"
        }
        Err(_) => "failed",
    }
}

impl Collector for EventMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = &*self.0;
        let of = &mut encoder;
        encode_metric(of, "events_published", "Events that were appended", &all.published)?;
        let help = "Time from a request to append until its events were visible and durable";
        encode_metric(of, "event_publishing_duration_seconds", help, &all.publishing)?;
        encode_metric(
            of,
            "events_consumed",
            "Events that readers of the log were given",
            &all.consumed,
        )?;
        let help = "Events that were dropped before a reader of the log reached them";
        encode_metric(of, "events_missed", help, &all.missed)?;
        let help = "Time from the reading of a batch until its reader had handled it";
        encode_metric(of, "event_consumption_duration_seconds", help, &all.consumption)?;
        let help = "Time from the append of the first event of a batch until a waiting reader was given the batch";
        encode_metric(of, "event_end_to_end_latency_seconds", help, &all.latency)?;
        let help = "Operations on stores that were requested";
        encode_metric(of, "event_store_operations", help, &all.operations)
    }
}
