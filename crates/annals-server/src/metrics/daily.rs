//! The metrics of work that is done once a day.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use annals::{Position, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The last results of the daily work on a store: archiving old events, and verifying its files. [`Builder::daily`](crate::Builder::daily) exports
/// them with the metrics of the server.
///
/// The caller does the work, and records its results here. Cheap to clone; clones share the results.
#[derive(Clone, Debug, Default)]
pub struct DailyWork(Arc<Results>);

#[derive(Debug, Default)]
struct Results {
    archive: Outcomes,
    verification: Outcomes,
}

#[derive(Debug, Default)]
struct Outcomes {
    is_expected: AtomicBool,
    /// Microseconds since 1970; 0 before the first success.
    succeeded_at: AtomicI64,
    failures: AtomicU64,
}

impl Outcomes {
    fn succeed(&self, at: Timestamp) {
        self.succeeded_at.store(at.as_micros(), Ordering::Relaxed);
    }

    fn fail(&self, work: &'static str, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(target: "annals_server", work, reason, "daily work failed");
    }
}

impl DailyWork {
    /// Results of no work yet, and none to export.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports the results of archiving, also before the first.
    pub fn expect_archives(&self) {
        self.0.archive.is_expected.store(true, Ordering::Relaxed);
    }

    /// Exports the results of verifying, also before the first.
    pub fn expect_verifications(&self) {
        self.0.verification.is_expected.store(true, Ordering::Relaxed);
    }

    /// Records at `now` that `events` events were archived; there may be none that are old enough.
    pub fn archived(&self, now: Timestamp, events: u64) {
        self.0.archive.succeed(now);
        tracing::info!(target: "annals_server", events, "archived");
    }

    /// Records that archiving failed. The `reason` is written to the log.
    pub fn archive_failed(&self, reason: &str) {
        self.0.archive.fail("archive", reason);
    }

    /// Records at `now` that the files of the store were verified up to a position.
    pub fn verified(&self, now: Timestamp, last: Position) {
        self.0.verification.succeed(now);
        tracing::info!(target: "annals_server", position = last.0, "verified");
    }

    /// Records that the files of the store cannot be read or are damaged. The `reason` is written to the log.
    pub fn verification_failed(&self, reason: &str) {
        self.0.verification.fail("verification", reason);
    }
}

/// Reads the results when metrics are collected.
#[derive(Debug)]
pub(super) struct Daily(pub(super) DailyWork);

impl Collector for Daily {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let results = &self.0.0;
        let works = [("archive", &results.archive), ("verification", &results.verification)];
        let expected =
            works.map(|work| Some(work).filter(|(_, outcomes)| outcomes.is_expected.load(Ordering::Relaxed)));
        for (work, outcomes) in expected.into_iter().flatten() {
            let name = format!("event_store_last_{work}_timestamp_seconds");
            let help = format!("Time of the last successful {work} since the server started; 0 before the first");
            let mut metric = encoder.encode_descriptor(&name, &help, None, MetricType::Gauge)?;
            metric.encode_gauge(&seconds(outcomes.succeeded_at.load(Ordering::Relaxed)))?;
        }
        let help = "Daily archives and verifications that failed";
        let mut metric = encoder.encode_descriptor("event_store_daily_failures", help, None, MetricType::Counter)?;
        for (work, outcomes) in expected.into_iter().flatten() {
            let label = [("work", work)];
            let failures = outcomes.failures.load(Ordering::Relaxed);
            let mut family = metric.encode_family(&label)?;
            family.encode_counter::<NoLabelSet, u64, u64>(&failures, None)?;
        }
        Ok(())
    }
}

fn seconds(micros: i64) -> f64 {
    std::time::Duration::from_micros(micros.max(0).unsigned_abs()).as_secs_f64()
}
