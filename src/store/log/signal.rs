//! Waking threads and tasks that wait for the log, at no cost while none wait.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Instant;

use crate::store::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, Turn, fence, wait_until};

/// Waiting threads and tasks. A task has a number, so that it is registered once however often it is polled.
#[derive(Debug)]
pub(crate) struct Signal {
    waiting: AtomicUsize,
    /// Threads without a deadline sleep on this.
    turn: Turn,
    tasks: Mutex<HashMap<u64, Waker>>,
    /// Threads with a deadline sleep on this, with the lock of the tasks.
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
    /// Wakes all waiters. Called after the state that they wait for has changed.
    ///
    /// A waiter registers, passes a fence, and checks the state. This call checks for waiters after a fence that follows the change. So
    /// either the waiter sees the change or this call sees the waiter.
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

    /// Wakes one task and all threads, after a change that may concern only one of them.
    pub(crate) fn wake(&self, task: u64) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.turn.next();
        let woken = {
            let mut tasks = self.tasks.lock();
            self.condvar.notify_all();
            let woken = tasks.remove(&task);
            self.waiting.fetch_sub(usize::from(woken.is_some()), Ordering::SeqCst);
            woken
        };
        if let Some(waker) = woken {
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
            // Before the check: a change after the check ends this turn.
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

    /// Returns a number for a task that will wait.
    pub(crate) fn new_task(&self) -> u64 {
        self.next_task.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers `waker` to be woken when the log grows. The caller must check the state again after this.
    pub(crate) fn register(&self, task: u64, waker: &Waker) {
        let waker = waker.clone();
        let earlier = {
            let mut tasks = self.tasks.lock();
            let earlier = tasks.insert(task, waker);
            // Under the lock: `notify` subtracts all registered tasks, and without this one's share the count would lack a waiter.
            self.waiting.fetch_add(usize::from(earlier.is_none()), Ordering::SeqCst);
            earlier
        };
        fence(Ordering::SeqCst);
        // Without the lock: it may be the last of a task, whose futures then unregister.
        drop(earlier);
    }

    /// Removes the task.
    pub(crate) fn unregister(&self, task: u64) {
        let waker = self.tasks.lock().remove(&task);
        if waker.is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        // As above.
        drop(waker);
    }
}

#[cfg(all(test, not(annals_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_task_is_woken_and_the_others_wait_on() {
        let signal = Signal::default();
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        let tasks = [(); 3].map(|()| signal.new_task());
        for (task, count) in tasks.iter().zip(&counts) {
            signal.register(*task, &Waker::from(Arc::clone(count)));
        }
        let woken = || counts.each_ref().map(|count| count.0.load(Ordering::SeqCst));
        signal.wake(tasks[1]);
        signal.wake(tasks[1]);
        assert_eq!(woken(), [0, 1, 0]);
        assert_eq!(signal.waiting.load(Ordering::SeqCst), 2);
        signal.notify();
        assert_eq!(woken(), [1, 1, 1]);
        assert_eq!(signal.waiting.load(Ordering::SeqCst), 0);
    }

    /// A waker of a task that ends with it, and so ends its own wait.
    struct Owner(Arc<Signal>, u64);

    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.unregister(self.1);
        }
    }

    #[test]
    fn a_waker_that_ended_another_wait_when_it_was_dropped_blocked_for_ever() {
        let signal = Arc::new(Signal::default());
        let owner = |other| Waker::from(Arc::new(Owner(Arc::clone(&signal), other)));
        let [first, second] = [(); 2].map(|()| signal.new_task());
        signal.register(second, Waker::noop());
        signal.register(first, &owner(second));
        signal.register(first, &owner(second));
        assert_eq!(signal.waiting.load(Ordering::SeqCst), 1);
        signal.register(second, Waker::noop());
        signal.unregister(first);
        assert_eq!(signal.waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_are_woken_with_a_task() {
        let deadline = Instant::now().checked_add(Duration::from_secs(600));
        for deadline in [None, deadline] {
            let (signal, ends) = (Signal::default(), AtomicBool::new(false));
            std::thread::scope(|scope| {
                scope.spawn(|| signal.wait_while(deadline, || !ends.load(Ordering::SeqCst)));
                ends.store(true, Ordering::SeqCst);
                signal.wake(7);
            });
            assert_eq!(signal.waiting.load(Ordering::SeqCst), 0);
        }
    }
}

#[cfg(all(test, annals_loom))]
mod simulation {
    use super::*;
    use crate::store::sync::{Arc, AtomicBool};

    #[test]
    fn a_cancelled_sleeper_is_woken() {
        loom::model(|| {
            let signal = Arc::new(Signal::default());
            let cancelled = Arc::new(AtomicBool::new(false));
            let sleeper = {
                let (signal, cancelled) = (Arc::clone(&signal), Arc::clone(&cancelled));
                loom::thread::spawn(move || signal.wait_while(None, || !cancelled.load(Ordering::SeqCst)))
            };
            cancelled.swap(true, Ordering::SeqCst);
            signal.wake(0);
            sleeper.join().expect("the sleeper is woken");
        });
    }

    #[test]
    fn a_sleeper_was_not_woken_after_a_task_that_had_just_registered() {
        loom::model(|| {
            let signal = Arc::new(Signal::default());
            let ends = Arc::new(AtomicBool::new(false));
            let sleeper = {
                let (signal, ends) = (Arc::clone(&signal), Arc::clone(&ends));
                loom::thread::spawn(move || signal.wait_while(None, || !ends.load(Ordering::SeqCst)))
            };
            let task = {
                let signal = Arc::clone(&signal);
                loom::thread::spawn(move || signal.register(0, Waker::noop()))
            };
            signal.notify();
            ends.swap(true, Ordering::SeqCst);
            signal.notify();
            sleeper.join().expect("the sleeper is woken");
            task.join().expect("the task is registered");
        });
    }
}
