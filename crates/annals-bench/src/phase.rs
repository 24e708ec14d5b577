//! The phases of a run, and who is told of their progress.

use crate::load::LoadError;
use crate::store::StoreError;

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The store is emptied and opened.
    Provision,
    /// The events that the workload wants are appended.
    Load,
    /// Nothing happens.
    Settle,
    /// The load runs until it is steady.
    WarmUp,
    /// The load is measured.
    Measure,
    /// The oracle reads everything.
    Verify,
    /// The store makes everything durable and is closed.
    Drain,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Provision,
        Self::Load,
        Self::Settle,
        Self::WarmUp,
        Self::Measure,
        Self::Verify,
        Self::Drain,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Load => "load",
            Self::Settle => "settle",
            Self::WarmUp => "warm-up",
            Self::Measure => "measure",
            Self::Verify => "verify",
            Self::Drain => "drain",
        }
    }
}

/// The reason why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The load ended early.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store failed outside of the measured time.
    #[error("{}: {error}", phase.name())]
    Store {
        /// When.
        phase: Phase,
        /// Why.
        error: StoreError,
    },
    /// The caller stopped the run.
    #[error("stopped")]
    Stopped,
}

/// Called with the progress of a run; returning false stops it.
pub type Watch<'a> = &'a mut (dyn FnMut(Phase, u64) -> bool + Send);

/// Tells `watch` of the progress.
///
/// # Errors
///
/// [`RunError::Stopped`] if it stops the run.
pub(crate) fn report(watch: Watch<'_>, phase: Phase, done: u64) -> Result<(), RunError> {
    if watch(phase, done) {
        Ok(())
    } else {
        Err(RunError::Stopped)
    }
}
