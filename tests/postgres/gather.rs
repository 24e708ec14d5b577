//! Threads that append through one follower share transactions, and each has its own outcome.

use std::thread::spawn;

use annals::{Appended, Conflict, Error, Expected, NewEvent, Result, Store, StreamId};

use crate::follow::{follow, note, noted, race};
use crate::roles::{grant_more, revoke};
use crate::support::{Schema, prepared};

/// One append of each of these, made by threads of their own while the head is locked, after one that waits for it.
fn together(
    schema: &Schema,
    store: &Store,
    appends: Vec<(StreamId, Expected, NewEvent<'static>)>,
) -> Vec<Result<Appended>> {
    let path = schema.name.replace('"', "\"\"");
    let (url, hold) = (
        schema.url.clone(),
        format!("BEGIN; SELECT FROM \"{path}\".head FOR UPDATE; SELECT pg_sleep(2); COMMIT"),
    );
    let holder = spawn(move || crate::support::sql(&url, &hold).expect("it can be locked"));
    schema.sql("SELECT pg_sleep(0.5)");
    let append = |(stream, expected, event): (StreamId, Expected, NewEvent<'static>)| {
        let store = store.clone();
        let thread = spawn(move || store.append(&stream, expected, vec![event]));
        schema.sql("SELECT pg_sleep(0.05)");
        thread
    };
    let first = append((note("first"), Expected::Any, noted(0)));
    let threads: Vec<_> = appends.into_iter().map(append).collect();
    let outcomes = threads
        .into_iter()
        .map(|thread| thread.join().expect("it returns"))
        .collect();
    first.join().expect("it returns").expect("it is appended");
    holder.join().expect("it returns");
    outcomes
}

fn transactions(schema: &Schema) -> String {
    schema.value("SELECT count(DISTINCT xmin::text) || ' of ' || count(*) FROM events")
}

#[test]
fn threads_share_a_transaction_and_have_their_own_outcomes() {
    let schema = prepared();
    let writer = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    writer
        .append(&note("gone"), Expected::Any, vec![noted(1)])
        .expect("appended");
    writer.tombstone("gone", Expected::Any).expect("it is there");
    writer.close().expect("the server is there");
    drop(writer);
    let before = schema.value("SELECT count(DISTINCT xmin::text) FROM events");
    let store = follow(&schema);
    let outcomes = together(
        &schema,
        &store,
        vec![
            (note("a"), Expected::NoStream, noted(1)),
            (note("a"), Expected::NoStream, noted(2)),
            (note("gone"), Expected::Any, noted(3)),
            (StreamId::new("Order", "a"), Expected::Any, noted(4)),
            (note("a"), Expected::exactly(1), noted(5)),
            (note("\"b\"\n"), Expected::exactly(0), noted(6)),
        ],
    );
    let [made, conflict, gone, other_type, next, quoted] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(made.as_ref().expect("it is new").last_version.0, 1);
    let conflict = conflict.as_ref().expect_err("it is there").conflict().cloned();
    assert!(
        matches!(conflict, Some(Conflict::Version { actual, .. }) if actual.0 == 1),
        "{conflict:?}"
    );
    assert!(matches!(gone, Err(Error::Deleted { .. })), "{gone:?}");
    assert!(matches!(other_type, Err(Error::Invalid { .. })), "{other_type:?}");
    assert_eq!(next.as_ref().expect("it is at that version").last_version.0, 2);
    assert_eq!(quoted.as_ref().expect("it is new").last_version.0, 1);
    // One for the first, and one for those that waited.
    let after = schema.value("SELECT count(DISTINCT xmin::text) FROM events");
    assert_eq!(
        after.parse::<u32>().ok(),
        before.parse::<u32>().ok().map(|before| before + 2)
    );
    assert_eq!(store.read_stream("a").events().len(), 2);
}

#[test]
fn an_error_of_the_tables_is_that_of_its_append_alone() {
    let schema = prepared();
    schema.sql("ALTER TABLE events ADD CHECK (aggregate_id <> 'forbidden')");
    let store = follow(&schema);
    let appends = ["a", "forbidden", "b"].map(|id| (note(id), Expected::NoStream, noted(1)));
    let outcomes = together(&schema, &store, appends.into());
    let made: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(made, [true, false, true], "{outcomes:?}");
    let refused = outcomes[1].as_ref().expect_err("it is forbidden").to_string();
    assert!(!refused.contains("whether"), "{refused}");
    assert_eq!(
        schema.value("SELECT count(*) || ' ' || max(position) FROM events"),
        "3 3"
    );
}

/// Grants of an earlier version lack the function for several appends.
#[test]
fn threads_append_without_the_right_to_append_together() {
    const GRANTS: &str = "GRANT USAGE ON SCHEMA annals TO follower;
GRANT SELECT ON annals.events, annals.gaps, annals.marks, annals.head, annals.migrations TO follower;
GRANT EXECUTE ON FUNCTION annals.append_events, annals.notify_followers TO follower;";
    let schema = prepared();
    let role = format!("gathering_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    grant_more(&schema, GRANTS, &role);
    let url = schema.url_with(&format!("options=-c%20role%3D{role}"));
    let store = Store::follow(&crate::follow::url_at(&url, &schema)).expect("it was granted enough");
    let appends = || ["a", "b", "c"].map(|id| (note(id), Expected::Any, noted(1))).into();
    for count in ["4 of 4", "8 of 8"] {
        for outcome in together(&schema, &store, appends()) {
            outcome.expect("it was granted enough");
        }
        assert_eq!(transactions(&schema), count);
    }
    drop(store);
    revoke(&schema, &role);
}

#[test]
fn threads_that_race_through_one_follower_leave_no_gap() {
    let schema = prepared();
    let store = follow(&schema);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || race(store, &format!("writer-{writer}")));
        }
    });
    let gapless = "SELECT count(*) = max(position) AND max(position) = (SELECT position FROM head) FROM events";
    assert_eq!(schema.value(gapless), "t");
    let other = follow(&schema);
    assert_eq!(other.read_all().events().len(), store.read_all().events().len());
}
