//! Appends that are made again: a store in memory and `append_events` give the same answers.

use std::time::Duration;

use annals::{
    Appended, Conflict, Durability, Error, Expected, NewEvent, Result, Settings, Store, StreamId, StreamLimits,
    Timestamp, Version,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::follow::{follow, url_at};
use crate::support::prepared;

/// The id of an event; 0 stands for none.
fn event(id: u64) -> NewEvent<'static> {
    let event = NewEvent::new("Noted").data("{}");
    if id == 0 {
        event
    } else {
        event.id(Uuid::from_u64_pair(9, id))
    }
}

fn note(number: u64) -> StreamId {
    StreamId::new("Note", format!("note-{number}"))
}

/// What is done to an aggregate by the store that writes.
#[derive(Clone, Debug)]
enum Change {
    Truncate(u64),
    Delete,
    Limit(u64),
}

fn change(store: &Store, number: u64, change: &Change) -> Result<()> {
    let id = note(number).aggregate_id;
    match change {
        Change::Truncate(version) => store.truncate_before(&id, Version(*version)).map(drop),
        Change::Delete => store.delete(&id, Expected::Any).map(drop),
        Change::Limit(max_count) => {
            let limits = StreamLimits::default().max_count(*max_count);
            store.set_limits(&id, limits).map(drop)
        }
    }
}

/// An answer without what the two cannot have in common.
fn comparable(answer: Result<Appended>) -> std::result::Result<Appended, String> {
    match answer {
        Ok(mut appended) => {
            appended.durability = Durability::Volatile;
            Ok(appended)
        }
        Err(Error::Invalid { message }) => Err(message.into()),
        Err(other) => Err(format!("{other:?}")),
    }
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Any),
        1 => Just(Expected::NoStream),
        1 => Just(Expected::StreamExists),
        2 => (0_u64..9).prop_map(Expected::exactly),
    ]
}

type Batch = (u64, Expected, Vec<u64>);

fn batches(count: usize) -> impl Strategy<Value = Vec<Batch>> {
    prop::collection::vec((0_u64..2, expected(), prop::collection::vec(0_u64..7, 0..4)), 0..count)
}

fn changes() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let change = prop_oneof![
        (1_u64..9).prop_map(Change::Truncate),
        Just(Change::Delete),
        (1_u64..5).prop_map(Change::Limit),
    ];
    prop::collection::vec((0_u64..2, change), 0..3)
}

fn append(store: &Store, (number, expected, ids): &Batch) -> std::result::Result<Appended, String> {
    comparable(store.append(
        &note(*number),
        *expected,
        ids.iter().map(|id| event(*id)).collect::<Vec<_>>(),
    ))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sql_answer_alike(
        rounds in prop::collection::vec((batches(8), changes(), batches(8)), 1..4),
    ) {
        let schema = prepared();
        let memory = Store::in_memory();
        for (first, changes, second) in rounds {
            let writer = Store::open(schema.journal().expect("it opens")).expect("it can be read");
            for batch in &first {
                prop_assert_eq!(append(&writer, batch), append(&memory, batch), "{:?}", batch);
            }
            for (number, made) in &changes {
                prop_assert_eq!(change(&writer, *number, made), change(&memory, *number, made), "{:?}", made);
            }
            writer.close().expect("the server is there");
            drop(writer);
            let follower = follow(&schema);
            for batch in &second {
                prop_assert_eq!(append(&follower, batch), append(&memory, batch), "{:?}", batch);
            }
            prop_assert_eq!(follower.visible(), memory.visible());
        }
    }
}

#[test]
fn ids_that_a_limit_had_dropped_were_known_to_sql_alone() {
    let hour = Duration::from_secs(3600);
    let old = Timestamp::from_micros(0);
    let limits = [
        StreamLimits::default().max_count(1),
        StreamLimits::default().max_age(hour),
        StreamLimits::default().max_count(1).max_age(Duration::MAX),
    ];
    for limits in limits {
        let schema = prepared();
        let writer = Store::open(schema.journal().expect("it opens")).expect("it can be read");
        let memory = Store::in_memory();
        for store in [&writer, &memory] {
            let first = vec![event(1).timestamp(old), event(2).timestamp(old)];
            store.append(&note(1), Expected::Any, first).expect("appended");
            store.append(&note(1), Expected::Any, vec![event(3)]).expect("appended");
            store.set_limits("note-1", limits).expect("limited");
        }
        writer.close().expect("closed");
        drop(writer);
        let follower = follow(&schema);
        for ids in [vec![3], vec![2, 3], vec![1, 2], vec![1], vec![3, 1]] {
            let batch = (1, Expected::Any, ids);
            assert_eq!(
                append(&follower, &batch),
                append(&memory, &batch),
                "{limits:?}: {batch:?}"
            );
        }
    }
}

#[test]
fn the_conflict_of_a_known_event_names_it() {
    let schema = prepared();
    let follower = Store::builder()
        .settings(Settings::default())
        .follow(&url_at(&schema.url, &schema))
        .expect("it can be followed");
    follower
        .append(&note(1), Expected::Any, vec![event(1), event(2)])
        .expect("appended");
    let error = follower
        .append(&note(1), Expected::Any, vec![event(3), event(2)])
        .expect_err("it is known");
    let known = Conflict::EventKnown {
        stream: note(1),
        id: Uuid::from_u64_pair(9, 2),
        version: Version(2),
        position: annals::Position(2),
    };
    assert_eq!(error.conflict(), Some(&known));
    // The same of programs that call the function.
    let call = |ids: &str| {
        schema.try_sql(&format!(
            "SELECT * FROM append_events('note-1', 'Note', NULL, '[{ids}]')"
        ))
    };
    let json = |id: u64| {
        format!(
            r#"{{"eventType": "Noted", "eventId": "{}"}}"#,
            Uuid::from_u64_pair(9, id)
        )
    };
    for (events, code, part) in [
        (
            [json(3), json(2)].join(","),
            "ZA409",
            "is version 2 of aggregate 'note-1' already",
        ),
        (
            [json(4), json(4)].join(","),
            "ZA400",
            "events 1 and 2 of the append have the same id",
        ),
        ([json(2), json(1)].join(","), "ZA409", "already"),
    ] {
        let error = call(&events).expect_err(&events);
        let said = error.as_db_error().expect("the server says so");
        assert_eq!(said.code().code(), code, "{said}");
        assert!(said.message().contains(part), "{said}");
    }
    assert_eq!(schema.value("SELECT position FROM head"), "2");
}
