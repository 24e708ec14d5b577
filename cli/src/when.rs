//! Times as people write them and want to see them: lenient in, one time zone out.

use annals::{AsOf, Position, Timestamp};
use jiff::civil;
use jiff::tz::TimeZone;

/// Reads RFC 3339, the same with a space, a time without offset (UTC), or a date (its first moment in UTC).
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_in(text, &TimeZone::UTC)
}

/// As [`parse`], where what has no offset is meant in `zone`.
pub(crate) fn parse_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let refusal = || format!("'{text}' is neither a time like 2026-01-31T12:00:00Z nor a date like 2026-01-31");
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_micros(time.as_microsecond()));
    }
    let local: civil::DateTime = text.parse().map_err(|_| refusal())?;
    let zoned = local.to_zoned(zone.clone()).map_err(|_| refusal())?;
    Ok(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

/// Reads a position or a time.
pub(crate) fn parse_as_of(text: &str) -> Result<AsOf, String> {
    if let Ok(position) = text.parse::<u64>() {
        return Ok(Position(position).into());
    }
    parse(text)
        .map(AsOf::from)
        .map_err(|_| format!("'{text}' is neither a position nor a time"))
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
    let Ok(instant) = jiff::Timestamp::from_microsecond(time.as_micros()) else {
        return time.to_string();
    };
    let local = zone.to_datetime(instant).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    let offset = zone.to_offset(instant);
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
    fn the_past_is_a_position_or_a_time() {
        assert_eq!(parse_as_of("17"), Ok(AsOf::Position(Position(17))));
        assert!(matches!(parse_as_of("2026-01-31"), Ok(AsOf::Time(_))));
        assert!(parse_as_of("-1").is_err());
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
