//! The aggregates of one type: a handle that loads them, and executes commands on them.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::loading::Until;
use super::projection::Inline;
use super::snapshot::{SnapshotCounts, SnapshotPolicy, Snapshots};
use super::{
    Aggregate, Codec, Context, Json, Live, LoadError, Loaded, Projection, ReadError, Retry, TypedEvents, UnknownEvents,
    Upcasters,
};
use crate::{AsOf, Error, Position, Query, Store, Version};

/// The aggregates of one type in a store: loaded, and changed by commands.
///
/// A handle: cheap to clone, and usable from many threads at once. It caches no state; every command is decided on the events of the store.
///
/// Commands are acknowledged as the store's handle says: with [`Store::with_durability`], events have the requested durability when a command returns.
pub struct Aggregates<A: Aggregate, C = Json> {
    pub(super) store: Store,
    pub(super) events: TypedEvents<A::Event, C>,
    pub(super) context: Context,
    pub(super) retry: Retry,
    pub(super) snapshots: Option<Arc<Snapshots<A>>>,
    /// Ascending by address: all handles lock them in one order.
    pub(super) inline: Vec<Arc<dyn Inline>>,
}

impl<A: Aggregate, C: Clone> Clone for Aggregates<A, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            events: self.events.clone(),
            context: self.context.clone(),
            retry: self.retry,
            snapshots: self.snapshots.clone(),
            inline: self.inline.clone(),
        }
    }
}

impl<A: Aggregate, C: Codec> fmt::Debug for Aggregates<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates")
            .field("type", &A::TYPE)
            .field("events", &self.events)
            .field("context", &self.context)
            .field("retry", &self.retry)
            .field("snapshots", &self.snapshots)
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
            events: TypedEvents::with_codec(codec),
            context: Context::default(),
            retry: Retry::default(),
            snapshots: None,
            inline: Vec::new(),
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
        self.events = self.events.unknown_events(unknown);
        self
    }

    /// Sets the upcasters, which convert events of older schemas whenever the aggregate is loaded.
    #[must_use]
    pub fn upcasters(mut self, upcasters: &Upcasters) -> Self {
        self.events = self.events.upcasters(upcasters);
        self
    }

    /// Saves the state as a snapshot when `policy` says so, and loads aggregates from their snapshots.
    ///
    /// A snapshot is ignored, and replaced by the next one, when the state has another shape now: another field, type or variant, as serde sees
    /// them. The state is saved as JSON. See [`snapshot_counts`](Self::snapshot_counts) for what happened.
    #[must_use]
    pub fn snapshots(mut self, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(Arc::new(Snapshots::new(policy)));
        self
    }

    /// Brings `projection` up to date with every command of this handle: when the command returns, the read model has its events, and no reader of
    /// the read model is without them. The projection can [refuse](Projection::check) an event before it is appended.
    ///
    /// One command at a time is appended through an inline projection, also while it waits for the journal. Appends that go another way
    /// are seen when the projection is read, or by the next command, but cannot be refused.
    ///
    /// A projection that has failed refuses every command, until it is [reset](Live::reset).
    #[must_use]
    pub fn inline<P: Projection>(mut self, projection: &Live<P>) -> Self {
        self.inline.push(Arc::new(projection.clone()));
        self.inline.sort_by_key(|projection| projection.address());
        self.inline.dedup_by_key(|projection| projection.address());
        self
    }

    /// Saves a snapshot of the aggregate now. Returns its position, or `None` when the aggregate has no event.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Snapshot`] when this handle has no [snapshots](Self::snapshots), or the store refuses the
    /// snapshot.
    pub fn save_snapshot(&self, id: &str) -> Result<Option<Position>, LoadError> {
        let refused = |error| LoadError::Snapshot {
            aggregate_id: id.into(),
            error,
        };
        let Some(snapshots) = &self.snapshots else {
            return Err(refused(Error::invalid(
                "the handle has no snapshots: call `Aggregates::snapshots` first",
            )));
        };
        let loaded = self.load(id)?;
        if loaded.version.0 == 0 {
            return Ok(None);
        }
        snapshots.save(&self.store, id, &loaded).map(Some).map_err(refused)
    }

    /// What snapshots did for this handle and its clones; all zero without [snapshots](Self::snapshots).
    pub fn snapshot_counts(&self) -> SnapshotCounts {
        self.snapshots
            .as_ref()
            .map(|snapshots| snapshots.counts())
            .unwrap_or_default()
    }

    /// Checks that every stored event of this aggregate type has a path to its newest schema; see [`TypedEvents::check`].
    ///
    /// # Errors
    ///
    /// As [`TypedEvents::check`].
    pub fn check(&self) -> Result<(), ReadError> {
        self.events.check(&self.store, Query::all().aggregate_type(A::TYPE))
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
        self.load_with(id, until).map(|(loaded, _)| loaded)
    }
}
