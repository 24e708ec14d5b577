//! Waking those who wait for the log to grow, at no cost while nobody waits.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Instant;

use super::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, fence, wait, wait_until};

/// Threads and tasks that wait. A task is known by the number it was given, so that it waits once however often it is polled.
#[derive(Debug)]
pub(crate) struct Signal {
    waiting: AtomicUsize,
    tasks: Mutex<HashMap<u64, Waker>>,
    condvar: Condvar,
    next_task: AtomicU64,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            tasks: Mutex::new(HashMap::new()),
            condvar: Condvar::new(),
            next_task: AtomicU64::new(0),
        }
    }
}

impl Signal {
    /// Wakes everyone. Called after what they wait for has changed.
    ///
    /// A waiter says that it waits, then a fence, then looks; this looks for waiters after a fence that follows the change. So
    /// either the waiter sees the change or this sees the waiter.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken: Vec<_> = {
            let mut tasks = self.tasks.lock();
            self.condvar.notify_all();
            self.waiting.fetch_sub(tasks.len(), Ordering::SeqCst);
            tasks.drain().collect()
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// Sleeps while `condition` holds, until `deadline` if there is one.
    pub(crate) fn wait_while(&self, deadline: Option<Instant>, mut condition: impl FnMut() -> bool) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut guard = self.tasks.lock();
        while condition() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            guard = match deadline {
                Some(deadline) => wait_until(&self.condvar, guard, deadline),
                None => wait(&self.condvar, guard),
            };
        }
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// A number for a task that will wait.
    pub(crate) fn new_task(&self) -> u64 {
        self.next_task.fetch_add(1, Ordering::Relaxed)
    }

    /// Has `waker` woken when the log grows. The caller must look once more after this.
    pub(crate) fn register(&self, task: u64, waker: &Waker) {
        let mut tasks = self.tasks.lock();
        if tasks.insert(task, waker.clone()).is_none() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        drop(tasks);
        fence(Ordering::SeqCst);
    }

    /// Forgets the task.
    pub(crate) fn unregister(&self, task: u64) {
        if self.tasks.lock().remove(&task).is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
