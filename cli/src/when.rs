//! Times as people write them and want to see them: lenient in, one time zone out.

use annals::{AsOf, Position, Timestamp};
use jiff::SignedDuration;
use jiff::civil;
use jiff::tz::TimeZone;

/// Reads RFC 3339, the same with a space, a time without offset (UTC), or a date (its first moment in UTC).
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_in(text, &TimeZone::UTC)
}

/// A time without an offset is read in `zone`.
fn parse_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    read(text, zone, "nor a date like 2026-01-31")
}

/// As [`parse_in`]; `others` names the accepted forms beside a time.
fn read(text: &str, zone: &TimeZone, others: &str) -> Result<Timestamp, String> {
    let refusal = match text.parse::<Timestamp>() {
        Ok(time) => return Ok(time),
        Err(refusal) => refusal.to_string(),
    };
    let has_offset = jiff::fmt::temporal::Pieces::parse(text).is_ok_and(|pieces| pieces.offset().is_some());
    if has_offset {
        return Err(refusal);
    }
    let local: civil::DateTime = text
        .parse()
        .map_err(|_| format!("'{text}' is neither a time like 2026-01-31T12:00:00Z {others}"))?;
    let instant = match zone.to_ambiguous_timestamp(local).compatible() {
        // One rule for fractions of a microsecond, with and without an offset.
        Ok(instant) => instant.to_string().parse(),
        // Within a day of either end of time.
        Err(_) => at_the_edge(local, zone),
    };
    instant.map_err(|error| error.to_string())
}

/// The instant of a local time that jiff's timestamps do not reach, where no zone changes its offset.
fn at_the_edge(local: civil::DateTime, zone: &TimeZone) -> annals::Result<Timestamp> {
    let nearest = if local.year() < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    };
    format!("{local}{}", zone.to_offset(nearest)).parse()
}

/// The forms of a time in a filter, beside a time.
const OTHER_FORMS: &str = "nor a date like 2026-01-31, nor a time ago like 90s, 15m, 3h, 2d or 1w";

/// What the times of a command line are relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times<'a> {
    /// The zone of times without an offset.
    pub(crate) zone: &'a TimeZone,
    /// When the command began.
    pub(crate) now: Timestamp,
}

impl Times<'_> {
    /// Reads a time, a date, or how long ago: `90s`, `-15m`, `3h`, `2d`, `1w`.
    pub(crate) fn parse(self, text: &str) -> Result<Timestamp, String> {
        let Some(ago) = ago(text) else {
            return read(text, self.zone, OTHER_FORMS);
        };
        let micros = self.now.as_micros().checked_sub(ago);
        let time = micros.and_then(|micros| Timestamp::try_from_micros(micros).ok());
        time.ok_or_else(|| format!("'{text}' is before the first time that can be stored, -009999-01-01"))
    }
}

/// The microseconds of a duration of one number and one unit, saturating. A sign changes nothing: all times are ago.
fn ago(text: &str) -> Option<i64> {
    let bare = text.strip_prefix('-').unwrap_or(text);
    let unit = bare.chars().next_back()?;
    let number = bare.strip_suffix(unit).filter(|number| !number.is_empty())?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = number.parse::<i64>().unwrap_or(i64::MAX);
    Some(number.saturating_mul(seconds * 1_000_000))
}

/// Parses an age: `90s`, `15m`, `48h`, `365d`, `12w`.
pub(crate) fn parse_age(text: &str) -> Result<std::time::Duration, String> {
    let micros = ago(text).filter(|micros| *micros > 0 && !text.starts_with('-'));
    let micros = micros.ok_or_else(|| format!("'{text}' is not an age: write it as 48h, 365d or 12w"))?;
    Ok(std::time::Duration::from_micros(micros.unsigned_abs()))
}

/// A position or a time, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A position.
    Position(Position),
    /// What [`Times::parse`] reads.
    Time(String),
}

