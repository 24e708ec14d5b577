//! What the handles of a saga ask its thread to do with an instance.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;

/// What is to be done with an instance by hand.
#[derive(Clone, Debug)]
pub(super) enum Verb {
    Retry,
    Abandon(String),
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) key: String,
    pub(super) verb: Verb,
    pub(super) answer: SyncSender<bool>,
}

impl Order {
    /// Tells the handle whether there was something to do.
    pub(super) fn answer(&self, found: bool) {
        // The handle may have given up.
        _ = self.answer.try_send(found);
    }
}

/// Orders of handles on their way to the thread.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<VecDeque<Order>>);

impl Orders {
    pub(super) fn take(&self) -> Option<Order> {
        self.0.lock().pop_front()
    }

    pub(super) fn push(&self, order: Order) {
        self.0.lock().push_back(order);
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
