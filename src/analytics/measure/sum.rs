//! The sum of any number of finite numbers, with the error of rounding, and without overflow on the way.

/// Numbers from here on are added scaled down, so that adding them never overflows.
const LARGE: f64 = 1e200;
/// 2^100: scaling by a power of two loses no digit. It exceeds the number of events that there can be.
const SCALE: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;

/// A sum of finite numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    plain: Compensated,
    /// The sum of the numbers from [`LARGE`] on, divided by [`SCALE`].
    large: Compensated,
}

/// Neumaier's sum: what rounding cuts off is kept.
#[derive(Clone, Debug, Default, PartialEq)]
struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    fn add(&mut self, number: f64) {
        let sum = self.sum + number;
        self.lost += if self.sum.abs() >= number.abs() {
            (self.sum - sum) + number
        } else {
            (number - sum) + self.sum
        };
        self.sum = sum;
    }

    fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

impl Sum {
    pub(super) fn add(&mut self, number: f64) {
        if number.abs() < LARGE {
            self.plain.add(number);
        } else {
            self.large.add(number / SCALE);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.plain.merge(&other.plain);
        self.large.merge(&other.large);
    }

    /// The sum; infinite beyond the range of `f64`.
    pub(super) fn value(&self) -> f64 {
        self.plain.value() + self.large.value() * SCALE
    }

    /// The sum divided by a number above zero.
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 values the last digits of a mean do not matter"
    )]
    pub(super) fn mean(&self, count: u64) -> f64 {
        let count = count as f64;
        if self.value().is_finite() {
            return self.value() / count;
        }
        // Divided before it is scaled, because the sum is beyond the range.
        self.plain.value() / count + self.large.value() / count * SCALE
    }
}
