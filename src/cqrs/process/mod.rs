//! Processors: named threads that follow the log, each with a checkpoint and a state.

#[cfg(feature = "testing")]
mod by_hand;
mod checkpoint;
mod control;
mod failure;
mod handler_error;
mod letter;
mod letters;
mod runner;
mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(super) use self::checkpoint::Checkpoint;
pub use self::checkpoint::StartFrom;
#[cfg(feature = "postgres")]
pub(super) use self::control::Handling;
pub(super) use self::control::{Control, Order};
pub use self::failure::{AfterFailure, OnFailure};
pub(super) use self::failure::{Handled, attempt, panic_text};
pub use self::handler_error::HandlerError;
pub use self::letter::Letter;
pub(super) use self::letters::{BEHIND, Letters, shortened};
pub(super) use self::runner::{Runner, Sink};
pub use self::status::{FailedEvent, ProcessorState, ProcessorStatus, StopReason, WaitError};
use crate::worker::Worker;
use crate::{Error, Event, Name, Position, Store};

/// The longest name of a processor, in bytes: its stream's id has a prefix.
const NAME_BYTES_MAX: usize = 200;

/// The processors of a program: projections, subscriptions and sagas, each on its own thread.
///
/// A name has 1 to 200 bytes without control characters, and is unique among the processors and groups of a store. Cheap to clone. Dropping the
/// last clone ends all processors and waits until each has finished its current batch.
#[derive(Clone, Debug)]
pub struct Processors {
    store: Store,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    processors: Mutex<BTreeMap<Name, Started>>,
    #[cfg(feature = "testing")]
    by_hand: Option<by_hand::Choice>,
}

struct Started {
    control: Arc<Control>,
    work: Work,
}

/// What runs a processor.
enum Work {
    Thread(Worker),
    #[cfg(feature = "testing")]
    ByHand(Arc<Mutex<dyn by_hand::Step>>),
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.processors.lock().keys()).finish()
    }
}

impl Running {
    /// Ends all, and waits for them.
    fn end(&self) {
        let all = std::mem::take(&mut *self.processors.lock());
        for processor in all.values() {
            processor.control.give(Order::End);
        }
        for processor in all.into_values() {
            processor.work.join();
        }
    }
}

impl Work {
    fn spawn<S: Sink + 'static>(name: &Name, runner: Runner<S>) -> Result<Self, StartError> {
        let worker = Worker::default();
        let started = worker.start(format!("annals {name}"), move || runner.run());
        started.map_err(|error| StartError::NoThread {
            name: name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self::Thread(worker))
    }

