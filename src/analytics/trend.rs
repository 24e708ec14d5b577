//! Events per hour, day, week or month, over time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bucket::Bucket;
use super::local::WallClock;
use super::zone::TimeZone;
use crate::{Error, EventRef, Timestamp};

/// The most rows that a trend returns when it includes empty ones.
const ROWS_MAX: i64 = 1_000_000;

/// Approximate bytes of an ordered map for one number and its count.
const BYTES_PER_ROW: usize = 32;

/// Whether rows without events are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Empty {
    /// They are returned with a count of 0.
    Include,
    /// They are left out.
    Leave,
}

/// One row of a trend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TrendRow {
    /// The first moment of the row.
    pub start: Timestamp,
    /// The label, such as `2026-01-31T13:00`, `2026-01-31`, `2026-W05` or `2026-01`. An hour that the clock shows twice has its offset as
    /// well: `2026-10-25T02:00+01:00`.
    pub label: String,
    /// The number of events of the row.
    pub count: u64,
}

/// Events per hour, day, week or month, over time.
///
/// ```
/// use annals::analytics::{Bucket, Empty, TimeZone, Trend};
///
/// let mut trend = Trend::new(Bucket::Day, TimeZone::UTC);
/// trend.add_at("2026-01-30T12:00:00Z".parse()?);
/// trend.add_at("2026-02-01T12:00:00Z".parse()?);
/// let rows = trend.rows(Empty::Include)?;
/// let rows: Vec<_> = rows.iter().map(|row| (row.label.as_str(), row.count)).collect();
/// assert_eq!(rows, [("2026-01-30", 1), ("2026-01-31", 0), ("2026-02-01", 1)]);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trend {
    bucket: Bucket,
    clock: WallClock,
    /// By the number of the bucket.
    counts: BTreeMap<i64, u64>,
}

impl Trend {
    /// Creates an empty trend with rows of `bucket` in the calendar of `zone`.
    pub fn new(bucket: Bucket, zone: TimeZone) -> Self {
        Self {
            bucket,
            clock: WallClock::new(zone),
            counts: BTreeMap::new(),
        }
    }

    /// Counts `event` at its timestamp.
    pub fn add(&mut self, event: EventRef<'_>) {
        self.add_at(event.timestamp());
    }

    /// Counts one event at `at`.
    pub fn add_at(&mut self, at: Timestamp) {
        *self.row_of(at) += 1;
    }

    /// Extends the rows to the row of `at`, when empty rows are included.
    pub fn reach(&mut self, at: Timestamp) {
        self.row_of(at);
    }

    fn row_of(&mut self, at: Timestamp) -> &mut u64 {
        let key = self.bucket.key(&mut self.clock, at);
        self.counts.entry(key).or_insert(0)
    }

