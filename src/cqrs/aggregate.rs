//! The seam that a user's aggregate implements.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Version;

/// An entity whose state follows from its events, and which decides what a command makes happen.
///
/// The implementing type is the state. Its functions are pure: they read no clock, draw no random number and call no other service, so that the
/// same events always lead to the same state. What a decision needs from outside travels in the command.
///
/// The [module](super) has an example.
pub trait Aggregate: Sized {
    /// The aggregate type of the streams, such as `Account`.
    const TYPE: &'static str;

    /// The event types: a serde enum with one variant for each.
    type Event: Serialize + DeserializeOwned;

    /// What can be asked of the aggregate.
    type Command;

    /// Why a command is refused by the rules of the domain.
    type Rejection;

    /// The state before the first event.
    fn initial() -> Self;

    /// The events that the command makes happen in this state; none when nothing has to happen.
    ///
    /// # Errors
    ///
    /// The rejection, when the rules of the domain refuse the command. It is not retried.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Changes the state as the event says. An event has happened, so this cannot refuse it.
    fn evolve(&mut self, event: Self::Event);
}

/// An aggregate as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
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
