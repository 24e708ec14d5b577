//! Ending a tail from elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::Tail;
use crate::store::Engine;

/// Whether a tail was cancelled.
#[derive(Debug, Default)]
pub(super) struct Cancelled(AtomicBool);

impl Cancelled {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Ends one [`Tail`], or the [stream](super::TailStream) that was made of it, from any thread.
///
/// A handle does not keep the store's memory: it may outlive the tail and the store.
#[derive(Clone, Debug)]
pub struct TailCancel {
    cancelled: Arc<Cancelled>,
    engine: Weak<Engine>,
    task: u64,
}

impl Tail {
    /// A handle that ends this tail from elsewhere, while a call waits too.
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
    /// Ends the tail: a call that waits returns, a pending stream is woken, and no further delivery comes, not even one that was ready.
    ///
    /// [`Tail::position`] says how far the tail came. A second call changes nothing.
    pub fn cancel(&self) {
        if self.cancelled.0.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.core.log.visible_signal().wake(self.task);
        }
    }

    /// Whether the tail was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_set()
    }
}
