//! Personalities: a store in memory that behaves as a store in a database does when several processes use it.
//!
//! Tests on a store in memory are fast, but there is only one process. A [`Personality`] adds the [anomalies](Anomaly) that a program meets when its
//! store is in PostgreSQL. Each anomaly was reproduced on a real server first; the same test runs on the personality.
//! `docs/limits-of-the-memory-store.md` says what still differs.
//!
//! A store in PostgreSQL has two kinds of handles, and so has the personality:
//!
//! | on PostgreSQL | in a test | anomalies |
//! |---|---|---|
//! | `Store::open_url`, the one writer, which runs the processors | [`Store::behaves_like`] | [`Redelivery`](Anomaly::Redelivery) |
//! | `Store::follow`, the other processes | [`Store::followed_like`] | all others |
//!
//! ```
//! use annals::testing::Seed;
//! use annals::testing::personality::{Anomaly, Personality};
//! use annals::{Error, Expected, NewEvent, Store, StreamId};
//!
//! let postgres = Personality::postgres().only(Anomaly::SerializationRetries);
//! postgres.roll_back(1);
//! let store = Store::in_memory();
//! let follower = store.followed_like(&postgres)?;
//!
//! let order = StreamId::new("Order", "order-1");
//! let place = || follower.append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")]);
//! assert!(matches!(place(), Err(Error::Unavailable { .. })));
//! assert_eq!(store.read_stream("order-1").events().len(), 0);
//! # Ok::<(), Error>(())
//! ```

mod feed;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::feed::{MemoryFeed, MemoryRemote, Wakeup};
use super::Seed;
#[cfg(feature = "cqrs")]
use crate::Delivery;
use crate::journal::Followed;
use crate::{Result, SeededIds, Store};

/// The longest random delay of a notification.
const LATE_MAX: Duration = Duration::from_millis(50);
/// The longest time that a replica lags behind while replay is not paused.
const LAG_MAX: Duration = Duration::from_millis(20);
/// An anomaly happens in one of this number of draws.
const ONE_IN: u64 = 4;
/// The largest number of consecutive appends that draws roll back.
const ROLLED_BACK_MAX: u64 = 3;

/// A behaviour that a program meets when its store is in a database, and not when it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Anomaly {
    /// A follower is notified of a commit of another process up to 50 ms late. Until then it reads stale data, and an append decided on it conflicts.
    LateNotifications,
    /// One notification of four is lost: the follower finds the commit at its next poll, within 100 ms. No event is lost.
    LostNotifications,
    /// The follower reads from a replica, which lags up to 20 ms behind, and as long as [replay is paused](Personality::pause_replay). An append that
    /// the replica does not have within the [timeout](Personality::timeout) fails with [`Error::Unavailable`](crate::Error::Unavailable), although its
    /// events are stored.
    StaleReads,
    /// The server rolls back one append of four, at most three in a row: it fails with [`Error::Unavailable`](crate::Error::Unavailable), nothing is
    /// stored, and the same append succeeds later.
    SerializationRetries,
    /// The process crashes after an event was handled, and before its checkpoint is stored. One batch of four of a subscription is delivered again, in
    /// part or whole, and one acknowledged event of four of a group; the idempotency keys and the numbers of the attempts are the same.
    Redelivery,
}

impl Anomaly {
    /// Every anomaly.
    pub const ALL: [Self; 5] = [
        Self::LateNotifications,
        Self::LostNotifications,
        Self::StaleReads,
        Self::SerializationRetries,
        Self::Redelivery,
    ];

