//! The listeners of erasures, and what they get.

use std::sync::Arc;

use crate::cqrs::HandlerError;

type Tell = dyn Fn(&Erased<'_>) -> Result<(), HandlerError> + Send + Sync;

/// Is told of each erasure.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) tell: Arc<Tell>,
}

/// An erasure, as a listener gets it. The keys are destroyed already.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Erased<'a> {
    /// The name of the subject, which is stored nowhere.
    pub subject: &'a str,
    /// The aggregates whose events have personal fields of the subject, at most 1,000.
    pub aggregates: &'a [String],
}
