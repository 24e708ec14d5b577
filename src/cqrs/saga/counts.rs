//! How often the instances of a saga have ended, and their commands were sent.

use super::SendError;
use super::record::SagaEvent;

/// The counts of a saga: see [`Sagas::counts`](super::Sagas::counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaCounts {
    /// Instances that have not ended now.
    pub active: u64,
    /// Those of them that are stuck.
    pub stuck: u64,
    /// Runs that completed.
    pub completed: u64,
    /// Runs that failed, and whose steps are compensated.
    pub failed: u64,
    /// Runs that were [abandoned](super::Sagas::abandon).
    pub abandoned: u64,
    /// Attempts at commands.
    pub steps: SendCounts,
    /// Attempts at compensations.
    pub compensations: SendCounts,
}

/// Attempts to send commands, by their outcome. A command that is retried counts once an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCounts {
    /// The command was executed.
    pub succeeded: u64,
    /// The rules of the domain rejected it.
    pub rejected: u64,
    /// It failed for another reason, or its handler panicked.
    pub failed: u64,
}

impl SendCounts {
    pub(super) fn add(&mut self, outcome: &Result<(), SendError>) {
        match outcome {
            Ok(()) => self.succeeded += 1,
            Err(SendError::Rejected { .. }) => self.rejected += 1,
            Err(SendError::Failed(_)) => self.failed += 1,
        }
    }
}

impl SagaCounts {
    /// Counts an event that was recorded, if it ends a run.
    pub(super) fn recorded(&mut self, event: &SagaEvent) {
        match event {
            SagaEvent::Completed {} => self.completed += 1,
            SagaEvent::Failed { .. } => self.failed += 1,
            SagaEvent::Abandoned { .. } => self.abandoned += 1,
            SagaEvent::Reacted { .. }
            | SagaEvent::Sent { .. }
            | SagaEvent::Rejected { .. }
            | SagaEvent::Compensated { .. }
            | SagaEvent::Stuck { .. }
            | SagaEvent::Retried {} => {}
        }
    }
}
