//! The state of a processor, and the reasons for which it stops.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::{Event, Gap, Name, Position};

/// The state of a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessorState {
    /// It processes events, or retries one.
    Running,
    /// It has processed every visible event.
    CaughtUp,
    /// It was [paused](super::Processor::pause).
    Paused,
    /// It stopped because of a failure; [`resume`](super::Processor::resume) restarts it after its checkpoint.
    Stopped(StopReason),
    /// It was [ended](super::Processor::end), or its store was closed.
    Ended,
}

impl fmt::Display for ProcessorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::CaughtUp => f.write_str("caught up"),
            Self::Paused => f.write_str("paused"),
            Self::Stopped(reason) => write!(f, "stopped: {reason}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// The event at which a handler failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedEvent {
    /// Its position.
    pub position: Position,
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: Name,
    /// Its aggregate.
    pub aggregate_id: Name,
}

impl FailedEvent {
    pub(in crate::cqrs) fn of(event: &Event) -> Self {
        Self {
            position: event.position(),
            id: event.id(),
            event_type: event.event_type().into(),
            aggregate_id: event.aggregate_id().into(),
        }
    }
}

impl fmt::Display for FailedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} (type '{}', position {}) of aggregate '{}'",
            self.id, self.event_type, self.position, self.aggregate_id
        )
    }
}

/// The reason for which a processor or a group stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A handler failed or panicked at an event, or the event does not decode. Fix the handler, and resume.
    Failed {
        /// The event.
        event: FailedEvent,
        /// The handler's error.
        reason: String,
    },
    /// Events were dropped before the processor saw them. Attach their archive, or skip gaps: `skip_gaps` of a builder, or the `gap` function
    /// of a projection.
    Gap {
        /// The events.
        gap: Gap,
        /// The reason for which the processor needs them, or how to skip them.
        reason: String,
    },
    /// Another processor of the same name has started. End one of them; resuming this one stops the other.
    Superseded {
        /// The epoch of this processor, which has ended.
        epoch: u64,
    },
    /// The checkpoint is beyond the end of the log: the store was replaced, or restored from an older copy. Rebuild, or use another name.
    CheckpointBeyondLog {
        /// The checkpoint.
        checkpoint: Position,
        /// The last position of the log.
        last: Position,
    },
    /// The processor cannot read or write its own state: checkpoint, dead letters or saga instances. Nothing is skipped: fix the cause, and
    /// resume.
    Storage {
        /// The reason.
        reason: String,
    },
    /// The processor panicked outside of an attempt at an event, for example in a saga's reaction to a timer. Fix the cause, and resume.
    Panicked {
        /// The reason.
        reason: String,
    },
    /// The database of a read model rejects what the processor needs: its tables cannot be created, or its checkpoint is missing or belongs to another
    /// store. Nothing is skipped: fix the cause, and resume. While a database is unavailable, the processor retries and does not stop.
    Database {
        /// The reason.
        reason: String,
    },
    /// The processor was ended or paused while it waited for a retry.
    Ended,
}

impl StopReason {
    pub(in crate::cqrs) fn failed(event: &Event, reason: String) -> Self {
        Self::Failed {
            event: FailedEvent::of(event),
            reason,
        }
    }

    /// The event at which the processor stopped; `None` if it stopped for another reason.
    pub fn event(&self) -> Option<&FailedEvent> {
        match self {
            Self::Failed { event, .. } => Some(event),
            Self::Gap { .. }
            | Self::Superseded { .. }
            | Self::CheckpointBeyondLog { .. }
            | Self::Storage { .. }
            | Self::Panicked { .. }
            | Self::Database { .. }
            | Self::Ended => None,
        }
    }
}

impl std::error::Error for StopReason {}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { event, reason } => write!(f, "cannot handle {event}: {reason}"),
            Self::Gap { gap, reason } => write!(
                f,
                "{} events from position {} to {} are gone ({:?}): {reason}",
                gap.count, gap.first, gap.last, gap.reason
            ),
            Self::Superseded { epoch } => write!(
                f,
                "another processor of this name has started since epoch {epoch}: one processor of a name runs at a time; end one of them"
            ),
            Self::CheckpointBeyondLog { checkpoint, last } => write!(
                f,
                "its checkpoint {checkpoint} is beyond the end of the log, position {last}: the store was replaced or restored; rebuild, or use \
                 another name"
            ),
            Self::Storage { reason } => write!(
                f,
                "it cannot read or write its own state: {reason}; fix the cause, and resume"
            ),
            Self::Panicked { reason } => write!(f, "it panicked: {reason}; fix the cause, and resume"),
            Self::Database { reason } => write!(f, "its read model cannot be updated: {reason}"),
            Self::Ended => f.write_str("it was ended or paused"),
        }
    }
}

/// The progress of a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorStatus {
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: ProcessorState,
    /// The last position that it has processed: its events up to here are handled or parked, and its checkpoint covers them.
    pub position: Position,
    /// The number of visible positions after `position`, including those of events that it does not read.
    pub lag_events: u64,
    /// The age of the event after `position`; zero if there is none, or if that event was dropped.
    pub lag: Duration,
    /// The number of events handled since it started.
    pub handled: u64,
    /// The number of events parked since it started.
    pub parked: u64,
    /// The last failure of a handler since it started, also if a later attempt succeeded.
    pub last_error: Option<(FailedEvent, String)>,
    /// The cause for which it waits and retries, such as an unavailable database; `None` if it does not wait.
    pub waits_for: Option<String>,
}

impl fmt::Display for ProcessorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "processor '{}' is at position {}, {} behind, {}",
            self.name, self.position, self.lag_events, self.state
        )?;
        if let Some(waits_for) = &self.waits_for {
            write!(f, "; it waits and retries: {waits_for}")?;
        }
        if let Some((event, error)) = &self.last_error {
            write!(f, "; last error: {error} at {event}")?;
        }
        Ok(())
    }
}

/// A wait for a processor that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The processor has stopped, is paused, or has ended. The status has the reason; resume or start it.
    #[error("position {target} will not be processed, because the processor does not run: {status}")]
    NotRunning {
        /// The awaited position.
        target: Position,
        /// The status of the processor.
        status: Box<ProcessorStatus>,
    },
    /// The timeout elapsed. The status has the position and the last error.
    #[error("position {target} was not processed in time: {status}")]
    TimedOut {
        /// The awaited position.
        target: Position,
        /// The status of the processor.
        status: Box<ProcessorStatus>,
    },
    /// A handler of the processor waits for its own processor, which would deadlock. Wait outside of its handlers.
    #[error("a handler of processor '{name}' waits for '{name}' itself: wait outside of its handlers")]
    OwnHandler {
        /// The name of the processor.
        name: Name,
    },
}
