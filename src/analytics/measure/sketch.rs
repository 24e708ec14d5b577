//! Percentiles of any number of values in bounded memory.
//!
//! The idea is that of `DDSketch` (Masson, Rim and Lee, VLDB 2019): values are counted in buckets whose bounds grow by a constant factor, so a percentile
//! is off by a constant part of its value at most.

use std::collections::BTreeMap;

/// The largest error of a percentile, as a part of its value.
const ERROR: f64 = 0.01;

/// Buckets of each sign. They cover a ratio of 10¹⁷ between the largest and the smallest value; beyond that, the smallest are counted together.
const BUCKETS_MAX: usize = 2_048;

#[cfg(feature = "cache")]
/// Approximate bytes of a bucket.
const BYTES_PER_BUCKET: usize = 24;

/// Counts of values in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sketch {
    /// By the number of the bucket, of the values below zero without their sign.
    negative: BTreeMap<i32, u64>,
    zero: u64,
    positive: BTreeMap<i32, u64>,
}

/// The factor from one bound to the next.
fn factor() -> f64 {
    (1.0 + ERROR) / (1.0 - ERROR)
}

/// The bucket of a value above zero.
fn bucket(value: f64) -> i32 {
    (value.ln() / factor().ln()).ceil() as i32
}

/// The value that stands for a bucket.
fn value_of(bucket: i32) -> f64 {
    // In two steps: the bound of the bucket may be outside the range where its value is not.
    let half = bucket / 2;
    factor().powi(half) * (2.0 / (factor() + 1.0)) * factor().powi(bucket - half)
}

fn count(buckets: &mut BTreeMap<i32, u64>, bucket: i32, more: u64) {
    *buckets.entry(bucket).or_insert(0) += more;
    if buckets.len() > BUCKETS_MAX
        && let Some((_, smallest)) = buckets.pop_first()
        && let Some(mut next) = buckets.first_entry()
    {
        *next.get_mut() += smallest;
    }
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        if value > 0.0 {
            count(&mut self.positive, bucket(value), 1);
        } else if value < 0.0 {
            count(&mut self.negative, bucket(-value), 1);
        } else {
            self.zero += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (bucket, more) in &other.positive {
            count(&mut self.positive, *bucket, *more);
        }
        for (bucket, more) in &other.negative {
            count(&mut self.negative, *bucket, *more);
        }
    }

    fn total(&self) -> u64 {
        self.zero + self.positive.values().sum::<u64>() + self.negative.values().sum::<u64>()
    }

    /// The value below which a part of the values lies, from 0 to 1; `None` without values.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank is not negative, and beyond 2^53 values its last digits do not matter"
    )]
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let total = self.total();
        let rank = (part.clamp(0.0, 1.0) * total.saturating_sub(1) as f64) as u64;
        let negative = self
            .negative
            .iter()
            .rev()
            .map(|(bucket, count)| (-value_of(*bucket), *count));
        let positive = self.positive.iter().map(|(bucket, count)| (value_of(*bucket), *count));
        let mut seen = 0;
        let mut ascending = negative.chain([(0.0, self.zero)]).chain(positive);
        ascending.find_map(|(value, count)| {
            seen += count;
            (seen > rank).then_some(value)
        })
    }

    #[cfg(feature = "cache")]
    pub(super) fn heap_bytes(&self) -> usize {
        (self.negative.len() + self.positive.len()) * BYTES_PER_BUCKET
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_was_off_by_more_than_a_hundredth(
            mut values in prop::collection::vec(prop_oneof![-1e9..1e9, -1.0..1.0, Just(0.0), (-300..300).prop_map(|e| 10_f64.powi(e))], 1..300),
            part in 0.0..=1.0,
        ) {
            let mut sketch = Sketch::default();
            for value in &values {
                sketch.add(*value);
            }
            values.sort_by(f64::total_cmp);
            let last = u32::try_from(values.len() - 1).expect("at most 300");
            let exact = (0..=last).rev().find(|rank| f64::from(*rank) <= part * f64::from(last));
            let exact = values[exact.map_or(0, |rank| rank as usize)];
            let found = sketch.quantile(part).expect("there are values");
            prop_assert!((found - exact).abs() <= exact.abs() * (ERROR + 1e-9), "{found} instead of {exact}");
        }

        #[test]
        fn merged_parts_were_not_the_whole(values in prop::collection::vec(-1e6..1e6, 0..200), cut in 0_usize..200) {
            let (mut first, mut second, mut whole) = (Sketch::default(), Sketch::default(), Sketch::default());
            for (place, value) in values.iter().enumerate() {
                if place < cut { first.add(*value) } else { second.add(*value) }
                whole.add(*value);
            }
            first.merge(&second);
            prop_assert_eq!(first, whole);
        }
    }

    #[test]
    fn values_of_every_size_took_unbounded_memory() {
        let mut sketch = Sketch::default();
        (-30_000..30_000).for_each(|exponent| sketch.add(1.02_f64.powi(exponent)));
        assert!(sketch.heap_bytes() <= 2 * BUCKETS_MAX * BYTES_PER_BUCKET);
        let largest = sketch.quantile(1.0).expect("there are values");
        assert!(
            (largest / 1.02_f64.powi(29_999) - 1.0).abs() <= ERROR + 1e-9,
            "{largest}"
        );
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
