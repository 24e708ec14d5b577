//! Faults as data: a store that fails, conflicts, is slow, or loses an acknowledgement, on demand.
//!
//! A [`Fault`] describes the calls on which it acts and its effect, in Rust or as JSON:
//!
//! ```
//! # #[cfg(feature = "json")] {
//! use annals::testing::faults::Faults;
//! use annals::{Expected, NewEvent, Store, StreamId};
//!
//! let faults = Faults::from_json(r#"{"on": "append", "aggregate": "order-*", "do": "commit_then_timeout"}"#)?;
//! let store = Store::in_memory().with_faults(&faults);
//!
//! let order = StreamId::new("Order", "order-1");
//! let lost = store.append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")]);
//! assert!(lost.is_err(), "the caller does not learn that the event is stored");
//! assert_eq!(store.read_stream("order-1").events().len(), 1);
//! faults.assert_all_fired();
//! # }
//! # Ok::<(), annals::Error>(())
//! ```
//!
//! Faults act on the calls of one handle, [`Store::with_faults`](crate::Store::with_faults), and of the aggregates, processors, groups and sagas that use
//! it. Other handles of the same store have none, so a test can check what is stored. For faults of writes and syncs, wrap the store's journal with
//! [`Faults::journal`].

mod fault;
mod inject;
pub(crate) use self::inject::StagedFault;
mod journal;
mod pattern;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::fault::{Effect, Fault, Operation};
pub use self::journal::FaultyJournal;
use crate::journal::Journal;
use crate::{Error, Result};

/// The largest number of faults at once.
const FAULTS_MAX: usize = 1_024;
/// The number of fired faults that are kept.
const FIRED_MAX: usize = 65_536;

/// A set of faults, and a record of those that fired. Cheap to clone: clones share one state.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// The given seed; otherwise that of the run, once a chance is drawn.
    seed: Option<u64>,
    faults: Vec<Armed>,
    fired: Vec<Fired>,
}

/// A fault, and the calls that it has seen.
#[derive(Debug)]
struct Armed {
    fault: Fault,
    calls: u64,
    fired: u64,
}

/// A fault that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fired {
    /// The index of the fault in the set, counted from 0.
    pub fault: usize,
    /// The number of the call among those that the fault matches, counted from 1.
    pub call: u64,
    /// What happened.
    pub effect: Effect,
    /// The call: the operation, and its processor and aggregates.
    pub at: String,
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fault {}, call {}: {} at {}",
            self.fault, self.call, self.effect, self.at
        )
    }
}

/// A call, which faults may match.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    operation: Operation,
    /// The aggregates that it is about.
    aggregates: &'a [&'a str],
    /// The types of its events.
    event_types: &'a [&'a str],
    /// The processor that makes it.
    processor: Option<&'a str>,
    /// Whether it checks an expected version or a condition.
    is_conditional: bool,
}