impl Moment {
    /// Reads a position or a time. What a time is depends on the zone and the clock, which are not known yet.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse::<u64>() {
            return Ok(Self::Position(Position(position)));
        }
        let times = Times {
            zone: &TimeZone::UTC,
            now: Timestamp::from_micros(0),
        };
        let time = times.parse(text);
        time.map(|_| Self::Time(text.to_owned()))
            .map_err(|reason| reason.replacen("is neither a time", "is neither a position, nor a time", 1))
    }

    /// The place in the past that this names.
    pub(crate) fn as_of(&self, times: Times<'_>) -> Result<AsOf, String> {
        match self {
            Self::Position(position) => Ok((*position).into()),
            Self::Time(text) => times.parse(text).map(AsOf::from),
        }
    }
}

/// Reads a date as the store knows days.
pub(crate) fn parse_day(text: &str) -> Result<String, String> {
    let day: civil::Date = text
        .parse()
        .map_err(|_| format!("'{text}' is not a date like 2026-01-31"))?;
    Ok(day.to_string())
}

/// Finds a time zone by its IANA name or its offset from UTC.
pub(crate) fn parse_zone(name: &str) -> Result<TimeZone, String> {
    let parser = jiff::fmt::temporal::DateTimeParser::new();
    parser
        .parse_time_zone(name)
        .map_err(|_| format!("'{name}' is not a time zone like Europe/Amsterdam or +02:00"))
}

