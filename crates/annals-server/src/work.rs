//! Runs work that may block, on a bounded number of separate threads.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Span;

use crate::problem::{Kind, Problem};
use crate::shared::Shared;

/// Runs `work`, which waits only for locks, on a separate thread.
///
/// # Errors
///
/// [`Kind::Busy`] if no thread is free in time, [`Kind::Internal`] if the work panics.
pub(crate) async fn run<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    run_in(&shared.workers, shared, work).await
}

/// The same for work that may wait for the journal, on other threads: so that reads do not wait for a slow disk.
pub(crate) async fn write<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    run_in(&shared.writers, shared, work).await
}

/// Runs `work` when a place is free, in the span of the request. It runs to its end even if the request is dropped, and holds its place until then.
async fn run_in<T: Send + 'static>(
    places: &Arc<Semaphore>,
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = Arc::clone(places).acquire_owned();
    let Ok(Ok(place)) = timeout(shared.limits.worker_wait, place).await else {
        return Err(Problem::new(Kind::Busy, "every worker of the server is in use"));
    };
    let span = Span::current();
    let working = tokio::task::spawn_blocking(move || {
        let result = span.in_scope(work);
        drop(span);
        drop(place);
        result
    });
    working
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the request failed within the server"))
}
