//! Points in time, their range, and the one place where the clock enters the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time: UTC, with microseconds, from [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
///
/// The range is the same in memory, in files, in PostgreSQL and on the command line: the years -9999 to 9999, to their last
/// microsecond. Written and read as RFC 3339; a year before 0 has a sign and six digits.
///
/// ```
/// use annals::Timestamp;
///
/// let at: Timestamp = "2011-10-01T00:38:44.546+02:00".parse()?;
/// assert_eq!(at.to_string(), "2011-09-30T22:38:44.546Z");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest point in time: -9999-01-01T00:00:00Z.
    pub const MIN: Self = Self(-377_705_116_800_000_000);
    /// The latest point in time: 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The point `micros` microseconds after 1970-01-01T00:00:00Z, clamped to [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// The point `micros` microseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub fn try_from_micros(micros: i64) -> Result<Self, Error> {
        if Self::from_micros(micros).0 == micros {
            return Ok(Self(micros));
        }
        Err(Error::invalid(format!(
            "{micros} microseconds since 1970 is no time between {} and {}",
            Self::MIN,
            Self::MAX
        )))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This point moved later by `duration`, at most to [`MAX`](Self::MAX).
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// This point moved earlier by `duration`, at most to [`MIN`](Self::MIN).
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// Whether this point is at least `age` before `now`. Unlike a point that is moved, an age has no end.
    pub(crate) fn is_past(self, age: Duration, now: Self) -> bool {
        u128::try_from(now.0.saturating_sub(self.0)).is_ok_and(|gone| gone >= age.as_micros())
    }

    /// Days since 1970-01-01, in UTC.
    pub(crate) const fn day(self) -> i64 {
        self.0.div_euclid(MICROS_PER_DAY)
    }

    /// The date in UTC, as `YYYY-MM-DD`.
    pub fn date(self) -> String {
        let mut text = self.to_string();
        text.truncate(text.find('T').unwrap_or(text.len()));
        text
    }

    /// Date and time of the clock in UTC. jiff's own timestamps end some hours earlier than its calendar.
    fn civil(self) -> DateTime {
        EPOCH.saturating_add(SignedDuration::from_micros(self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{}Z", self.civil()),
        }
    }
}

impl fmt::Debug for Timestamp {
    /// Writes the same text as [`Display`](fmt::Display).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(at) = jiff::Timestamp::from_str(text) {
            return Ok(Self::from_micros(whole_micros(at.as_nanosecond()).unwrap_or(i64::MAX)));
        }
        let micros = parse_calendar(text).ok_or_else(|| {
            Error::invalid(format!(
                "'{text}' is not a time of the calendar with an offset: write it as RFC 3339, like 2026-01-31T12:00:00Z"
            ))
        })?;
        Self::try_from_micros(micros).map_err(|_| {
            Error::invalid(format!(
                "'{text}' is outside of the times that can be stored, {} to {}",
                Self::MIN,
                Self::MAX
            ))
        })
    }
}

/// Reads a time of the calendar that jiff's timestamps do not reach, as microseconds since 1970.
fn parse_calendar(text: &str) -> Option<i64> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = pieces.to_numeric_offset()?;
    let local = DateTime::from_parts(pieces.date(), pieces.time()?);
    let since_epoch = local.duration_since(EPOCH) - SignedDuration::from_secs(offset.seconds().into());
    whole_micros(since_epoch.as_nanos())
}

/// The microsecond that has begun, before 1970 too: a finer part is cut off, never rounded to a later time.
fn whole_micros(nanos: i128) -> Option<i64> {
    i64::try_from(nanos.div_euclid(1000)).ok()
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the store reads the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The clock of a [fork](crate::Store::fork) of the store.
    ///
    /// A clock that a test moves must answer with an independent copy, so that one test's time is not another's.
    fn fork(self: Arc<Self>) -> Arc<dyn Clock>;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        self
    }
}