    /// Adds the counts of `other`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the time zones or the lengths of the rows differ; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.clock.check_same_zone(&other.clock)?;
        if self.bucket != other.bucket {
            let (bucket, other) = (self.bucket, other.bucket);
            return Err(Error::invalid(format!(
                "a trend by {bucket} cannot be merged with one by {other}"
            )));
        }
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_insert(0) += count;
        }
        Ok(())
    }

    /// The total number of events.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The length of the rows.
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// The time zone of the hours and days.
    pub fn time_zone(&self) -> &TimeZone {
        self.clock.zone()
    }

    /// Approximate bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.counts.len() * BYTES_PER_ROW
    }

    /// The rows, ascending by time.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when there are more than a million rows, empty ones included: use longer rows, or leave the
    /// empty ones out.
    pub fn rows(&self, empty: Empty) -> Result<Vec<TrendRow>, Error> {
        let mut clock = self.clock.clone();
        match empty {
            Empty::Leave => {
                let filled = self.counts.iter().filter(|(_, count)| **count > 0);
                Ok(filled.map(|(key, count)| self.row(&mut clock, *key, *count)).collect())
            }
            Empty::Include => self.all_rows(&mut clock),
        }
    }

    fn all_rows(&self, clock: &mut WallClock) -> Result<Vec<TrendRow>, Error> {
        let (Some((&first, _)), Some((&last, _))) = (self.counts.first_key_value(), self.counts.last_key_value())
        else {
            return Ok(Vec::new());
        };
        self.check_rows(first, last)?;
        let mut rows = Vec::new();
        let mut key = first;
        while key <= last {
            let count = self.counts.get(&key).copied().unwrap_or(0);
            if count > 0 || self.bucket.occurs(clock, key) {
                rows.push(self.row(clock, key, count));
            }
            key = self.bucket.next(clock, key);
        }
        Ok(rows)
    }

    fn check_rows(&self, first: i64, last: i64) -> Result<(), Error> {
        let rows = self.bucket.distance(first, last);
        if rows <= ROWS_MAX {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "a trend by {} has {rows} rows here, and {ROWS_MAX} at most: use longer rows, or leave the empty ones out",
            self.bucket
        )))
    }

    fn row(&self, clock: &mut WallClock, key: i64, count: u64) -> TrendRow {
        TrendRow {
            start: self.bucket.start(clock, key),
            label: self.bucket.label(clock, key),
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::zone::MICROS_PER_DAY;
    use super::*;

    fn trend(bucket: Bucket, zone: &str, times: &[&str]) -> Trend {
        let mut trend = Trend::new(bucket, zone.parse().unwrap());
        for at in times {
            trend.add_at(at.parse().unwrap());
        }
        trend
    }

    fn check(trend: &Trend, empty: Empty, expected: &[(&str, &str, u64)]) {
        let rows = trend.rows(empty).unwrap();
        let starts: Vec<_> = rows.iter().map(|row| row.start.to_string()).collect();
        let rows: Vec<_> = rows
            .iter()
            .zip(&starts)
            .map(|(row, start)| (&**start, &*row.label, row.count))
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn an_hour_that_the_clock_repeats_is_two_rows() {
        let times = [
            "2026-10-24T23:59:59Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z",
        ];
        let trend = trend(Bucket::Hour, "Europe/Amsterdam", &times);
        let rows = [
            ("2026-10-24T23:00:00Z", "2026-10-25T01:00", 1),
            ("2026-10-25T00:00:00Z", "2026-10-25T02:00+02:00", 1),
            ("2026-10-25T01:00:00Z", "2026-10-25T02:00+01:00", 1),
            ("2026-10-25T02:00:00Z", "2026-10-25T03:00", 1),
        ];
        check(&trend, Empty::Include, &rows);
        check(&trend, Empty::Leave, &rows);
    }

    #[test]
    fn an_hour_that_the_clock_skips_is_no_row() {
        let trend = trend(
            Bucket::Hour,
            "America/New_York",
            &["2026-03-08T06:00:00Z", "2026-03-08T08:59:59Z"],
        );
        let rows = [
            ("2026-03-08T06:00:00Z", "2026-03-08T01:00", 1),
            ("2026-03-08T07:00:00Z", "2026-03-08T03:00", 0),
            ("2026-03-08T08:00:00Z", "2026-03-08T04:00", 1),
        ];
        check(&trend, Empty::Include, &rows);
    }

    #[test]
    fn a_clock_set_back_by_half_an_hour_parts_its_hour() {
        let trend = trend(
            Bucket::Hour,
            "Australia/Lord_Howe",
            &["2026-04-04T14:00:00Z", "2026-04-04T16:00:00Z"],
        );
        let rows = [
            ("2026-04-04T14:00:00Z", "2026-04-05T01:00+11:00", 1),
            ("2026-04-04T15:00:00Z", "2026-04-05T01:00+10:30", 0),
            ("2026-04-04T15:30:00Z", "2026-04-05T02:00", 1),
        ];
        check(&trend, Empty::Include, &rows);
    }

    #[test]
    fn a_day_on_which_clocks_change_is_one_row() {
        let times = ["2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"];
        let rows = [
            ("2026-03-28T23:00:00Z", "2026-03-29", 2),
            ("2026-03-29T22:00:00Z", "2026-03-30", 1),
        ];
        check(&trend(Bucket::Day, "Europe/Amsterdam", &times), Empty::Include, &rows);
    }

    #[test]
    fn a_day_that_a_zone_skips_is_no_row() {
        let trend = trend(
            Bucket::Day,
            "Pacific/Apia",
            &["2011-12-30T00:00:00Z", "2011-12-31T00:00:00Z"],
        );
        let rows = [
            ("2011-12-29T10:00:00Z", "2011-12-29", 1),
            ("2011-12-30T10:00:00Z", "2011-12-31", 1),
        ];
        check(&trend, Empty::Include, &rows);
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let times = ["2027-01-01T12:00:00Z", "2027-01-04T12:00:00Z", "2025-12-29T12:00:00Z"];
        let rows = [
            ("2025-12-29T00:00:00Z", "2026-W01", 1),
            ("2026-12-28T00:00:00Z", "2026-W53", 1),
            ("2027-01-04T00:00:00Z", "2027-W01", 1),
        ];
        check(&trend(Bucket::IsoWeek, "UTC", &times), Empty::Leave, &rows);
    }

    #[test]
    fn months_and_weeks_go_on_before_1970() {
        let times = ["1969-11-30T23:30:00Z", "1970-01-01T00:00:00Z"];
        let months = [
            ("1969-11-30T23:00:00Z", "1969-12", 1),
            ("1969-12-31T23:00:00Z", "1970-01", 1),
        ];
        check(
            &trend(Bucket::Month, "Europe/Amsterdam", &times),
            Empty::Include,
            &months,
        );
        let weeks = [
            ("1969-12-22T00:00:00Z", "1969-W52", 1),
            ("1969-12-29T00:00:00Z", "1970-W01", 1),
        ];
        check(
            &trend(Bucket::IsoWeek, "UTC", &["1969-12-28T23:59:59.999999Z", times[1]]),
            Empty::Include,
            &weeks,
        );
    }

    #[test]
    fn the_whole_range_of_times_is_few_years() {
        let times = ["2024-12-31T22:59:59Z", "2024-12-31T23:00:00Z", "2026-01-01T00:00:00Z"];
        let years = [
            ("2023-12-31T23:00:00Z", "2024", 1),
            ("2024-12-31T23:00:00Z", "2025", 1),
            ("2025-12-31T23:00:00Z", "2026", 1),
        ];
        check(&trend(Bucket::Year, "Europe/Amsterdam", &times), Empty::Include, &years);
        let ends = [Timestamp::MIN.to_string(), Timestamp::MAX.to_string()];
        for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let trend = trend(Bucket::Year, zone, &[&ends[0], &ends[1]]);
            assert!((19_999..=20_001).contains(&trend.rows(Empty::Include).unwrap().len()));
            assert_eq!(trend.total(), 2);
        }
    }

    #[test]
    fn too_many_rows_are_refused_and_the_filled_ones_are_not() {
        let trend = trend(
            Bucket::Hour,
            "Europe/Amsterdam",
            &["0001-01-01T00:00:00Z", "2026-01-01T00:00:00Z"],
        );
        assert!(matches!(trend.rows(Empty::Include), Err(Error::Invalid { .. })));
        assert_eq!(trend.rows(Empty::Leave).unwrap().len(), 2);
    }

    #[test]
    fn rows_reach_where_they_are_told_to() {
        let mut trend = trend(Bucket::Day, "UTC", &["2026-01-02T00:00:00Z"]);
        trend.reach("2026-01-01T05:00:00Z".parse().unwrap());
        assert_eq!(trend.rows(Empty::Include).unwrap().len(), 2);
        assert_eq!((trend.rows(Empty::Leave).unwrap().len(), trend.total()), (1, 1));
    }

    #[test]
    fn the_ends_of_time_have_rows() {
        for bucket in [Bucket::Hour, Bucket::Day, Bucket::IsoWeek, Bucket::Month, Bucket::Year] {
            for zone in ["UTC", "Europe/Amsterdam", "-12:00", "+14:00"] {
                let mut trend = trend(bucket, zone, &[]);
                trend.add_at(Timestamp::MIN);
                trend.add_at(Timestamp::MAX);
                assert_eq!(trend.rows(Empty::Leave).unwrap().len(), 2);
            }
        }
    }

    #[test]
    fn trends_of_different_rows_do_not_mix() {
        let mut days = trend(Bucket::Day, "UTC", &[]);
        assert!(matches!(
            days.merge(&trend(Bucket::Hour, "UTC", &[])),
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            days.merge(&trend(Bucket::Day, "+01:00", &[])),
            Err(Error::Invalid { .. })
        ));
    }

    fn counted(bucket: Bucket, zone: &str, times: &[i64]) -> Trend {
        let mut trend = Trend::new(bucket, zone.parse().unwrap());
        for micros in times {
            trend.add_at(Timestamp::from_micros(*micros));
        }
        trend
    }

    proptest! {
        #[test]
        fn merging_is_adding_all(
            bucket in prop::sample::select(vec![Bucket::Hour, Bucket::Day, Bucket::IsoWeek, Bucket::Month, Bucket::Year]),
            times in prop::collection::vec(any::<i64>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = times.split_at(cut.index(times.len() + 1));
            let mut merged = counted(bucket, "America/New_York", head);
            merged.merge(&counted(bucket, "America/New_York", tail)).unwrap();
            prop_assert_eq!(&merged, &counted(bucket, "America/New_York", &times));
            prop_assert_eq!(merged.total(), times.len() as u64);
        }

        #[test]
        fn rows_follow_each_other_and_their_labels_differ(
            bucket in prop::sample::select(vec![Bucket::Hour, Bucket::Day, Bucket::IsoWeek, Bucket::Month, Bucket::Year]),
            zone in prop::sample::select(vec!["Europe/Amsterdam", "Africa/Cairo", "Australia/Lord_Howe", "America/St_Johns"]),
            from in -2_000_000_000_000_000_i64..2_000_000_000_000_000,
            days in 0_i64..400,
        ) {
            let trend = counted(bucket, zone, &[from, from + days * MICROS_PER_DAY]);
            let rows = trend.rows(Empty::Include).unwrap();
            prop_assert!(rows.windows(2).all(|pair| pair[0].start < pair[1].start && pair[0].label != pair[1].label));
            prop_assert!(rows[0].start.as_micros() <= from);
            prop_assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 2);
            let labels: std::collections::HashSet<_> = rows.iter().map(|row| &row.label).collect();
            prop_assert_eq!(labels.len(), rows.len());
        }
    }
}
