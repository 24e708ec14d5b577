//! Sagas on their own threads, and their handles.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::counts::SagaCounts;
use super::instance::{SagaStatus, stream_of};
use super::orders::{Order, Orders, Verb};
use super::restore::restored;
use super::sink::{Dispatcher, SagaSink, View};
use super::{Saga, SendError, Sending};
use crate::cqrs::process::{Control, Processor, ProcessorState, Processors, StartError, StartFrom, StopReason};
use crate::cqrs::typed::Reader;
use crate::cqrs::{Codec, Retry, TypedEvents};
use crate::{Error, Name, Position, Query, Store};

/// How often a handle that waits for an order looks whether the processor still runs.
const LOOK: Duration = Duration::from_millis(20);

impl Processors {
    /// Runs the instances of saga `S` on one thread. `dispatcher` executes the commands that they send.
    ///
    /// A dispatcher calls [`execute_once`](crate::cqrs::Aggregates::execute_once) with the id of the [`Sending`], or passes the id to another
    /// service as its idempotency key. While it runs, the other instances wait. The processor's name is [`S::TYPE`](Saga::TYPE).
    ///
    /// ```no_run
    /// # use annals::cqrs::*;
    /// # use annals::{Event, Store};
    /// # #[derive(serde::Serialize, serde::Deserialize)] enum Command { Open }
    /// # #[derive(serde::Serialize, serde::Deserialize)] enum Happened { Opened }
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)] struct Opening;
    /// # impl Saga for Opening {
    /// #     const TYPE: &'static str = "Opening";
    /// #     type Event = Happened;
    /// #     type Command = Command;
    /// #     fn route(_: &Happened, record: &Event) -> Route { Route::start(record.aggregate_id()) }
    /// #     fn react(&mut self, _: Happened) -> Vec<Action<Command>> { Vec::new() }
    /// # }
    /// # struct Door;
    /// # impl Aggregate for Door {
    /// #     const TYPE: &'static str = "Door";
    /// #     type Event = Happened;
    /// #     type Command = Command;
    /// #     type Rejection = String;
    /// #     fn initial() -> Self { Self }
    /// #     fn decide(&self, _: &Command) -> Result<Vec<Happened>, String> { Ok(vec![Happened::Opened]) }
    /// #     fn evolve(&mut self, _: Happened) {}
    /// # }
    /// # fn run(store: &Store, processors: &Processors) -> Result<(), StartError> {
    /// let doors = Aggregates::<Door>::new(store);
    /// let openings = processors.saga::<Opening>(move |command, sending| {
    ///     let doors = doors.with_context(sending.context.clone());
    ///     doors.execute_once(sending.command_id, &sending.key, command)?;
    ///     Ok(())
    /// });
    /// let openings = openings.start()?;
    /// for stuck in openings.stuck() {
    ///     println!("{} is stuck: {:?}", stuck.key, stuck.stuck);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn saga<S: Saga>(
        &self,
        dispatcher: impl Fn(&S::Command, &Sending) -> Result<(), SendError> + Send + Sync + 'static,
    ) -> SagaBuilder<S> {
        let events = TypedEvents::<S::Event>::new();
        SagaBuilder {
            processors: self.clone(),
            dispatcher: Arc::new(dispatcher),
            reader: events.reader(),
            query: events.all(),
            retry: Retry {
                attempts: 5,
                first_pause: Duration::from_millis(100),
                longest_pause: Duration::from_secs(10),
            },
            from: StartFrom::default(),
            skips_gaps: false,
        }
    }
}

/// The settings of a saga. See [`Processors::saga`].
#[must_use = "a saga runs when it is started"]
pub struct SagaBuilder<S: Saga> {
    processors: Processors,
    dispatcher: Arc<Dispatcher<S::Command>>,
    reader: Reader<S::Event>,
    query: Query,
    retry: Retry,
    from: StartFrom,
    skips_gaps: bool,
}