/// A clock that stands still until it is moved: time for tests.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use annals::{ManualClock, NewEvent, Expected, Store, StreamId};
///
/// let clock = Arc::new(ManualClock::at("2026-01-31T12:00:00Z".parse()?));
/// let store = Store::builder().clock(clock.clone()).open()?;
/// clock.advance(Duration::from_secs(60));
/// store.append(&StreamId::new("Order", "order-1"), Expected::NoStream, vec![NewEvent::new("OrderPlaced")])?;
/// assert_eq!(store.read_stream("order-1").events()[0].timestamp().to_string(), "2026-01-31T12:01:00Z");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Moves the clock later by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().after(duration));
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        Arc::new(Self::at(self.now()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_last_day_of_the_year_9999_was_1970() {
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999Z",
            "9999-12-30T22:00:00.5Z",
            "9999-12-30T22:00:01Z",
            "9999-12-31T00:00:00Z",
            "-009999-01-01T00:00:00Z",
            "-009999-01-01T23:59:59.000001Z",
            "-009999-01-02T01:59:58Z",
        ] {
            assert_eq!(at(text).to_string(), text);
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("a time"), at(text));
        }
        assert_eq!(
            (at("9999-12-31T12:00:00Z").date(), Timestamp::MIN.date()),
            ("9999-12-31".into(), "-009999-01-01".into())
        );
    }

    #[test]
    fn a_part_of_a_microsecond_before_1970_moved_the_time_to_1970() {
        for (text, cut) in [
            ("1969-12-31T23:59:59.9999995Z", "1969-12-31T23:59:59.999999Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999Z"),
            ("1969-12-31T23:59:59.0000001Z", "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00.9999999Z", "0001-01-01T00:00:00.999999Z"),
            ("-009999-01-01T00:00:00.0000019Z", "-009999-01-01T00:00:00.000001Z"),
            ("1970-01-01T00:00:00.0000009Z", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(at(text).to_string(), cut, "{text}");
        }
        assert_eq!(at("1969-12-31T23:59:59.9999995Z").day(), -1);
    }

    #[test]
    fn a_failed_assertion_showed_a_time_as_microseconds() {
        for text in [
            "2026-01-31T12:00:00.000001Z",
            "-009999-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(format!("{:?}", at(text)), text);
            assert_eq!(format!("{:?}", Some(at(text))), format!("Some({text})"));
            assert_eq!(
                format!("{:?}", ManualClock::at(at(text))),
                format!("ManualClock({text})")
            );
        }
    }

    #[test]
    fn offsets_count_at_both_ends() {
        assert_eq!(
            at("9999-12-31T23:59:59.999999+14:00").to_string(),
            "9999-12-31T09:59:59.999999Z"
        );
        assert_eq!(at("9999-12-31T18:59:59-05:00"), at("9999-12-31T23:59:59Z"));
        assert_eq!(at("-009999-01-01T02:00:00+02:00"), Timestamp::MIN);
        // Beyond microseconds, digits are cut.
        assert_eq!(at("9999-12-31T23:59:59.999999999Z"), Timestamp::MAX);
    }

    #[test]
    fn a_time_out_of_range_is_said_to_be_that() {
        for text in [
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T12:00:00-23:00",
            "-009999-01-01T00:00:00+00:01",
        ] {
            let error = text.parse::<Timestamp>().expect_err("it is out of range").to_string();
            assert!(
                error.contains("9999-12-31T23:59:59.999999Z") && error.contains("-009999-01-01T00:00:00Z"),
                "{error}"
            );
        }
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-30T00:00:00Z",
            "12:00",
            "now",
            "9999-12-32T00:00:00Z",
            "+10000-01-01T00:00:00Z",
        ] {
            let error = text.parse::<Timestamp>().expect_err("it is no time").to_string();
            assert!(error.contains("RFC 3339"), "{error}");
        }
        for micros in [
            i64::MIN,
            i64::MAX,
            Timestamp::MAX.as_micros() + 1,
            Timestamp::MIN.as_micros() - 1,
        ] {
            assert!(
                matches!(Timestamp::try_from_micros(micros), Err(Error::Invalid { .. })),
                "{micros}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text(micros in Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros(), near in 0_i64..200_000_000_000) {
            let ends = [micros, Timestamp::MIN.as_micros() + near, Timestamp::MAX.as_micros() - near];
            for time in ends.map(Timestamp::from_micros) {
                prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
                prop_assert_eq!(Timestamp::try_from_micros(time.as_micros()), Ok(time));
            }
        }
    }
}
