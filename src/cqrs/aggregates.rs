//! Loading aggregates: folding their events in place.

use std::fmt;
use std::marker::PhantomData;

use super::{Aggregate, Codec, Context, Json, LoadError, Loaded, Retry};
use crate::event::system::change_stream;
use crate::{AsOf, EventRef, Position, Store, StreamRead, Version};

/// What a load does with an event whose type is not a variant of the aggregate's enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownEvents {
    /// The load fails with [`LoadError::Undecodable`].
    #[default]
    Fail,
    /// The event is skipped: the state does not depend on it.
    Skip,
}

/// How far the events of an aggregate are folded.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Now,
    Version(Version),
    AsOf(AsOf),
}

impl Until {
    fn read<'a>(self, store: &'a Store, id: &str) -> StreamRead<'a> {
        let read = store.read_stream(id);
        match self {
            Self::Now => read,
            // Events may be gone before the first: those that are later than this version are left out by the fold.
            Self::Version(version) => read.limit(usize::try_from(version.0).unwrap_or(usize::MAX)),
            Self::AsOf(as_of) => read.as_of(as_of),
        }
    }

    fn includes(self, version: Version) -> bool {
        match self {
            Self::Version(last) => version <= last,
            Self::Now | Self::AsOf(_) => true,
        }
    }

    /// Whether the last deletion of the aggregate, of the events up to version `deleted_to`, came later.
    fn is_before_deletion(self, store: &Store, id: &str, deleted_to: Version) -> bool {
        match self {
            Self::Now => false,
            Self::Version(version) => version <= deleted_to,
            Self::AsOf(as_of) => {
                let changes = change_stream(id);
                let changes = store.read_stream(&changes);
                last_deletion(&changes) != last_deletion(&changes.clone().as_of(as_of))
            }
        }
    }
}

fn last_deletion(changes: &StreamRead<'_>) -> Option<Position> {
    changes.fold(None, |last, change| match change.event_type() {
        "$deleted" => Some(change.position()),
        _ => last,
    })
}

