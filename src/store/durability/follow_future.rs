//! Appends of futures in a store that follows: threads that wait for the remote.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::journal::{JournalError, JournalErrorKind};
use crate::store::Engine;
use crate::store::append::owned::OwnedAppend;
use crate::{Appended, Error, Result};

/// Maximum number of threads; more appends wait in the queue.
const THREADS_MAX: usize = 64;
/// How long a thread waits for another append before it ends.
const IDLE: Duration = Duration::from_secs(1);

/// The threads of a store that follows. They start when futures append, and end when none has for a while.
#[derive(Debug, Default)]
pub(in crate::store) struct CallThreads {
    calls: Mutex<Calls>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    queue: VecDeque<Arc<Call>>,
    idle: usize,
    threads: usize,
    is_stopping: bool,
}

/// An append, and its result.
#[derive(Debug)]
struct Call {
    append: OwnedAppend,
    state: Mutex<(Option<Result<Appended>>, Option<Waker>)>,
}

impl Call {
    fn complete(&self, result: Result<Appended>) {
        let waker = {
            let (known, waker) = &mut *self.state.lock();
            known.get_or_insert(result);
            waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An append that a thread makes. Dropping it removes the append from the queue, if no thread has begun it.
#[derive(Debug)]
pub(in crate::store) struct RemoteCall {
    engine: Arc<Engine>,
    call: Arc<Call>,
}

impl RemoteCall {
    pub(in crate::store) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Appended>> {
        let new = context.waker().clone();
        let earlier = {
            let (result, waker) = &mut *self.call.state.lock();
            if let Some(result) = result {
                return Poll::Ready(result.clone());
            }
            waker.replace(new)
        };
        // Without the lock: it may be the last of a task, whose futures then end their own waits.
        drop(earlier);
        Poll::Pending
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        let waker = {
            let (result, waker) = &mut *self.call.state.lock();
            // The thread that appends no longer has a task to wake.
            if result.is_some() {
                return;
            }
            waker.take()
        };
        drop(waker);
        if let Some(following) = &self.engine.following {
            let mut calls = following.call_threads().calls.lock();
            calls.queue.retain(|queued| !Arc::ptr_eq(queued, &self.call));
        }
    }
}

impl Engine {
    /// Queues an append for a thread that waits for the remote.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and [`Error::Unavailable`] if the system cannot start a thread and none runs.
    pub(in crate::store) fn call_remote(self: &Arc<Self>, append: OwnedAppend) -> Result<RemoteCall> {
        self.check_open()?;
        let call = Arc::new(Call {
            append,
            state: Mutex::default(),
        });
        if let Some(following) = &self.following {
            following.call_threads().queue(self, &call)?;
        }
        Ok(RemoteCall {
            engine: Arc::clone(self),
            call,
        })
    }
}

impl CallThreads {
    fn queue(&self, engine: &Arc<Engine>, call: &Arc<Call>) -> Result<()> {
        let mut calls = self.calls.lock();
        if calls.is_stopping {
            return Err(Error::Closed);
        }
        if calls.idle <= calls.queue.len() && calls.threads < THREADS_MAX {
            match start(engine) {
                Ok(()) => calls.threads += 1,
                Err(error) if calls.threads == 0 => {
                    let message = "cannot start a thread that appends";
                    return Err(JournalError::new(JournalErrorKind::Retry, message)
                        .caused_by(error)
                        .into());
                }
                // The threads that run take the call later.
                Err(_) => {}
            }
        }
        calls.queue.push_back(Arc::clone(call));
        self.work.notify_one();
        Ok(())
    }

    /// Takes the next append; `None` when the thread is to end, and is no longer counted.
    fn next(&self) -> Option<Arc<Call>> {
        let mut calls = self.calls.lock();
        loop {
            if let Some(call) = calls.queue.pop_front() {
                return Some(call);
            }
            calls.idle += 1;
            let waited = !calls.is_stopping && !self.work.wait_for(&mut calls, IDLE).timed_out();
            calls.idle -= 1;
            if !waited && calls.queue.is_empty() {
                // With the lock: an append that is queued from here on needs another thread.
                calls.threads -= 1;
                return None;
            }
        }
    }

    /// Ends the threads after the appends that they have begun, and fails the others.
    pub(in crate::store) fn stop(&self) {
        let queue = {
            let mut calls = self.calls.lock();
            calls.is_stopping = true;
            std::mem::take(&mut calls.queue)
        };
        self.work.notify_all();
        for call in queue {
            call.complete(Err(Error::Closed));
        }
    }
}

fn start(engine: &Arc<Engine>) -> std::io::Result<()> {
    let engine = Arc::clone(engine);
    let thread = std::thread::Builder::new().name("annals-append".to_owned());
    thread.spawn(move || run(&engine)).map(drop)
}

fn run(engine: &Engine) {
    let Some(following) = &engine.following else { return };
    while let Some(call) = following.call_threads().next() {
        let append = &call.append;
        let appended = catch_unwind(AssertUnwindSafe(|| {
            engine.append_elsewhere(following, &append.stream, append.expected, &append.events)
        }));
        let result = appended.unwrap_or_else(|_| {
            let message = "the remote panicked; whether the events were appended is not known";
            Err(JournalError::new(JournalErrorKind::Retry, message).into())
        });
        // A panic, also of a waker, must not end the thread: appends in the queue may have no other.
        drop(catch_unwind(AssertUnwindSafe(|| call.complete(result))));
    }
}
