//! [Annals](annals) as the persistence of programs that are written with [`cqrs_es`].
//!
//! [`event_store`] and [`snapshot_store`] make what a [`CqrsFramework`](cqrs_es::CqrsFramework) takes as its store, on any [`Store`]: in memory for
//! tests, or on files or PostgreSQL.
//!
//! # What an event becomes
//!
//! | `cqrs-es` | Annals |
//! |---|---|
//! | aggregate type and id | aggregate type, and `TYPE/ID` as the aggregate id, because the framework allows the same id for two types: see [`aggregate_id`] |
//! | sequence | version |
//! | event type | event type |
//! | event version, such as `1.0` | in the metadata; its leading number is the schema version |
//! | payload | data, as JSON |
//! | metadata | metadata, as JSON; the values of `correlation_id`, `causation_id`, `user_id` and `organization_id` are names of the event too, so that queries find it by them |
//!
//! # What is different
//!
//! * An append checks the version: a command that was decided on an older state gets
//!   [`AggregateConflict`](cqrs_es::AggregateError::AggregateConflict).
//! * Events that a limit, a truncation or an archive has dropped are an error, never an aggregate without them.
//! * Snapshots are folded from the events: the state that version 0.5.0 of the framework hands over for a snapshot has the events of the last command
//!   twice.
//! * [`PersistedEventStore::new_aggregate_store`] is not supported: its truth is the snapshot alone, and in Annals a snapshot is a copy of what the
//!   events say.

mod mapping;
mod repository;

use annals::Store;
use cqrs_es::Aggregate;
use cqrs_es::persist::PersistedEventStore;

pub use self::mapping::aggregate_id;
pub use self::repository::Repository;

/// A store for a framework: events are the truth, and an aggregate is loaded from all of them.
///
/// ```
/// # use annals::Store;
/// # use cqrs_es::event_sink::EventSink;
/// # use cqrs_es::{Aggregate, CqrsFramework, DomainEvent};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)] struct Door;
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] struct Opened;
/// # impl DomainEvent for Opened {
/// #     fn event_type(&self) -> String { "Opened".to_owned() }
/// #     fn event_version(&self) -> String { "1.0".to_owned() }
/// # }
/// # impl Aggregate for Door {
/// #     const TYPE: &'static str = "Door";
/// #     type Command = ();
/// #     type Event = Opened;
/// #     type Error = std::fmt::Error;
/// #     type Services = ();
/// #     async fn handle(&mut self, _: (), _: &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
/// #         sink.write(Opened, self).await;
/// #         Ok(())
/// #     }
/// #     fn apply(&mut self, _: Opened) {}
/// # }
/// # futures_executor::block_on(async {
/// let store = Store::in_memory();
/// let doors = CqrsFramework::new(annals_cqrs_es::event_store::<Door>(&store), vec![], ());
/// doors.execute("door-1", ()).await?;
/// assert_eq!(store.read_stream(&annals_cqrs_es::aggregate_id::<Door>("door-1")).events().len(), 1);
/// # Ok::<(), cqrs_es::AggregateError<std::fmt::Error>>(())
/// # }).unwrap();
/// ```
pub fn event_store<A: Aggregate>(store: &Store) -> PersistedEventStore<Repository, A> {
    PersistedEventStore::new_event_store(Repository::new(store))
}

/// The same with a snapshot after every `size` events, 1 at least: an aggregate is loaded from the snapshot and the events after it.
pub fn snapshot_store<A: Aggregate>(store: &Store, size: usize) -> PersistedEventStore<Repository, A> {
    let size = size.max(1);
    PersistedEventStore::new_snapshot_store(Repository::new(store).snapshots_of(size), size)
}
