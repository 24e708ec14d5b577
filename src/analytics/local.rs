//! Converts points in time to the wall clock of a zone; fast for many of them.

use super::date::Date;
use super::zone::{MICROS_PER_DAY, MICROS_PER_HOUR, Span, TimeZone};
use crate::{Error, Timestamp};

/// Ranges cached at once: enough for events of eight years in any order.
const SLOTS: usize = 16;

/// The span of one slot as a power of two: 2^44 microseconds, 203 days.
const SLOT_SHIFT: u32 = 44;

/// A time of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) date: Date,
    /// From 0 to 23.
    pub(super) hour: usize,
}

/// The wall clock of a zone, with a cache of the ranges between transitions.
#[derive(Clone, Debug)]
pub(super) struct WallClock {
    zone: TimeZone,
    spans: [Span; SLOTS],
}

impl WallClock {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            spans: [Span::default(); SLOTS],
        }
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the zones differ.
    pub(super) fn check_same_zone(&self, other: &Self) -> Result<(), Error> {
        if self == other {
            return Ok(());
        }
        let (zone, other) = (&self.zone, &other.zone);
        Err(Error::invalid(format!(
            "what was counted in {zone} cannot be merged with what was counted in {other}"
        )))
    }

    /// The range around `micros` that has one offset.
    pub(super) fn span(&mut self, micros: i64) -> Span {
        let slot = usize::try_from(micros.unsigned_abs() >> SLOT_SHIFT).unwrap_or_default() % SLOTS;
        let known = self.spans[slot];
        if known.contains(micros) {
            return known;
        }
        let span = self.zone.span(micros);
        self.spans[slot] = span;
        span
    }

    /// The time of the wall clock in microseconds, as if it were UTC.
    fn wall_micros(&mut self, at: Timestamp) -> i64 {
        let micros = at.as_micros();
        micros + self.span(micros).offset
    }

    pub(super) fn date(&mut self, at: Timestamp) -> Date {
        Date::from_days(self.wall_micros(at).div_euclid(MICROS_PER_DAY))
    }

    pub(super) fn read(&mut self, at: Timestamp) -> Local {
        let wall = self.wall_micros(at);
        let hour = wall.rem_euclid(MICROS_PER_DAY) / MICROS_PER_HOUR;
        Local {
            date: Date::from_days(wall.div_euclid(MICROS_PER_DAY)),
            hour: usize::try_from(hour).unwrap_or_default(),
        }
    }
}

impl PartialEq for WallClock {
    /// Two clocks are equal when their zones are; their caches are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone
    }
}

impl Eq for WallClock {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_hours_of_time_were_shown_without_their_offset() {
        for (zone, at, date, hour) in [
            ("Europe/Amsterdam", "9999-12-31T12:00:00Z", "9999-12-31", 13),
            ("America/New_York", "9999-12-31T02:00:00Z", "9999-12-30", 21),
            ("+05:30", "9999-12-31T12:00:00Z", "9999-12-31", 17),
            ("Asia/Kolkata", "9999-12-31T20:00:00Z", "+010000-01-01", 1),
            ("UTC", "9999-12-31T23:59:59.999999Z", "9999-12-31", 23),
        ] {
            let local = WallClock::new(zone.parse().unwrap()).read(at.parse().unwrap());
            assert_eq!((local.date.to_string().as_str(), local.hour), (date, hour), "{zone}");
        }
    }

    proptest! {
        #[test]
        fn the_wall_clock_is_that_of_the_database(
            name in prop::sample::select(vec!["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
            times in prop::collection::vec(Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros(), 1..20),
            recent in prop::collection::vec(0_i64..2_000_000_000_000_000, 1..50),
        ) {
            let mut clock = WallClock::new(name.parse().unwrap());
            for micros in times.into_iter().chain(recent) {
                let at = Timestamp::from_micros(micros);
                let Ok(known) = jiff::Timestamp::from_microsecond(micros) else { continue };
                let expected = known.in_tz(name).unwrap();
                let local = clock.read(at);
                prop_assert_eq!(local.date.to_string(), expected.date().to_string());
                prop_assert_eq!(local.hour, usize::try_from(expected.hour()).unwrap());
            }
        }
    }
}
