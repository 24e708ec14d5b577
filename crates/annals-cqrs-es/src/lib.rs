//! [Annals](annals) as the event store of programs that are written with [`cqrs_es`].
//!
//! [`event_store`] and [`snapshot_store`] return the store that a [`CqrsFramework`](cqrs_es::CqrsFramework) takes. They work on any [`Store`]: in memory for
//! tests, in files, or in PostgreSQL.
//!
//! # Durability
//!
//! A commit is acknowledged when its events can be read. With [`Repository::with_durability`], it is acknowledged when its events survive a crash of the
//! process ([`Written`](annals::Durability::Written)) or of the machine ([`Synced`](annals::Durability::Synced)), and awaits this. On a store whose own
//! settings have such a durability, a commit waits for it too, but blocks a thread of the executor.
//!
//! ```
//! use annals::{Durability, Store};
//! use annals_cqrs_es::Repository;
//! # use cqrs_es::Aggregate;
//! use cqrs_es::persist::PersistedEventStore;
//!
//! # fn synced<Account: Aggregate>(store: &Store) -> annals::Result<PersistedEventStore<Repository, Account>> {
//! let repository = Repository::new(store).with_durability(Durability::Synced)?;
//! let accounts = PersistedEventStore::<_, Account>::new_event_store(repository);
//! # Ok(accounts)
//! # }
//! ```
//!
//! # How an event is stored
//!
//! | `cqrs-es` | Annals |
//! |---|---|
//! | aggregate type and id | aggregate type, and `TYPE/ID` as the aggregate id, because the framework allows the same id for two types; `/` in the type is `%2F`: see [`aggregate_id`] |
//! | sequence | version |
//! | event type | event type |
//! | event version, such as `1.0` | in the metadata; its leading number is the schema version |
//! | payload | data, as JSON |
//! | metadata | metadata, as JSON; the values of `correlation_id`, `causation_id`, `user_id` and `organization_id` are names of the event too, so that queries find it by them, unless they are empty, longer than 255 bytes, or have a zero byte |
//!
//! # What differs from other stores of the framework
//!
//! * An append checks the version: a command that was decided on an older state fails with
//!   [`AggregateConflict`](cqrs_es::AggregateError::AggregateConflict).
//! * An aggregate that has lost events to a limit, a truncation or an archive fails to load. It is never loaded without these events.
//! * A replay of all events of a type fails where a limit or a truncation of one of its aggregates has dropped some, or a damaged file held some. It does
//!   not detect events that the age or the budget of the whole store has dropped, or that are in an archive that is not attached.
//! * Snapshots are folded from the stored events, because version 0.5.0 of the framework applies the events of the last command twice to the state that it
//!   passes for a snapshot.
//! * [`PersistedEventStore::new_aggregate_store`] is not supported: it stores the state alone, and in Annals a snapshot is derived from events.

mod mapping;
mod repository;

use annals::Store;
use cqrs_es::Aggregate;
use cqrs_es::persist::PersistedEventStore;

pub use self::mapping::aggregate_id;
pub use self::repository::Repository;

/// An event store for a framework, without snapshots: an aggregate is loaded from all its events.
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

/// An event store for a framework, with a snapshot after every `size` events, at least 1: an aggregate is loaded from the last snapshot and the events after
/// it.
pub fn snapshot_store<A: Aggregate>(store: &Store, size: usize) -> PersistedEventStore<Repository, A> {
    let size = size.max(1);
    PersistedEventStore::new_snapshot_store(Repository::new(store).snapshot_size(size), size)
}
