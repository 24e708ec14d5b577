//! The async runtime of a journal: one thread that drives its connections, and nothing else.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crate::journal::{JournalError, JournalErrorKind};

/// A thread for connections and the heartbeat of the lease.
#[derive(Debug)]
pub(super) struct Runtime {
    handle: tokio::runtime::Handle,
    /// Taken when it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Runtime {
    pub(super) fn new() -> Result<Self, JournalError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("annals-postgres")
            .enable_all()
            .build()
            .map_err(|error| {
                let message = "the thread for the connections to PostgreSQL cannot be started";
                JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
            })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Runs `future` on this thread. Tokio's own `block_on` would panic on a thread that belongs to another runtime.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let _entered = self.handle.enter();
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            std::thread::park();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A blocking shutdown would panic on a thread of another runtime, and there is nothing to wait for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Wakes the thread that is blocked on a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
