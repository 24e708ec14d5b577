//! A handle of the aggregates of one type: loads them, and executes commands on them.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::projection::{Inline, Typed, add_inline};
use super::snapshot::{SnapshotCounts, SnapshotPolicy, Snapshots};
use super::until::Until;
use super::{
    Aggregate, Codec, Context, Json, Live, LoadError, Loaded, Projection, ReadError, Retry, TypedEvents, UnknownEvents,
    Upcasters,
};
use crate::{AsOf, Error, Position, Query, Store, Version};

/// Decoded events as a value whose type is found out at run time.
type Share<E> = fn(&mut Typed<E>) -> &mut dyn Any;

/// Loads the aggregates of type `A`, and executes commands on them.
///
/// Cheap to clone, and usable from many threads at once. It caches no state: every command reads the events of the store.
///
/// A command returns when its events have the durability of the store's handle; [`Store::with_durability`] sets it.
pub struct Aggregates<A: Aggregate, C = Json> {
    pub(super) store: Store,
    pub(super) events: TypedEvents<A::Event, C>,
    pub(super) context: Context,
    pub(super) retry: Retry,
    pub(super) snapshots: Option<Arc<Snapshots<A>>>,
    /// Ascending by address: all handles lock them in one order.
    pub(super) inline: Vec<Arc<dyn Inline>>,
    /// Offers the decoded events of a command to projections, whose enum may be the same; none without inline projections.
    pub(super) share: Option<Share<A::Event>>,
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
            share: self.share,
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
    /// The aggregates of type `A` in `store`, with events as JSON, without snapshots and upcasters.
    pub fn new(store: &Store) -> Self {
        Self::with_codec(store, Json)
    }
}

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// The aggregates of type `A` in `store`, with events in the format of `codec`, without snapshots and upcasters.
    pub fn with_codec(store: &Store, codec: C) -> Self {
        Self {
            store: store.clone(),
            events: TypedEvents::with_codec(codec),
            context: Context::default(),
            retry: Retry::default(),
            snapshots: None,
            inline: Vec::new(),
            share: None,
        }
    }

    /// Sets the number of attempts and the pauses between them; see [`Retry`] for the defaults.
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

    /// Sets the upcasters, which convert events of older schemas whenever an aggregate is loaded.
    #[must_use]
    pub fn upcasters(mut self, upcasters: &Upcasters) -> Self {
        self.events = self.events.upcasters(upcasters);
        self
    }

    /// Saves snapshots as `policy` demands, and loads aggregates from their snapshots. Off by default.
    ///
    /// The state is saved as JSON, with a fingerprint of its shape as serde sees it. When a field, type or variant has changed since, the load
    /// ignores the snapshot, and the next one replaces it. [`snapshot_counts`](Self::snapshot_counts) counts what snapshots did.
    ///
    /// The fingerprint is computed here, which takes up to 10 ms for ordinary types: call this once, and clone the handle.
    #[must_use]
    pub fn snapshots(mut self, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(Arc::new(Snapshots::new(policy)));
        self
    }

    /// Updates `projection` within every command of this handle: when a command returns, every reader of the read model sees its events.
    ///
    /// The projection can [reject](Projection::check) an event before it is appended. It serializes commands: one at a time is appended, and holds
    /// the projection's lock while it waits for the journal. The projection cannot reject events that are appended in another way; it applies them
    /// at the next command or read.
    ///
    /// A projection that has failed rejects every command until it is [reset](Live::reset).
    #[must_use]
    pub fn inline<P: Projection>(mut self, projection: &Live<P>) -> Self
    where
        A::Event: 'static,
    {
        self.share = Some(|typed| typed);
        let added: Arc<dyn Inline> = Arc::new(projection.clone());
        add_inline(&mut self.inline, [added]);
        self
    }

    /// Saves a snapshot of the aggregate now, whatever the policy is. Returns its position, or `None` if the aggregate has no event.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Snapshot`] when this handle has no [snapshots](Self::snapshots), or the store rejects the
    /// snapshot.
    pub fn save_snapshot(&self, id: &str) -> Result<Option<Position>, LoadError> {
        if self.snapshots.is_some() && !self.knows_id(id)? {
            return Ok(None);
        }
        let id = &*self.stored_id(id)?;
        let refused = |error| LoadError::Snapshot {
            aggregate_id: id.into(),
            error,
        };
        let Some(snapshots) = &self.snapshots else {
            return Err(refused(Error::invalid(
                "the handle has no snapshots: call `Aggregates::snapshots` first",
            )));
        };
        let (loaded, since) = self.load_with(id, Until::Now)?;
        if loaded.version.0 == 0 {
            return Ok(None);
        }
        let derived = self.events.derived_data();
        let saved = snapshots.save(&self.store, id, &loaded, since.epoch, derived.as_deref());
        saved.map(Some).map_err(refused)
    }

    /// Counts what snapshots did for this handle and its clones; all zero without [snapshots](Self::snapshots).
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

    /// Returns a handle whose commands append events with this context.
    #[must_use]
    pub fn with_context(&self, context: Context) -> Self {
        Self {
            context,
            ..self.clone()
        }
    }

    /// Loads the current state of an aggregate. One without events, or without events since its deletion, has its [initial](Aggregate::initial)
    /// state.
    ///
    /// In a store without a journal, an aggregate whose last event a budget has dropped has its initial state, too.
    ///
    /// # Errors
    ///
    /// [`LoadError::Undecodable`] when an event does not decode; [`LoadError::Incomplete`] when events were truncated, archived, or dropped by a
    /// limit or a budget; [`LoadError::OtherType`] when the aggregate is of another type; [`LoadError::Deleted`] when it was deleted for good.
    pub fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        self.load_until(id, Until::Now)
    }

    /// Loads an aggregate as it was after the event of this version; version 0 is its initial state.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Incomplete`] when the version was deleted; [`LoadError::NoSuchVersion`] when the aggregate has no
    /// such version yet.
    pub fn load_version(&self, id: &str, version: Version) -> Result<Loaded<A>, LoadError> {
        if version.0 == 0 {
            return Ok(Loaded::initial());
        }
        if !self.knows_id(id)? {
            return Err(LoadError::NoSuchVersion {
                aggregate_id: "(without events)".into(),
                wanted: version,
                last: Version(0),
            });
        }
        let loaded = self.load_until(id, Until::Version(version))?;
        if loaded.version != version {
            let id = self.stored_id(id)?;
            let info = self.store.stream_info(&id);
            return Err(LoadError::NoSuchVersion {
                aggregate_id: (&*id).into(),
                wanted: version,
                last: info.map_or(loaded.version, |info| info.version),
            });
        }
        Ok(loaded)
    }

    /// Loads an aggregate as it was at a position of the log, or at a recording time.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`LoadError::Incomplete`] when the aggregate was deleted since.
    pub fn load_as_of(&self, id: &str, as_of: impl Into<AsOf>) -> Result<Loaded<A>, LoadError> {
        self.load_until(id, Until::AsOf(as_of.into()))
    }

    fn load_until(&self, id: &str, until: Until) -> Result<Loaded<A>, LoadError> {
        if !self.knows_id(id)? {
            return Ok(Loaded::initial());
        }
        self.load_with(&self.stored_id(id)?, until).map(|(loaded, _)| loaded)
    }

    /// Whether an aggregate may be stored by this id. A load of one that is not makes no pseudonym for it.
    #[inline]
    fn knows_id(&self, id: &str) -> Result<bool, LoadError> {
        self.events.knows_id(id).map_err(|error| LoadError::NoPseudonym {
            reason: error.to_string(),
        })
    }

    /// The id that an aggregate is stored by.
    #[inline]
    pub(super) fn stored_id<'a>(&self, id: &'a str) -> Result<Cow<'a, str>, LoadError> {
        self.events.stored_id(id).map_err(|error| LoadError::NoPseudonym {
            reason: error.to_string(),
        })
    }
}