/// The aggregates of one type in a store: loaded, and changed by commands.
///
/// A handle: cheap to clone, and usable from many threads at once. It caches no state; every command is decided on the events of the store.
///
/// Commands are acknowledged as the store's handle says: with [`Store::with_durability`], events have the requested durability when a command returns.
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
    /// The aggregates of type `A` in `store`, with events in the format of `codec`.
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

    /// Sets the number of attempts and the pauses between them.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets whether events of unknown types are skipped. By default they are an error.
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

    /// The aggregate as it is now. One that never had an event, or none since it was deleted, is in its [initial](Aggregate::initial) state.
    ///
    /// So is one that a budget has dropped with its last event from a store without a journal: such a store forgets the aggregate.
    ///
    /// # Errors
    ///
    /// [`LoadError::Undecodable`] when an event does not decode; [`LoadError::Incomplete`] when events were truncated, archived, or dropped by a
    /// limit or a budget; [`LoadError::OtherType`] when the aggregate is of another type; [`LoadError::Deleted`] when it was deleted for good.
    pub fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        self.load_until(id, Until::Now)
    }

    /// The aggregate as it was with the event of this version; in its initial state with version 0.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Incomplete`] when the version was deleted; [`LoadError::NoSuchVersion`] when the aggregate has no
    /// such version yet.
    pub fn load_version(&self, id: &str, version: Version) -> Result<Loaded<A>, LoadError> {
        if version.0 == 0 {
            return Ok(Loaded::initial());
        }
        let loaded = self.load_until(id, Until::Version(version))?;
        if loaded.version != version {
            let info = self.store.stream_info(id);
            return Err(LoadError::NoSuchVersion {
                aggregate_id: id.into(),
                wanted: version,
                last: info.map_or(loaded.version, |info| info.version),
            });
        }
        Ok(loaded)
    }

    /// The aggregate as it was at a position of the log, or as it had been recorded at a time.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Incomplete`] when the aggregate was deleted since.
    pub fn load_as_of(&self, id: &str, as_of: impl Into<AsOf>) -> Result<Loaded<A>, LoadError> {
        self.load_until(id, Until::AsOf(as_of.into()))
    }

    fn load_until(&self, id: &str, until: Until) -> Result<Loaded<A>, LoadError> {
        self.load_seeing(id, until, || (), |(), _| {})
            .map(|(loaded, ())| loaded)
    }

    /// Folds the events of an aggregate into the state, and into another value that `begin` makes and `see` changes.
    pub(super) fn load_seeing<T>(
        &self,
        id: &str,
        until: Until,
        begin: impl Fn() -> T,
        see: impl Fn(&mut T, EventRef<'_>),
    ) -> Result<(Loaded<A>, T), LoadError> {
        loop {
            let mut seen = begin();
            let loaded = self.fold(id, until, |event| see(&mut seen, event))?;
            if !self.has_lost_last(id, loaded.version) {
                return Ok((loaded, seen));
            }
        }
    }

    /// Whether events after `last` were dropped while those before were read: a fold does not miss them, as none follows. They are not
    /// read again, so each repetition needs another drop.
    fn has_lost_last(&self, id: &str, last: Version) -> bool {
        last.0 > 0 && self.store.stream_info(id).is_some_and(|info| info.dropped_to > last)
    }

    fn fold(&self, id: &str, until: Until, mut see: impl FnMut(EventRef<'_>)) -> Result<Loaded<A>, LoadError> {
        let read = until.read(&self.store, id);
        let loaded = read.fold(Ok(Loaded::initial()), |loaded: Result<Loaded<A>, LoadError>, event| {
            let mut loaded = loaded?;
            if !until.includes(event.version()) {
                return Ok(loaded);
            }
            self.check_next(id, loaded.version, event)?;
            see(event);
            if let Some(decoded) = self.decode(event)? {
                loaded.state.evolve(decoded);
            }
            loaded.version = event.version();
            Ok(loaded)
        })?;
        if loaded.version.0 == 0 {
            self.check_none(id, until)?;
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
    /// [`LoadError::Incomplete`] when events are gone between version `last` and the event; [`LoadError::OtherType`].
    fn check_next(&self, id: &str, last: Version, event: EventRef<'_>) -> Result<(), LoadError> {
        if last.0 == 0 {
            return self.check_first(id, event);
        }
        if event.version().0 == last.0 + 1 {
            return Ok(());
        }
        Err(incomplete(id, last.0 + 1, event.version().0 - 1))
    }

    /// The first event that is there. What was deleted before it does not count: the aggregate began again.
    ///
    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when events before it are gone for another reason; [`LoadError::OtherType`].
    fn check_first(&self, id: &str, event: EventRef<'_>) -> Result<(), LoadError> {
        check_type::<A>(id, event.aggregate_type())?;
        let before = event.version().0 - 1;
        if before == 0 {
            return Ok(());
        }
        // A budget may have dropped the aggregate since its event was read: then it is not known.
        let info = self.store.stream_info(id);
        let deleted_to = info.map_or(0, |info| info.deleted_to.0);
        if before > deleted_to {
            return Err(incomplete(id, deleted_to + 1, before));
        }
        Ok(())
    }

    /// No event is there.
    ///
    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when there were events at that time; [`LoadError::Deleted`]; [`LoadError::OtherType`].
    fn check_none(&self, id: &str, until: Until) -> Result<(), LoadError> {
        let Some(info) = self.store.stream_info(id) else {
            return Ok(());
        };
        check_type::<A>(id, &info.stream.aggregate_type)?;
        if info.tombstoned {
            let aggregate_id = id.into();
            return Err(LoadError::Deleted { aggregate_id });
        }
        let is_before_deletion = info.deleted_to.0 > 0 && until.is_before_deletion(&self.store, id, info.deleted_to);
        let begin = if is_before_deletion { 0 } else { info.deleted_to.0 };
        if info.dropped_to.0 > begin {
            return Err(incomplete(id, begin + 1, info.dropped_to.0));
        }
        Ok(())
    }
}

/// # Errors
///
/// [`LoadError::OtherType`] when `actual` is not the type of `A`.
fn check_type<A: Aggregate>(id: &str, actual: &str) -> Result<(), LoadError> {
    if actual == A::TYPE {
        return Ok(());
    }
    Err(LoadError::OtherType {
        aggregate_id: id.into(),
        wanted: A::TYPE.into(),
        actual: actual.into(),
    })
}

fn incomplete(id: &str, first: u64, last: u64) -> LoadError {
    LoadError::Incomplete {
        aggregate_id: id.into(),
        first: Version(first),
        last: Version(last),
    }
}
