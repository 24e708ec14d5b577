//! Waiting until an event is visible: blocking, or as a future.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Position;
use crate::store::{Engine, Store};

impl Store {
    /// Waits until the event at `position` is visible, the store is closed, or its journal has failed.
    pub fn wait_visible(&self, position: Position) {
        let engine = self.engine();
        let signal = engine.core.log.visible_signal();
        signal.wait_while(None, || !engine.is_visible_or_ended(position));
    }

    /// [`wait_visible`](Self::wait_visible) as a future. The position may be one that has no event yet.
    ///
    /// The future retains the store's memory but does not keep the store open. Dropping it ends the wait.
    pub fn when_visible(&self, position: Position) -> Visible {
        let engine = Arc::clone(self.engine_arc());
        Visible {
            task: engine.core.log.visible_signal().new_task(),
            engine,
            position,
        }
    }
}

impl Engine {
    fn is_visible_or_ended(&self, position: Position) -> bool {
        let log = &self.core.log;
        log.visible() >= position.0 || log.is_closed() || log.is_halted()
    }
}

/// A future that completes when an event is visible. [`Store::when_visible`] makes it.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Visible {
    engine: Arc<Engine>,
    position: Position,
    task: u64,
}

impl Future for Visible {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.engine.is_visible_or_ended(self.position) {
            return Poll::Ready(());
        }
        let signal = self.engine.core.log.visible_signal();
        signal.register(self.task, context.waker());
        // Events that came before the registration do not wake the waker.
        if self.engine.is_visible_or_ended(self.position) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Visible {
    fn drop(&mut self) {
        self.engine.core.log.visible_signal().unregister(self.task);
    }
}
