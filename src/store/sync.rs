//! The locks and atomics shared by threads of a store: the real ones, or those of loom, which tests every interleaving.

#[cfg(not(annals_loom))]
mod real {
    use std::cell::Cell;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

    /// Number of threads that have a number.
    static THREADS: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        static THREAD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
    }

    /// The number of this thread, in the order in which threads first ask for it.
    #[inline]
    pub(crate) fn thread_number() -> usize {
        THREAD.get()
    }

    /// Lets another thread go first.
    pub(crate) fn pause(backoff: &crossbeam_utils::Backoff) {
        backoff.snooze();
    }

    /// A number that threads sleep on until it changes. One system call wakes all of them, and they need no lock then.
    #[derive(Debug, Default)]
    pub(crate) struct Turn(std::sync::atomic::AtomicU32);

    impl Turn {
        pub(crate) fn now(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }

        /// Sleeps until the turn differs from `seen`; may return spuriously.
        pub(crate) fn wait(&self, seen: u32) {
            atomic_wait::wait(&self.0, seen);
        }

        pub(crate) fn next(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            atomic_wait::wake_all(&raw const self.0);
        }
    }

    /// Sleeps until `condvar` is notified or `deadline` has passed; may return spuriously.
    pub(crate) fn wait_until<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        deadline: std::time::Instant,
    ) -> MutexGuard<'a, T> {
        condvar.wait_until(&mut guard, deadline);
        guard
    }
}

#[cfg(annals_loom)]
mod simulated {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    loom::lazy_static! {
        /// Not an atomic of loom: the order in which threads ask is the order in which loom runs them.
        static ref THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    }

    loom::thread_local! {
        static THREAD: usize = THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// The number of this thread, in the order in which threads first ask for it.
    pub(crate) fn thread_number() -> usize {
        THREAD.with(|number| *number)
    }

    /// loom's mutex with the interface of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("loom stops at the first panic")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    /// loom's lock with the interface of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("loom stops at the first panic")
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("loom stops at the first panic")
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }

        pub(crate) fn is_locked_exclusive(&self) -> bool {
            self.0.try_read().is_err()
        }
    }

    /// loom's condition variable with the interface of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// The turn behind a lock: no system call is simulated.
    #[derive(Debug, Default)]
    pub(crate) struct Turn(Mutex<u32>, Condvar);

    impl Turn {
        pub(crate) fn now(&self) -> u32 {
            *self.0.lock()
        }

        /// Sleeps until the turn differs from `seen`.
        pub(crate) fn wait(&self, seen: u32) {
            let mut turn = self.0.lock();
            while *turn == seen {
                turn = wait(&self.1, turn);
            }
        }

        pub(crate) fn next(&self) {
            *self.0.lock() += 1;
            self.1.notify_all();
        }
    }

    /// Lets another thread go first.
    pub(crate) fn pause(_: &crossbeam_utils::Backoff) {
        loom::thread::yield_now();
    }

    /// Sleeps until `condvar` is notified.
    fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.0.wait(guard).expect("loom stops at the first panic")
    }

    /// Sleeps until `condvar` is notified: simulated time does not pass.
    pub(crate) fn wait_until<'a, T>(
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
        _: std::time::Instant,
    ) -> MutexGuard<'a, T> {
        wait(condvar, guard)
    }
}

#[cfg(not(annals_loom))]
pub(crate) use real::*;
#[cfg(annals_loom)]
pub(crate) use simulated::*;
