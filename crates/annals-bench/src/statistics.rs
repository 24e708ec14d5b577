//! Medians of repeats, and how sure they are.

use serde::{Deserialize, Serialize};

use crate::generate::random::Random;
use crate::load::{Quantile, Samples};

/// Draws of a bootstrap.
const DRAWS: usize = 1_000;
/// Draws of a bootstrap over histograms. Each draw merges histograms, so there are fewer draws than for numbers.
const MERGES: usize = 100;
/// The seed of bootstraps: the same repeats give the same interval.
const SEED: u64 = 0x00b0_0757;

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median of the repeats, or the percentile of all of them together.
    pub value: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end of its 95 % interval.
    pub high: f64,
}

impl Estimate {
    /// Whether a measurement can give it: no number is negative, and the interval does not end before it begins.
    pub fn is_possible(&self) -> bool {
        let numbers = [self.value, self.low, self.high];
        numbers.iter().all(|number| number.is_finite() && *number >= 0.0) && self.low <= self.high
    }

    /// Whether the intervals have a point in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

/// The median; `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = middle.checked_sub(1).and_then(|before| sorted.get(before))?;
    Some(f64::midpoint(*lower, upper))
}

/// The median of `values`, with an interval from drawing as many of them again and again (Efron's bootstrap).
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let value = median(values)?;
    let mut random = Random::of(SEED, values.len() as u64);
    let mut drawn = vec![0.0; values.len()];
    let draw = |_| {
        for place in &mut drawn {
            let index = random.below(values.len() as u64) as usize;
            *place = values.get(index).copied().unwrap_or(value);
        }
        median(&drawn).unwrap_or(value)
    };
    Some(interval(value, (0..DRAWS).map(draw).collect()))
}

/// The percentile `share` of the repeats together, in milliseconds, with an interval from drawing whole repeats. `of` returns it for
/// merged samples. There is none if the upper end of the interval is not known.
pub fn estimate_percentile(repeats: &[Samples], of: &dyn Fn(&Samples) -> Quantile) -> Option<Estimate> {
    let merged = |picked: &mut dyn FnMut(usize) -> usize| {
        let mut all = Samples::default();
        for index in 0..repeats.len() {
            if let Some(samples) = repeats.get(picked(index)) {
                all.add(samples);
            }
        }
        of(&all).known().map(|time| time.as_secs_f64() * 1_000.0)
    };
    let value = merged(&mut |index| index)?;
    let mut random = Random::of(SEED, repeats.len() as u64);
    // A draw without a percentile has one beyond all that are known.
    let draw = |_| merged(&mut |_| random.below(repeats.len() as u64) as usize).unwrap_or(f64::INFINITY);
    Some(interval(value, (0..MERGES).map(draw).collect())).filter(|found| found.high.is_finite())
}

/// The middle 95 % of `drawn`.
fn interval(value: f64, mut drawn: Vec<f64>) -> Estimate {
    drawn.sort_unstable_by(f64::total_cmp);
    let cut = drawn.len() / 40;
    let low = drawn.get(cut).copied().unwrap_or(value);
    let high = drawn.iter().rev().nth(cut).copied().unwrap_or(value);
    Estimate {
        value,
        low: low.min(value),
        high: high.max(value),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[f64::NAN, 4.0]), Some(4.0));
    }

    #[test]
    fn the_interval_covers_the_spread_and_is_the_same_each_time() {
        let values = [100.0, 101.0, 99.0, 130.0, 100.5];
        let found = estimate(&values).unwrap();
        assert!((found.value - 100.5).abs() < f64::EPSILON);
        assert!(found.low <= 99.5 && found.high >= 129.0, "{found:?}");
        assert_eq!(Some(found), estimate(&values));
        let same = estimate(&[7.0; 5]).unwrap();
        assert!((same.high - same.low).abs() < f64::EPSILON);
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn an_interval_left_out_the_draws_that_had_no_percentile() {
        let repeat = |count: u64, millis: u64| {
            let mut samples = Samples::default();
            (0..count).for_each(|_| samples.record(Duration::from_millis(millis)));
            samples
        };
        // The median of all is known, but of half of the draws there are too few samples: the large repeat decides.
        let repeats = [repeat(1_000, 5), repeat(10, 1), repeat(10, 1)];
        assert_eq!(estimate_percentile(&repeats, &|all| all.quantile(0.5)), None);
        let enough = [repeat(1_000, 5), repeat(1_000, 1), repeat(1_000, 1)];
        assert!(estimate_percentile(&enough, &|all| all.quantile(0.5)).is_some());
    }

    #[test]
    fn a_percentile_of_repeats_was_the_mean_of_their_percentiles() {
        let repeat = |millis: u64| {
            let mut samples = Samples::default();
            (0..1_000).for_each(|_| samples.record(Duration::from_millis(millis)));
            samples
        };
        // Nine fast repeats and a slow one: nine of ten operations were fast.
        let repeats: Vec<Samples> = (0..10).map(|index| repeat(if index == 3 { 100 } else { 1 })).collect();
        let p80 = estimate_percentile(&repeats, &|all| all.quantile(0.8)).unwrap();
        assert!((p80.value - 1.0).abs() < 0.01, "{p80:?}");
        assert!(p80.high > 90.0, "{p80:?}");
    }
}
