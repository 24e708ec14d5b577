//! What a relay is doing.

use std::fmt;

use annals::cqrs::GroupStatus;

/// The state of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayState {
    /// It publishes events, or waits for some.
    Running,
    /// The target takes no message now. The relay tries again.
    Waiting {
        /// The reason.
        reason: String,
    },
    /// It has stopped, because of the target or the store, until it is [resumed](crate::Relay::resume). No event is lost.
    Stopped {
        /// The reason.
        reason: String,
    },
    /// It was ended, or its store was closed.
    Ended,
}

impl fmt::Display for RelayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Waiting { reason } => write!(f, "waiting: {reason}"),
            Self::Stopped { reason } => write!(f, "stopped: {reason}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// What a relay has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayCounts {
    /// Events that the target has acknowledged.
    pub delivered: u64,
    /// Events that became dead letters, without those behind them.
    pub parked: u64,
    /// Attempts at a message that the target did not take.
    pub failed: u64,
    /// Attempts whose outcome is not known.
    pub unknown: u64,
    /// Attempts while the target took no message.
    pub unavailable: u64,
}

/// The progress of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Its state.
    pub state: RelayState,
    /// What it has done.
    pub counts: RelayCounts,
    /// The checkpoint, the lag and the dead letters.
    pub group: GroupStatus,
    /// The lanes whose first message waits for its next attempt.
    pub paused_lanes: usize,
    /// The last failure of an attempt; also if a later attempt succeeded.
    pub last_error: Option<String>,
}

impl fmt::Display for RelayStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, counts) = (&self.group, &self.counts);
        write!(
            f,
            "relay '{}' is at position {}, {} behind, {} delivered, {} dead letters, {}",
            group.name, group.position, group.lag_events, counts.delivered, group.letters, self.state
        )?;
        match &self.last_error {
            Some(error) => write!(f, "; last error: {error}"),
            None => Ok(()),
        }
    }
}
