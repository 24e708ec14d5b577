//! A task that waits for room in the backlog.

use std::sync::Arc;
use std::task::Waker;

use crate::Durability;
use crate::store::Engine;
use crate::store::sync::{Ordering, fence};

/// A task that waits for room: the journal writes early while there is one. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct RoomWait {
    engine: Arc<Engine>,
    task: u64,
}

impl RoomWait {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        if let Some(flushing) = &engine.flushing {
            flushing.waiting_for_room.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
        Self {
            engine: Arc::clone(engine),
            task: engine.core.log.signal_of(Durability::Written).new_task(),
        }
    }

    /// Registers the task, and requests a write of the events so far. The caller must look for room again after this.
    pub(crate) fn register(&self, waker: &Waker) {
        let log = &self.engine.core.log;
        log.signal_of(Durability::Written).register(self.task, waker);
        if let Some(flushing) = &self.engine.flushing {
            flushing.work_on(&self.engine, Durability::Written, log.published());
        }
    }
}

impl Drop for RoomWait {
    fn drop(&mut self) {
        if let Some(flushing) = &self.engine.flushing {
            flushing.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
        }
        self.engine
            .core
            .log
            .signal_of(Durability::Written)
            .unregister(self.task);
    }
}
