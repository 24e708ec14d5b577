//! Personalities: a store in memory that does what makes programs fail on a database.
//!
//! Tests on a store in memory are fast, and show none of what happens between several processes. A [`Personality`] adds it: the [anomalies](Anomaly)
//! that a program meets when its store is in PostgreSQL. Each was reproduced on a real server first, by a test that runs unchanged on the personality.
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
//! assert!(matches!(place(), Err(Error::Unavailable(_))));
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

/// The longest delay of a notification.
const LATE_MAX: Duration = Duration::from_millis(50);
/// The longest time that a replica lags behind while replay is not paused.
const LAG_MAX: Duration = Duration::from_millis(20);
/// One of this number of draws makes an anomaly happen.
const ONE_IN: u64 = 4;
/// The most appends that are rolled back one after another by draws.
const ROLLED_BACK_MAX: u64 = 3;

/// Something that a program meets on a database, and never on a store in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Anomaly {
    /// A follower hears of a commit of another process up to 50 ms late. A decision on what it reads until then conflicts.
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
    /// All of them.
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

/// A set of [anomalies](Anomaly), the seed of their draws, and what a test has ordered. Cheap to clone: clones share the draws and the orders.
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
    /// The number of appends still to roll back by order.
    to_roll_back: u64,
    /// The number of appends that draws have rolled back one after another.
    rolled_back: u64,
    /// The number of batches still to deliver again by order.
    to_redeliver: u64,
    followers: u64,
}

impl Personality {
    /// All anomalies of a store in PostgreSQL, with the seed of the run: see [`Seed::of_run`].
    pub fn postgres() -> Self {
        Self {
            anomalies: Anomaly::ALL.into_iter().fold(0, |all, one| all | one.bit()),
            seed: Seed::of_run(),
            timeout: Duration::from_secs(10),
            state: Arc::default(),
        }
    }

    /// Sets the seed of the draws.
    #[must_use]
    pub fn seeded(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// The same with this anomaly.
    #[must_use]
    pub fn with(mut self, anomaly: Anomaly) -> Self {
        self.anomalies |= anomaly.bit();
        self
    }

    /// The same without this anomaly.
    #[must_use]
    pub fn without(mut self, anomaly: Anomaly) -> Self {
        self.anomalies &= !anomaly.bit();
        self
    }

    /// The same with this anomaly alone.
    #[must_use]
    pub fn only(mut self, anomaly: Anomaly) -> Self {
        self.anomalies = anomaly.bit();
        self
    }

    /// Whether this anomaly can happen.
    pub fn has(&self, anomaly: Anomaly) -> bool {
        self.anomalies & anomaly.bit() != 0
    }

    /// Sets how long an append of a follower waits until the follower reads it, 10 s by default: the option `timeout` of the URL.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pauses the replay of the replica that followers read: they read nothing that is committed after this call returns. Without effect unless
    /// [`StaleReads`](Anomaly::StaleReads) can happen.
    pub fn pause_replay(&self) {
        self.state.lock().is_paused = true;
    }

    /// Resumes the replay. Followers read what was committed meanwhile within 100 ms.
    pub fn resume_replay(&self) {
        self.state.lock().is_paused = false;
    }

    /// Holds notifications back, and the polls after them: followers read nothing that another process commits after this call returns, until they
    /// append themselves, get a conflict, or the notifications are [delivered](Self::deliver_notifications). Without effect unless
    /// [`LateNotifications`](Anomaly::LateNotifications) can happen.
    pub fn hold_notifications(&self) {
        self.state.lock().is_held = true;
    }

    /// Delivers the notifications that are held back, within 100 ms.
    pub fn deliver_notifications(&self) {
        self.state.lock().is_held = false;
    }

    /// Rolls back the next appends of followers, this number of them. Without effect unless [`SerializationRetries`](Anomaly::SerializationRetries)
    /// can happen.
    pub fn roll_back(&self, appends: u64) {
        self.state.lock().to_roll_back = appends;
    }

    /// Delivers the next batches of subscriptions, and the next acknowledged events of groups, again: this number of them. Without effect unless [`Redelivery`](Anomaly::Redelivery) can happen.
    pub fn redeliver(&self, batches: u64) {
        self.state.lock().to_redeliver = batches;
    }

    /// A number below `end`, the next of this anomaly.
    fn draw(&self, state: &mut State, anomaly: Anomaly, end: u64) -> u64 {
        let nth = &mut state.draws[anomaly as usize];
        *nth += 1;
        self.seed.part(anomaly.as_str()).below(*nth, end)
    }

    /// A length of time up to `longest`, or none if the anomaly cannot happen.
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
    /// A handle of the same store as the one writer of a store in this database: [`Redelivery`](Anomaly::Redelivery) happens to the processors that are
    /// made of it, subscriptions and groups.
    #[must_use]
    pub fn behaves_like(&self, personality: &Personality) -> Self {
        let mut store = self.clone();
        store.personality = Some(personality.clone());
        store
    }

    /// A store of another process that follows this one as `Store::follow` follows a store in this database.
    ///
    /// It has a memory of its own, and receives the events of this store on a thread. It appends to this store, one aggregate at a time and without a
    /// condition, and an append returns when the follower reads it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for settings that a follower cannot have; [`Error::Unavailable`](crate::Error::Unavailable) if the
    /// system cannot start a thread.
    pub fn followed_like(&self, personality: &Personality) -> Result<Self> {
        let wakeup = Arc::new(Wakeup::new(self));
        let feed = Box::new(MemoryFeed::new(&wakeup, personality));
        let remote = Box::new(MemoryRemote::new(&wakeup, personality));
        let ids = Arc::new(SeededIds::new(personality.next_follower().value()));
        self.builder_of_follower()
            .ids(ids)
            .open_following(Followed { feed, remote })
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
