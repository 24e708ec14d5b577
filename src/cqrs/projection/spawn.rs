//! Projections on threads of their own.

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
    /// A read model in memory that a thread of its own keeps up to date. It is built from the first event on whenever the program starts.
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

/// How a projection is run. See [`Processors::project`].
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
    /// Sets the codec, the upcasters, and what is done with unknown types. By default events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<P::Event, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the events that the projection reads. By default those of its event types.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets what happens when an event cannot be applied. A parked event is [kept in memory](Projected::skipped).
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the name is taken or invalid, or the query is.
    pub fn start(self) -> Result<Projected<P>, StartError> {
        let store = self.processors.store().clone();
        // An invalid query is an error here, not on the thread.
        drop(store.tail(self.query.clone(), Position(0))?);
        let shared = Arc::new(Shared {
            model: RwLock::new(Model::new(self.projection)),
            reader: self.reader,
            query: self.query,
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

/// A read model that a thread keeps up to date. Also its [`Processor`]: see there for its status, and for waiting.
///
/// Cheap to clone.
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
    /// Looks at the read model. It does not change meanwhile; a long look delays the thread, but no append.
    pub fn read<T>(&self, look: impl FnOnce(&P) -> T) -> T {
        // Recursive: the thread may wait for a look that looks once more.
        look(&self.shared.model.read_recursive().projection)
    }

    /// Looks at the read model, and tells the position that it is of.
    pub fn read_at<T>(&self, look: impl FnOnce(&P) -> T) -> (T, Position) {
        let model = self.shared.model.read_recursive();
        (look(&model.projection), model.seen)
    }

    /// The events that were parked because they could not be applied, with the reasons: the last 1,000 at most, and the number of all.
    pub fn skipped(&self) -> (Vec<(Event, String)>, u64) {
        let skipped = self.shared.skipped.lock();
        (skipped.events.iter().cloned().collect(), skipped.count)
    }

    /// Builds the read model from the first event on, beside the one that is read, and replaces it when it has come as far. Blocks meanwhile; the
    /// old one stays readable and up to date until it is replaced.
    ///
    /// `fresh` is the read model before the first event. A projection that had stopped stays stopped: resume it.
    ///
    /// # Errors
    ///
    /// [`LiveError`] when an event cannot be applied, or events are gone. Then nothing is replaced.
    pub fn rebuild(&self, fresh: P) -> Result<Position, LiveError> {
        let reader = self.shared.reader.clone();
        let mut rebuilt = Inner::new(&self.store, fresh, reader, self.shared.query.clone())?;
        rebuilt.catch_up()?;
        // What came meanwhile is applied while the thread waits, so that the new read model is not behind the old one.
        let mut model = self.shared.model.write();
        rebuilt.catch_up()?;
        let seen = rebuilt.model.seen;
        *model = rebuilt.model;
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
        model.seen = model.seen.max(position);
        Ok(())
    }
}
