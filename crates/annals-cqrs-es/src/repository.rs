//! The repository that the framework's persistent store calls.

use annals::{
    Appended, Durability, Error, Event, Expected, Gap, GapReason, NewSnapshot, Position, Query, Store, Version,
};
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayFeed, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use futures_executor::block_on;
use serde_json::{Value, json};

use crate::mapping::{aggregate_id, stream, to_new, to_serialized, unknown};

/// The number of events that are read at once for a replay, and that wait for its reader.
const PAGE: usize = 256;

/// The repository of a [`PersistedEventStore`](cqrs_es::persist::PersistedEventStore). Cheap to clone.
///
/// [`event_store`](crate::event_store) and [`snapshot_store`](crate::snapshot_store) create one. Create one yourself to set its
/// [durability](Self::with_durability), which a commit awaits without blocking a thread of the executor.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    durability: Durability,
    snapshot_size: usize,
}

impl Repository {
    /// A repository of this store, whose commits are acknowledged when their events can be read.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            durability: Durability::Volatile,
            snapshot_size: 1,
        }
    }

    /// Acknowledges commits when their events have this durability. If the wait fails, the events may be stored.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the store's journal cannot provide this durability.
    pub fn with_durability(mut self, durability: Durability) -> annals::Result<Self> {
        self.store.with_durability(durability)?;
        self.durability = durability;
        Ok(self)
    }

    /// Sets the number of events between two snapshots, at least 1. It must be the `snapshot_size` of the framework's
    /// [`PersistedEventStore`](cqrs_es::persist::PersistedEventStore).
    #[must_use]
    pub fn snapshot_size(mut self, size: usize) -> Self {
        self.snapshot_size = size.max(1);
        self
    }

    /// The events of an aggregate after a version.
    ///
    /// # Errors
    ///
    /// When some of these events were dropped, since a state without them would be wrong.
    fn events_after<A: Aggregate>(&self, id: &str, after: Version) -> Result<Vec<Event>, PersistenceError> {
        let id = aggregate_id::<A>(id);
        let Some(info) = self.store.stream_info(&id) else {
            return Ok(Vec::new());
        };
        let events = self.store.read_stream(&id).after(after).events();
        let first = events.first().map_or(info.version.0 + 1, |event| event.version().0);
        // Events before a deletion are not part of the state of the aggregate that was created again.
        if first > after.0.max(info.deleted_to.0) + 1 {
            let what = format!(
                "events of aggregate '{id}' before version {first} are gone (truncated, archived, or past a limit or a budget): its state cannot be \
                 loaded; if they were archived, attach the archive"
            );
            return Err(unknown(what));
        }
        Ok(events)
    }

    /// # Errors
    ///
    /// When events of an aggregate of this type are gone, other than by its deletion, or a damaged file held some: a view that is made of the others
    /// would be another one.
    fn check_whole<A: Aggregate>(&self) -> Result<(), PersistenceError> {
        let prefix = aggregate_id::<A>("");
        // What the whole store retains is the choice of its owner.
        let is_missed = |gap: &Gap| {
            if let GapReason::Limit(id) | GapReason::Truncated(id) = &gap.reason {
                return id.starts_with(&prefix);
            }
            gap.reason == GapReason::Lost
        };
        match self.store.gaps().into_iter().find(is_missed) {
            None => Ok(()),
            Some(gap) => Err(unknown(format!(
                "the events of type '{}' cannot be replayed: {gap}",
                A::TYPE
            ))),
        }
    }

    fn append<A: Aggregate>(&self, events: &[SerializedEvent]) -> Result<Option<Appended>, PersistenceError> {
        let Some(first) = events.first() else {
            return Ok(None);
        };
        let expected = match first.sequence.saturating_sub(1) {
            0 => Expected::NoStream,
            sequence => Expected::Exactly(Version(sequence as u64)),
        };
        let new: Vec<_> = events.iter().map(to_new).collect();
        let appended = self.store.append(&stream::<A>(&first.aggregate_id), expected, new);
        appended.map(Some).map_err(failed)
    }

    /// Saves a snapshot of the aggregate at the last multiple of the snapshot's size, folded from the events.
    ///
    /// The state that the framework brings is not used: version 0.5.0 applies the events of a command twice to it, in the command's sink and in the
    /// commit. Without a snapshot the events are read, so what prevents one, such as an event that needs an upcaster, is no failure.
    async fn save_snapshot<A: Aggregate>(
        &self,
        id: &str,
        number: usize,
        last: Version,
    ) -> Result<(), PersistenceError> {
        let version = last.0 - last.0 % self.snapshot_size as u64;
        let begin = self.get_snapshot::<A>(id).await?;
        let begin_version = begin.as_ref().map_or(0, |snapshot| snapshot.current_sequence as u64);
        if version <= begin_version {
            return Ok(());
        }
        let mut aggregate = match begin {
            Some(snapshot) => serde_json::from_value(snapshot.aggregate)?,
            None => A::default(),
        };
        for event in self.events_after::<A>(id, Version(begin_version))? {
            if event.version().0 <= version {
                aggregate.apply(serde_json::from_slice(event.data())?);
            }
        }
        let mut snapshot = NewSnapshot::new(Version(version));
        snapshot.data = json!({"snapshot": number, "aggregate": aggregate})
            .to_string()
            .into_bytes();
        self.store
            .save_snapshot(&aggregate_id::<A>(id), snapshot)
            .map(drop)
            .map_err(unknown)
    }

    /// Feeds a replay from its own thread, as fast as the reader takes the events. `read` returns the next page of events after a position.
    fn replay(
        &self,
        read: impl Fn(&Self, Position) -> Result<Vec<Event>, PersistenceError> + Send + 'static,
    ) -> Result<ReplayStream, PersistenceError> {
        let (feed, replay) = ReplayStream::new(PAGE);
        let repository = self.clone();
        let thread = std::thread::Builder::new().name("annals replay".to_owned());
        let feeding = thread.spawn(move || feed_all(feed, |after| read(&repository, after)));
        feeding.map(|_| replay).map_err(unknown)
    }
}

