//! The interface below a store that follows: a log that other processes write.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{JournalError, Recover, Recovered};
use crate::{Appended, Error, Expected, NewEvent, Position, Result, StreamId};

/// Reads the events that other processes append to a log.
///
/// A store that [follows](crate::Builder::follow_log) a log has a thread that reads the feed, and appends through a [`Remote`] of the same log.
///
/// # Contract
///
/// *Calls.* One thread at a time calls a feed. The first call is `next` with position 0. Later calls of `next` continue after the last position
/// that an earlier call passed on, and `wait` follows each `next` that succeeded. Both may block, until [`Remote::stop`]. When the store closes, it
/// waits for a call in progress at most for [`Remote::timeout`]. `next` passes on the events that exist when it is called, because the store retains all
/// batches of a call in memory until it returns.
///
/// *Order.* `next` passes batches in ascending order of positions without a hole: the first begins at the position behind `after`, and each is
/// [whole](super::Batch::is_whole). A position whose event is gone is skipped, with its [`Gap`](crate::Gap), and with a [`Mark`](super::Mark) when the
/// log has no later event of that aggregate. An event that was passed on never changes.
///
/// *Atomicity.* The last batch of a call that succeeds ends an append; other batches may end within one. When a call fails, the store discards
/// the batches of that call, and the next call has the same `after`.
///
/// *Durability.* A feed passes on events only when they are [synced](crate::Durability::Synced). The store reports them as synced.
///
/// *Fidelity.* As [`Journal`](super::Journal): positions, versions, ids, times, names, content types and bytes are unchanged.
///
/// *Errors.* After an error of kind [`Retry`](super::JournalErrorKind::Retry) the store repeats the call, with pauses from 10 ms to a second. Any
/// other error ends following: the log is not the one that was read before, or cannot be read. Errors of `into` are returned unchanged.
///
/// `annals::feed_conformance!`, of the feature `testing`, checks the contracts of a feed and its remote.
pub trait Feed: Send + fmt::Debug {
    /// Passes the events after position `after` to `into`, without waiting for new events.
    ///
    /// # Errors
    ///
    /// See the contract.
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError>;

    /// Blocks until new events may be available, or until [`Remote::wake`], for at most a poll interval; may return spuriously.
    fn wait(&mut self);
}

/// Appends to the log that a [`Feed`] reads.
///
/// The store checks each acknowledgement. When it has fewer positions or versions than events, or when the feed passes on another event at its last
/// position, the append fails with [`Error::Corrupt`](crate::Error::Corrupt).
///
/// # Contract
///
/// *Calls.* Several threads call a remote at once. The last call is `stop`; appends that are in progress then may fail.
///
/// *Order.* When `append` returns, its events are [synced](crate::Durability::Synced). The feed passes them on, or the remote is a replica's and the
/// feed passes them on later. Positions of one append are consecutive, and so are the versions.
///
/// *Atomicity.* All events of an append are stored, or none. An append whose [`Expected`] version does not hold fails with
/// [`Error::Conflict`](crate::Error::Conflict), and stores none. So does an append to an aggregate of another type, with
/// [`Error::Invalid`](crate::Error::Invalid), and to one that was deleted for good, with [`Error::Deleted`](crate::Error::Deleted).
///
/// *Idempotence.* The [ids](RemoteAppend::ids) identify the events. An append whose events the aggregate has already, in this order, stores
/// nothing and returns the positions of the first time. [`Appended::repeated`] is `true` then if the caller
/// [chose the ids](RemoteAppend::has_own_ids); if the store chose them, only an earlier attempt of the same call can have stored the events. If
/// the aggregate has some of them, the append fails with [`Conflict::EventKnown`](crate::Conflict::EventKnown).
///
/// *Errors.* [`Error::Unavailable`](crate::Error::Unavailable) when it is unknown whether the events were appended, or they cannot be appended now: the
/// same append may be retried. After any other error nothing of the append is stored.
pub trait Remote: Send + Sync + fmt::Debug {
    /// Appends, and returns when the events are synced.
    ///
    /// # Errors
    ///
    /// See the contract.
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended>;

