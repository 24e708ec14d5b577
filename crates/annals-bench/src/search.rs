//! The highest rate at which a limit holds: doubling, then halving the distance.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::load::BEYOND_MIN;

/// Rates that are tried at most.
const TRIES_MAX: usize = 40;
/// The search ends when the rates that hold and do not hold are this near.
const NEAR: f64 = 1.05;
/// No rate is tried above this.
pub const RATE_MAX: f64 = 10_000_000.0;
/// More samples than a percentile needs, since arrivals are random.
const SPARE: f64 = 1.2;

/// The limit of a response time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limit {
    /// The part of the operations, such as 0.99.
    pub share: f64,
    /// Their response time is at most this.
    pub time: Duration,
}

impl Limit {
    /// The lowest rate at which the percentile is known after `time`.
    pub fn lowest_rate(&self, time: Duration) -> f64 {
        let seconds = self.time_needed(1.0).as_secs_f64();
        seconds / time.as_secs_f64()
    }

    /// The time of measurement that a percentile needs at a rate.
    pub fn time_needed(&self, rate: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let samples = BEYOND_MIN as f64 / (1.0 - self.share) * SPARE;
        Duration::try_from_secs_f64(samples / rate).unwrap_or(Duration::MAX)
    }
}

impl FromStr for Limit {
    type Err = String;

    /// Reads `p99<10ms`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no limit: write p50, p90, p99 or p99.9, <, and a time, such as p99<10ms");
        let (share, time) = text.split_once('<').ok_or_else(wrong)?;
        let share = match share.trim() {
            "p50" => 0.5,
            "p90" => 0.9,
            "p99" => 0.99,
            "p99.9" => 0.999,
            _ => return Err(wrong()),
        };
        let time = time.trim();
        let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
        let found = units
            .iter()
            .find_map(|(unit, factor)| Some((time.strip_suffix(unit)?, factor)));
        let seconds = found.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
        let seconds = seconds
            .filter(|seconds| (1e-6..=3_600.0).contains(seconds))
            .ok_or_else(wrong)?;
        Ok(Self {
            share,
            time: Duration::from_secs_f64(seconds),
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} < {:?}", self.share * 100.0, self.time)
    }
}

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that was seen to hold; none if not even the first one held.
    pub holds: Option<f64>,
    /// The lowest rate that was seen not to hold; none if all did.
    pub fails: Option<f64>,
}

/// Finds the highest rate at which `holds` is true, from `start` on, and none below `min`.
///
/// # Errors
///
/// The error of `holds`, which ends the search.
pub fn highest<E>(start: f64, min: f64, holds: &mut dyn FnMut(f64) -> Result<bool, E>) -> Result<Found, E> {
    let mut found = Found {
        holds: None,
        fails: None,
    };
    let mut rate = start;
    for _ in 0..TRIES_MAX {
        if holds(rate)? {
            found.holds = Some(rate);
        } else {
            found.fails = Some(rate);
        }
        rate = match (found.holds, found.fails) {
            (Some(low), None) if low < RATE_MAX => (low * 2.0).min(RATE_MAX),
            (Some(low), Some(high)) if high / low > NEAR => (low * high).sqrt(),
            (None, Some(high)) if high > min => (high / 4.0).max(min),
            (Some(_) | None, _) => break,
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(start: f64, capacity: f64) -> (Found, usize) {
        let mut tries = 0;
        let found = highest(start, 1.0, &mut |rate| {
            tries += 1;
            Ok::<bool, ()>(rate <= capacity)
        });
        (found.unwrap(), tries)
    }

    #[test]
    fn the_highest_rate_is_found_from_above_and_from_below() {
        for (start, capacity) in [(1_000.0, 37_000.0), (1_000.0, 30.0), (500.0, 500.0), (1_000.0, 1_001.0)] {
            let (found, tries) = search(start, capacity);
            let (holds, fails) = (found.holds.unwrap(), found.fails.unwrap());
            assert!(
                holds <= capacity && fails > capacity && fails / holds <= NEAR,
                "{found:?}"
            );
            assert!(tries < 20, "{tries}");
        }
    }

    #[test]
    fn a_search_without_an_end_ends() {
        assert_eq!(search(1_000.0, f64::MAX).0.fails, None);
        assert_eq!(search(1_000.0, f64::MAX).0.holds, Some(RATE_MAX));
        assert_eq!(search(1_000.0, 0.0).0.holds, None);
    }

    #[test]
    fn limits_are_read_and_wrong_ones_refused() {
        let limit: Limit = "p99<10ms".parse().unwrap();
        assert_eq!((limit.share, limit.time), (0.99, Duration::from_millis(10)));
        assert_eq!(limit.time_needed(10_000.0).as_millis(), 1_200);
        assert!((limit.lowest_rate(Duration::from_secs(60)) - 200.0).abs() < 0.01);
        assert_eq!(
            "p99.9 < 250us".parse::<Limit>().unwrap().time,
            Duration::from_micros(250)
        );
        for wrong in ["p99", "p98<1ms", "p99<1", "p99<-1ms", "p99<nan ms", "<1ms", "p99<1e9s"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }
}
