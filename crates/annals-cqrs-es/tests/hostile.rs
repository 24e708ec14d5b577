//! What a program of the framework may do, and what something else has written, does not fail its commands.

#![expect(clippy::expect_used, reason = "a test fails where what it expects does not hold")]

use annals::{Expected, NewSnapshot, Query, Store, StreamLimits, Version};
use annals_cqrs_es::{Repository, aggregate_id, event_store, snapshot_store};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository as _, PersistenceError};
use cqrs_es::{Aggregate, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Added(u64);

impl DomainEvent for Added {
    fn event_type(&self) -> String {
        "Added".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

macro_rules! counter {
    ($name:ident, $type:literal) => {
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct $name {
            sum: u64,
        }

        impl Aggregate for $name {
            const TYPE: &'static str = $type;
            type Command = u64;
            type Event = Added;
            type Error = std::fmt::Error;
            type Services = ();

            async fn handle(&mut self, number: u64, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
                sink.write(Added(number), self).await;
                Ok(())
            }

            fn apply(&mut self, event: Added) {
                self.sum += event.0;
            }
        }
    };
}

counter!(Counter, "Counter");
counter!(Short, "a");
counter!(Slashed, "a/b");
counter!(Escaped, "a%2Fb");

async fn sum<A: Aggregate<Event = Added>>(store: &Store, id: &str) -> u64 {
    let events = event_store::<A>(store).load_events(id).await.expect("they are read");
    assert!(
        events.iter().all(|event| event.aggregate_id == id),
        "another id than {id}"
    );
    events.iter().map(|event| event.payload.0).sum()
}

async fn add<A: Aggregate<Command = u64, Services = ()>>(store: &Store, id: &str, number: u64)
where
    A::Error: std::fmt::Debug,
{
    let counters = CqrsFramework::new(event_store::<A>(store), vec![], ());
    counters.execute(id, number).await.expect("appended");
}

#[tokio::test]
async fn a_user_id_that_is_no_name_of_the_store_failed_the_command() {
    let store = Store::in_memory();
    let counters = CqrsFramework::new(event_store::<Counter>(&store), vec![], ());
    let long = "x".repeat(256);
    for text in ["", "a\0b", &long, "$anna", "anna"] {
        let keys = ["user_id", "correlation_id", "causation_id", "organization_id"];
        let metadata = keys.map(|key| (key.to_owned(), text.to_owned())).into();
        counters
            .execute_with_metadata("a", 1, metadata)
            .await
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let events = event_store::<Counter>(&store)
            .load_events("a")
            .await
            .expect("they are read");
        assert_eq!(
            events.last().expect("one").metadata["user_id"],
            text,
            "the framework gets it back"
        );
    }
    assert_eq!(store.query(Query::all().user("anna")).count().expect("answered"), 1);
    assert_eq!(sum::<Counter>(&store, "a").await, 5);
}

#[tokio::test]
async fn two_types_with_slashes_shared_an_aggregate() {
    let store = Store::in_memory();
    add::<Short>(&store, "b/c", 1).await;
    add::<Slashed>(&store, "c", 10).await;
    add::<Escaped>(&store, "c", 100).await;
    assert_eq!(sum::<Short>(&store, "b/c").await, 1);
    assert_eq!(sum::<Slashed>(&store, "c").await, 10);
    assert_eq!(sum::<Escaped>(&store, "c").await, 100);
    assert_eq!(aggregate_id::<Counter>("c/d"), "Counter/c/d");
}

#[tokio::test]
async fn a_snapshot_of_something_else_failed_every_command() {
    for data in [
        "",
        "[1]",
        "no JSON",
        "7",
        "null",
        "{}",
        r#"{"aggregate":{"sum":9}}"#,
        r#"{"snapshot":1}"#,
        r#"{"aggregate":1,"snapshot":-1}"#,
    ] {
        let store = Store::in_memory();
        add::<Counter>(&store, "a", 1).await;
        add::<Counter>(&store, "a", 2).await;
        let mut snapshot = NewSnapshot::new(Version(2));
        snapshot.data = data.as_bytes().to_vec();
        store
            .save_snapshot(&aggregate_id::<Counter>("a"), snapshot)
            .expect("saved");
        let counters = CqrsFramework::new(snapshot_store::<Counter>(&store, 3), vec![], ());
        counters
            .execute("a", 4)
            .await
            .unwrap_or_else(|error| panic!("{data:?}: {error}"));
        let loaded = snapshot_store::<Counter>(&store, 3)
            .load_aggregate("a")
            .await
            .expect("loaded");
        assert_eq!((loaded.aggregate.sum, loaded.current_sequence), (7, 3), "{data:?}");
    }
}

#[tokio::test]
async fn a_deleted_aggregate_begins_again_with_snapshots() {
    for size in 1..=4 {
        let store = Store::in_memory();
        let counters = CqrsFramework::new(snapshot_store::<Counter>(&store, size), vec![], ());
        for _ in 0..3 {
            counters.execute("a", 100).await.expect("appended");
        }
        store.delete("Counter/a", Expected::Any).expect("deleted");
        for _ in 0..3 {
            counters.execute("a", 1).await.expect("it begins again");
        }
        let loaded = snapshot_store::<Counter>(&store, size)
            .load_aggregate("a")
            .await
            .expect("loaded");
        assert_eq!(loaded.aggregate.sum, 3, "{size}");
    }
}

async fn replayed<A: Aggregate<Event = Added>>(store: &Store) -> Result<u64, PersistenceError> {
    let mut all = Repository::new(store).stream_all_events::<A>().await?;
    let mut sum = 0;
    while let Some(event) = all.next::<A>(&[]).await {
        sum += event?.payload.0;
    }
    Ok(sum)
}

#[tokio::test]
async fn a_replay_left_out_events_that_are_gone() {
    let limits = || StreamLimits::default().max_count(1);
    let drops: [fn(&Store, StreamLimits) -> annals::Result<()>; 3] = [
        |store, limits| store.set_limits("Counter/a", limits).map(drop),
        |store, _| store.truncate_before("Counter/a", Version(2)).map(drop),
        |store, _| store.truncate_before("Counter/a", Version(3)).map(drop),
    ];
    for drop_some in drops {
        let store = Store::in_memory();
        add::<Short>(&store, "a", 7).await;
        for number in [1, 2, 4] {
            add::<Counter>(&store, "a", number).await;
        }
        add::<Counter>(&store, "b", 8).await;
        assert_eq!(replayed::<Counter>(&store).await.expect("all are there"), 15);
        drop_some(&store, limits()).expect("dropped");
        let error = replayed::<Counter>(&store).await.expect_err("some are gone");
        assert!(
            error.to_string().contains("type 'Counter' cannot be replayed"),
            "{error}"
        );
        assert_eq!(replayed::<Short>(&store).await.expect("another type"), 7);
    }
    // A deleted aggregate is no part of a view.
    let store = Store::in_memory();
    add::<Counter>(&store, "a", 1).await;
    add::<Counter>(&store, "b", 8).await;
    store.delete("Counter/a", Expected::Any).expect("deleted");
    add::<Counter>(&store, "a", 2).await;
    assert_eq!(replayed::<Counter>(&store).await.expect("all of them"), 10);
}
