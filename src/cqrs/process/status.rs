//! What a processor is doing, and why it stopped.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::{Event, Gap, Name, Position};

/// The state of a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessorState {
    /// It has events to process.
    Running,
    /// It has processed every visible event, and waits for more.
    CaughtUp,
    /// It was [paused](super::Processor::pause).
    Paused,
    /// It stopped because of a failure, and goes on when it is [resumed](super::Processor::resume).
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

/// The event that a handler failed at.
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

/// Why a processor stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A handler failed at an event, or panicked, or the event does not decode. Fix the handler, and resume.
    Failed {
        /// The event.
        event: FailedEvent,
        /// What the handler says.
        reason: String,
    },
    /// Events are gone that the processor has not seen. Decide in its `gap` function whether it can do without them.
    Gap {
        /// The events.
        gap: Gap,
        /// What the processor says.
        reason: String,
    },
    /// Another processor of the same name has started since. One processor of a name runs at a time.
    Superseded {
        /// The epoch of this one.
        epoch: u64,
    },
    /// The checkpoint is beyond the end of the log: the store was replaced by another, or restored from an older copy.
    CheckpointBeyondLog {
        /// The checkpoint.
        checkpoint: Position,
        /// The last position of the log.
        last: Position,
    },
    /// The checkpoint, or what else the processor keeps, cannot be read or written. Nothing is skipped: resume when the cause is gone.
    Storage(String),
    /// The database of a read model refuses what the processor needs: its tables cannot be created, or its checkpoint is missing, or of another
    /// store. Nothing is skipped: resume when the cause is gone. While a database is unavailable, the processor retries and does not stop.
    Database(String),
    /// The processor was told to end while it waited.
    Ended,
}

impl StopReason {
    pub(in crate::cqrs) fn failed(event: &Event, reason: String) -> Self {
        Self::Failed {
            event: FailedEvent::of(event),
            reason,
        }
    }

    /// The event that the processor stopped at.
    pub fn event(&self) -> Option<&FailedEvent> {
        match self {
            Self::Failed { event, .. } => Some(event),
            Self::Gap { .. }
            | Self::Superseded { .. }
            | Self::CheckpointBeyondLog { .. }
            | Self::Storage(_)
            | Self::Database(_)
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
                "another processor of this name has started since epoch {epoch}: one processor of a name runs at a time"
            ),
            Self::CheckpointBeyondLog { checkpoint, last } => write!(
                f,
                "its checkpoint {checkpoint} is beyond the end of the log, position {last}: the store was replaced or restored; rebuild, or use \
                 another name"
            ),
            Self::Storage(reason) => write!(f, "its checkpoint cannot be kept: {reason}"),
            Self::Database(reason) => write!(f, "its read model cannot be kept: {reason}"),
            Self::Ended => f.write_str("it was told to end"),
        }
    }
}

/// What a processor has done, and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorStatus {
    /// Its name.
    pub name: Name,
    /// What it is doing.
    pub state: ProcessorState,
    /// The last position that it has processed: all its events up to here are handled, and its checkpoint says so.
    pub position: Position,
    /// The number of positions that it has not looked at yet, of whatever events.
    pub lag_events: u64,
    /// How long ago the first event was recorded that it has not looked at; zero when there is none.
    pub lag: Duration,
    /// The number of events handled since it was started.
    pub handled: u64,
    /// The number of events parked since it was started.
    pub parked: u64,
    /// The last failure since it was started, whether a later attempt succeeded or not.
    pub last_error: Option<(FailedEvent, String)>,
    /// What it waits for in order to go on, such as a database that is away, and why. It retries by itself.
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

/// Why a wait for a processor ended without what was waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The processor does not run: it stopped, is paused, or has ended. The status says why.
    #[error("waiting for position {target} is in vain: {status}")]
    NotRunning {
        /// The position that was waited for.
        target: Position,
        /// What the processor is doing.
        status: Box<ProcessorStatus>,
    },
    /// The time is over. The status says how far the processor is, and what its last error was.
    #[error("position {target} was not processed in time: {status}")]
    TimedOut {
        /// The position that was waited for.
        target: Position,
        /// What the processor is doing.
        status: Box<ProcessorStatus>,
    },
    /// A handler of the processor waits for the processor itself. It would wait forever.
    #[error("a handler of processor '{name}' waits for '{name}' itself: wait outside of its handlers")]
    OwnHandler {
        /// The name of the processor.
        name: Name,
    },
}
