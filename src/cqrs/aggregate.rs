//! The trait of an aggregate.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Version;

/// An entity that is folded from its events, and decides commands on its state.
///
/// The implementing type is the state. Its functions are pure: they read no clock, draw no random number and call no other service, so that the
/// same events always lead to the same state. The command carries everything else that a decision needs, such as the time.
///
/// The [module](super) has an example.
pub trait Aggregate: Sized {
    /// The aggregate type of the streams, such as `Account`.
    const TYPE: &'static str;

    /// The event types: a serde enum with one variant for each.
    type Event: Serialize + DeserializeOwned;

    /// The commands to the aggregate.
    type Command;

    /// The reason for which the rules of the domain reject a command.
    type Rejection;

    /// The state before the first event.
    fn initial() -> Self;

    /// Decides a command in this state. Returns the events to append; an empty list appends nothing.
    ///
    /// # Errors
    ///
    /// The rejection, when the rules of the domain reject the command. It is not retried.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Applies an event to the state. The event is stored, so this cannot reject it.
    fn evolve(&mut self, event: Self::Event);
}

/// A loaded aggregate: its state and version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state after the event of `version`.
    pub state: A,
    /// The version of the last event; 0 when there is none, or when none came after the aggregate was deleted.
    pub version: Version,
    /// The number of events that the load read: all of the aggregate's, or those after a snapshot.
    pub folded: u64,
}

impl<A: Aggregate> Loaded<A> {
    /// The aggregate before its first event.
    pub(super) fn initial() -> Self {
        Self {
            state: A::initial(),
            version: Version(0),
            folded: 0,
        }
    }
}
