//! The loop of a processor: follow the log, hand batches to a sink, commit, and wait for more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_core::Stream;

use super::control::{Control, Handling, Order};
use super::failure::panic_text;
use super::status::{ProcessorState, StopReason};
use crate::{Delivery, Error, Position, Query, Store, Tail, Timestamp, telemetry};

/// Deliveries handed to a sink at once.
const BATCH: usize = 256;

/// The longest time between two looks at the store's clock while timers are set: a clock that a test moves wakes nothing.
const TICK: Duration = Duration::from_millis(200);

/// What a processor feeds.
pub(in crate::cqrs) trait Sink: Send {
    /// The events that it wants.
    fn query(&self) -> Query;

    /// Called before the first batch, and after every stop: the position to go on after.
    fn begin(&mut self) -> Result<Position, StopReason>;

    /// Handles deliveries in order, and commits that everything up to `position` is handled. When it fails, [`begin`](Self::begin) says how far it
    /// came.
    fn handle(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason>;

    /// Does what is due at this time; returns when it is to be called again.
    fn tick(&mut self, _now: Timestamp) -> Result<Option<Timestamp>, StopReason> {
        Ok(None)
    }
}

/// A sink, and how far it was fed.
pub(in crate::cqrs) struct Runner<S> {
    store: Store,
    sink: S,
    control: Arc<Control>,
    tail: Option<Tail>,
    /// What ended the last wait.
    first: Option<Delivery>,
}

/// Why the loop was left without a failure.
#[derive(PartialEq, Eq)]
enum Left {
    Ordered,
    StoreClosed,
}

impl<S: Sink> Runner<S> {
    pub(in crate::cqrs) fn new(store: &Store, control: &Arc<Control>, sink: S) -> Self {
        Self {
            store: store.clone(),
            sink,
            control: Arc::clone(control),
            tail: None,
            first: None,
        }
    }

    /// Runs until the processor is told to end, or its store is closed.
    pub(in crate::cqrs) fn run(mut self) {
        self.control.attach(thread::current());
        while self.control.wait_for_order() != Order::End {
            match self.run_until_stopped() {
                Ok(Left::StoreClosed) => break,
                Ok(Left::Ordered) | Err(StopReason::Ended) => {}
                Err(reason) => self.control.stop(reason),
            }
        }
        drop(self.sink);
        self.control.set_state(&ProcessorState::Ended);
    }

    /// Feeds the sink; returns when there is another order, or the store is closed.
    fn run_until_stopped(&mut self) -> Result<Left, StopReason> {
        self.let_go();
        while self.control.order() == Order::Run {
            let due = self.drain()?;
            if !self.wait(due) {
                return Ok(Left::StoreClosed);
            }
        }
        Ok(Left::Ordered)
    }

    /// Feeds the sink with all visible events, and with the timers that are due. Returns when the next one is.
    pub(in crate::cqrs) fn drain(&mut self) -> Result<Option<Timestamp>, StopReason> {
        loop {
            let (is_caught_up, due) = self.feed_next(BATCH)?;
            if is_caught_up || self.control.order() != Order::Run {
                return Ok(due);
            }
        }
    }

    /// Feeds the sink with at most `max` deliveries, and, when it is caught up, with the timers that are due. Returns whether it is, and when the next
    /// timer is due.
    pub(super) fn feed_next(&mut self, max: usize) -> Result<(bool, Option<Timestamp>), StopReason> {
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.open()?,
        };
        let mut batch: Vec<_> = self.first.take().into_iter().collect();
        batch.extend(tail.try_batch(max - batch.len()));
        let position = tail.position();
        self.feed(&batch, position)?;
        // After the batch: its handlers may have appended.
        let is_caught_up = tail.is_caught_up();
        self.tail = Some(tail);
        let state = if is_caught_up {
            ProcessorState::CaughtUp
        } else {
            ProcessorState::Running
        };
        let due = if is_caught_up { self.tick()? } else { None };
        self.control.set_position(position, state);
        if is_caught_up {
            self.control.end_round();
        }
        Ok((is_caught_up, due))
    }

    #[cfg(feature = "testing")]
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// Lets go of the tail: after a stop the sink says where to go on.
    pub(super) fn let_go(&mut self) {
        (self.tail, self.first) = (None, None);
    }

    fn open(&mut self) -> Result<Tail, StopReason> {
        let _handling = Handling::of(self.control.name());
        let sink = &mut self.sink;
        let after = caught(|| sink.begin())?;
        let last = self.store.visible();
        if after > last {
            return Err(StopReason::CheckpointBeyondLog {
                checkpoint: after,
                last,
            });
        }
        let tail = self.store.tail(self.sink.query(), after);
        self.control.set_position(after, ProcessorState::Running);
        tail.map_err(|error: Error| StopReason::Storage {
            reason: error.to_string(),
        })
    }

    fn feed(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason> {
        let _handling = Handling::of(self.control.name());
        let _span = telemetry::batch(self.control.name(), batch.len(), position);
        let sink = &mut self.sink;
        caught(|| sink.handle(batch, position))
    }

    fn tick(&mut self) -> Result<Option<Timestamp>, StopReason> {
        let _handling = Handling::of(self.control.name());
        let (sink, now) = (&mut self.sink, self.store.now());
        caught(|| sink.tick(now))
    }

    /// Waits until there may be more to do. Returns `false` when the store is closed.
    fn wait(&mut self, due: Option<Timestamp>) -> bool {
        let Some(tail) = self.tail.take() else {
            return true;
        };
        let waker = Waker::from(Arc::clone(&self.control));
        let mut stream = tail.into_stream();
        match Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                // What the poll has examined has no event for the sink.
                self.control.set_position(stream.position(), ProcessorState::CaughtUp);
                if self.control.order() == Order::Run {
                    self.park(due);
                }
            }
            Poll::Ready(None) => return false,
            Poll::Ready(first) => self.first = first,
        }
        self.tail = Some(stream.into_tail());
        true
    }

    fn park(&self, due: Option<Timestamp>) {
        let Some(due) = due else {
            return thread::park();
        };
        let micros = due.as_micros().saturating_sub(self.store.now().as_micros());
        let left = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        if !left.is_zero() {
            thread::park_timeout(left.min(TICK));
        }
    }
}

/// A panic of a sink outside of a single event's attempts stops the processor too.
fn caught<T>(call: impl FnOnce() -> Result<T, StopReason>) -> Result<T, StopReason> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(StopReason::Panicked {
            reason: panic_text(&*panic),
        })
    })
}
