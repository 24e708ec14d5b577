//! Times as people write them and want to see them: lenient in, one time zone out.

use annals::{AsOf, Position, Timestamp};
use jiff::SignedDuration;
use jiff::civil;
use jiff::tz::TimeZone;

/// Reads RFC 3339, the same with a space, a time without offset (UTC), or a date (its first moment in UTC).
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_in(text, &TimeZone::UTC)
}

/// As [`parse`], where what has no offset is meant in `zone`.
pub(crate) fn parse_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
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
        .map_err(|_| format!("'{text}' is neither a time like 2026-01-31T12:00:00Z nor a date like 2026-01-31"))?;
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