impl<S: Saga> fmt::Debug for SagaBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaBuilder")
            .field("type", &S::TYPE)
            .field("query", &self.query)
            .field("retry", &self.retry)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl<S: Saga> SagaBuilder<S> {
    /// Sets the codec, the upcasters and the policy for unknown types, and resets the query to these types: call it before `query`.
    ///
    /// By default, events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<S::Event, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the query of the events. By default, all events of the types of `S::Event`.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets the attempts at a command that fails, and the pauses between them, by the store's clock. After the last attempt, the instance is stuck.
    ///
    /// By default, 5 attempts, with random pauses of up to 100 ms, 200 ms and so on, at most 10 s.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets where a saga without a checkpoint begins. By default, at the first event.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// Continues where events were dropped before the saga saw them. By default, it stops there, with the gap as the reason.
    pub fn skip_gaps(mut self) -> Self {
        self.skips_gaps = true;
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a processor of the name `S::TYPE` runs, the name is invalid or contains '/', or the query is invalid.
    pub fn start(mut self) -> Result<Sagas<S>, StartError> {
        check_type(S::TYPE)?;
        self.query = self.reader.stored_query(self.query)?;
        let processors = self.processors.clone();
        let store = processors.store().clone();
        drop(store.tail(self.query.clone(), Position(0))?);
        let (view, orders) = (Arc::default(), Arc::default());
        let (shown, taken) = (Arc::clone(&view), Arc::clone(&orders));
        let processor = processors.start(&Name::from(S::TYPE), |control| self.sink(control, shown, taken))?;
        Ok(Sagas {
            store,
            view,
            orders,
            processor,
            saga: PhantomData,
        })
    }

    fn sink(self, control: &Arc<Control>, view: Arc<Mutex<View>>, orders: Arc<Orders>) -> SagaSink<S> {
        SagaSink {
            store: self.processors.store().clone(),
            control: Arc::clone(control),
            reader: self.reader,
            query: self.query,
            dispatcher: self.dispatcher,
            retry: self.retry,
            from: self.from,
            skips_gaps: self.skips_gaps,
            view,
            orders,
            checkpoint: None,
            active: std::collections::BTreeMap::new(),
            due: std::collections::BTreeSet::new(),
        }
    }

    /// The saga without a thread: it does what is to do when it is told.
    #[cfg(feature = "testing")]
    pub(crate) fn by_hand(self) -> SagaByHand<S> {
        let store = self.processors.store().clone();
        let control = Control::new(&Name::from(S::TYPE), &store);
        let view = Arc::<Mutex<View>>::default();
        let sink = self.sink(&control, Arc::clone(&view), Arc::default());
        SagaByHand {
            runner: crate::cqrs::process::Runner::new(&store, &control, sink),
            store,
            view,
        }
    }
}

/// The id of an instance's stream is type, '/', key: another type may not begin with this one and '/'.
fn check_type(saga_type: &str) -> Result<(), Error> {
    if !saga_type.contains('/') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the type of saga '{saga_type}' contains '/', which ends the type in the ids of its streams: use another character"
    )))
}

/// A saga that runs when it is told, for tests.
#[cfg(feature = "testing")]
pub(crate) struct SagaByHand<S: Saga> {
    store: Store,
    runner: crate::cqrs::process::Runner<SagaSink<S>>,
    view: Arc<Mutex<View>>,
}

#[cfg(feature = "testing")]
impl<S: Saga> SagaByHand<S> {
    /// Handles what is visible, and what is due. Returns when the next timer is due.
    pub(crate) fn run(&mut self) -> Result<Option<crate::Timestamp>, StopReason> {
        self.runner.drain()
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<SagaStatus>, SagaError> {
        status_of::<S>(&self.store, &self.view, key)
    }
}

/// The instance with a key: one that has not ended, or what its stream says.
fn status_of<S: Saga>(store: &Store, view: &Mutex<View>, key: &str) -> Result<Option<SagaStatus>, SagaError> {
    if let Some(status) = view.lock().active.get(key) {
        return Ok(Some(status.clone()));
    }
    let instance = restored(store, stream_of(S::TYPE, key), key).map_err(|reason| SagaError::Unreadable { reason })?;
    Ok((instance.version.0 > 0).then(|| instance.status()))
}

/// A handle of a started saga and its instances. Cheap to clone.
///
/// It dereferences to its [`Processor`], which has the status, `pause`, `resume`, and the waits.
pub struct Sagas<S> {
    store: Store,
    view: Arc<Mutex<View>>,
    orders: Arc<Orders>,
    processor: Processor,
    saga: PhantomData<fn() -> S>,
}

impl<S> Clone for Sagas<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            view: Arc::clone(&self.view),
            orders: Arc::clone(&self.orders),
            processor: self.processor.clone(),
            saga: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Sagas<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sagas")
            .field("status", &self.processor.status())
            .finish_non_exhaustive()
    }
}

