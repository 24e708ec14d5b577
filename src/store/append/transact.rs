//! Decisions on the result of a query: read, decide, append on a condition, and retry after a conflict.

use std::time::{Duration, Instant};

use crate::store::Store;
use crate::{Append, Appended, Condition, Conflict, Error, Event, Query};

/// Default number of attempts of a transaction.
const ATTEMPTS: u32 = 32;
/// The maximum pause before the second attempt. It doubles with every attempt, up to the constant below.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(20);

impl Store {
    /// Appends the events that `decide` returns for the result of `query`, if no matching event was added meanwhile. Otherwise reads and
    /// decides again, at most 32 times.
    ///
    /// This is the retry loop of a conditional append: after a conflict it waits until the conflicting event is visible, so that
    /// it does not decide on the same events again, and pauses for a random time that grows with the attempts.
    /// [`transaction`](Self::transaction) sets the number of attempts. If `decide` returns no appends, nothing is checked or appended.
    ///
    /// ```
    /// use annals::{Append, Expected, NewEvent, Query, Store, StreamId};
    ///
    /// let store = Store::in_memory();
    /// let claim = |name: &str, user: &str| -> Result<_, Box<dyn std::error::Error>> {
    ///     store.transact(Query::all().event_type("NameClaimed").correlation(name), |claims| {
    ///         if let Some(claim) = claims.first() {
    ///             return Err(format!("{name} belongs to {}", claim.aggregate_id()).into());
    ///         }
    ///         let claimed = NewEvent::new("NameClaimed").correlation(name);
    ///         Ok(vec![Append::new(StreamId::new("User", user), Expected::Any, vec![claimed])])
    ///     })
    /// };
    /// claim("ada", "user-1")?;
    /// assert!(claim("ada", "user-2").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `decide`, which is not retried; the last [`Conflict`](Error::Conflict) if every attempt had one; otherwise as
    /// [`append_if`](Self::append_if).
    pub fn transact<'e, E: From<Error>>(
        &self,
        query: Query,
        decide: impl FnMut(&[Event]) -> Result<Vec<Append<'e>>, E>,
    ) -> Result<Vec<Appended>, E> {
        self.transaction(query).run(decide)
    }

    /// Returns a [transaction](Self::transact) whose number of attempts can be set.
    pub fn transaction(&self, query: Query) -> Transaction<'_> {
        Transaction {
            store: self,
            query,
            attempts: ATTEMPTS,
        }
    }
}

impl Store {
    /// Waits for a random time ("full jitter"), so that writers do not conflict again. Does not wait after the store was closed.
    fn pause(&self, attempt: u32) {
        let longest = PAUSE.saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX);
        let random = f64::from(self.draw()) / f64::from(u32::MAX);
        let log = &self.engine().core.log;
        let deadline = Instant::now().checked_add(longest.mul_f64(random));
        log.visible_signal().wait_while(deadline, || !log.is_closed());
    }
}

/// A decision on the result of a query. See [`Store::transact`].
#[derive(Clone, Debug)]
#[must_use = "a transaction does nothing until it is run"]
pub struct Transaction<'a> {
    store: &'a Store,
    query: Query,
    attempts: u32,
}

impl Transaction<'_> {
    /// Sets the maximum number of attempts, at least 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Runs the transaction.
    ///
    /// # Errors
    ///
    /// As [`Store::transact`].
    pub fn run<'e, E: From<Error>>(
        self,
        mut decide: impl FnMut(&[Event]) -> Result<Vec<Append<'e>>, E>,
    ) -> Result<Vec<Appended>, E> {
        let mut attempt = 1;
        loop {
            let seen = self.store.query(self.query.clone()).page()?;
            let appends = decide(&seen.events)?;
            if appends.is_empty() {
                return Ok(Vec::new());
            }
            let condition = Condition::none_after(self.query.clone(), seen.as_of);
            match self.store.append_if(&condition, appends) {
                Err(Error::Conflict(conflict)) if attempt < self.attempts && may_pass(&conflict) => {
                    self.store.wait_visible(conflict.wait_for());
                    self.store.pause(attempt);
                    attempt += 1;
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// Whether deciding again on newer events can resolve the conflict.
fn may_pass(conflict: &Conflict) -> bool {
    match conflict {
        Conflict::Version { .. } | Conflict::Condition { .. } => true,
        Conflict::EventKnown { .. } => false,
    }
}
