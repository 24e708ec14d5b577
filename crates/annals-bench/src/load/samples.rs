//! Times as histograms, and percentiles that are only given where they are known.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Samples that must lie beyond a percentile.
pub const BEYOND_MIN: u64 = 100;
/// Decimal digits that are kept of a time.
const DIGITS: u8 = 3;

/// A percentile, or the reason why it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// This time.
    Is(Duration),
    /// Fewer than [`BEYOND_MIN`] samples lie beyond it.
    TooFew,
    /// It lies among operations that had no answer when the load ended.
    Censored,
}

impl Quantile {
    /// The time, if it is known.
    pub fn known(self) -> Option<Duration> {
        match self {
            Self::Is(time) => Some(time),
            Self::TooFew | Self::Censored => None,
        }
    }
}

/// Times, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Counts", into = "Counts")]
pub struct Samples {
    histogram: Histogram<u64>,
    /// Exact: a histogram rounds it up.
    max: Duration,
}

/// Times as another process gets them: each with its number, and the longest one exactly.
#[derive(Serialize, Deserialize)]
struct Counts {
    counts: Vec<(u64, u64)>,
    max: Duration,
}

impl From<Samples> for Counts {
    fn from(samples: Samples) -> Self {
        let recorded = samples.histogram.iter_recorded();
        Self {
            counts: recorded
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
                .collect(),
            max: samples.max,
        }
    }
}

impl From<Counts> for Samples {
    fn from(counts: Counts) -> Self {
        let mut samples = Self::default();
        for (nanos, count) in counts.counts {
            // As in `record`: the histogram grows.
            samples.histogram.record_n(nanos.max(1), count).ok();
        }
        samples.max = counts.max;
        samples
    }
}

impl Default for Samples {
    #[expect(clippy::expect_used, reason = "three digits are a valid precision")]
    fn default() -> Self {
        let mut histogram = Histogram::new(DIGITS).expect("a histogram");
        // The histogram grows with the largest time: no time is clipped.
        histogram.auto(true);
        Self {
            histogram,
            max: Duration::ZERO,
        }
    }
}

impl Samples {
    /// Adds a time.
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A histogram that grows takes every number; `saturating_record` would not let it grow.
        self.histogram.record(nanos.max(1)).ok();
        self.max = self.max.max(time);
    }

    /// Adds the times of `other`.
    pub fn add(&mut self, other: &Self) {
        // Histograms that grow, with the same digits, can be added.
        self.histogram.add(&other.histogram).ok();
        self.max = self.max.max(other.max);
    }

    /// The number of recorded times.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The longest time, exactly.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The histogram, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The time that the part `share` of all does not exceed, without any unanswered operations.
    pub fn quantile(&self, share: f64) -> Quantile {
        self.censored_quantile(share, 0, Duration::MAX)
    }

    /// The same where `censored` operations had no answer after at least `waited`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts are far below 2 to the power of 53, and not negative"
    )]
    pub fn censored_quantile(&self, share: f64, censored: u64, waited: Duration) -> Quantile {
        let (known, all) = (self.count(), self.count() + censored);
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        if all < rank + BEYOND_MIN {
            return Quantile::TooFew;
        }
        if rank > known {
            return Quantile::Censored;
        }
        let nanos = self.histogram.value_at_quantile((rank as f64 - 0.5) / known as f64);
        let time = Duration::from_nanos(nanos).min(self.max);
        // Every unanswered operation took longer than it waited: below that, the order of all is known.
        if censored > 0 && time > waited {
            Quantile::Censored
        } else {
            Quantile::Is(time)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        millis
            .into_iter()
            .for_each(|time| samples.record(Duration::from_millis(time)));
        samples
    }

    fn near(quantile: Quantile, millis: u32) -> bool {
        let millis = f64::from(millis);
        let time = quantile.known().map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
        (time - millis).abs() <= millis / 500.0
    }

    #[test]
    fn times_of_another_process_were_rounded_once_more() {
        let own = samples((1..=5_000).map(|number| number * number % 7_919));
        let told: Samples = serde_json::from_str(&serde_json::to_string(&own).unwrap()).unwrap();
        assert_eq!(told.histogram(), own.histogram());
        assert_eq!((told.max(), told.count()), (own.max(), own.count()));
    }

    #[test]
    fn a_percentile_was_printed_with_fewer_than_100_samples_beyond_it() {
        let enough = samples(1..=10_000);
        assert!(near(enough.quantile(0.99), 9_900));
        assert_eq!(enough.quantile(0.991), Quantile::TooFew);
        assert!(near(samples(1..=200).quantile(0.5), 100));
        assert_eq!(samples(1..=199).quantile(0.5), Quantile::TooFew);
        assert_eq!(Samples::default().quantile(0.5), Quantile::TooFew);
    }

    #[test]
    fn a_percentile_was_printed_that_lies_among_unanswered_operations() {
        let answered = samples(1..=1_000);
        let waited = Duration::from_millis(700);
        // 1,000 more have no answer: the median is the last answered one, but longer than some may take.
        assert_eq!(answered.censored_quantile(0.5, 1_000, waited), Quantile::Censored);
        assert_eq!(answered.censored_quantile(0.75, 1_000, waited), Quantile::Censored);
        assert!(near(answered.censored_quantile(0.3, 1_000, waited), 600));
    }

    #[test]
    fn a_long_time_was_clipped_at_the_top_of_the_histogram() {
        let long = Duration::from_hours(30 * 24);
        let mut samples = samples(1..=1_000);
        samples.record(long);
        assert_eq!(samples.max(), long);
        assert_eq!(samples.count(), 1_001);
        let mut other = Samples::default();
        other.add(&samples);
        assert_eq!((other.count(), other.max()), (1_001, long));
        assert_eq!(other.quantile(0.5), samples.quantile(0.5));
    }
}
