//! Store and model agree with a journal in PostgreSQL too, and after each recovery from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::testing::model::Model;
use annals::testing::operation::{Choices, Pair, START};
use annals::{Durability, Field, Filter, FlushSettings, ListQuery, ManualClock, Query, Settings, Store};
use proptest::prelude::*;

use crate::follow::url_at;
use crate::support::Schema;

fn open(schema: &Schema, clock: &Arc<ManualClock>, durability: Durability) -> Store {
    let settings = Settings::default()
        .shards(4)
        .durability(durability)
        .flush(FlushSettings::default().events(300));
    let journal = schema.journal().expect("the journal opens");
    let opened = Pair::builder(clock, settings).journal(journal).open();
    opened.expect("the store opens")
}

/// A store that follows, with the same clock.
fn follow(schema: &Schema, clock: &Arc<ManualClock>) -> Store {
    let builder = Pair::builder(clock, Settings::default());
    let followed = builder.follow(&url_at(&schema.url, schema));
    followed.expect("it can be followed")
}

/// A follower agrees with the store, from the first event or from now on, also after rows were purged.
fn check_followers(followers: &[Store], store: &Store) {
    for follower in followers {
        follower.wait_visible(store.visible());
        let log = |store: &Store| store.read_all().include_system().events();
        assert_eq!(log(follower), log(store));
        for (id, _) in store.terms(&Field::Aggregate) {
            assert_eq!(follower.stream_info(&id), store.stream_info(&id));
        }
        for field in [Field::Aggregate, Field::EventType, Field::User, Field::Tag] {
            let list = |store: &Store| store.list(&ListQuery::of(field.clone())).expect("it is valid");
            assert_eq!(list(follower), list(store));
        }
        for filter in [
            Filter::not(Filter::is(Field::Aggregate, "aggregate-1")),
            Filter::prefix(Field::User, "user-"),
            Filter::not(Filter::prefix(Field::EventType, "Happened1")),
        ] {
            let found = |store: &Store| store.query(Query::all().filter(filter.clone())).positions();
            assert_eq!(found(follower), found(store));
        }
    }
}

/// SQL sees what the store does, and what the limits of aggregates have dropped beside.
fn check_live(schema: &Schema, store: &Store) {
    let rows = schema.sql("SELECT position::text FROM live_events");
    let live: BTreeSet<u64> = rows
        .iter()
        .map(|row| row[0].as_deref().unwrap_or("0").parse().expect("a number"))
        .collect();
    let mut seen = BTreeSet::new();
    store.read_all().for_each(|event| {
        seen.insert(event.position().0);
    });
    assert!(seen.is_subset(&live), "{seen:?} of {live:?}");
    if schema.value("SELECT count(*) FROM events WHERE event_type = '$limited'") == "0" {
        assert_eq!(seen, live);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn store_and_model_agree(
        lives in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u16>(), 0..48), 0..30),
            1..4,
        ),
        durability in prop::sample::select(vec![Durability::Volatile, Durability::Synced]),
        is_partitioned in any::<bool>(),
        compacts in any::<bool>(),
    ) {
        let schema = if is_partitioned { Schema::partitioned() } else { Schema::new() };
        let clock = Arc::new(ManualClock::at(START));
        let mut model = Model::default();
        for operations in lives {
            let store = open(&schema, &clock, durability);
            let early = follow(&schema, &clock);
            let mut pair = Pair::of(store.clone(), model, Arc::clone(&clock));
            pair.check_all();
            for numbers in operations {
                pair.change_something(&mut Choices::new(numbers.into_iter()), durability);
            }
            if compacts {
                store.compact_journal().expect("compacted");
                let rows = store.read_all().include_system().events().len();
                assert_eq!(schema.value("SELECT count(*) FROM events"), rows.to_string());
            }
            pair.check_all();
            model = pair.model().clone();
            store.wait_durable(store.visible()).expect("the server is there");
            check_followers(&[early, follow(&schema, &clock)], &store);
            store.close().expect("the server is there");
            check_live(&schema, &store);
        }
        let mut pair = Pair::of(open(&schema, &clock, durability), model, clock);
        pair.check_all();
    }
}