impl Faults {
    /// A set of these faults. Their [chances](Fault::chance) are drawn from the seed of the run: see [`Seed::of_run`](super::Seed::of_run).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an effect that the operation cannot have, for a number out of bounds, and for more than 1,024 faults.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Result<Self> {
        Self::with_seed(None, faults)
    }

    /// A set of these faults, with this seed for their chances.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn seeded(seed: u64, faults: impl IntoIterator<Item = Fault>) -> Result<Self> {
        Self::with_seed(Some(seed), faults)
    }

    fn with_seed(seed: Option<u64>, faults: impl IntoIterator<Item = Fault>) -> Result<Self> {
        let none = Inner {
            seed,
            faults: Vec::new(),
            fired: Vec::new(),
        };
        let all = Self {
            inner: Arc::new(Mutex::new(none)),
        };
        faults.into_iter().try_for_each(|fault| all.add(fault))?;
        Ok(all)
    }

    /// Reads a fault, or an array of faults, from JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for invalid JSON, an unknown field, operation or effect, and as [`new`](Self::new).
    #[cfg(feature = "json")]
    pub fn from_json(text: &str) -> Result<Self> {
        let is_one = text.trim_start().starts_with('{');
        let faults = if is_one {
            serde_json::from_str(text).map(|fault| vec![fault])
        } else {
            serde_json::from_str(text)
        };
        Self::new(faults.map_err(|error| Error::invalid(format!("cannot parse the faults: {error}")))?)
    }

    /// Adds a fault. Its calls are counted from now on.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn add(&self, fault: Fault) -> Result<()> {
        fault.check()?;
        let mut inner = self.inner.lock();
        if inner.faults.len() == FAULTS_MAX {
            return Err(Error::invalid(format!(
                "cannot add a fault on {}: the set has {FAULTS_MAX} faults, which is the maximum",
                fault.on
            )));
        }
        inner.faults.push(Armed {
            fault,
            calls: 0,
            fired: 0,
        });
        Ok(())
    }

    /// Removes all faults, so that none acts from now on. The record of those that fired is retained.
    pub fn clear(&self) {
        self.inner.lock().faults.clear();
    }

    /// The faults that fired, in order: the first 65,536.
    pub fn fired(&self) -> Vec<Fired> {
        self.inner.lock().fired.clone()
    }

    /// The faults that never fired.
    pub fn unfired(&self) -> Vec<Fault> {
        let inner = self.inner.lock();
        let unfired = inner.faults.iter().filter(|armed| armed.fired == 0);
        unfired.map(|armed| armed.fault.clone()).collect()
    }

    /// Asserts that every fault fired. A fault that matched no call proves nothing, so call this at the end of a test.
    ///
    /// # Panics
    ///
    /// When a fault never fired; the message lists these faults, and those that fired.
    pub fn assert_all_fired(&self) {
        let unfired = self.unfired();
        let fired: Vec<_> = self.fired().iter().map(Fired::to_string).collect();
        assert!(
            unfired.is_empty(),
            "these faults never fired: {unfired:#?}\nthese fired: {fired:#?}"
        );
    }

    /// Wraps a journal, so that these faults act on its writes and syncs: [`Operation::Flush`]. Open the store with the wrapped journal.
    pub fn journal(&self, journal: Box<dyn Journal>) -> FaultyJournal {
        FaultyJournal::new(journal, self.clone())
    }

    /// The fault that acts on a call: the first that is due. The call counts for every fault that matches it.
    fn draw(&self, call: &Call<'_>) -> Option<Fault> {
        let mut inner = self.inner.lock();
        let Inner { seed, faults, fired } = &mut *inner;
        let mut acting = None;
        for (place, armed) in faults.iter_mut().enumerate() {
            if !armed.fault.matches(call) || !armed.is_due(seed, place) || acting.is_some() {
                continue;
            }
            armed.fired += 1;
            acting = Some(armed.fault.clone());
            if fired.len() < FIRED_MAX {
                fired.push(Fired {
                    fault: place,
                    call: armed.calls,
                    effect: armed.fault.effect,
                    at: call.to_string(),
                });
            }
        }
        acting
    }
}

impl Armed {
    /// Counts a matching call, and decides whether the fault acts on it.
    fn is_due(&mut self, seed: &mut Option<u64>, place: usize) -> bool {
        self.calls += 1;
        let is_in_range = self.calls >= self.fault.nth && self.fired < self.fault.times_or_default();
        let Some(chance) = self.fault.chance.filter(|_| is_in_range) else {
            return is_in_range;
        };
        let seed = *seed.get_or_insert_with(|| super::Seed::of_run().value());
        // The number of the call is part of the draw, so that the order of threads does not matter.
        let share = (crate::id::scramble(seed ^ ((place as u64) << 48) ^ self.calls) >> u32::BITS) as u32;
        f64::from(share) / (f64::from(u32::MAX) + 1.0) < chance
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if let Some(processor) = self.processor {
            write!(f, " of '{processor}'")?;
        }
        for (place, aggregate) in self.aggregates.iter().enumerate() {
            let before = if place == 0 { " on" } else { "," };
            write!(f, "{before} '{aggregate}'")?;
        }
        Ok(())
    }
}
