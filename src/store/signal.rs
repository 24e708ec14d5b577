//! Waking those who wait for the log to grow, at no cost while nobody waits.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Instant;

use super::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, Turn, fence, wait_until};

/// Threads and tasks that wait. A task is known by the number it was given, so that it waits once however often it is polled.
#[derive(Debug)]
pub(crate) struct Signal {
    waiting: AtomicUsize,
    /// Where threads sleep that have no deadline.
    turn: Turn,
    tasks: Mutex<HashMap<u64, Waker>>,
    /// Where threads sleep that have one, by the lock of the tasks.
    condvar: Condvar,
    next_task: AtomicU64,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            turn: Turn::default(),
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
        self.turn.next();
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
        match deadline {
            Some(deadline) => self.sleep_until(deadline, &mut condition),
            None => self.sleep(&mut condition),
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn sleep(&self, condition: &mut dyn FnMut() -> bool) {
        loop {
            // Before looking: a change that comes behind the look ends this turn.
            let turn = self.turn.now();
            if !condition() {
                return;
            }
            self.turn.wait(turn);
        }
    }

    fn sleep_until(&self, deadline: Instant, condition: &mut dyn FnMut() -> bool) {
        let mut guard = self.tasks.lock();
        while condition() && Instant::now() < deadline {
            guard = wait_until(&self.condvar, guard, deadline);
        }
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