/// The framework distinguishes conflicts, an unavailable store, and all other errors.
fn failed(error: Error) -> PersistenceError {
    if error.conflict().is_some() {
        return PersistenceError::OptimisticLockError;
    }
    if matches!(error, Error::Closed | Error::Unavailable { .. } | Error::Failed { .. }) {
        return PersistenceError::ConnectionError(error.into());
    }
    unknown(error)
}

/// Ends when there are no more events, at the first error, and when the reader is dropped.
fn feed_all(mut feed: ReplayFeed, read: impl Fn(Position) -> Result<Vec<Event>, PersistenceError>) {
    let mut after = Position(0);
    loop {
        let events = match read(after) {
            Ok(events) => events,
            Err(error) => return drop(block_on(feed.push(Err(error)))),
        };
        let Some(last) = events.last() else {
            return;
        };
        after = last.position();
        for event in &events {
            if block_on(feed.push(to_serialized(event))).is_err() {
                return;
            }
        }
    }
}

impl PersistedEventRepository for Repository {
    async fn get_events<A: Aggregate>(&self, id: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.get_last_events::<A>(id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let events = self.events_after::<A>(id, Version(last_sequence as u64))?;
        events.iter().map(to_serialized).collect()
    }

    async fn get_snapshot<A: Aggregate>(&self, id: &str) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        let Some(snapshot) = self.store.snapshot(&aggregate_id::<A>(id)) else {
            return Ok(None);
        };
        // A snapshot that something else has saved is none for the framework, which reads the events then.
        let Ok(Value::Object(mut data)) = serde_json::from_slice(&snapshot.data) else {
            return Ok(None);
        };
        let (Some(aggregate), Some(number)) = (data.remove("aggregate"), data.get("snapshot").and_then(Value::as_u64))
        else {
            return Ok(None);
        };
        Ok(Some(SerializedSnapshot {
            aggregate_id: id.to_owned(),
            aggregate,
            current_sequence: usize::try_from(snapshot.version.0).map_err(unknown)?,
            current_snapshot: usize::try_from(number).unwrap_or(1),
        }))
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let Some(appended) = self.append::<A>(events)? else {
            return Ok(());
        };
        if let Some((id, _, number)) = snapshot {
            drop(self.save_snapshot::<A>(&id, number, appended.last_version).await);
        }
        if self.durability > Durability::Volatile {
            let durable = self.store.when_durable(appended.last_position, self.durability);
            durable.map_err(failed)?.await.map_err(failed)?;
        }
        Ok(())
    }

    async fn stream_events<A: Aggregate>(&self, id: &str) -> Result<ReplayStream, PersistenceError> {
        let id = id.to_owned();
        self.replay(move |repository, after| match after {
            Position(0) => repository.events_after::<A>(&id, Version(0)),
            // The first page has all events of the aggregate.
            _ => Ok(Vec::new()),
        })
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        self.check_whole::<A>()?;
        self.replay(|repository, after| {
            let page = Query::all().aggregate_type(A::TYPE).after(after).limit(PAGE);
            repository.store.query(page).events().map_err(unknown)
        })
    }
}
