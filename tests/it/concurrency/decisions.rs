//! Writers that want the same: one of them wins.

use std::collections::{BTreeMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Append, Condition, Conflict, Error, Expected, NewEvent, Position, Query, Store, Version};

use super::{WRITERS, run};
use crate::support::{found, noted, numbers, stream};

#[test]
fn one_writer_wins_each_version() {
    let store = Store::in_memory();
    let wins = AtomicU64::new(0);
    run(
        &store,
        |writer| {
            let mut version = 0;
            while version < 300 {
                let event = noted(writer);
                match store.append(&stream("a"), Expected::exactly(version), vec![event]) {
                    Ok(appended) => {
                        assert_eq!(appended.last_version, Version(version + 1));
                        wins.fetch_add(1, Ordering::Relaxed);
                        version += 1;
                    }
                    Err(Error::Conflict(conflict)) => {
                        let Conflict::Version { actual, position, .. } = *conflict else {
                            panic!("{conflict:?} is no conflict of versions");
                        };
                        assert!(actual.0 > version, "{actual} is where {version} was expected");
                        // What the conflict names can be read when it is waited for.
                        store.wait_visible(position);
                        let kept = store.event_at(position).expect("it is visible");
                        assert_eq!(kept.version(), actual);
                        version = actual.0;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        },
        |_| {
            let versions: Vec<_> = store
                .read_stream("a")
                .events()
                .iter()
                .map(|event| event.version().0)
                .collect();
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
        },
    );
    assert_eq!(wins.load(Ordering::Relaxed), 300);
    assert_eq!(store.visible(), Position(300));
}

#[test]
fn aggregates_appended_to_at_once_move_at_once() {
    let store = Store::in_memory();
    let ids = ["x", "y", "z"];
    run(
        &store,
        |writer| {
            let mut version = 0;
            while version < 150 {
                // Each names the aggregates in another order: the locks must not care.
                let turn = usize::try_from(writer).expect("it is small");
                let part = |place: usize| {
                    let event = noted(version).correlation(format!("{writer}-{version}"));
                    Append::new(stream(ids[(place + turn) % 3]), Expected::exactly(version), vec![event])
                };
                match store.append_all((0..3).map(part).collect::<Vec<_>>()) {
                    Ok(appended) => {
                        assert_eq!(appended[2].last_position.0, appended[0].first_position.0 + 2);
                        version += 1;
                    }
                    Err(Error::Conflict(conflict)) => {
                        let Conflict::Version { actual, .. } = *conflict else {
                            panic!("{conflict:?} is no conflict of versions");
                        };
                        version = actual.0.max(version);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        },
        |_| {
            let counts = store.read_all().fold(BTreeMap::new(), |mut counts, event| {
                *counts.entry(event.aggregate_id().to_owned()).or_insert(0) += 1;
                counts
            });
            let distinct: HashSet<_> = counts.values().collect();
            assert!(distinct.len() <= 1 && matches!(counts.len(), 0 | 3), "{counts:?}");
        },
    );
    for id in ids {
        assert_eq!(numbers(&store, id), (0..150).collect::<Vec<_>>());
    }
}

/// What writers race for in a round: their condition, and what each appends.
type Race = fn(u64, u64) -> (Condition, Append<'static>);

fn append_to(id: &str, event: NewEvent<'static>) -> Append<'static> {
    Append::new(stream(id), Expected::Any, vec![event])
}

/// Whether the append was made; if not, what the conflict names can be read.
fn wins_race(store: &Store, condition: &Condition, append: Append<'static>) -> bool {
    match store.append_if(condition, vec![append]) {
        Ok(_) => true,
        Err(Error::Conflict(conflict)) => {
            let Conflict::Condition { position } = *conflict else {
                panic!("{conflict:?} is no conflict of a condition");
            };
            store.wait_visible(position);
            assert!(store.event_at(position).is_some(), "{condition:?}");
            false
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn one_writer_wins_each_condition() {
    let races: [(&str, Race); 6] = [
        ("a type", |round, writer| {
            let event_type = format!("Happened{round}");
            let condition = Condition::none(Query::all().event_type(event_type.as_str()));
            (condition, append_to(&format!("w{writer}"), NewEvent::new(event_type)))
        }),
        ("a tag", |round, writer| {
            let condition = Condition::none(Query::all().tag(format!("seat-{round}")));
            (
                condition,
                append_to(&format!("w{writer}"), noted(round).tag(format!("seat-{round}"))),
            )
        }),
        ("a tag and a type", |round, writer| {
            let query = Query::all().tag("seat").event_type(format!("Reserved{round}"));
            let event = NewEvent::new(format!("Reserved{round}")).tag("seat");
            (Condition::none(query), append_to(&format!("w{writer}"), event))
        }),
        ("an aggregate", |round, _| {
            let id = format!("room-{round}");
            (
                Condition::none(Query::all().aggregate(id.as_str())),
                append_to(&id, noted(round)),
            )
        }),
        ("one of two aggregates", |round, writer| {
            let ids = [format!("left-{round}"), format!("right-{round}")];
            let id = &ids[usize::from(writer.is_multiple_of(2))];
            (
                Condition::none(Query::all().aggregates(ids.clone())),
                append_to(id, noted(round)),
            )
        }),
        ("the whole log", |round, writer| {
            (
                Condition::none_after(Query::all(), Position(round)),
                append_to(&format!("w{writer}"), noted(round)),
            )
        }),
    ];
    for (what, race) in races {
        let store = Store::in_memory();
        let barrier = Barrier::new(usize::try_from(WRITERS).expect("it is small"));
        let wins: Vec<_> = (0..80).map(|_| AtomicU64::new(0)).collect();
        run(
            &store,
            |writer| {
                for (round, wins) in (0..).zip(&wins) {
                    barrier.wait();
                    let (condition, append) = race(round, writer);
                    wins.fetch_add(u64::from(wins_race(&store, &condition, append)), Ordering::Relaxed);
                }
            },
            |_| {
                found(&store, Query::all().tag("seat"));
            },
        );
        for (round, wins) in wins.iter().enumerate() {
            assert_eq!(wins.load(Ordering::Relaxed), 1, "{what}, round {round}");
        }
        assert_eq!(store.visible(), Position(80), "{what}");
    }
}

#[test]
fn a_decision_is_never_made_on_an_old_answer() {
    let store = Store::in_memory();
    run(
        &store,
        |writer| {
            let mut added = 0;
            while added < 50 {
                let query = Query::all().tag("counter");
                let page = store.query(query.clone()).page().expect("the query is valid");
                let next = page.events.len() as u64 + 1;
                let append = append_to(&format!("w{writer}"), noted(next).tag("counter"));
                match store.append_if(&Condition::none_after(query, page.as_of), vec![append]) {
                    Ok(_) => added += 1,
                    Err(error) => assert!(error.conflict().is_some(), "{error}"),
                }
                // What does not match makes no conflict.
                let other = append_to(&format!("v{writer}"), noted(0));
                store.append_all(vec![other]).expect("anything goes");
            }
        },
        |_| {},
    );
    let counted = store
        .query(Query::all().tag("counter"))
        .events()
        .expect("the query is valid");
    let counted: Vec<u64> = counted
        .iter()
        .map(|event| event.json().expect("it is a number"))
        .collect();
    assert_eq!(counted, (1..=50 * WRITERS).collect::<Vec<_>>());
}
