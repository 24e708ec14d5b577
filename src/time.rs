//! Points in time, and the one place where the clock enters the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point in time: UTC, with microseconds, from year -9999 to 9999.
///
/// Written and read as RFC 3339.
///
/// ```
/// use annals::Timestamp;
///
/// let at: Timestamp = "2011-10-01T00:38:44.546+02:00".parse()?;
/// assert_eq!(at.to_string(), "2011-09-30T22:38:44.546Z");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest point in time that can be written.
    pub const MIN: Self = Self(-377_705_023_201_000_000);
    /// The latest point in time that can be written.
    pub const MAX: Self = Self(253_402_207_200_999_999);

    /// The point `micros` microseconds after 1970-01-01T00:00:00Z, held between [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
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

    pub(crate) fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        jiff::Timestamp::from_str(text)
            .map(|at| Self::from_micros(at.as_microsecond()))
            .map_err(|_| {
                Error::invalid(format!(
                    "'{text}' is not a time between the years -9999 and 9999: write it as RFC 3339, like 2026-01-31T12:00:00Z"
                ))
            })
    }
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
/// assert_eq!(store.stream("order-1").events()[0].timestamp().to_string(), "2026-01-31T12:01:00Z");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

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
