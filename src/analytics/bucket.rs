//! Hours, days, weeks, months and years as numbers: the bucket of a point in time, its start and its label.

use std::fmt;

use serde::Serialize;

use super::date::{self, Date};
use super::local::WallClock;
use super::zone::{self, MICROS_PER_DAY, MICROS_PER_HOUR, Span};
use crate::Timestamp;

/// The largest change of an offset: no clock was ever set by more than this.
const CLOCK_CHANGE_MAX: i64 = 3 * MICROS_PER_DAY;

/// The length of one row of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Bucket {
    /// An hour of the wall clock. An hour that the clock shows twice has two rows, a skipped hour has none.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday, numbered by ISO 8601.
    IsoWeek,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::IsoWeek => "ISO week",
            Self::Month => "month",
            Self::Year => "year",
        })
    }
}

impl Bucket {
    /// The number of the bucket that contains `at`: for an hour its first microsecond, for days, weeks, months and years a count.
    pub(super) fn key(self, clock: &mut WallClock, at: Timestamp) -> i64 {
        match self {
            Self::Hour => hour_start(clock.span(at.as_micros()), at.as_micros()),
            Self::Day => clock.date(at).days(),
            Self::IsoWeek => clock.date(at).weeks(),
            Self::Month => clock.date(at).months(),
            Self::Year => clock.date(at).year().into(),
        }
    }

    /// The number of the bucket after `key`.
    pub(super) fn next(self, clock: &mut WallClock, key: i64) -> i64 {
        match self {
            Self::Hour => hour_end(clock.span(key), key),
            Self::Day | Self::IsoWeek | Self::Month | Self::Year => key + 1,
        }
    }

    /// The approximate number of buckets between two numbers.
    pub(super) fn distance(self, first: i64, last: i64) -> i64 {
        match self {
            Self::Hour => (last - first) / MICROS_PER_HOUR + 1,
            Self::Day | Self::IsoWeek | Self::Month | Self::Year => last - first + 1,
        }
    }

    /// Whether this bucket exists in the calendar of the zone: a zone that crosses the date line skips a day.
    pub(super) fn occurs(self, clock: &WallClock, key: i64) -> bool {
        let start = |key| clock.zone().start_of(Date::from_days(key));
        self != Self::Day || start(key) != start(key + 1)
    }

    pub(super) fn start(self, clock: &WallClock, key: i64) -> Timestamp {
        match self {
            Self::Hour => Timestamp::from_micros(key),
            Self::Day => clock.zone().start_of(Date::from_days(key)),
            Self::IsoWeek => clock.zone().start_of(Date::first_of_week(key)),
            Self::Month => clock.zone().start_of(Date::first_of_month(key)),
            Self::Year => clock.zone().start_of(Date::first_of_year(key)),
        }
    }

    pub(super) fn label(self, clock: &mut WallClock, key: i64) -> String {
        match self {
            Self::Hour => hour_label(clock, key),
            Self::Day => Date::from_days(key).to_string(),
            Self::IsoWeek => date::iso_week_label(Date::first_of_week(key)),
            Self::Month => date::month_label(Date::first_of_month(key)),
            Self::Year => date::year_text(key),
        }
    }
}

/// The first microsecond of the wall clock's hour that contains `micros`, but not before its offset began.
fn hour_start(span: Span, micros: i64) -> i64 {
    (wall_hour(span, micros) - span.offset).max(span.from)
}

/// The first microsecond after that hour, but not after its offset ended.
fn hour_end(span: Span, micros: i64) -> i64 {
    (wall_hour(span, micros) + MICROS_PER_HOUR - span.offset).min(span.until)
}

/// The wall clock's time at the last full hour, in microseconds as if it were UTC.
fn wall_hour(span: Span, micros: i64) -> i64 {
    let wall = micros + span.offset;
    wall - wall.rem_euclid(MICROS_PER_HOUR)
}

fn hour_label(clock: &mut WallClock, key: i64) -> String {
    let span = clock.span(key);
    let wall = wall_hour(span, key);
    let day = Date::from_days(wall.div_euclid(MICROS_PER_DAY));
    let mut label = format!("{day}T{:02}:00", wall.rem_euclid(MICROS_PER_DAY) / MICROS_PER_HOUR);
    if is_shown_again(clock, span, key) {
        // Writing to a string cannot fail.
        zone::write_offset(&mut label, span.offset).unwrap_or_default();
    }
    label
}

/// Whether the wall clock shows this hour, or a part of it, with another offset as well.
fn is_shown_again(clock: &mut WallClock, span: Span, key: i64) -> bool {
    let wall = wall_hour(span, key);
    let is_near = |change: i64| change.abs_diff(key) < CLOCK_CHANGE_MAX.unsigned_abs();
    let before = is_near(span.from) && wall < span.from + clock.span(span.from - 1).offset;
    before || is_near(span.until) && wall + MICROS_PER_HOUR > span.until + clock.span(span.until).offset
}
