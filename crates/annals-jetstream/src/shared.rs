//! What the feed, the remote and the task that reads the stream share.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use annals::journal::{JournalError, JournalErrorKind};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::heads::{Append, Heads};

/// Bytes of messages that wait for the feed. Reading pauses then.
const QUEUE_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) heads: Heads,
    /// What the feed has not taken yet, each with the position of its first event.
    queue: VecDeque<(u64, Append)>,
    queue_bytes: usize,
    /// The number of the task that reads, and the sequence and position that it has read to.
    reader: u64,
    read: (u64, u64),
    /// Why the stream can no longer be read.
    fault: Option<JournalError>,
    is_woken: bool,
    is_stopped: bool,
}

/// The state, and the signals of its changes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins to read behind the message `sequence`, whose last event is at `position`. Returns the number of the reader.
    pub(crate) fn begin(&self, sequence: u64, position: u64) -> u64 {
        let mut state = self.lock();
        state.reader += 1;
        state.read = (sequence, position);
        state.queue.clear();
        state.queue_bytes = 0;
        self.room.notify_waiters();
        state.reader
    }

    /// The next sequence that this reader wants; `None` if there is another one since, or none is to read.
    pub(crate) fn wanted(&self, reader: u64) -> Option<u64> {
        let state = self.lock();
        let is_wanted = state.reader == reader && !state.is_stopped && state.fault.is_none();
        is_wanted.then(|| state.read.0 + 1)
    }

    /// The message that the reader has read to.
    pub(crate) fn read_to(&self) -> u64 {
        self.lock().read.0
    }

    /// Waits for room in the queue.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().queue_bytes < QUEUE_BYTES_MAX {
                return;
            }
            room.await;
        }
    }

    /// Adds the next append of a reader, whole.
    pub(crate) fn add(&self, reader: u64, append: Append) {
        let mut state = self.lock();
        if state.reader != reader {
            return;
        }
        if append.sequence > state.heads.sequence
            && let Err(error) = state.heads.add_all(&append)
        {
            state.fault = Some(error);
        } else {
            let first = state.read.1 + 1;
            state.read = (append.sequence, state.read.1 + append.event_count());
            state.queue_bytes += append.bytes;
            state.queue.push_back((first, append));
        }
        self.changed.notify_all();
    }

    /// Ends reading for good.
    pub(crate) fn fail(&self, error: JournalError) {
        self.lock().fault.get_or_insert(error);
        self.changed.notify_all();
    }

    pub(crate) fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
        self.room.notify_waiters();
    }

    /// Waits until an append is there, for a wake, for the end, or for a poll interval.
    pub(crate) fn wait(&self, poll: Duration) {
        let deadline = Instant::now() + poll;
        let mut state = self.lock();
        let is_idle =
            |state: &mut State| state.queue.is_empty() && !state.is_woken && !state.is_stopped && state.fault.is_none();
        self.changed.wait_while_until(&mut state, is_idle, deadline);
        state.is_woken = false;
    }

    /// The next append for the feed, with the position of its first event; `None` once the reader is at `end` and the queue is empty.
    ///
    /// # Errors
    ///
    /// The fault of the stream, and [`Retry`](JournalErrorKind::Retry) after the deadline.
    pub(crate) fn take(&self, end: u64, deadline: Instant) -> Result<Option<(u64, Append)>, JournalError> {
        let mut state = self.lock();
        loop {
            if let Some((first, append)) = state.queue.pop_front() {
                state.queue_bytes -= append.bytes;
                self.room.notify_waiters();
                return Ok(Some((first, append)));
            }
            state.check()?;
            if state.read.0 >= end {
                return Ok(None);
            }
            self.await_change(&mut state, end, deadline)?;
        }
    }

    /// Waits until the heads have the message `sequence`.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub(crate) fn await_head(&self, sequence: u64, deadline: Instant) -> Result<(), JournalError> {
        let mut state = self.lock();
        while state.heads.sequence < sequence {
            state.check()?;
            self.await_change(&mut state, sequence, deadline)?;
        }
        Ok(())
    }

    fn await_change(
        &self,
        state: &mut MutexGuard<'_, State>,
        wanted: u64,
        deadline: Instant,
    ) -> Result<(), JournalError> {
        let read = state.read.0;
        if self.changed.wait_until(state, deadline).timed_out() && state.read.0 == read {
            let message = format!("the stream was read to message {read}, and not to {wanted}, in the time allowed");
            return Err(JournalError::new(JournalErrorKind::Retry, message));
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> Result<(), JournalError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if self.is_stopped {
            return Err(JournalError::new(JournalErrorKind::Retry, "the store is closing"));
        }
        Ok(())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}