/// `time` in `zone`, to the millisecond, with its offset where that is not UTC.
pub(crate) fn show(time: Timestamp, zone: &TimeZone) -> String {
    let micros = time.as_micros();
    let nearest = micros.clamp(
        jiff::Timestamp::MIN.as_microsecond(),
        jiff::Timestamp::MAX.as_microsecond(),
    );
    let offset = zone.to_offset(jiff::Timestamp::from_microsecond(nearest).unwrap_or_default());
    let since_epoch = SignedDuration::from_micros(micros) + SignedDuration::from_secs(offset.seconds().into());
    let local = civil::date(1970, 1, 1).at(0, 0, 0, 0).saturating_add(since_epoch);
    let local = local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    if offset.is_zero() {
        local
    } else {
        format!("{local}{offset:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_before_1970_was_cut_towards_1970() {
        for (local, offset) in [
            ("1969-12-31T23:59:59.9999999", "Z"),
            ("1969-12-31 23:59:59.999999999", "Z"),
            ("1900-01-01T00:00:00.0000001", "Z"),
            ("2026-01-31T12:00:00.1234567", "Z"),
        ] {
            assert_eq!(parse(local), parse(&format!("{local}{offset}")), "{local}");
        }
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let local = "1969-12-31T23:59:59.9999999";
        assert_eq!(parse_in(local, &zone), parse(&format!("{local}+09:00")));
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("2011-10-11 13:45:40.276000+02:00", "2011-10-11T11:45:40.276Z"),
            ("2011-10-11T11:45:40Z", "2011-10-11T11:45:40Z"),
            ("2011-10-11 11:45:40", "2011-10-11T11:45:40Z"),
            ("2011-10-11T11:45", "2011-10-11T11:45:00Z"),
            ("2011-10-11", "2011-10-11T00:00:00Z"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected);
        }
        for text in ["", "yesterday", "2011-13-01", "17"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_end_of_the_year_9999_was_neither_a_time_nor_a_date() {
        let amsterdam = parse_zone("Europe/Amsterdam").unwrap();
        for (text, zone, expected) in [
            ("9999-12-31", &TimeZone::UTC, "9999-12-31T00:00:00Z"),
            (
                "9999-12-31T23:59:59.999999Z",
                &TimeZone::UTC,
                "9999-12-31T23:59:59.999999Z",
            ),
            ("9999-12-31 23:59:59", &amsterdam, "9999-12-31T22:59:59Z"),
            ("9999-12-31", &parse_zone("-08:00").unwrap(), "9999-12-31T08:00:00Z"),
            ("-009999-01-01", &TimeZone::UTC, "-009999-01-01T00:00:00Z"),
        ] {
            let time = parse_in(text, zone).unwrap();
            assert_eq!(time.to_string(), expected, "{text}");
            let shown = show(time, zone);
            assert!(
                shown.starts_with(text.strip_prefix("-00").map_or(&text[..10], |_| "-9999-01-01")),
                "{shown}"
            );
        }
        for text in ["9999-12-31T23:00:00-02:00", "-009999-01-01T00:00:00+01:00"] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains("outside of the times that can be stored"), "{refusal}");
        }
        assert!(parse_in("-009999-01-01", &amsterdam).is_err());
    }

    /// The first moment of February 2026.
    fn times(zone: &TimeZone) -> Times<'_> {
        let now = parse("2026-02-01").unwrap();
        Times { zone, now }
    }

    #[test]
    fn the_past_is_a_position_or_a_time() {
        let as_of = |text: &str| Moment::parse(text).and_then(|moment| moment.as_of(times(&TimeZone::UTC)));
        assert_eq!(as_of("17"), Ok(AsOf::Position(Position(17))));
        assert_eq!(as_of("2026-01-31"), as_of("1d"));
        assert!(matches!(as_of("2026-01-31"), Ok(AsOf::Time(_))));
        for text in ["-1", "", "1y", "soon"] {
            let refusal = Moment::parse(text).unwrap_err();
            assert!(
                refusal.contains("neither a position, nor a time like 2026"),
                "{refusal}"
            );
            assert!(refusal.contains("nor a time ago like 90s"), "{refusal}");
        }
    }

    #[test]
    fn a_time_ago_is_relative_to_the_clock() {
        for (text, expected) in [
            ("90s", "2026-01-31T23:58:30Z"),
            ("-15m", "2026-01-31T23:45:00Z"),
            ("3h", "2026-01-31T21:00:00Z"),
            ("2d", "2026-01-30T00:00:00Z"),
            ("-1w", "2026-01-25T00:00:00Z"),
            ("0s", "2026-02-01T00:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
        ] {
            let time = times(&TimeZone::UTC).parse(text).unwrap();
            assert_eq!(time.to_string(), expected, "{text}");
        }
        // A day is 24 hours, also where a zone changes its offset.
        let amsterdam = parse_zone("Europe/Amsterdam").unwrap();
        let summer = Times {
            zone: &amsterdam,
            now: parse("2026-03-29T12:00:00Z").unwrap(),
        };
        assert_eq!(summer.parse("1d").unwrap().to_string(), "2026-03-28T12:00:00Z");
    }

    #[test]
    fn what_is_no_time_ago_names_the_forms_that_are() {
        for text in [
            "d", "-", "--2d", "+2d", "2", "2y", "2 d", "1.5h", "2D", "1h30m", "٣d", "h3", "-2026",
        ] {
            let refusal = times(&TimeZone::UTC).parse(text).unwrap_err();
            assert!(refusal.contains(OTHER_FORMS), "{text}: {refusal}");
        }
        for text in ["999999w", "9223372036854775807s", "99999999999999999999d"] {
            let refusal = times(&TimeZone::UTC).parse(text).unwrap_err();
            assert!(
                refusal.contains("before the first time that can be stored"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn times_are_shown_in_the_zone() {
        let time = parse("2026-07-01T12:00:00.5Z").unwrap();
        assert_eq!(show(time, &TimeZone::UTC), "2026-07-01 12:00:00.500");
        assert_eq!(
            show(time, &parse_zone("Europe/Amsterdam").unwrap()),
            "2026-07-01 14:00:00.500+02"
        );
        assert_eq!(
            show(time, &parse_zone("+05:30").unwrap()),
            "2026-07-01 17:30:00.500+05:30"
        );
        assert!(parse_zone("Middle/Earth").is_err());
    }
}
