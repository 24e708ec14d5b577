//! The adapter keeps the contract of [`EventStore`], as far as the interface of the framework has it: appends and reads go through the repository
//! that the framework calls.

#![expect(clippy::expect_used, reason = "a test fails where what it expects does not hold")]

use annals::journal::{Batch, Record};
use annals::testing::event_store::{Capabilities, Capability, EventStore, EventTail, Range, unsupported};
use annals::{
    Append, Appended, Condition, Conflict, ContentType, Durability, Error, Event, Expected, NewEvent, Position, Query,
    Result, Store, Version,
};
use annals_cqrs_es::{Repository, aggregate_id};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository as _, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

annals::event_store_conformance!(in_memory, ThroughFramework::over(Store::in_memory()));
annals::event_store_conformance!(on_files, {
    let guard = Folder::new();
    let store = Store::open_url(&format!("file:{}", guard.0.display())).expect("the folder is empty");
    annals::testing::event_store::Guarded {
        store: ThroughFramework::over(store),
        guard,
    }
});

/// A folder of its own for each store.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("annals-cqrs-es-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An aggregate of the framework with any events.
#[derive(Default, Serialize, Deserialize)]
struct Order;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Anything(Value);

impl DomainEvent for Anything {
    fn event_type(&self) -> String {
        "Anything".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Command = ();
    type Event = Anything;
    type Error = std::fmt::Error;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> std::result::Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, _: Anything) {}
}

/// The store as the framework sees it. It returns no ids, times and positions: these are taken from the store below.
struct ThroughFramework {
    store: Store,
    repository: Repository,
}

impl ThroughFramework {
    fn over(store: Store) -> Self {
        Self {
            repository: Repository::new(&store),
            store,
        }
    }

    fn version(&self, id: &str) -> Version {
        let info = self.store.stream_info(&aggregate_id::<Order>(id));
        info.map_or(Version(0), |info| info.version)
    }

    /// What `persist` cannot say about a conflict.
    fn conflict(&self, append: &Append<'_>, actual: Version) -> Error {
        let last = self
            .store
            .read_stream(&aggregate_id::<Order>(&append.stream.aggregate_id))
            .events()
            .pop();
        Error::from(Conflict::Version {
            stream: append.stream.clone().into_owned(),
            expected: append.expected,
            actual,
            position: last.map_or(Position(0), |event| event.position()),
        })
    }

    /// Commits as the framework does: at the version after the one that was read.
    fn commit(&self, append: &Append<'_>) -> Result<Appended> {
        let id = &append.stream.aggregate_id;
        loop {
            let actual = self.version(id);
            let is_met = match append.expected {
                Expected::Any => true,
                Expected::NoStream => actual.0 == 0,
                Expected::StreamExists => actual.0 > 0,
                Expected::Exactly(version) => version == actual,
            };
            if !is_met {
                return Err(self.conflict(append, actual));
            }
            let events: Vec<_> = (actual.0 + 1..)
                .zip(append.events.iter())
                .map(|(version, event)| serialized(id, version, event))
                .collect();
            match block_on(self.repository.persist::<Order>(&events, None)) {
                Ok(()) => return Ok(self.appended(id, actual, events.len())),
                // Another writer was first: what the expected version is depends on the new one.
                Err(PersistenceError::OptimisticLockError) => {}
                Err(error) => return Err(error_of(error)),
            }
        }
    }

    fn appended(&self, id: &str, before: Version, count: usize) -> Appended {
        let events = self
            .store
            .read_stream(&aggregate_id::<Order>(id))
            .after(before)
            .limit(count)
            .events();
        let position = |event: Option<&Event>| event.map_or(self.store.visible(), Event::position);
        let first = (Version(before.0 + 1), position(events.first()));
        let last = (Version(before.0 + count as u64), position(events.last()));
        Appended::new(first, last, Durability::Volatile)
    }

    /// The event in the store below.
    fn stored(&self, read: &SerializedEvent) -> Event {
        let read = self
            .store
            .read_stream(&aggregate_id::<Order>(&read.aggregate_id))
            .from(Version(read.sequence as u64));
        let stored = read.limit(1).events().pop();
        stored.expect("the repository has read it")
    }

    /// An event as the framework reads it, with what only the store below has.
    fn event(&self, read: &SerializedEvent) -> Event {
        let stored = self.stored(read);
        let payload: Value = serde_json::from_slice(stored.data()).expect("it is JSON");
        assert_eq!(
            (payload, stored.event_type()),
            (read.payload.clone(), read.event_type.as_str())
        );
        let mut batch = Batch::new();
        let mut record = Record::new(stored.position(), stored.version(), stored.id());
        record.timestamp = stored.timestamp();
        record.recorded_at = stored.recorded_at();
        record.aggregate_id = &read.aggregate_id;
        record.aggregate_type = &read.aggregate_type;
        record.event_type = &read.event_type;
        record.schema_version = stored.schema_version();
        record.correlation_id = name(&read.metadata, "correlation_id");
        record.causation_id = name(&read.metadata, "causation_id");
        record.user_id = name(&read.metadata, "user_id");
        record.organization_id = name(&read.metadata, "organization_id");
        record.data = stored.data();
        batch.push(&record);
        let event = batch.events().next().map(|event| event.to_event());
        event.expect("it was pushed")
    }
}

