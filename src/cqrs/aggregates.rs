//! Loading aggregates: folding their events in place.

use std::fmt;
use std::marker::PhantomData;

use super::{Aggregate, Codec, Context, Json, LoadError, Loaded, Retry};
use crate::{AsOf, EventRef, Store, StreamRead, Version};

/// What happens to an event whose type is no variant of the aggregate's enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownEvents {
    /// The aggregate cannot be loaded.
    #[default]
    Fail,
    /// The event is skipped: the state does not depend on it.
    Skip,
}

/// The aggregates of one type in a store: loaded, and changed by commands.
///
/// A handle: cheap to clone, to be used from any number of threads. Nothing is cached; every command is decided on the events of the store.
pub struct Aggregates<A, C = Json> {
    pub(super) store: Store,
    pub(super) codec: C,
    pub(super) context: Context,
    pub(super) retry: Retry,
    unknown: UnknownEvents,
    aggregate: PhantomData<fn() -> A>,
}

impl<A, C: Clone> Clone for Aggregates<A, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            codec: self.codec.clone(),
            context: self.context.clone(),
            retry: self.retry,
            unknown: self.unknown,
            aggregate: PhantomData,
        }
    }
}

impl<A: Aggregate, C: Codec> fmt::Debug for Aggregates<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates")
            .field("type", &A::TYPE)
            .field("codec", &self.codec)
            .field("context", &self.context)
            .field("retry", &self.retry)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Aggregates<A> {
    /// The aggregates of type `A` in `store`, with events as JSON.
    pub fn new(store: &Store) -> Self {
        Self::with_codec(store, Json)
    }
}

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// The same with events in another format.
    pub fn with_codec(store: &Store, codec: C) -> Self {
        Self {
            store: store.clone(),
            codec,
            context: Context::default(),
            retry: Retry::default(),
            unknown: UnknownEvents::default(),
            aggregate: PhantomData,
        }
    }

    /// With another number of attempts, or other pauses.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With events of unknown types skipped, or refused as by default.
    #[must_use]
    pub fn unknown_events(mut self, unknown: UnknownEvents) -> Self {
        self.unknown = unknown;
        self
    }

    /// A handle whose commands append events with this context.
    #[must_use]
    pub fn with_context(&self, context: Context) -> Self {
        Self {
            context,
            ..self.clone()
        }
    }

    /// The aggregate as it is now. One that never had an event is in its [initial](Aggregate::initial) state.
    ///
    /// # Errors
    ///
    /// [`LoadError::Undecodable`] when an event does not decode; [`LoadError::Incomplete`] when events were truncated, or dropped by a limit
    /// or a budget.
    pub fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        self.load_seeing(id, &self.store.read_stream(id), |_| {})
    }

    /// The aggregate as it was with the event of this version.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::NoSuchVersion`] when it has no such version yet.
    pub fn load_version(&self, id: &str, version: Version) -> Result<Loaded<A>, LoadError> {
        let mut loaded = Loaded {
            state: A::initial(),
            version: Version(0),
        };
        if version.0 > 0 {
            let limit = usize::try_from(version.0).unwrap_or(usize::MAX);
            loaded = self.load_seeing(id, &self.store.read_stream(id).limit(limit), |_| {})?;
        }
        if loaded.version != version {
            return Err(LoadError::NoSuchVersion {
                aggregate_id: id.into(),
                wanted: version,
                last: loaded.version,
            });
        }
        Ok(loaded)
    }

    /// The aggregate as it was at a position of the log, or as it had been recorded at a time.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_as_of(&self, id: &str, as_of: impl Into<AsOf>) -> Result<Loaded<A>, LoadError> {
        self.load_seeing(id, &self.store.read_stream(id).as_of(as_of), |_| {})
    }

    /// Folds the events of `read` into the state; `see` is shown each of them.
    pub(super) fn load_seeing(
        &self,
        id: &str,
        read: &StreamRead<'_>,
        mut see: impl FnMut(EventRef<'_>),
    ) -> Result<Loaded<A>, LoadError> {
        let begin = Loaded {
            state: A::initial(),
            version: Version(0),
        };
        let loaded = read.fold(Ok(begin), |loaded: Result<Loaded<A>, LoadError>, event| {
            let mut loaded = loaded?;
            self.check_next(id, loaded.version, event.version())?;
            see(event);
            if let Some(decoded) = self.decode(event)? {
                loaded.state.evolve(decoded);
            }
            loaded.version = event.version();
            Ok(loaded)
        })?;
        if loaded.version.0 == 0 {
            self.check_begin(id, Version(u64::MAX))?;
        }
        Ok(loaded)
    }

    /// The event, decoded; `None` when its type is unknown and skipped.
    fn decode(&self, event: EventRef<'_>) -> Result<Option<A::Event>, LoadError> {
        use super::CodecError::UnknownType;
        match self.codec.decode(event.event_type(), event.data()) {
            Ok(decoded) => Ok(Some(decoded)),
            Err(UnknownType { .. }) if self.unknown == UnknownEvents::Skip => Ok(None),
            Err(error) => Err(LoadError::Undecodable {
                aggregate_id: event.aggregate_id().into(),
                event_id: event.id(),
                event_type: event.event_type().into(),
                position: event.position(),
                error: Box::new(error),
            }),
        }
    }

    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when events between two versions are gone.
    fn check_next(&self, id: &str, last: Version, next: Version) -> Result<(), LoadError> {
        if next.0 == last.0 + 1 {
            return Ok(());
        }
        if last.0 == 0 {
            return self.check_begin(id, next);
        }
        Err(incomplete(id, last.0 + 1, next.0 - 1))
    }

    /// The first event that is there has version `next`. What was deleted does not count: the aggregate began again.
    ///
    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when events before it were dropped for another reason.
    fn check_begin(&self, id: &str, next: Version) -> Result<(), LoadError> {
        let Some(info) = self.store.stream_info(id) else {
            return Ok(());
        };
        let gone = info.dropped_to.0.min(next.0.saturating_sub(1));
        if gone > info.deleted_to.0 {
            return Err(incomplete(id, info.deleted_to.0 + 1, gone));
        }
        Ok(())
    }
}

fn incomplete(id: &str, first: u64, last: u64) -> LoadError {
    LoadError::Incomplete {
        aggregate_id: id.into(),
        first: Version(first),
        last: Version(last),
    }
}
