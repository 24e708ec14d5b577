//! What a processor's thread and its handles share: orders, state, and those who wait.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Wake;
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[cfg(feature = "testing")]
use super::handler_error::HandlerError;
use super::status::{FailedEvent, ProcessorState, ProcessorStatus, StopReason, WaitError};
#[cfg(feature = "testing")]
use crate::Event;
#[cfg(feature = "testing")]
use crate::testing::faults::Operation;
use crate::{Name, Position, Store, telemetry};

/// What the processor's thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cqrs) enum Order {
    Run,
    Pause,
    End,
}

#[derive(Debug)]
struct Inner {
    order: Order,
    state: ProcessorState,
    position: Position,
    handled: u64,
    parked: u64,
    last_error: Option<(FailedEvent, String)>,
    /// How often it was caught up, and had done what was due.
    rounds: u64,
    waits_for: Option<String>,
    thread: Option<Thread>,
    /// It has no thread: it takes orders at once.
    #[cfg(feature = "testing")]
    is_by_hand: bool,
}

#[derive(Debug)]
pub(in crate::cqrs) struct Control {
    name: Name,
    store: Store,
    inner: Mutex<Inner>,
    /// Notified whenever `inner` changes.
    changed: Condvar,
}

thread_local! {
    /// The processors whose handlers run on this thread, the innermost last.
    static HANDLING: RefCell<Vec<Name>> = const { RefCell::new(Vec::new()) };
}

/// Marks this thread as one that runs handlers of a processor, until it is dropped.
pub(in crate::cqrs) struct Handling;

impl Handling {
    pub(in crate::cqrs) fn of(name: &Name) -> Self {
        HANDLING.with_borrow_mut(|names| names.push(name.clone()));
        Self
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        HANDLING.with_borrow_mut(|names| names.pop());
    }
}

/// Wakes a processor's thread.
impl Wake for Control {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}

#[cfg(feature = "testing")]
impl Inner {
    /// Without a thread, the order itself changes the state.
    fn obey_by_hand(&mut self) {
        if !self.is_by_hand {
            return;
        }
        match self.order {
            Order::End => self.state = ProcessorState::Ended,
            Order::Pause if !matches!(self.state, ProcessorState::Stopped(_)) => self.state = ProcessorState::Paused,
            Order::Pause | Order::Run => {}
        }
    }
}

