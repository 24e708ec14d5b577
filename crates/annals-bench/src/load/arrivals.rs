//! When the operations of an open loop are due: a schedule that does not know the store.

use std::time::Duration;

use crate::generate::random::Random;
use crate::workload::{Arrivals, Load};

/// The times at which operations are due, from the start of the load on, without an end.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    random: Random,
    load: Load,
    /// Operations that are due on average up to the last one.
    due: f64,
}

impl Schedule {
    pub(crate) fn new(load: &Load, seed: u64) -> Self {
        Self {
            random: Random::of(seed ^ 0x94d0_49bb, 0),
            load: load.clone(),
            due: 0.0,
        }
    }

    /// The seconds after which `due` operations are due, in bursts.
    fn in_bursts(&self, due: f64) -> f64 {
        let Load {
            burst_factor: factor,
            burst_share: share,
            ..
        } = self.load;
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds are far below 2 to the power of 53"
        )]
        let period = self.load.burst_period_ms as f64 / 1_000.0;
        let periods = due / self.load.rate / period;
        let (whole, part) = (periods.floor(), periods.fract());
        // A burst comes first, with this part of the operations of a period.
        let of_burst = factor * share;
        let within = if part < of_burst {
            part / factor
        } else {
            share + (part - of_burst) * (1.0 - share) / (1.0 - of_burst)
        };
        (whole + within) * period
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.due += match self.load.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson | Arrivals::Bursts => self.random.exponential(),
        };
        let seconds = match self.load.arrivals {
            Arrivals::Bursts => self.in_bursts(self.due),
            Arrivals::Constant | Arrivals::Poisson => self.due / self.load.rate,
        };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(arrivals: Arrivals) -> Schedule {
        let load = Load {
            arrivals,
            rate: 1_000.0,
            ..Load::default()
        };
        Schedule::new(&load, 5)
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_variance_of_poisson() {
        let times: Vec<Duration> = schedule(Arrivals::Poisson).take(100_000).collect();
        assert!(times.is_sorted());
        let seconds = times.last().unwrap().as_secs_f64();
        assert!((99.0..101.0).contains(&seconds), "{seconds}");
        let mut counts = vec![0.0_f64; 900];
        for time in &times {
            let slot = usize::try_from(time.as_millis() / 100).unwrap();
            if let Some(count) = counts.get_mut(slot) {
                *count += 1.0;
            }
        }
        let variance = counts.iter().map(|count| (count - 100.0).powi(2)).sum::<f64>() / 900.0;
        assert!((85.0..115.0).contains(&variance), "{variance}");
    }

    #[test]
    fn constant_arrivals_have_one_distance() {
        let times: Vec<Duration> = schedule(Arrivals::Constant).take(3).collect();
        assert_eq!(times, [1, 2, 3].map(Duration::from_millis));
    }

    #[test]
    fn bursts_keep_the_rate_and_are_five_times_as_dense() {
        let times: Vec<Duration> = schedule(Arrivals::Bursts).take(100_000).collect();
        assert!(times.is_sorted());
        let seconds = times.last().unwrap().as_secs_f64();
        assert!((99.0..101.0).contains(&seconds), "{seconds}");
        let within = times.iter().filter(|time| time.as_micros() % 200_000 < 20_000).count();
        assert!((49_000..51_000).contains(&within), "{within} of half of all");
    }
}
