//! The primitives of the watermark protocol: the real ones, or those of loom, which tries every interleaving.

#[cfg(not(annals_loom))]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

    /// Lets another thread go first.
    pub(crate) fn pause(backoff: &crossbeam_utils::Backoff) {
        backoff.snooze();
    }

    /// Sleeps until `condvar` is notified, or sooner.
    pub(crate) fn wait<'a, T>(condvar: &Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.wait(&mut guard);
        guard
    }

    /// Sleeps until `condvar` is notified or `deadline` has passed, or sooner.
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
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

    /// loom's mutex with the face of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("loom stops at the first panic")
        }
    }

    /// loom's lock with the face of `parking_lot`'s.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
            self.0.read().expect("loom stops at the first panic")
        }

        pub(crate) fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
            self.0.write().expect("loom stops at the first panic")
        }
    }

    /// loom's condition variable with the face of `parking_lot`'s.
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

    /// Lets another thread go first.
    pub(crate) fn pause(_: &crossbeam_utils::Backoff) {
        loom::thread::yield_now();
    }

    /// Sleeps until `condvar` is notified.
    pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
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