    /// Waits until the processor has ended.
    fn join(self) {
        match self {
            // A handler may drop the last handle, on its own thread.
            Self::Thread(worker) => worker.join(),
            #[cfg(feature = "testing")]
            Self::ByHand(_) => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Processors {
    /// An empty set of processors for the events of `store`.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            running: Arc::default(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Starts a thread that feeds the sink which `make` returns.
    pub(super) fn start<S: Sink + 'static>(
        &self,
        name: &Name,
        make: impl FnOnce(&Arc<Control>) -> S,
    ) -> Result<Processor, StartError> {
        check_name(name)?;
        let mut processors = self.running.processors.lock();
        if let Some(there) = processors.get(name)
            && there.control.status().state != ProcessorState::Ended
        {
            return Err(StartError::NameTaken { name: name.clone() });
        }
        let control = Control::new(name, &self.store);
        let runner = Runner::new(&self.store, &control, make(&control));
        #[cfg(feature = "testing")]
        let work = if self.running.by_hand.is_some() {
            by_hand::work(runner)
        } else {
            Work::spawn(name, runner)?
        };
        #[cfg(not(feature = "testing"))]
        let work = Work::spawn(name, runner)?;
        let processor = Processor {
            control: Arc::clone(&control),
        };
        processors.insert(name.clone(), Started { control, work });
        Ok(processor)
    }

    /// The processor of this name, if this set started it; it may have ended.
    pub fn get(&self, name: &str) -> Option<Processor> {
        let processors = self.running.processors.lock();
        let control = Arc::clone(&processors.get(name)?.control);
        Some(Processor { control })
    }

    fn all(&self) -> Vec<Processor> {
        let processors = self.running.processors.lock();
        let handle = |thread: &Started| Processor {
            control: Arc::clone(&thread.control),
        };
        processors.values().map(handle).collect()
    }

    /// The status of every processor, ascending by name.
    pub fn statuses(&self) -> Vec<ProcessorStatus> {
        self.all().iter().map(Processor::status).collect()
    }

    /// Waits until every processor has processed the events that are visible now. Returns that position.
    ///
    /// # Errors
    ///
    /// [`WaitError`] for the first processor, by name, that does not run or does not reach the position in time.
    pub fn when_caught_up(&self, timeout: Duration) -> Result<Position, WaitError> {
        let (target, begun) = (self.store.visible(), Instant::now());
        #[cfg(feature = "testing")]
        self.run_by_hand(timeout);
        for processor in self.all() {
            processor.when_processed(target, timeout.saturating_sub(begun.elapsed()))?;
        }
        Ok(target)
    }

    /// Waits until no processor has work left: every event is processed, also those that processors append, and every due timer has fired. Returns the
    /// last position.
    ///
    /// Use it in tests: while other threads append events, it may not return before the timeout.
    ///
    /// # Errors
    ///
    /// As [`when_caught_up`](Self::when_caught_up).
    pub fn when_idle(&self, timeout: Duration) -> Result<Position, WaitError> {
        let begun = Instant::now();
        let left = || timeout.saturating_sub(begun.elapsed());
        loop {
            let target = self.when_caught_up(left())?;
            #[cfg(feature = "testing")]
            if self.running.by_hand.is_some() {
                self.all()
                    .iter()
                    .try_for_each(|processor| processor.control.check_runs())?;
                return Ok(target);
            }
            for processor in self.all() {
                processor.control.wait_round(left())?;
            }
            if self.store.visible() == target {
                return Ok(target);
            }
        }
    }

    /// Ends all processors and waits for their threads. Each finishes its current batch and saves its checkpoint.
    pub fn end(&self) {
        self.running.end();
    }
}

/// Whether an event is of a processor's own streams. Subscriptions and groups are not fed with these: a handler that fails at a letter would
/// park it, which is another letter.
pub(super) fn is_bookkeeping(event: &Event) -> bool {
    [checkpoint::PROCESSOR, letters::LETTERS].contains(&event.aggregate_type())
}

pub(super) fn check_name(name: &Name) -> Result<(), StartError> {
    let is_fine = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if is_fine {
        return Ok(());
    }
    Err(StartError::InvalidName {
        bytes: name.len(),
        name: name
            .chars()
            .take(40)
            .filter(|c| !c.is_control())
            .collect::<String>()
            .into(),
    })
}

/// A failure to start a processor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This set already runs a processor of this name. End it, or use another name.
    #[error("a processor named '{name}' is already running: end it, or use another name")]
    NameTaken {
        /// The name.
        name: Name,
    },
    /// The name is empty, longer than 200 bytes, or has control characters.
    #[error(
        "'{name}' ({bytes} bytes) is not a valid name of a processor: use 1 to {NAME_BYTES_MAX} bytes without control characters"
    )]
    InvalidName {
        /// The first 40 characters of the name, without control characters.
        name: Name,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The operating system cannot start a thread.
    #[error("cannot start a thread for processor '{name}': {reason}")]
    NoThread {
        /// The name.
        name: Name,
        /// The operating system's error.
        reason: String,
    },
    /// The store rejects the query of the processor.
    #[error(transparent)]
    Store(#[from] Error),
    /// A [group](super::Group) cannot continue where its checkpoint is.
    #[error("group '{name}' cannot be opened: {reason}")]
    Stopped {
        /// The group.
        name: Name,
        /// The reason.
        reason: StopReason,
    },
}

/// A handle of a processor. Cheap to clone; dropping it does not end the processor.
#[derive(Clone)]
pub struct Processor {
    control: Arc<Control>,
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("status", &self.status()).finish()
    }
}

impl Processor {
    /// The state and progress of the processor.
    pub fn status(&self) -> ProcessorStatus {
        self.control.status()
    }

    /// Whether this thread runs a handler of it.
    #[cfg(feature = "postgres")]
    pub(super) fn is_handling(&self) -> bool {
        self.control.is_handling()
    }

    /// Pauses it after its current batch, until it is [resumed](Self::resume). A pause between retries ends at once.
    ///
    /// Blocks until it has paused, or another thread has resumed or ended it; in one of its own handlers it returns at once.
    pub fn pause(&self) {
        self.control.give(Order::Pause);
        self.control.wait_for_state(Order::Pause, |state| {
            !matches!(state, ProcessorState::Running | ProcessorState::CaughtUp)
        });
    }

    /// Asks it to pause after its current batch, and returns at once. [`status`](Self::status) shows when it has paused.
    pub fn request_pause(&self) {
        self.control.give(Order::Pause);
    }

    /// Resumes it after its checkpoint, when it is paused or stopped. Does nothing after [`end`](Self::end).
    pub fn resume(&self) {
        self.control.give(Order::Run);
    }

    /// Ends it after its current batch. It cannot be resumed, only started again.
    ///
    /// Blocks until it has ended; in one of its own handlers it returns at once.
    pub fn end(&self) {
        self.control.give(Order::End);
        self.control
            .wait_for_state(Order::End, |state| *state == ProcessorState::Ended);
    }

    /// Whether this thread runs a handler of this processor.
    pub(super) fn is_own_handler(&self) -> bool {
        self.control.is_handling()
    }

    /// Lets its thread look for something to do.
    pub(super) fn wake(&self) {
        self.control.unpark();
    }

    /// Waits until it has processed the events that are visible now. Returns its position.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotRunning`] at once when it has stopped, is paused or has ended; [`WaitError::OwnHandler`] at once in one of its own handlers;
    /// [`WaitError::TimedOut`].
    pub fn when_caught_up(&self, timeout: Duration) -> Result<Position, WaitError> {
        self.when_processed(self.control.visible(), timeout)
    }

    /// Waits until it has processed the events up to `position`, such as [`Appended::last_position`](crate::Appended::last_position), and committed
    /// its checkpoint. Returns its position.
    ///
    /// # Errors
    ///
    /// As [`when_caught_up`](Self::when_caught_up).
    pub fn when_processed(&self, position: Position, timeout: Duration) -> Result<Position, WaitError> {
        self.control.wait_until(position, timeout)
    }
}
