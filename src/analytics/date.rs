//! Calendar dates as numbers of days.
//!
//! jiff's calendar ends with the year 9999. Buckets reach one day, week, month or year further, and a time zone some hours: so days are converted here,
//! and tests compare them with jiff's.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::Error;

/// A calendar date without a time zone. Formatted as `YYYY-MM-DD`.
///
/// ```
/// use annals::analytics::Date;
///
/// let date: Date = "2026-01-31".parse()?;
/// assert_eq!((date.year(), date.month(), date.day()), (2026, 1, 31));
/// assert!("2026-02-29".parse::<Date>().is_err());
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since 1970-01-01.
    days: i64,
}

impl Date {
    pub(super) const fn from_days(days: i64) -> Self {
        Self { days }
    }

    /// Days since 1970-01-01.
    pub(super) const fn days(self) -> i64 {
        self.days
    }

    /// The first day of a month; months are counted from January of year 0.
    pub(super) fn first_of_month(month: i64) -> Self {
        Self::from_days(days_from_civil(month.div_euclid(12), month.rem_euclid(12) + 1, 1))
    }

    /// The first day of a year.
    pub(super) fn first_of_year(year: i64) -> Self {
        Self::from_days(days_from_civil(year, 1, 1))
    }

    /// Months since January of year 0.
    pub(super) fn months(self) -> i64 {
        let (year, month, _) = civil_from_days(self.days);
        year * 12 + month - 1
    }

    /// The year of the calendar.
    pub fn year(self) -> i32 {
        i32::try_from(civil_from_days(self.days).0).unwrap_or_default()
    }

    /// The month, from 1 to 12.
    pub fn month(self) -> u32 {
        u32::try_from(civil_from_days(self.days).1).unwrap_or_default()
    }

    /// The day of the month, from 1 to 31.
    pub fn day(self) -> u32 {
        u32::try_from(civil_from_days(self.days).2).unwrap_or_default()
    }

    /// Days since the last Monday: 0 on a Monday, 6 on a Sunday.
    pub(super) fn weekday(self) -> usize {
        usize::try_from((self.days + 3).rem_euclid(7)).unwrap_or_default()
    }

    /// Weeks, from Monday to Sunday, since the week of 1970-01-01.
    pub(super) fn weeks(self) -> i64 {
        (self.days + 3).div_euclid(7)
    }

    /// The Monday of a week that [`weeks`](Self::weeks) counted.
    pub(super) fn first_of_week(week: i64) -> Self {
        Self::from_days(week * 7 - 3)
    }
}

/// The ISO 8601 week that begins on `monday`, as `YYYY-Www`.
pub(super) fn iso_week_label(monday: Date) -> String {
    // A week belongs to the year that has most of its days, which is the year of its Thursday.
    let thursday = monday.days + 3;
    let (year, ..) = civil_from_days(thursday);
    let week = (thursday - days_from_civil(year, 1, 1)) / 7 + 1;
    format!("{}-W{week:02}", year_text(year))
}

/// The month of `date`, as `YYYY-MM`.
pub(super) fn month_label(date: Date) -> String {
    let (year, month, _) = civil_from_days(date.days);
    format!("{}-{month:02}", year_text(year))
}

/// A year, with a sign and six digits when four digits are not enough.
pub(super) fn year_text(year: i64) -> String {
    if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+07}")
    }
}

/// Year, month and day, after Howard Hinnant's `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that a leap day is the last of its year; an era is 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01, after Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.days);
        write!(f, "{}-{month:02}-{day:02}", year_text(year))
    }
}

impl fmt::Debug for Date {
    /// Writes the same text as [`Display`](fmt::Display).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(date) = parse_signed(text) {
            return Ok(date);
        }
        let date = jiff::civil::Date::strptime("%Y-%m-%d", text)
            .map_err(|_| Error::invalid(format!("'{text}' is not a date: write it as 2026-01-31")))?;
        Ok(Self::from_days(days_from_civil(
            date.year().into(),
            date.month().into(),
            date.day().into(),
        )))
    }
}

/// Parses a date whose year has a sign and six digits, as [`Display`](fmt::Display) writes it.
fn parse_signed(text: &str) -> Option<Date> {
    let mut fields = text.get(1..)?.splitn(3, '-');
    let mut number = || fields.next()?.parse::<u32>().ok().map(i64::from);
    let (year, month, day) = (number()?, number()?, number()?);
    let year = if text.starts_with('-') { -year } else { year };
    let is_bounded = year.abs() <= 999_999 && (1..=12).contains(&month) && (1..=31).contains(&day);
    let date = is_bounded.then(|| Date::from_days(days_from_civil(year, month, day)))?;
    // Rejects days that the month does not have, and any other spelling.
    (date.to_string() == text).then_some(date)
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_are_those_of_the_calendar(days in -4_371_587_i64..=2_932_896) {
            let date = Date::from_days(days);
            let expected = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            prop_assert_eq!(date.to_string(), expected.to_string());
            prop_assert_eq!(days_from_civil(date.year().into(), date.month().into(), date.day().into()), days);
            prop_assert_eq!(date.weekday(), usize::try_from(expected.weekday().to_monday_zero_offset()).unwrap());
            prop_assert!(Date::first_of_month(date.months()) <= date && Date::first_of_month(date.months() + 1) > date);
            if let Ok(monday) = expected.checked_sub(jiff::Span::new().days(i64::try_from(date.weekday()).unwrap())) {
                let week = monday.iso_week_date();
                let label = format!("{}-W{:02}", year_text(week.year().into()), week.week());
                prop_assert_eq!(iso_week_label(Date::first_of_week(date.weeks())), label);
            }
        }
    }

    #[test]
    fn a_failed_assertion_showed_a_date_as_a_number_of_days() {
        for (days, text) in [(20_454, "2026-01-01"), (-719_529, "-000001-12-31")] {
            assert_eq!(format!("{:?}", Some(Date::from_days(days))), format!("Some({text})"));
        }
    }

    #[test]
    fn dates_before_the_year_0_have_their_sign() {
        assert_eq!(Date::from_days(-719_529).to_string(), "-000001-12-31");
        assert_eq!(Date::from_days(-719_528).to_string(), "0000-01-01");
    }

    #[test]
    fn a_date_was_written_in_a_form_that_was_not_read() {
        for text in [
            "-000001-12-31",
            "+010000-01-01",
            "-009999-01-01",
            "0000-02-29",
            "9999-12-31",
        ] {
            let date = text.parse::<Date>().expect(text);
            assert_eq!(date.to_string(), text);
        }
        for days in [-4_371_587, -719_529, 0, 2_932_896, 2_932_897] {
            let date = Date::from_days(days);
            assert_eq!(date.to_string().parse(), Ok(date));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "today",
            "-000001-02-29",
            "+010000-1-1",
            "-000000-01-01",
            "+10000-01-01",
            "+9999999-01-01",
        ] {
            assert!(matches!(text.parse::<Date>(), Err(Error::Invalid { .. })), "{text}");
        }
    }
}
