//! Instances of sagas without the type of their events.

use annals::cqrs::{Saga, SagaError, SagaStatus, Sagas};

/// The instances of a saga.
pub(crate) trait Instances: Send + Sync {
    /// Those that have not ended, ascending by key.
    fn active(&self) -> Vec<SagaStatus>;

    /// The last run of the instance with a key.
    ///
    /// # Errors
    ///
    /// [`SagaError::Unreadable`] when its stream cannot be read.
    fn get(&self, key: &str) -> Result<Option<SagaStatus>, SagaError>;

    /// Makes a stuck instance send its command again. Returns whether it was stuck.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotRunning`] when the processor does not run.
    fn retry(&self, key: &str) -> Result<bool, SagaError>;

    /// Ends an instance. Returns whether it was active.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry).
    fn abandon(&self, key: &str, reason: &str) -> Result<bool, SagaError>;
}

impl<S: Saga> Instances for Sagas<S> {
    fn active(&self) -> Vec<SagaStatus> {
        self.active()
    }

    fn get(&self, key: &str) -> Result<Option<SagaStatus>, SagaError> {
        self.get(key)
    }

    fn retry(&self, key: &str) -> Result<bool, SagaError> {
        self.retry(key)
    }

    fn abandon(&self, key: &str, reason: &str) -> Result<bool, SagaError> {
        self.abandon(key, reason)
    }
}
