//! Projections on demand: updated when they are read.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::{Mutex, MutexGuard};

use super::model::Failed;
use super::{Model, Projection};
use crate::cqrs::process::panic_text;
use crate::cqrs::typed::Reader;
use crate::cqrs::{Codec, FailedEvent, TypedEvents};
use crate::{Error, Gap, Position, Query, Store, Tail};

/// Deliveries taken at once.
const BATCH: usize = 256;

/// A read model that is updated when it is read: a read sees every event that is visible at that time.
///
/// It has no thread. The first read applies all events, later reads the new ones. Cheap to clone; the clones share the read model. With
/// [`Aggregates::inline`](crate::cqrs::Aggregates::inline), commands update it, too, and it can reject their events.
///
/// ```
/// use annals::cqrs::{HandlerError, Live, Projection};
/// use annals::{Event, Expected, NewEvent, Store, StreamId};
///
/// #[derive(serde::Deserialize)]
/// enum Visit {
///     Visited,
/// }
///
/// #[derive(Default)]
/// struct Visits(u64);
///
/// impl Projection for Visits {
///     type Event = Visit;
///
///     fn apply(&mut self, _: Visit, _: &Event) -> Result<(), HandlerError> {
///         self.0 += 1;
///         Ok(())
///     }
/// }
///
/// let store = Store::in_memory();
/// let visits = Live::new(&store, Visits::default());
/// store.append(&StreamId::new("Page", "home"), Expected::Any, NewEvent::new("Visited"))?;
/// assert_eq!(visits.read(|visits| visits.0)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Live<P: Projection> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Projection> {
    inner: Mutex<Inner<P>>,
    /// The [thread](this_thread) that has locked it; 0 for none. A thread finds its own mark here alone while it has the lock.
    owner: AtomicUsize,
}

/// A number that no other running thread has.
fn this_thread() -> usize {
    thread_local! {
        static MARK: u8 = const { 0 };
    }
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// A read model that this thread has locked.
pub(super) struct Guard<'a, P: Projection> {
    inner: MutexGuard<'a, Inner<P>>,
    owner: &'a AtomicUsize,
}

impl<P: Projection> Drop for Guard<'_, P> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Relaxed);
    }
}

impl<P: Projection> Deref for Guard<'_, P> {
    type Target = Inner<P>;

    fn deref(&self) -> &Inner<P> {
        &self.inner
    }
}

impl<P: Projection> DerefMut for Guard<'_, P> {
    fn deref_mut(&mut self) -> &mut Inner<P> {
        &mut self.inner
    }
}

pub(super) struct Inner<P: Projection> {
    pub(super) model: Model<P>,
    pub(super) reader: Reader<P::Event>,
    query: Query,
    tail: Tail,
    /// What it failed at: it reads nothing more.
    failed: Option<LiveError>,
}

impl<P: Projection> Clone for Live<P> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<P: Projection> fmt::Debug for Live<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<P: Projection> Live<P> {
    /// A read model of the events of its types in `store`, with events as JSON. It reads no events yet.
    ///
    /// # Panics
    ///
    /// Never: a query for event types is valid.
    #[expect(clippy::expect_used, reason = "a query for event types is valid")]
    pub fn new(store: &Store, projection: P) -> Self {
        Self::with_events(store, projection, &TypedEvents::new()).expect("a query for event types is valid")
    }

    /// A read model with another codec, upcasters, or policy for unknown types.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the store rejects the query for the event types.
    pub fn with_events<C: Codec>(
        store: &Store,
        projection: P,
        events: &TypedEvents<P::Event, C>,
    ) -> Result<Self, Error> {
        Self::with_reader(store, projection, events.reader(), events.all())
    }