impl Control {
    pub(in crate::cqrs) fn new(name: &Name, store: &Store) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            store: store.clone(),
            inner: Mutex::new(Inner {
                order: Order::Run,
                state: ProcessorState::Running,
                position: Position(0),
                handled: 0,
                parked: 0,
                last_error: None,
                rounds: 0,
                waits_for: None,
                thread: None,
                #[cfg(feature = "testing")]
                is_by_hand: false,
            }),
            changed: Condvar::new(),
        })
    }

    pub(in crate::cqrs) fn name(&self) -> &Name {
        &self.name
    }

    // The side of the thread.

    pub(in crate::cqrs) fn attach(&self, thread: Thread) {
        self.inner.lock().thread = Some(thread);
    }

    pub(in crate::cqrs) fn store(&self) -> &Store {
        &self.store
    }

    #[cfg(feature = "testing")]
    pub(in crate::cqrs) fn set_by_hand(&self) {
        self.inner.lock().is_by_hand = true;
    }

    /// Fails if a test has staged a fault on this event.
    #[cfg(feature = "testing")]
    pub(in crate::cqrs) fn staged_fault(&self, on: Operation, event: &Event) -> Result<(), HandlerError> {
        let handled = self.store.handle_with_faults(on, &self.name, event);
        handled.map_err(HandlerError::transient)
    }

    pub(in crate::cqrs) fn order(&self) -> Order {
        self.inner.lock().order
    }

    pub(in crate::cqrs) fn set_state(&self, state: &ProcessorState) {
        let mut inner = self.inner.lock();
        if inner.state != *state {
            inner.state = state.clone();
            self.changed.notify_all();
            drop(inner);
            telemetry::processor_changed(&self.name, state);
        }
    }

    /// It is caught up, and has done what was due.
    pub(in crate::cqrs) fn end_round(&self) {
        self.inner.lock().rounds += 1;
        self.changed.notify_all();
    }

    /// Everything up to `position` is processed and committed.
    pub(in crate::cqrs) fn set_position(&self, position: Position, state: ProcessorState) {
        let mut inner = self.inner.lock();
        if inner.position != position || inner.state != state {
            inner.position = position;
            inner.state = state;
            self.changed.notify_all();
        }
    }

    pub(in crate::cqrs) fn count(&self, handled: u64, parked: u64) {
        let mut inner = self.inner.lock();
        inner.handled += handled;
        inner.parked += parked;
    }

    pub(in crate::cqrs) fn note_error(&self, event: FailedEvent, reason: &str) {
        telemetry::handler_failed(&self.name, event.position);
        self.inner.lock().last_error = Some((event, reason.to_owned()));
    }

    /// Notes what the processor waits for, and retries.
    #[cfg(feature = "postgres")]
    pub(in crate::cqrs) fn note_wait(&self, waits_for: Option<String>) {
        self.inner.lock().waits_for = waits_for;
    }

    /// Stops with a reason; an order to run again is needed then.
    pub(in crate::cqrs) fn stop(&self, reason: StopReason) {
        let mut inner = self.inner.lock();
        if inner.order == Order::Run {
            inner.order = Order::Pause;
        }
        let state = ProcessorState::Stopped(reason);
        inner.state = state.clone();
        self.changed.notify_all();
        drop(inner);
        telemetry::processor_changed(&self.name, &state);
    }

    /// Waits between two attempts.
    ///
    /// # Errors
    ///
    /// [`StopReason::Ended`] when the processor is not to run any more.
    pub(in crate::cqrs) fn wait_for(&self, pause: Duration) -> Result<(), StopReason> {
        let deadline = Instant::now().checked_add(pause);
        let mut inner = self.inner.lock();
        while inner.order == Order::Run {
            let Some(deadline) = deadline else {
                self.changed.wait(&mut inner);
                continue;
            };
            let is_over = self.changed.wait_until(&mut inner, deadline).timed_out();
            if is_over {
                return Ok(());
            }
        }
        Err(StopReason::Ended)
    }

    /// Waits until the processor is to run, or to end. It is paused meanwhile, unless it has stopped.
    pub(in crate::cqrs) fn wait_for_order(&self) -> Order {
        let mut inner = self.inner.lock();
        while inner.order == Order::Pause {
            if matches!(inner.state, ProcessorState::Running | ProcessorState::CaughtUp) {
                inner.state = ProcessorState::Paused;
                self.changed.notify_all();
            }
            self.changed.wait(&mut inner);
        }
        inner.order
    }

    // The side of the handles.

    pub(in crate::cqrs) fn give(&self, order: Order) {
        let mut inner = self.inner.lock();
        if inner.order == Order::End {
            return;
        }
        inner.order = order;
        if order == Order::Run && inner.state != ProcessorState::CaughtUp {
            inner.state = ProcessorState::Running;
        }
        #[cfg(feature = "testing")]
        inner.obey_by_hand();
        self.changed.notify_all();
        drop(inner);
        self.unpark();
    }

    pub(in crate::cqrs) fn unpark(&self) {
        if let Some(thread) = &self.inner.lock().thread {
            thread.unpark();
        }
    }

    pub(in crate::cqrs) fn status(&self) -> ProcessorStatus {
        let mut status = {
            let inner = self.inner.lock();
            ProcessorStatus {
                name: self.name.clone(),
                state: inner.state.clone(),
                position: inner.position,
                lag_events: 0,
                lag: Duration::ZERO,
                handled: inner.handled,
                parked: inner.parked,
                last_error: inner.last_error.clone(),
                waits_for: inner.waits_for.clone(),
            }
        };
        let (now, position) = (self.store.now(), status.position.0);
        status.lag_events = self.store.visible().0.saturating_sub(position);
        if let Some(next) = self.store.event_at(Position(position + 1)) {
            let micros = now.as_micros().saturating_sub(next.recorded_at().as_micros());
            status.lag = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        }
        status
    }

    pub(in crate::cqrs) fn is_handling(&self) -> bool {
        HANDLING.with_borrow(|names| names.contains(&self.name))
    }

    /// Waits until everything up to `target` is processed.
    pub(in crate::cqrs) fn wait_until(&self, target: Position, timeout: Duration) -> Result<Position, WaitError> {
        self.wait_while(target, timeout, |inner| inner.position < target)
    }

    /// Waits until it is caught up, and has done what is due by the clock as it is now.
    pub(in crate::cqrs) fn wait_round(&self, timeout: Duration) -> Result<(), WaitError> {
        let begun = Instant::now();
        // A round that has begun may have looked at the clock before: the second begins after it.
        for _ in 0..2 {
            let (rounds, target) = (self.inner.lock().rounds, self.store.visible());
            self.unpark();
            let left = timeout.saturating_sub(begun.elapsed());
            self.wait_while(target, left, |inner| inner.rounds <= rounds)?;
        }
        Ok(())
    }

    /// Fails if it does not run, although it may have reached the position that is waited for: nothing that is due will be done.
    #[cfg(feature = "testing")]
    pub(in crate::cqrs) fn check_runs(&self) -> Result<(), WaitError> {
        let runs = |inner: &Inner| matches!(inner.state, ProcessorState::Running | ProcessorState::CaughtUp);
        let waited = self.wait_while(self.store.visible(), Duration::ZERO, |inner| !runs(inner));
        waited.map(drop)
    }

    fn wait_while(
        &self,
        target: Position,
        timeout: Duration,
        waits: impl Fn(&Inner) -> bool,
    ) -> Result<Position, WaitError> {
        if self.is_handling() {
            return Err(WaitError::OwnHandler {
                name: self.name.clone(),
            });
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut inner = self.inner.lock();
        while waits(&inner) {
            let is_running = matches!(inner.state, ProcessorState::Running | ProcessorState::CaughtUp);
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !is_running || is_over {
                drop(inner);
                let status = Box::new(self.status());
                return Err(if is_running {
                    WaitError::TimedOut { target, status }
                } else {
                    WaitError::NotRunning { target, status }
                });
            }
            match deadline {
                Some(deadline) => drop(self.changed.wait_until(&mut inner, deadline)),
                None => self.changed.wait(&mut inner),
            }
        }
        Ok(inner.position)
    }

    pub(in crate::cqrs) fn visible(&self) -> Position {
        self.store.visible()
    }

    /// Waits until the thread has carried out the order, or has got another one.
    pub(in crate::cqrs) fn wait_for_state(&self, order: Order, is_there: impl Fn(&ProcessorState) -> bool) {
        let mut inner = self.inner.lock();
        while inner.order == order && !is_there(&inner.state) && !self.is_handling() {
            self.changed.wait(&mut inner);
        }
    }
}