    /// The name, in `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LateNotifications => "late_notifications",
            Self::LostNotifications => "lost_notifications",
            Self::StaleReads => "stale_reads",
            Self::SerializationRetries => "serialization_retries",
            Self::Redelivery => "redelivery",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of [anomalies](Anomaly), the seed that draws when they happen, and those that a test stages. Cheap to clone: clones share the draws and
/// what is staged.
///
/// The seed draws when an anomaly happens. To stage one at a given moment, call [`hold_notifications`](Self::hold_notifications),
/// [`pause_replay`](Self::pause_replay), [`roll_back`](Self::roll_back) or [`redeliver`](Self::redeliver).
#[derive(Clone, Debug)]
pub struct Personality {
    anomalies: u8,
    seed: Seed,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of draws of each anomaly.
    draws: [u64; Anomaly::ALL.len()],
    is_paused: bool,
    is_held: bool,
    /// The number of staged roll-backs that are left.
    to_roll_back: u64,
    /// The number of consecutive appends that draws have rolled back.
    rolled_back: u64,
    /// The number of staged redeliveries that are left.
    to_redeliver: u64,
    followers: u64,
}

impl Personality {
    /// All anomalies of a store in PostgreSQL, drawn from the seed of the run: see [`Seed::of_run`].
    pub fn postgres() -> Self {
        Self {
            anomalies: Anomaly::ALL.into_iter().fold(0, |all, one| all | one.bit()),
            seed: Seed::of_run(),
            timeout: Duration::from_secs(10),
            state: Arc::default(),
        }
    }

    /// No anomaly.
    pub fn none() -> Self {
        Self {
            anomalies: 0,
            ..Self::postgres()
        }
    }

    /// Sets the seed of the draws.
    #[must_use]
    pub fn seeded(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// Switches this anomaly on.
    #[must_use]
    pub fn with(mut self, anomaly: Anomaly) -> Self {
        self.anomalies |= anomaly.bit();
        self
    }

    /// Switches this anomaly off.
    #[must_use]
    pub fn without(mut self, anomaly: Anomaly) -> Self {
        self.anomalies &= !anomaly.bit();
        self
    }

    /// Switches all other anomalies off, and this one on.
    #[must_use]
    pub fn only(mut self, anomaly: Anomaly) -> Self {
        self.anomalies = anomaly.bit();
        self
    }

    /// Whether this anomaly can happen.
    pub fn has(&self, anomaly: Anomaly) -> bool {
        self.anomalies & anomaly.bit() != 0
    }

    /// Sets how long an append of a follower waits until the follower has read it, 10 s by default: the option `timeout` of a `postgres:` URL.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pauses the replay of the replica that followers read: they do not read commits made after this call returns. No effect if
    /// [`StaleReads`](Anomaly::StaleReads) is off.
    pub fn pause_replay(&self) {
        self.state.lock().is_paused = true;
    }

    /// Resumes the replay. Followers read the commits of the pause within 100 ms.
    pub fn resume_replay(&self) {
        self.state.lock().is_paused = false;
    }

    /// Holds back notifications and polls: a follower does not read commits of other processes made after this call returns, until it appends, gets a
    /// conflict, or the notifications are [delivered](Self::deliver_notifications). No effect if [`LateNotifications`](Anomaly::LateNotifications) is off.
    pub fn hold_notifications(&self) {
        self.state.lock().is_held = true;
    }

    /// Delivers the notifications that were held back, within 100 ms.
    pub fn deliver_notifications(&self) {
        self.state.lock().is_held = false;
    }

    /// Rolls back the next `appends` appends of followers. Replaces an earlier call. No effect if
    /// [`SerializationRetries`](Anomaly::SerializationRetries) is off.
    pub fn roll_back(&self, appends: u64) {
        self.state.lock().to_roll_back = appends;
    }

    /// Delivers the next `batches` batches of subscriptions, or acknowledged events of groups, again. Replaces an earlier call. No effect if
    /// [`Redelivery`](Anomaly::Redelivery) is off.
    pub fn redeliver(&self, batches: u64) {
        self.state.lock().to_redeliver = batches;
    }

    /// The next random number of this anomaly, below `end`.
    fn draw(&self, state: &mut State, anomaly: Anomaly, end: u64) -> u64 {
        let nth = &mut state.draws[anomaly as usize];
        *nth += 1;
        self.seed.part(anomaly.as_str()).below(*nth, end)
    }

    /// A random time up to `longest`; `None` if the anomaly is off.
    fn draw_delay(&self, anomaly: Anomaly, longest: Duration) -> Option<Duration> {
        if !self.has(anomaly) {
            return None;
        }
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let drawn = self.draw(&mut self.state.lock(), anomaly, millis.saturating_add(1));
        Some(Duration::from_millis(drawn))
    }

    fn is_paused(&self) -> bool {
        self.has(Anomaly::StaleReads) && self.state.lock().is_paused
    }

    fn is_held(&self) -> bool {
        self.has(Anomaly::LateNotifications) && self.state.lock().is_held
    }

    fn loses_notification(&self) -> bool {
        let mut state = self.state.lock();
        self.has(Anomaly::LostNotifications) && self.draw(&mut state, Anomaly::LostNotifications, ONE_IN) == 0
    }

    fn rolls_back(&self) -> bool {
        if !self.has(Anomaly::SerializationRetries) {
            return false;
        }
        let mut state = self.state.lock();
        if state.to_roll_back > 0 {
            state.to_roll_back -= 1;
            return true;
        }
        let is_drawn = self.draw(&mut state, Anomaly::SerializationRetries, ONE_IN) == 0;
        let rolls_back = is_drawn && state.rolled_back < ROLLED_BACK_MAX;
        state.rolled_back = if rolls_back { state.rolled_back + 1 } else { 0 };
        rolls_back
    }

    /// The number of deliveries of a batch of `len` that an earlier process handled before it crashed.
    #[cfg(feature = "cqrs")]
    fn handled_before_crash(&self, len: usize) -> usize {
        if !self.has(Anomaly::Redelivery) || len == 0 {
            return 0;
        }
        let mut state = self.state.lock();
        if state.to_redeliver > 0 {
            state.to_redeliver -= 1;
        } else if self.draw(&mut state, Anomaly::Redelivery, ONE_IN) != 0 {
            return 0;
        }
        let handled = 1 + self.draw(&mut state, Anomaly::Redelivery, len as u64);
        usize::try_from(handled).unwrap_or(len)
    }

    fn next_follower(&self) -> Seed {
        let mut state = self.state.lock();
        state.followers += 1;
        self.seed.part("follower").part(&state.followers.to_string())
    }
}

impl Store {
    /// A handle of the same store that behaves as the writer of a store in a database does: [`Redelivery`](Anomaly::Redelivery) happens to the
    /// subscriptions and groups that use it.
    #[must_use]
    pub fn behaves_like(&self, personality: &Personality) -> Self {
        let mut store = self.clone();
        store.personality = Some(personality.clone());
        store
    }

