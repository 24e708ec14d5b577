//! One seed for everything random in a test.

use std::env::VarError;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::{Builder, ManualClock, SeededIds, Store, Timestamp, id};

/// The environment variable that sets the seed of a run.
const VARIABLE: &str = "ANNALS_SEED";

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// One seed for everything random in a test: event ids, pauses between attempts, the chances of [faults](super::faults), and the order in which
/// [processors](crate::cqrs::Processors::by_hand) run.
///
/// [`of_run`](Self::of_run) takes the seed from `ANNALS_SEED`, or draws a random one, and prints it, so that the output of a failed test contains it. The
/// same seed repeats a test byte for byte if one thread calls the store and the clock is manual.
///
/// ```
/// use annals::testing::Seed;
/// use annals::{Expected, NewEvent, StreamId};
///
/// let id = |seed: Seed| {
///     let store = seed.store();
///     store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
///     Ok::<_, annals::Error>(store.read_stream("order-1").events()[0].id())
/// };
/// assert_eq!(id(Seed::new(7))?, id(Seed::new(7))?);
/// assert_ne!(id(Seed::new(7))?, id(Seed::new(8))?);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// A fixed seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this process: `ANNALS_SEED`, or a random one. The first call prints it to standard error.
    ///
    /// # Panics
    ///
    /// When `ANNALS_SEED` is not a whole number below 2^64.
    #[expect(
        clippy::print_stderr,
        clippy::panic,
        reason = "the output of a failed test must have the seed"
    )]
    pub fn of_run() -> Self {
        static SEED: OnceLock<Seed> = OnceLock::new();
        *SEED.get_or_init(|| {
            let seed = match std::env::var(VARIABLE) {
                Ok(text) => match text.trim().parse() {
                    Ok(seed) => seed,
                    Err(error) => panic!("invalid {VARIABLE} '{text}': {error}; expected a whole number below 2^64"),
                },
                Err(VarError::NotPresent) => id::draw(),
                Err(error @ VarError::NotUnicode(_)) => {
                    panic!("invalid {VARIABLE}: {error}; expected a whole number below 2^64")
                }
            };
            eprintln!("annals: to repeat this run, set {VARIABLE}={seed}");
            Self(seed)
        })
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A seed derived from this one and a name: for parts of a test whose draws must not depend on each other.
    #[must_use]
    pub fn part(self, name: &str) -> Self {
        let mixed = name
            .bytes()
            .fold(self.0, |sum, byte| id::scramble(sum ^ u64::from(byte)));
        Self(id::scramble(mixed))
    }

    /// The `nth` random number of this seed, below `end`; 0 if `end` is 0.
    pub fn below(self, nth: u64, end: u64) -> u64 {
        let draw = id::scramble(self.0.wrapping_add(id::scramble(nth)));
        ((u128::from(draw) * u128::from(end)) >> u64::BITS) as u64
    }

    /// A manual clock at 2026-01-01T00:00:00Z, for every seed.
    pub fn clock(self) -> Arc<ManualClock> {
        Arc::new(ManualClock::at(START))
    }

    /// A builder of a store in memory with this clock, and with ids and pauses of this seed. Set a journal or settings on it.
    pub fn builder(self, clock: &Arc<ManualClock>) -> Builder {
        let clock = Arc::<ManualClock>::clone(clock);
        Store::builder().clock(clock).ids(Arc::new(SeededIds::new(self.0)))
    }

    /// A store in memory with its own [clock](Self::clock), and with ids and pauses of this seed. To move the clock, use [`builder`](Self::builder).
    pub fn store(self) -> Store {
        self.builder(&self.clock()).make()
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
