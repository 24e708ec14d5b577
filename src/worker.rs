//! A thread of the library's own: the journal's, the one that follows a log, a processor's.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, ThreadId};

use parking_lot::Mutex;

/// A thread that is started once, and waited for by any number of threads.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    id: Arc<OnceLock<ThreadId>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub(crate) fn start(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let id = Arc::clone(&self.id);
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Before the work, which may ask for it.
            id.get_or_init(|| thread::current().id());
            work();
        })?;
        *self.handle.lock() = Some(thread);
        Ok(())
    }

    /// Whether the caller is this thread.
    pub(crate) fn is_current(&self) -> bool {
        self.id.get() == Some(&thread::current().id())
    }

    /// Waits until the thread has ended, in whatever way. The thread itself, which may drop the last handle of a store, waits for nothing.
    pub(crate) fn join(&self) {
        self.join_or_leave(|| true);
    }

    /// The same if `is_ending` returns `true`; otherwise the thread is left to itself. `is_ending` may wait.
    pub(crate) fn join_or_leave(&self, is_ending: impl FnOnce() -> bool) {
        if self.is_current() {
            return;
        }
        // Locked until the thread has ended, so that others wait too.
        let mut handle = self.handle.lock();
        if let Some(thread) = handle.take()
            && is_ending()
        {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_second_thread_that_joins_waits_too() {
        let worker = Worker::default();
        let (end, ends) = mpsc::channel::<()>();
        let ended = Arc::new(OnceLock::new());
        let at_end = Arc::clone(&ended);
        worker
            .start("worker".to_owned(), move || {
                ends.recv().unwrap();
                at_end.set(()).unwrap();
            })
            .unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    worker.join();
                    assert!(ended.get().is_some());
                });
            }
            end.send(()).unwrap();
        });
    }

    #[test]
    fn a_thread_does_not_wait_for_itself_nor_for_one_that_panicked() {
        let worker = Arc::new(Worker::default());
        let of_itself = Arc::clone(&worker);
        worker
            .start("worker".to_owned(), move || {
                assert!(of_itself.is_current());
                of_itself.join();
                panic!("the work fails");
            })
            .unwrap();
        worker.join();
        assert!(!worker.is_current());
    }
}
