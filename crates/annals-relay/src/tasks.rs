//! A small runtime for clients that need one. Threads of a relay wait for its tasks for a bounded time.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::RelayError;

/// A runtime. When it is dropped, its tasks end.
#[derive(Debug)]
pub(crate) struct Tasks(Option<Runtime>);

impl Tasks {
    /// # Errors
    ///
    /// [`RelayError::Invalid`] when the operating system starts no thread.
    pub(crate) fn start(name: &'static str) -> Result<Self, RelayError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(|error| RelayError::invalid(format!("cannot start the threads of {name}: {error}")))?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `request`, and waits for it. `None` if it takes longer than `time`.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
        time: Duration,
    ) -> Option<T> {
        let (done, result) = mpsc::sync_channel(1);
        let task = self.0.as_ref()?.spawn(async move { done.send(request.await).is_ok() });
        let result = result.recv_timeout(time);
        if result.is_err() {
            task.abort();
        }
        result.ok()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // A thread of another runtime may drop it, where waiting is forbidden.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
