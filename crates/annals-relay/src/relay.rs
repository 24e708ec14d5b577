//! Relays: how they are built, started, watched and ended.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use annals::cqrs::{Group, GroupError, Letter, Retry, StartFrom, StopReason, TypedEvents};
use annals::{Name, Position, Query, Store};

use crate::envelope::Envelope;
use crate::error::RelayError;
use crate::raw::Raw;
use crate::status::RelayStatus;
use crate::target::Target;
use crate::work::Work;

/// The lease of an event. The threads of a relay settle every event: none expires.
const LEASE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Events in memory, at most.
const IN_FLIGHT_MAX: usize = 65_536;

/// The settings of a relay. See [`Relay::builder`].
#[must_use = "a relay runs when it is started"]
#[derive(Debug)]
pub struct RelayBuilder {
    store: Store,
    name: Name,
    target: Arc<dyn Target>,
    envelope: Envelope,
    query: Query,
    retry: Retry,
    max_in_flight: usize,
    from: StartFrom,
    skips_gaps: bool,
}

impl RelayBuilder {
    /// Sets how events are written. By default, [`Envelope::Json`].
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = envelope;
        self
    }

    /// Sets the query of the events. By default, all. The toolkit's own events, whose aggregate types begin with `annals.`, are never published.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets the attempts at a message that the target does not take, and the pauses between them. By default, 10 attempts, with pauses of 0.5 to 1 s, 1 to
    /// 2 s and so on, at most 60 s. The pauses also hold while the target is unavailable, without a limit of attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the maximum number of events in memory, at most 65,536. 256 by default; 0 means 1. Each may be as large as the limit of the store.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.max_in_flight = events.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// Sets where a relay without a checkpoint begins. By default, at the first event.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// Continues where events were dropped before they were published. By default, the relay stops there, with the gap as the reason.
    pub fn skip_gaps(mut self) -> Self {
        self.skips_gaps = true;
        self
    }

    /// Starts the threads. A relay or group of the same name that was started earlier stops.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid source of `CloudEvents`; [`RelayError::Start`] when the name or the query is invalid, or the checkpoint or
    /// the dead letters cannot be read or written; [`RelayError::NoThread`].
    pub fn start(self) -> Result<Relay, RelayError> {
        self.envelope.check()?;
        // The relay has its own pauses and parks itself, so the group never gives an event up.
        let never = Retry::default().attempts(u32::MAX);
        let group = Group::<()>::builder(&self.store, self.name.clone())
            .events(&TypedEvents::with_codec(Raw))
            .query(self.query)
            .lease(LEASE)
            .retry(never)
            .max_in_flight(self.max_in_flight)
            .start_from(self.from);
        let group = if self.skips_gaps { group.skip_gaps() } else { group }.open()?;
        let calls = self.target.capacity().calls;
        let mut relay = Relay {
            work: Arc::new(Work::new(group, self.target, self.envelope, self.retry)),
            threads: Vec::with_capacity(calls),
        };
        for _ in 0..calls {
            let work = Arc::clone(&relay.work);
            let thread = std::thread::Builder::new().name("annals-relay".to_owned());
            let started = thread.spawn(move || work.run());
            // Dropping the relay ends the threads that have started.
            relay.threads.push(started.map_err(|error| RelayError::NoThread {
                name: self.name.clone(),
                reason: error.to_string(),
            })?);
        }
        Ok(relay)
    }
}

/// A started relay: publishes the events of a store to a target, at least once, in order per aggregate.
///
/// Dropping it ends it: calls that are under way are finished, and the checkpoint is saved.
pub struct Relay {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("target", &self.work.target)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay of this name, which keeps its checkpoint and its dead letters in the store. A name has 1 to 200 bytes, and is unique among the processors
    /// and groups of the store.
    pub fn builder(store: &Store, name: impl Into<Name>, target: impl Target + 'static) -> RelayBuilder {
        Self::builder_of(store, name, Arc::new(target))
    }

    /// As [`builder`](Self::builder), with a target that is shared.
    pub fn builder_of(store: &Store, name: impl Into<Name>, target: Arc<dyn Target>) -> RelayBuilder {
        RelayBuilder {
            store: store.clone(),
            name: name.into(),
            target,
            envelope: Envelope::default(),
            query: Query::all(),
            retry: Retry::default()
                .attempts(10)
                .first_pause(Duration::from_secs(1))
                .longest_pause(Duration::from_secs(60)),
            max_in_flight: 256,
            from: StartFrom::default(),
            skips_gaps: false,
        }
    }

    /// What it is doing.
    pub fn status(&self) -> RelayStatus {
        self.work.status()
    }

    /// Waits until every event up to `position` is delivered or a dead letter, for at most `timeout`. Returns `false` when the timeout elapses.
    ///
    /// # Errors
    ///
    /// [`GroupError::Stopped`] when the relay cannot read the store; a target that takes nothing is no error here.
    pub fn when_published(&self, position: Position, timeout: Duration) -> Result<bool, GroupError> {
        self.work.group.when_processed(position, timeout)
    }

    /// Resumes a stopped relay. If it had stopped because of the store, it goes on behind its checkpoint, and events behind it are published again.
    ///
    /// # Errors
    ///
    /// The reason for which it stays stopped.
    pub fn resume(&self) -> Result<(), StopReason> {
        self.work.resume()
    }

    /// The dead letters, ascending by position.
    pub fn letters(&self) -> Vec<Letter> {
        self.work.group.letters()
    }

    /// Publishes the dead letters of an aggregate again, or those of all aggregates with `None`, in order. Returns their number.
    pub fn replay_letters(&self, aggregate_id: Option<&str>) -> u64 {
        self.work.group.replay_letters(aggregate_id)
    }

    /// Drops a dead letter: it is not published. Returns `false` if there is none at `position`, or its aggregate's letters are being replayed.
    ///
    /// # Errors
    ///
    /// As [`Group::drop_letter`].
    pub fn drop_letter(&self, position: Position) -> Result<bool, StopReason> {
        self.work.group.drop_letter(position)
    }

    /// The group that the relay consumes, for [`ToolkitMetrics::group`](https://docs.rs/annals/latest/annals/metrics/struct.ToolkitMetrics.html). Events that are
    /// received from it are not published.
    pub fn group(&self) -> &Group<()> {
        &self.work.group
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn work(&self) -> &Arc<Work> {
        &self.work
    }

    /// Ends the relay, and waits for the calls that are under way. Returns its last status.
    pub fn end(mut self) -> RelayStatus {
        self.finish();
        self.status()
    }

    fn finish(&mut self) {
        self.work.end();
        for thread in self.threads.drain(..) {
            // A thread of a relay does not panic.
            drop(thread.join());
        }
        // What was settled meanwhile.
        self.work.group.end();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish();
    }
}