    /// Appends to several aggregates, all or none, each of which is named once, and returns an acknowledgement for each. The positions of all events
    /// are consecutive, in the given order. An append without events checks its expected version. [`Appended::repeated`] is set as by `append`; if only some
    /// of the appends are stored, the call fails with [`Conflict::EventKnown`](crate::Conflict::EventKnown).
    ///
    /// With `unchanged_since`, the events are stored only if the log has no event after that position, at the time at which they are stored. Otherwise the
    /// call fails with [`Conflict::Condition`](crate::Conflict::Condition) and the position of such an event. A repetition and a version conflict
    /// are detected first.
    ///
    /// The default fails with [`Error::Invalid`](crate::Error::Invalid), for logs that cannot do this.
    ///
    /// # Errors
    ///
    /// See the contract.
    fn append_all(&self, appends: &[RemoteAppend<'_>], unchanged_since: Option<Position>) -> Result<Vec<Appended>> {
        let (_, _) = (appends, unchanged_since);
        Err(Error::invalid(
            "a store that follows this log appends to one aggregate at a time, and without a condition, because it cannot block the appends of the \
             writer; open the store as its writer",
        ))
    }

    /// Whether [`append_all`](Self::append_all) appends to several aggregates. The default is `false`.
    fn appends_to_several(&self) -> bool {
        false
    }

    /// The longest time that the store waits, after an append, until its feed has passed the events on. Then the append fails with
    /// [`Error::Unavailable`](crate::Error::Unavailable), although its events are stored.
    fn timeout(&self) -> Duration;

    /// Ends the current or the next [`Feed::wait`].
    fn wake(&self);

    /// Ends the current call of the feed, and every later one. Closes what `append` needs.
    fn stop(&self);
}

/// An append to one aggregate, as a store passes it to a [`Remote`].
///
/// The store has checked the limits of names and events.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAppend<'a> {
    stream: &'a StreamId,
    expected: Expected,
    events: &'a [NewEvent<'a>],
    ids: &'a [Uuid],
    has_own_ids: bool,
}

impl<'a> RemoteAppend<'a> {
    /// An append of `events` whose ids, in the same order, are `ids`; `has_own_ids` says that the caller chose all of them.
    ///
    /// # Panics
    ///
    /// When there are more events than ids, or fewer.
    pub fn new(
        stream: &'a StreamId,
        expected: Expected,
        events: &'a [NewEvent<'a>],
        ids: &'a [Uuid],
        has_own_ids: bool,
    ) -> Self {
        assert_eq!(events.len(), ids.len(), "every event has one id");
        Self {
            stream,
            expected,
            events,
            ids,
            has_own_ids,
        }
    }

    /// The aggregate.
    pub fn stream(&self) -> &'a StreamId {
        self.stream
    }

    /// The expected version of the aggregate.
    pub fn expected(&self) -> Expected {
        self.expected
    }

    /// The events. Their own ids may be missing: see [`ids`](Self::ids).
    pub fn events(&self) -> &'a [NewEvent<'a>] {
        self.events
    }

    /// The ids of the events, in the same order.
    pub fn ids(&self) -> &'a [Uuid] {
        self.ids
    }

    /// Whether the caller of the store chose all ids. Otherwise the store has chosen ids for this call.
    pub fn has_own_ids(&self) -> bool {
        self.has_own_ids
    }

    /// Copies of the events, each with its id.
    pub fn events_with_ids(&self) -> Vec<NewEvent<'a>> {
        let with_ids = self.events.iter().zip(self.ids);
        with_ids.map(|(event, id)| event.clone().id(*id)).collect()
    }
}

/// A log that can be followed: its feed and its remote.
#[derive(Debug)]
pub struct Followed {
    feed: Box<dyn Feed>,
    remote: Box<dyn Remote>,
}

impl Followed {
    /// A feed, and the remote of the same log.
    pub fn new(feed: impl Feed + 'static, remote: impl Remote + 'static) -> Self {
        Self {
            feed: Box::new(feed),
            remote: Box::new(remote),
        }
    }

    /// The feed and the remote, for example to wrap one of them.
    pub fn into_parts(self) -> (Box<dyn Feed>, Box<dyn Remote>) {
        (self.feed, self.remote)
    }
}

impl Feed for Box<dyn Feed> {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        (**self).next(after, into)
    }

    fn wait(&mut self) {
        (**self).wait();
    }
}

impl Remote for Box<dyn Remote> {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        (**self).append(append)
    }

    fn append_all(&self, appends: &[RemoteAppend<'_>], unchanged_since: Option<Position>) -> Result<Vec<Appended>> {
        (**self).append_all(appends, unchanged_since)
    }

    fn appends_to_several(&self) -> bool {
        (**self).appends_to_several()
    }

    fn timeout(&self) -> Duration {
        (**self).timeout()
    }

    fn wake(&self) {
        (**self).wake();
    }

    fn stop(&self) {
        (**self).stop();
    }
}
