//! Events by weekday and hour.

use serde::Serialize;
use serde::ser::SerializeStruct;

use super::local::WallClock;
use super::zone::TimeZone;
use crate::{Error, EventRef, Timestamp};

/// Counts of events by weekday and hour of the day.
///
/// ```
/// use annals::analytics::Heatmap;
///
/// let mut heatmap = Heatmap::new("Europe/Amsterdam".parse()?);
/// heatmap.add_at("2026-08-02T22:15:00Z".parse()?);
/// // In Amsterdam it is Monday, a quarter past midnight.
/// assert_eq!(heatmap.counts()[0][0], 1);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heatmap {
    clock: WallClock,
    counts: [[u64; 24]; 7],
}

impl Heatmap {
    /// Creates an empty heatmap with the days and hours of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            clock: WallClock::new(zone),
            counts: [[0; 24]; 7],
        }
    }

    /// Counts `event` at its timestamp.
    pub fn add(&mut self, event: EventRef<'_>) {
        self.add_at(event.timestamp());
    }

    /// Counts one event at `at`.
    pub fn add_at(&mut self, at: Timestamp) {
        let local = self.clock.read(at);
        self.counts[local.date.weekday()][local.hour] += 1;
    }

    /// Adds the counts of `other`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the time zones differ; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.clock.check_same_zone(&other.clock)?;
        for (count, more) in self
            .counts
            .as_flattened_mut()
            .iter_mut()
            .zip(other.counts.as_flattened())
        {
            *count += more;
        }
        Ok(())
    }

    /// The number of events of each weekday, from Monday, and each hour, from midnight.
    pub fn counts(&self) -> &[[u64; 24]; 7] {
        &self.counts
    }

    /// The number of events of the busiest hour.
    pub fn max(&self) -> u64 {
        self.counts.as_flattened().iter().copied().max().unwrap_or(0)
    }

    /// The total number of events.
    pub fn total(&self) -> u64 {
        self.counts.as_flattened().iter().sum()
    }

    /// The time zone of the days and hours.
    pub fn time_zone(&self) -> &TimeZone {
        self.clock.zone()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Serialize for Heatmap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Heatmap", 4)?;
        map.serialize_field("timeZone", self.time_zone())?;
        map.serialize_field("total", &self.total())?;
        map.serialize_field("max", &self.max())?;
        map.serialize_field("counts", &self.counts)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heatmap(zone: &str, times: &[i64]) -> Heatmap {
        let mut heatmap = Heatmap::new(zone.parse().unwrap());
        for micros in times {
            heatmap.add_at(Timestamp::from_micros(*micros));
        }
        heatmap
    }

    #[test]
    fn a_repeated_hour_counts_twice_and_a_skipped_one_never() {
        let mut heatmap = Heatmap::new("America/New_York".parse().unwrap());
        let night = [
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:30:00Z",
            "2026-03-08T06:30:00Z",
            "2026-03-08T07:30:00Z",
        ];
        for at in night {
            heatmap.add_at(at.parse().unwrap());
        }
        assert_eq!(heatmap.counts()[6][..4], [0, 3, 0, 1]);
        assert_eq!((heatmap.max(), heatmap.total()), (3, 4));
    }

    #[test]
    fn before_1970_the_week_goes_on() {
        let heatmap = heatmap("UTC", &[-1]);
        assert_eq!(heatmap.counts()[2][23], 1);
    }

    #[test]
    fn zones_do_not_mix() {
        let mut one = heatmap("UTC", &[0]);
        let error = one.merge(&heatmap("+01:00", &[0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "what was counted in UTC cannot be merged with what was counted in +01:00"
        );
        assert_eq!(one.total(), 1);
    }

    proptest! {
        #[test]
        fn merging_is_adding_all(times in prop::collection::vec(any::<i64>(), 0..200), cut in any::<prop::sample::Index>()) {
            let (head, tail) = times.split_at(cut.index(times.len() + 1));
            let mut merged = heatmap("Europe/Amsterdam", head);
            merged.merge(&heatmap("Europe/Amsterdam", tail)).unwrap();
            prop_assert_eq!(&merged, &heatmap("Europe/Amsterdam", &times));
            prop_assert_eq!(merged.total(), times.len() as u64);
        }
    }
}
