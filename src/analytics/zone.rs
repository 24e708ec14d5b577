//! Time zones: named zones of the time zone database, and fixed offsets.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use jiff::tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::date::Date;
use crate::{Error, Name, Timestamp};

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
pub(super) const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The most transitions without a change of the offset, such as a new name of the zone, that one search skips.
const SAME_OFFSET_MAX: usize = 64;

/// A time zone by its IANA name, or a fixed offset from UTC.
///
/// Two time zones are equal when their names are equal, in the spelling of the database.
///
/// ```
/// use annals::analytics::TimeZone;
///
/// let amsterdam: TimeZone = "europe/amsterdam".parse()?;
/// assert_eq!(amsterdam.to_string(), "Europe/Amsterdam");
/// assert_eq!("+0530".parse::<TimeZone>()?.to_string(), "+05:30");
/// assert_eq!("Z".parse::<TimeZone>()?, TimeZone::UTC);
/// assert!("Mars/Olympus_Mons".parse::<TimeZone>().is_err());
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct TimeZone(Rules);

#[derive(Clone)]
enum Rules {
    /// Microseconds east of UTC.
    Fixed(i64),
    Region {
        name: Name,
        zone: tz::TimeZone,
    },
}

impl Default for Rules {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// A range of time with one offset from UTC, in microseconds: from `from`, inclusive, to `until`, exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) offset: i64,
}

impl Span {
    pub(super) fn contains(self, micros: i64) -> bool {
        self.from <= micros && micros < self.until
    }
}

impl TimeZone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Rules::Fixed(0));

    /// The time zone of this machine; UTC when it has none.
    pub fn system() -> Self {
        let zone = tz::TimeZone::system();
        if zone.is_unknown() {
            Self::UTC
        } else {
            Self::region("local", zone)
        }
    }

    fn region(fallback: &str, zone: tz::TimeZone) -> Self {
        let name = Name::from(zone.iana_name().unwrap_or(fallback));
        if name == "UTC" {
            Self::UTC
        } else {
            Self(Rules::Region { name, zone })
        }
    }

    /// A range around `micros` that has one offset; usually the longest one.
    pub(super) fn span(&self, micros: i64) -> Span {
        match &self.0 {
            Rules::Fixed(offset) => Span {
                from: i64::MIN,
                until: i64::MAX,
                offset: *offset,
            },
            Rules::Region { zone, .. } => region_span(zone, micros),
        }
    }

    /// The first moment of `date`.
    pub(super) fn start_of(&self, date: Date) -> Timestamp {
        let midnight = date.days().saturating_mul(MICROS_PER_DAY);
        match &self.0 {
            Rules::Fixed(offset) => Timestamp::from_micros(midnight.saturating_sub(*offset)),
            Rules::Region { zone, .. } => region_start(zone, date).unwrap_or_else(|| Timestamp::from_micros(midnight)),
        }
    }
}

fn region_start(zone: &tz::TimeZone, date: Date) -> Option<Timestamp> {
    let year = i16::try_from(date.year()).ok()?;
    let month = i8::try_from(date.month()).ok()?;
    let day = i8::try_from(date.day()).ok()?;
    let start = jiff::civil::Date::new(year, month, day)
        .ok()?
        .to_zoned(zone.clone())
        .ok()?;
    Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
}

fn region_span(zone: &tz::TimeZone, micros: i64) -> Span {
    // Transitions happen at whole seconds, so a whole second has one offset.
    let at = known_second(micros.div_euclid(MICROS_PER_SECOND));
    let offset = zone.to_offset(at);
    Span {
        from: last_change(zone, at, offset).map_or(i64::MIN, jiff::Timestamp::as_microsecond),
        until: next_change(zone, at, offset).map_or(i64::MAX, jiff::Timestamp::as_microsecond),
        offset: i64::from(offset.seconds()) * MICROS_PER_SECOND,
    }
}

/// The second, clamped to the range of jiff's timestamps: no zone changes its offset outside it.
fn known_second(second: i64) -> jiff::Timestamp {
    let nearest = second.clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    jiff::Timestamp::from_second(nearest).unwrap_or_default()
}

/// The time from which the zone has the `offset` of `at`, or a later time when the search would take too long.
fn last_change(zone: &tz::TimeZone, at: jiff::Timestamp, offset: tz::Offset) -> Option<jiff::Timestamp> {
    let after = jiff::Timestamp::from_second(at.as_second() + 1).unwrap_or(at);
    let same = zone
        .preceding(after)
        .take(SAME_OFFSET_MAX)
        .take_while(|transition| transition.offset() == offset);
    same.last().map(|transition| transition.timestamp())
}

/// The time until which the zone has the `offset` of `at`, or an earlier time when the search would take too long.
fn next_change(zone: &tz::TimeZone, at: jiff::Timestamp, offset: tz::Offset) -> Option<jiff::Timestamp> {
    let mut next = None;
    for transition in zone.following(at).take(SAME_OFFSET_MAX) {
        next = Some(transition.timestamp());
        if transition.offset() != offset {
            break;
        }
    }
    next
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rules::Fixed(0) => f.write_str("UTC"),
            Rules::Fixed(offset) => write_offset(f, *offset),
            Rules::Region { name, .. } => f.write_str(name),
        }
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({self})")
    }
}

