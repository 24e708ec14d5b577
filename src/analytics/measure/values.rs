//! What is known of the values of a field.

use serde::Serialize;
use serde::ser::SerializeStruct;

use super::distinct::Distinct;
use super::sketch::Sketch;
use super::sum::Sum;
use crate::EventRef;
use crate::json;

/// Statistics of the values of a field: of its numbers, and of the events around them.
///
/// A number is a JSON number in the range of `f64`. Other values, such as texts, `null` and `1e999`, are not missing and count as distinct values only.
/// Distinct numbers are compared as `f64`, other values by their JSON text.
///
/// Serialised as an object with `events`, `missing`, `count`, `sum`, `mean`, `min`, `max`, `p50`, `p90`, `p99` and `distinct`; a sum beyond the range of `f64`
/// is `null` in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    events: u64,
    missing: u64,
    count: u64,
    sum: Sum,
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
        self.sum.add(number);
        let (min, max) = self.range.unwrap_or((number, number));
        self.range = Some((min.min(number), max.max(number)));
        self.sketch.add(number);
        // Zero has two signs, and is one value.
        self.distinct.add(&(number + 0.0).to_bits().to_le_bytes());
    }

    /// Adds the values of other events.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.missing += other.missing;
        self.count += other.count;
        self.sum.merge(&other.sum);
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

    /// The sum of the numbers, as the nearest `f64` but for rounding of the last digit; infinite beyond the range of `f64`.
    pub fn sum(&self) -> f64 {
        self.sum.value()
    }

    /// The mean of the numbers.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.mean(self.count))
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

    #[cfg(feature = "cache")]
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
