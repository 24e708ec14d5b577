//! Cancelling a tail from another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::store::Engine;
use crate::store::tail::Tail;

/// Whether a tail was cancelled.
#[derive(Debug, Default)]
pub(super) struct Cancelled(AtomicBool);

impl Cancelled {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Cancels one [`Tail`], or the [stream](crate::store::tail::TailStream) made from it, from any thread.
///
/// A handle does not retain the store's memory: it may outlive the tail and the store.
#[derive(Clone, Debug)]
pub struct TailCancel {
    cancelled: Arc<Cancelled>,
    engine: Weak<Engine>,
    task: u64,
}

impl Tail {
    /// Returns a handle that cancels this tail from any thread, even while a call waits.
    ///
    /// ```
    /// # use annals::{Position, Query, Store};
    /// let store = Store::in_memory();
    /// let mut tail = store.tail(Query::all(), Position(0))?;
    /// let cancel = tail.cancel_handle();
    /// let follower = std::thread::spawn(move || tail.by_ref().count());
    ///
    /// cancel.cancel();
    /// assert_eq!(follower.join().unwrap(), 0);
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn cancel_handle(&self) -> TailCancel {
        TailCancel {
            cancelled: Arc::clone(&self.cancelled),
            engine: Arc::downgrade(&self.engine),
            task: self.task,
        }
    }
}

impl TailCancel {
    /// Cancels the tail: a waiting call returns, a pending stream is woken, and nothing more is delivered, not even a ready delivery.
    ///
    /// [`Tail::position`] returns the position that the tail reached. Idempotent.
    pub fn cancel(&self) {
        if self.cancelled.0.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.core.log.visible_signal().wake(self.task);
        }
    }

    /// Returns whether the tail was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_set()
    }
}