    fn with_reader(store: &Store, projection: P, reader: Reader<P::Event>, query: Query) -> Result<Self, Error> {
        let inner = Inner::new(store, projection, reader, query)?;
        Ok(Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                owner: AtomicUsize::new(0),
            }),
        })
    }

    /// Updates the read model, and passes it to `look`. Other readers and inline commands wait until `look` returns.
    ///
    /// # Errors
    ///
    /// [`LiveError::InUse`] when `look` or the projection uses the read model itself; otherwise [`LiveError`] when an event cannot be applied or events
    /// were dropped, in this read or an earlier one. [`reset`](Self::reset) clears that.
    pub fn read<T>(&self, look: impl FnOnce(&P) -> T) -> Result<T, LiveError> {
        let mut inner = self.lock()?;
        inner.catch_up()?;
        Ok(look(&inner.model.projection))
    }

    /// Updates the read model. Returns the position up to which it has seen the log.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn catch_up(&self) -> Result<Position, LiveError> {
        let mut inner = self.lock()?;
        inner.catch_up()?;
        Ok(inner.model.seen)
    }

    /// Replaces the read model by `fresh`, a read model before its first event. The next read applies all events of `store` again.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store rejects the query, or `look` of a read calls this.
    pub fn reset(&self, store: &Store, fresh: P) -> Result<(), Error> {
        let mut inner = self.lock().map_err(|error| Error::invalid(error.to_string()))?;
        inner.tail = store.tail(inner.query.clone(), Position(0))?;
        inner.model = Model::new(fresh, store.visible());
        inner.failed = None;
        Ok(())
    }

    /// Lets no other thread in until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`LiveError::InUse`] when this thread has the guard already: it would wait for itself.
    pub(super) fn lock(&self) -> Result<Guard<'_, P>, LiveError> {
        let (owner, this_thread) = (&self.shared.owner, this_thread());
        if owner.load(Ordering::Relaxed) == this_thread {
            return Err(LiveError::InUse);
        }
        let inner = self.shared.inner.lock();
        owner.store(this_thread, Ordering::Relaxed);
        Ok(Guard { inner, owner })
    }

    pub(super) fn address_of_shared(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}

impl<P: Projection> Inner<P> {
    pub(super) fn new(store: &Store, projection: P, reader: Reader<P::Event>, query: Query) -> Result<Self, Error> {
        Ok(Self {
            model: Model::new(projection, store.visible()),
            reader,
            tail: store.tail(query.clone(), Position(0))?,
            query,
            failed: None,
        })
    }

    pub(super) fn catch_up(&mut self) -> Result<(), LiveError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        while !self.tail.is_caught_up() {
            let batch = self.tail.try_batch(BATCH);
            let position = self.tail.position();
            let (model, reader) = (&mut self.model, &self.reader);
            let applied = catch_unwind(AssertUnwindSafe(|| model.apply_all(reader, &batch, position)));
            self.note(applied)?;
        }
        Ok(())
    }

    /// Whether the log has no other event between what the read model has seen and this position.
    pub(super) fn is_next(&self, position: Position) -> bool {
        position.0 == self.tail.position().0 + 1
    }

    /// Applies the [next](Self::is_next) event of the log, which was decoded to `typed`. Returns whether it did: otherwise the tail delivers what
    /// comes next, and so an event that is gone already is not passed over.
    pub(super) fn apply_next(&mut self, store: &Store, next: Position, typed: impl Iterator<Item = P::Event>) -> bool {
        let Some(event) = store.event_at(next) else {
            return false;
        };
        let model = &mut self.model;
        let applied = catch_unwind(AssertUnwindSafe(|| {
            let applied = model.apply_typed(typed, &event);
            applied.map_err(|error| Failed::Event(&event, error))
        }));
        if !matches!(applied, Ok(Ok(()))) {
            drop(self.note(applied));
            return false;
        }
        self.tail.skip_to(next);
        true
    }

    /// Keeps what the projection failed at, if it failed.
    fn note(&mut self, applied: thread::Result<Result<(), Failed<'_>>>) -> Result<(), LiveError> {
        let failed = match applied {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Failed::Event(event, error))) => LiveError::Failed {
                event: Box::new(FailedEvent::of(event)),
                reason: error.to_string(),
            },
            Ok(Err(Failed::Gap(gap, error))) => LiveError::Gap {
                gap: Box::new(gap.clone()),
                reason: error.to_string(),
            },
            Err(panic) => LiveError::Panicked {
                after: self.model.seen,
                reason: panic_text(&*panic),
            },
        };
        self.failed = Some(failed.clone());
        Err(failed)
    }
}

/// A failure to update a read model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// An event cannot be applied, or does not decode. Fix the projection, and reset it.
    #[error("the read model stopped at {event}: {reason}")]
    Failed {
        /// The event.
        event: Box<FailedEvent>,
        /// The projection's error.
        reason: String,
    },
    /// Events were dropped before they were applied.
    #[error("{} events from position {} to {} are gone ({:?}): {reason}", gap.count, gap.first, gap.last, gap.reason)]
    Gap {
        /// The events.
        gap: Box<Gap>,
        /// The projection's error.
        reason: String,
    },
    /// The projection panicked. Fix it, and reset it.
    #[error("the read model panicked at an event after position {after}: {reason}")]
    Panicked {
        /// The last position that it has seen.
        after: Position,
        /// The message of the panic.
        reason: String,
    },
    /// `look` of a read, or the projection, uses the read model itself, which would deadlock.
    #[error("the read model is in use by this thread: use what the look is given, or use it after the look")]
    InUse,
    /// The store rejects the query.
    #[error(transparent)]
    Store(#[from] Error),
}