impl<S> Deref for Sagas<S> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.processor
    }
}

impl<S: Saga> Sagas<S> {
    /// The instances that have not ended, ascending by key.
    pub fn active(&self) -> Vec<SagaStatus> {
        self.view.lock().active.values().cloned().collect()
    }

    /// The instances that are stuck until [`retry`](Self::retry) or [`abandon`](Self::abandon), ascending by key.
    pub fn stuck(&self) -> Vec<SagaStatus> {
        let mut stuck = self.active();
        stuck.retain(|saga| saga.stuck.is_some());
        stuck
    }

    /// The last run of the instance with a key, also one that has ended; `None` if it never started.
    ///
    /// # Errors
    ///
    /// [`SagaError::Unreadable`] when the instance's stream cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<SagaStatus>, SagaError> {
        status_of::<S>(&self.store, &self.view, key)
    }

    /// The number of events routed by [`Route::Resume`](super::Route::Resume) to instances that were not running, since the saga started.
    pub fn ignored(&self) -> u64 {
        self.view.lock().ignored
    }

    /// The number of active and stuck instances now, and of runs that ended and commands that were sent since the saga started.
    ///
    /// What other processes, and earlier ones, have done is not counted.
    pub fn counts(&self) -> SagaCounts {
        let view = self.view.lock();
        SagaCounts {
            active: view.active.len() as u64,
            stuck: view.active.values().filter(|saga| saga.stuck.is_some()).count() as u64,
            ..view.counts
        }
    }

    /// Makes a stuck instance send its command again. Returns whether the instance was stuck. Blocks until the saga's thread has done so.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotRunning`] when the processor is paused, stopped or ended; [`SagaError::OwnHandler`] in a handler of the saga.
    pub fn retry(&self, key: &str) -> Result<bool, SagaError> {
        self.order(key, Verb::Retry)
    }

    /// Ends an instance without sending or compensating anything more. Returns whether it was active. Blocks until the saga's thread has done so.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotRunning`] when the processor is paused, stopped or ended; [`SagaError::OwnHandler`] in a handler of the saga.
    pub fn abandon(&self, key: &str, reason: &str) -> Result<bool, SagaError> {
        self.order(key, Verb::Abandon(reason.to_owned()))
    }

    fn order(&self, key: &str, verb: Verb) -> Result<bool, SagaError> {
        if self.processor.is_own_handler() {
            return Err(SagaError::OwnHandler { saga: S::TYPE });
        }
        let (answer, answered) = sync_channel(1);
        let order = Order {
            key: key.to_owned(),
            verb,
            answer,
        };
        self.orders.push(order);
        loop {
            self.processor.wake();
            match answered.recv_timeout(LOOK) {
                Ok(found) => return Ok(found),
                // The order was given up, because the processor did not run.
                Err(RecvTimeoutError::Disconnected) => return Err(self.not_running()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let status = self.processor.status();
            if !matches!(status.state, ProcessorState::Running | ProcessorState::CaughtUp) {
                self.orders.clear();
                // It may have been carried out just before.
                return answered.try_recv().map_err(|_| self.not_running());
            }
        }
    }

    fn not_running(&self) -> SagaError {
        SagaError::NotRunning {
            status: Box::new(self.processor.status()),
        }
    }
}

/// A failure to read or change an instance of a saga.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// The processor of the saga does not run, so nothing was changed: resume it first.
    #[error("the saga does not run, so nothing was changed; resume it first: {status}")]
    NotRunning {
        /// The state of the processor.
        status: Box<crate::cqrs::ProcessorStatus>,
    },
    /// The stream of the instance cannot be read.
    #[error("cannot read the instance: {reason}")]
    Unreadable {
        /// What stands in the way, as for a processor that stops.
        reason: StopReason,
    },
    /// A handler of the saga changes an instance of its own saga, which would deadlock. Do it outside of its handlers.
    #[error(
        "a handler of saga '{saga}' retries or abandons an instance of '{saga}', which would deadlock: do it outside of its handlers"
    )]
    OwnHandler {
        /// The saga.
        saga: &'static str,
    },
}