/// Formats an offset in microseconds as `+02:00`, with seconds when it has any.
pub(super) fn write_offset(out: &mut impl fmt::Write, offset: i64) -> fmt::Result {
    let sign = if offset < 0 { '-' } else { '+' };
    let seconds = offset.unsigned_abs() / MICROS_PER_SECOND.unsigned_abs();
    write!(out, "{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)?;
    if seconds.is_multiple_of(60) {
        Ok(())
    } else {
        write!(out, ":{:02}", seconds % 60)
    }
}

impl PartialEq for TimeZone {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Rules::Fixed(one), Rules::Fixed(two)) => one == two,
            (
                Rules::Region { name, zone },
                Rules::Region {
                    name: other_name,
                    zone: other_zone,
                },
            ) => name == other_name && (zone.iana_name().is_some() || zone == other_zone),
            (Rules::Fixed(_), Rules::Region { .. }) | (Rules::Region { .. }, Rules::Fixed(_)) => false,
        }
    }
}

impl Eq for TimeZone {}

impl Hash for TimeZone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Rules::Fixed(offset) => offset.hash(state),
            Rules::Region { name, .. } => name.hash(state),
        }
    }
}

impl FromStr for TimeZone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(offset) = parse_offset(text) {
            return Ok(Self(Rules::Fixed(offset)));
        }
        let zone = tz::TimeZone::get(text).ok().filter(|zone| !zone.is_unknown());
        zone.map(|zone| Self::region(text, zone)).ok_or_else(|| {
            Error::invalid(format!(
                "'{text}' is not a time zone that is known here: use a name like Europe/Amsterdam, or an offset like +02:00"
            ))
        })
    }
}

/// Parses `Z`, `UTC`, `+02`, `+0200` or `+02:00` into microseconds.
fn parse_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() == 4 => rest.split_at_checked(2)?,
        None => (rest, "00"),
    };
    let minutes_east = two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?;
    Some(sign * minutes_east * 60 * MICROS_PER_SECOND)
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (number <= max).then_some(number)
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> TimeZone {
        text.parse().unwrap()
    }

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_micros()
    }

    #[test]
    fn names_and_offsets_survive_their_text() {
        for text in [
            "UTC",
            "Europe/Amsterdam",
            "America/New_York",
            "+02:00",
            "-03:30",
            "+23:59",
        ] {
            assert_eq!(zone(text).to_string(), text);
            assert_eq!(zone(&zone(text).to_string()), zone(text));
        }
    }

    #[test]
    fn what_is_no_time_zone_is_refused() {
        let texts = [
            "",
            " ",
            "+",
            "+2",
            "+2:00",
            "+24:00",
            "+02:60",
            "+02:00:00",
            "+é0",
            "Nowhere",
            "Etc/Unknown",
            "../UTC",
        ];
        for text in texts {
            let error = text.parse::<TimeZone>().unwrap_err();
            assert!(
                matches!(&error, Error::Invalid { .. }) && error.to_string().contains("+02:00"),
                "{text}"
            );
        }
    }

    #[test]
    fn utc_is_one_zone_under_all_its_names() {
        for text in ["utc", "Z", "+00:00", "-00:00", "+00"] {
            assert_eq!(zone(text), TimeZone::UTC, "{text}");
        }
    }

    #[test]
    fn a_span_ends_where_the_offset_changes() {
        let span = zone("Europe/Amsterdam").span(micros("2026-07-01T00:00:00Z"));
        assert_eq!(span.from, micros("2026-03-29T01:00:00Z"));
        assert_eq!(span.until, micros("2026-10-25T01:00:00Z"));
        assert_eq!(span.offset, 2 * MICROS_PER_HOUR);
    }

    #[test]
    fn a_span_begins_at_its_transition_and_not_before() {
        let new_york = zone("America/New_York");
        let change = micros("2026-03-08T07:00:00Z");
        assert_eq!(new_york.span(change).from, change);
        assert_eq!(new_york.span(change - 1).until, change);
        assert_eq!(new_york.span(change - 1).offset, -5 * MICROS_PER_HOUR);
    }

    fn check_span(zone: &TimeZone, at: i64) {
        let span = zone.span(at);
        assert!(span.contains(at), "{zone} {at}");
        for edge in [span.from.max(Timestamp::MIN.as_micros()), at, span.until - 1] {
            let edge = jiff::Timestamp::from_microsecond(edge).unwrap_or(jiff::Timestamp::MAX);
            let offset = edge.in_tz(&zone.to_string()).unwrap().offset();
            assert_eq!(
                i64::from(offset.seconds()) * MICROS_PER_SECOND,
                span.offset,
                "{zone} {at} {edge}"
            );
        }
    }

    #[test]
    fn spans_agree_with_the_database_everywhere() {
        for name in [
            "Europe/Amsterdam",
            "Europe/Dublin",
            "Africa/Casablanca",
            "Pacific/Apia",
            "Australia/Lord_Howe",
        ] {
            let zone = zone(name);
            for step in -400..800 {
                check_span(&zone, step * 40 * MICROS_PER_DAY + 12_345);
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_a_span() {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            assert!(zone("America/New_York").span(at.as_micros()).contains(at.as_micros()));
        }
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_starts_later() {
        let start = zone("Africa/Cairo").start_of("2026-04-24".parse().unwrap());
        assert_eq!(start.to_string(), "2026-04-23T22:00:00Z");
        assert_eq!(
            TimeZone::UTC.start_of("1969-12-31".parse().unwrap()).to_string(),
            "1969-12-31T00:00:00Z"
        );
    }
}
