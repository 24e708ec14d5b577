//! What is known of the values of a field.

use serde::Serialize;
use serde::ser::SerializeStruct;

use super::distinct::Distinct;
use super::sketch::Sketch;
use crate::EventRef;
use crate::json;

/// Statistics of the values of a field: of its numbers, and of the events around them.
///
/// Serialised as an object with `events`, `missing`, `count`, `sum`, `mean`, `min`, `max`, `p50`, `p90`, `p99` and `distinct`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    events: u64,
    missing: u64,
    count: u64,
    sum: f64,
    /// What rounding has left out of the sum.
    lost: f64,
    range: Option<(f64, f64)>,
    sketch: Sketch,
    distinct: Distinct,
}

impl Values {
    pub(super) fn add(&mut self, event: EventRef<'_>, pointer: &str) {
        self.events += 1;
        let Some(raw) = json::at(event.data(), pointer) else {
            self.missing += 1;
            return;
        };
        let number = raw.get().parse().ok().filter(|number: &f64| number.is_finite());
        match number.filter(|_| !raw.get().starts_with('"')) {
            Some(number) => self.add_number(number),
            None => self.distinct.add(raw.get().as_bytes()),
        }
    }

    fn add_number(&mut self, number: f64) {
        self.count += 1;
        self.add_to_sum(number);
        let (min, max) = self.range.unwrap_or((number, number));
        self.range = Some((min.min(number), max.max(number)));
        self.sketch.add(number);
        // Zero has two signs, and is one value.
        self.distinct.add(&(number + 0.0).to_bits().to_le_bytes());
    }

    /// Neumaier's sum: what rounding cuts off is kept.
    fn add_to_sum(&mut self, number: f64) {
        let sum = self.sum + number;
        self.lost += if self.sum.abs() >= number.abs() {
            (self.sum - sum) + number
        } else {
            (number - sum) + self.sum
        };
        self.sum = sum;
    }

    /// Adds the values of other events.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.missing += other.missing;
        self.count += other.count;
        self.add_to_sum(other.sum);
        self.lost += other.lost;
        self.range = match (self.range, other.range) {
            (Some((min, max)), Some((their_min, their_max))) => Some((min.min(their_min), max.max(their_max))),
            (ours, theirs) => ours.or(theirs),
        };
        self.sketch.merge(&other.sketch);
        self.distinct.merge(&other.distinct);
    }

    /// The number of events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The number of events without the field.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The number of numbers.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the numbers, as the nearest `f64` but for rounding of the last digit.
    pub fn sum(&self) -> f64 {
        self.sum + self.lost
    }

    /// The mean of the numbers.
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 values the last digits of a mean do not matter"
    )]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }

    /// The smallest number.
    pub fn min(&self) -> Option<f64> {
        self.range.map(|(min, _)| min)
    }

    /// The largest number.
    pub fn max(&self) -> Option<f64> {
        self.range.map(|(_, max)| max)
    }

    /// The number below which `percent` of the numbers lie, from 0 to 100. The error is at most 1 % of the result.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let (min, max) = self.range?;
        Some(self.sketch.quantile(percent / 100.0)?.clamp(min, max))
    }

    /// The number of distinct values, of any kind. Exact up to 256, then an estimate with a standard error of 1.6 %.
    pub fn distinct(&self) -> u64 {
        self.distinct.count()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.sketch.heap_bytes() + self.distinct.heap_bytes()
    }
}

impl Serialize for Values {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Values", 11)?;
        fields.serialize_field("events", &self.events)?;
        fields.serialize_field("missing", &self.missing)?;
        fields.serialize_field("count", &self.count)?;
        fields.serialize_field("sum", &self.sum())?;
        fields.serialize_field("mean", &self.mean())?;
        fields.serialize_field("min", &self.min())?;
        fields.serialize_field("max", &self.max())?;
        fields.serialize_field("p50", &self.percentile(50.0))?;
        fields.serialize_field("p90", &self.percentile(90.0))?;
        fields.serialize_field("p99", &self.percentile(99.0))?;
        fields.serialize_field("distinct", &self.distinct())?;
        fields.end()
    }
}