    /// A store that follows this one, as another process follows a store in a database with `Store::follow`.
    ///
    /// The follower has its own memory, and a thread that receives the events of this store. Its appends go to this store, to one aggregate each and
    /// without a condition. An append returns when the follower has read it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for settings that a follower cannot have; [`Error::Unavailable`](crate::Error::Unavailable) if the
    /// system cannot start a thread.
    pub fn followed_like(&self, personality: &Personality) -> Result<Self> {
        let ids = Arc::new(SeededIds::new(personality.next_follower().value()));
        self.builder_of_follower()
            .ids(ids)
            .follow_log(self.log_like(personality))
    }

    /// The log of this store, to be [followed](crate::Builder::follow_log) as the log of a store in a database is.
    pub fn log_like(&self, personality: &Personality) -> Followed {
        let wakeup = Arc::new(Wakeup::new(self));
        Followed::new(
            MemoryFeed::new(&wakeup, personality),
            MemoryRemote::new(&wakeup, personality),
        )
    }

    /// Whether the process crashes before the acknowledgement of a group's event is stored.
    #[cfg(feature = "cqrs")]
    pub(crate) fn loses_acknowledgement(&self) -> bool {
        self.personality
            .as_ref()
            .is_some_and(|personality| personality.handled_before_crash(1) > 0)
    }

    /// The deliveries of a batch that an earlier process handled, whose checkpoint is lost.
    #[cfg(feature = "cqrs")]
    pub(crate) fn handled_before_crash<'b>(&self, batch: &'b [Delivery]) -> &'b [Delivery] {
        let handled = self
            .personality
            .as_ref()
            .map_or(0, |personality| personality.handled_before_crash(batch.len()));
        &batch[..handled.min(batch.len())]
    }
}
