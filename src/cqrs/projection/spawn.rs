//! Projections on their own threads.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::live::Inner;
use super::{LiveError, Model, Projection};
use crate::cqrs::process::{Control, Handled, Processor, Processors, Sink, StartError, StopReason, attempt};
use crate::cqrs::typed::Reader;
use crate::cqrs::{Codec, OnFailure, TypedEvents};
use crate::{Delivery, Event, Name, Position, Query, Store};

/// The most events that a projection in memory keeps as skipped; later ones are counted.
const SKIPPED_MAX: usize = 1_000;

impl Processors {
    /// Runs a read model in memory on its own thread. It is rebuilt from the first event whenever the program starts.
    ///
    /// `name` has 1 to 200 bytes.
    pub fn project<P: Projection>(&self, name: impl Into<Name>, projection: P) -> ProjectionBuilder<P> {
        let events = TypedEvents::<P::Event>::new();
        ProjectionBuilder {
            processors: self.clone(),
            name: name.into(),
            projection,
            reader: events.reader(),
            query: events.all(),
            on_failure: OnFailure::default(),
        }
    }
}

/// The settings of a projection. See [`Processors::project`].
#[must_use = "a projection runs when it is started"]
pub struct ProjectionBuilder<P: Projection> {
    processors: Processors,
    name: Name,
    projection: P,
    reader: Reader<P::Event>,
    query: Query,
    on_failure: OnFailure,
}

impl<P: Projection> fmt::Debug for ProjectionBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionBuilder")
            .field("name", &self.name)
            .field("query", &self.query)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl<P: Projection> ProjectionBuilder<P> {
    /// Sets the codec, the upcasters and the policy for unknown types, and resets the query to these types: call it before `query`.
    ///
    /// By default, events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<P::Event, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the query of the events. By default, all events of the types of `P::Event`.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets the policy for an event that cannot be applied; see [`OnFailure`] for the default. A parked event is skipped and
    /// [listed](Projected::skipped).
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the name is taken or invalid, or the query is invalid.
    pub fn start(self) -> Result<Projected<P>, StartError> {
        let store = self.processors.store().clone();
        // An invalid query is an error here, not on the thread.
        let query = self.reader.stored_query(self.query)?;
        drop(store.tail(query.clone(), Position(0))?);
        let shared = Arc::new(Shared {
            model: RwLock::new(Model::new(self.projection, store.visible())),
            reader: self.reader,
            query,
            skipped: Mutex::default(),
        });
        let processor = self.processors.start(&self.name, |control| ProjectionSink {
            shared: Arc::clone(&shared),
            control: Arc::clone(control),
            on_failure: self.on_failure,
        })?;
        Ok(Projected {
            store,
            shared,
            processor,
        })
    }
}

struct Shared<P: Projection> {
    model: RwLock<Model<P>>,
    reader: Reader<P::Event>,
    query: Query,
    skipped: Mutex<Skipped>,
}

#[derive(Default)]
struct Skipped {
    events: VecDeque<(Event, String)>,
    count: u64,
}

/// A handle of a read model that a thread updates. Cheap to clone.
///
/// It dereferences to its [`Processor`], which has the status, `pause`, `resume`, and the waits.
pub struct Projected<P: Projection> {
    store: Store,
    shared: Arc<Shared<P>>,
    processor: Processor,
}

impl<P: Projection> Clone for Projected<P> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            shared: Arc::clone(&self.shared),
            processor: self.processor.clone(),
        }
    }
}

impl<P: Projection> fmt::Debug for Projected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projected")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl<P: Projection> Deref for Projected<P> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.processor
    }
}

impl<P: Projection> Projected<P> {
    /// Passes the read model to `look`. It does not change until `look` returns, which delays its thread, but no append.
    pub fn read<T>(&self, look: impl FnOnce(&P) -> T) -> T {
        // Recursive: the thread may wait for a look that looks once more.
        look(&self.shared.model.read_recursive().projection)
    }

    /// Passes the read model to `look`, and returns the position up to which it has seen the log.
    pub fn read_at<T>(&self, look: impl FnOnce(&P) -> T) -> (T, Position) {
        let model = self.shared.model.read_recursive();
        (look(&model.projection), model.seen)
    }

    /// The last 1,000 events that were parked, with the reasons, and the number of all parked events. Held in memory.
    pub fn skipped(&self) -> (Vec<(Event, String)>, u64) {
        let skipped = self.shared.skipped.lock();
        (skipped.events.iter().cloned().collect(), skipped.count)
    }

    /// Rebuilds the read model from the first event beside the current one, and swaps them when it has caught up. Returns its position.
    ///
    /// `fresh` is the read model before its first event. Blocks until the swap; the current one stays readable and is updated until then. A stopped
    /// projection stays stopped: resume it.
    ///
    /// # Errors
    ///
    /// [`LiveError`] when an event cannot be applied, or events were dropped; the current read model stays. Failed events are not retried or parked.
    pub fn rebuild(&self, fresh: P) -> Result<Position, LiveError> {
        let reader = self.shared.reader.clone();
        let mut rebuilt = Inner::new(&self.store, fresh, reader, self.shared.query.clone())?;
        // It goes live at the swap, not before.
        rebuilt.model = Model::new(rebuilt.model.projection, Position(u64::MAX));
        rebuilt.catch_up()?;
        // What came meanwhile is applied while the thread waits, so that the new read model is not behind the old one.
        let mut model = self.shared.model.write();
        rebuilt.catch_up()?;
        let seen = rebuilt.model.seen;
        *model = rebuilt.model;
        model.go_live();
        *self.shared.skipped.lock() = Skipped::default();
        Ok(seen)
    }
}

struct ProjectionSink<P: Projection> {
    shared: Arc<Shared<P>>,
    control: Arc<Control>,
    on_failure: OnFailure,
}

impl<P: Projection> ProjectionSink<P> {
    /// Applies an event that has failed once: with the pauses between the attempts outside of the lock.
    fn attempt(&self, event: &Event) -> Result<(), StopReason> {
        let Shared {
            model, reader, skipped, ..
        } = &*self.shared;
        let handled = attempt(&self.on_failure, &self.control, event, |_| {
            #[cfg(feature = "testing")]
            self.control
                .staged_fault(crate::testing::faults::Operation::Projection, event)?;
            model.write().apply(reader, event)
        })?;
        match handled {
            Handled::Done => self.control.count(1, 0),
            Handled::Failed { reason, .. } => {
                let mut skipped = skipped.lock();
                skipped.count += 1;
                if skipped.events.len() == SKIPPED_MAX {
                    skipped.events.pop_front();
                }
                skipped.events.push_back((event.clone(), reason));
                self.control.count(0, 1);
            }
        }
        Ok(())
    }

    fn deliver(&self, delivery: &Delivery) -> Result<(), StopReason> {
        match delivery {
            Delivery::Event(event) => self.attempt(event),
            Delivery::Gap(gap) => self.shared.model.write().gap(gap).map_err(|error| StopReason::Gap {
                gap: gap.clone(),
                reason: error.to_string(),
            }),
        }
    }
}

impl<P: Projection> Sink for ProjectionSink<P> {
    fn query(&self) -> Query {
        self.shared.query.clone()
    }

    fn begin(&mut self) -> Result<Position, StopReason> {
        Ok(self.shared.model.read().seen)
    }

    fn handle(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason> {
        for delivery in batch {
            self.deliver(delivery)?;
        }
        let mut model = self.shared.model.write();
        model.saw(position);
        Ok(())
    }
}