fn name<'a>(metadata: &'a Value, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(Value::as_str)
}

/// The framework has nothing for the other fields.
fn check_fields(event: &NewEvent<'_>) -> Result<()> {
    let has_others = event.id.is_some()
        || event.timestamp.is_some()
        || !event.tags.is_empty()
        || !event.metadata.is_empty()
        || event.data_type != ContentType::Json
        || serde_json::from_slice::<Value>(&event.data).is_err();
    if has_others {
        return Err(unsupported(Capability::Fields));
    }
    Ok(())
}

fn serialized(id: &str, version: u64, event: &NewEvent<'_>) -> SerializedEvent {
    let names = [
        ("correlation_id", &event.correlation_id),
        ("causation_id", &event.causation_id),
        ("user_id", &event.user_id),
        ("organization_id", &event.organization_id),
    ];
    let names = names
        .into_iter()
        .filter_map(|(key, name)| Some((key.to_owned(), Value::from(name.as_deref()?))));
    SerializedEvent {
        aggregate_id: id.to_owned(),
        sequence: usize::try_from(version).expect("a small number"),
        aggregate_type: Order::TYPE.to_owned(),
        event_type: event.event_type.to_string(),
        event_version: format!("{}.0", event.schema_version),
        payload: serde_json::from_slice(&event.data).expect("it was checked"),
        metadata: Value::Object(names.collect::<Map<_, _>>()),
    }
}

/// The store's own error, which the framework passes on.
fn error_of(error: PersistenceError) -> Error {
    match error {
        PersistenceError::UnknownError(error) | PersistenceError::ConnectionError(error) => match error.downcast() {
            Ok(error) => *error,
            Err(error) => Error::Invalid {
                message: error.to_string().into(),
            },
        },
        other @ (PersistenceError::OptimisticLockError | PersistenceError::DeserializationError(_)) => Error::Invalid {
            message: other.to_string().into(),
        },
    }
}

impl EventStore for ThroughFramework {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let [append] = appends else {
            return Err(unsupported(Capability::AppendAll));
        };
        if append.stream.aggregate_type != Order::TYPE || append.stream.aggregate_id.is_empty() {
            return Err(Error::Invalid {
                message: "the aggregates are orders, and have an id".into(),
            });
        }
        append.events.iter().try_for_each(check_fields)?;
        Ok(vec![self.commit(append)?])
    }

    fn append_if(&self, _: &Condition, _: &[Append<'_>]) -> Result<Vec<Appended>> {
        Err(unsupported(Capability::AppendIf))
    }

    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>> {
        if range.is_backwards {
            return Err(unsupported(Capability::Backwards));
        }
        let from = range.from.map_or(0, |from| from.0.saturating_sub(1));
        let from = usize::try_from(from).expect("a small number");
        let read = block_on(self.repository.get_last_events::<Order>(aggregate_id, from)).map_err(error_of)?;
        Ok(read.iter().take(range.limit).map(|event| self.event(event)).collect())
    }

    fn read_all(&self, range: Range<Position>) -> Result<Vec<Event>> {
        if range.is_backwards {
            return Err(unsupported(Capability::Backwards));
        }
        block_on(async {
            let mut replay = self.repository.stream_all_events::<Order>().await.map_err(error_of)?;
            let mut events = Vec::new();
            while let Some(event) = replay.next::<Order>(&[]).await {
                let event = event.map_err(error_of)?;
                let mut read = SerializedEvent {
                    aggregate_id: event.aggregate_id,
                    sequence: event.sequence,
                    aggregate_type: Order::TYPE.to_owned(),
                    event_type: String::new(),
                    event_version: String::new(),
                    payload: event.payload.0,
                    metadata: serde_json::to_value(&event.metadata).expect("texts"),
                };
                // A replay leaves the event type to the payload.
                self.stored(&read).event_type().clone_into(&mut read.event_type);
                let event = self.event(&read);
                if range.from.is_none_or(|from| event.position() >= from) && events.len() < range.limit {
                    events.push(event);
                }
            }
            Ok(events)
        })
    }

    fn query(&self, _: &Query) -> Result<Vec<Event>> {
        Err(unsupported(Capability::Query))
    }

    fn tail(&self, _: &Query, _: Position) -> Result<Box<dyn EventTail>> {
        Err(unsupported(Capability::Tail))
    }
}
