//! Lists of the values of a field: what is counted, in which order, and page by page.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::{
    Error, Expected, Field, ListItem, ListOrder, ListQuery, NewEvent, NewSnapshot, Store, StreamId, StreamLimits,
    Version,
};

use crate::support::{START, fill, keeping, stream};

fn all(store: &Store, query: &ListQuery) -> Vec<ListItem> {
    let mut items = Vec::new();
    let mut next = Some(query.clone());
    while let Some(part) = next {
        let page = store.list(&part).expect("it is valid");
        items.extend(page.items);
        next = page.next.map(|cursor| query.clone().cursor(cursor));
    }
    items
}

/// The names and the numbers of events of a list.
fn counts(store: &Store, query: &ListQuery) -> Vec<(String, u64)> {
    let items = all(store, query);
    items.iter().map(|item| (item.name.to_string(), item.events)).collect()
}

fn named(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn of(field: Field) -> ListQuery {
    ListQuery::of(field).limit(2)
}

/// Three users, two of which tie, of five aggregates.
fn store() -> Store {
    let store = Store::in_memory();
    for (number, user) in (0..).zip(["cleo", "anna", "bob", "anna", "bob", "anna", "dora", "dora"]) {
        // Times descend while positions ascend.
        let event = NewEvent::new(format!("Type{}", number % 3))
            .user(user)
            .tag("all")
            .tag(user)
            .timestamp(START.before(Duration::from_secs(number)));
        let stream = StreamId::new(
            format!("Kind{}", number % 2),
            format!("thing-{}", number % 5 * 2 % 10 + number % 2),
        );
        store.append(&stream, Expected::Any, event).expect("anything goes");
    }
    store
}

#[test]
fn values_come_by_name_by_events_and_by_last_activity() {
    let store = store();
    let users = of(Field::User);
    assert_eq!(
        counts(&store, &users),
        named(&[("anna", 3), ("bob", 2), ("cleo", 1), ("dora", 2)])
    );
    let by_events = users.clone().order(ListOrder::Events);
    assert_eq!(
        counts(&store, &by_events),
        named(&[("anna", 3), ("bob", 2), ("dora", 2), ("cleo", 1)])
    );
    let by_activity = users.clone().order(ListOrder::LastActivity);
    let latest = named(&[("dora", 2), ("anna", 3), ("bob", 2), ("cleo", 1)]);
    assert_eq!(counts(&store, &by_activity), latest);
    let dora = &all(&store, &by_activity)[0];
    assert_eq!(
        (dora.last_position.0, dora.last_at),
        (8, START.before(Duration::from_secs(7)))
    );
    assert_eq!(dora.aggregate_type, None);

    // Values that end with the same event are listed once each.
    let tags = of(Field::Tag).order(ListOrder::LastActivity);
    let of_tags = named(&[("all", 8), ("dora", 2), ("anna", 3), ("bob", 2), ("cleo", 1)]);
    assert_eq!(counts(&store, &tags), of_tags);
    assert_eq!(counts(&store, &of(Field::User).prefix("d")), named(&[("dora", 2)]));
    assert_eq!(counts(&store, &of(Field::Correlation)), []);
    let kinds = all(&store, &of(Field::Aggregate));
    for item in kinds {
        let info = store.stream_info(&item.name).expect("it exists");
        assert_eq!(item.aggregate_type, Some(info.stream.aggregate_type));
        assert_eq!(item.events, info.events);
    }
}

#[test]
fn a_list_is_the_same_whatever_is_appended_between_its_pages() {
    for order in [ListOrder::Name, ListOrder::Events, ListOrder::LastActivity] {
        for field in [Field::User, Field::Tag, Field::EventType, Field::Aggregate, Field::Day] {
            let store = store();
            let query = ListQuery::of(field.clone()).order(order).limit(1);
            let want = all(&store, &query);
            let (mut items, mut next) = (Vec::new(), Some(query.clone()));
            while let Some(part) = next {
                let page = store.list(&part).expect("it is valid");
                assert_eq!(page.as_of.0, 8);
                items.extend(page.items);
                next = page.next.map(|cursor| query.clone().cursor(cursor));
                for user in ["anna", "aaron", "dora", "zoe"] {
                    let event = NewEvent::new("Type0").user(user).tag("all").timestamp(START);
                    store
                        .append(&stream(user), Expected::Any, event)
                        .expect("anything goes");
                }
                let known = all(&store, &of(Field::Aggregate).prefix("thing-")).remove(0);
                let known = StreamId::new(known.aggregate_type.expect("an aggregate has a type"), known.name);
                store
                    .append(&known, Expected::Any, NewEvent::new("Type1"))
                    .expect("anything goes");
            }
            assert_eq!(items, want, "{field} {order:?}");
        }
    }
}

#[test]
fn what_was_dropped_and_what_is_the_systems_is_in_no_list() {
    let store = store();
    let check = |store: &Store, what: &str, users: &[(&str, u64)], types: &[(&str, u64)]| {
        for store in [store, &store.fork()] {
            assert_eq!(counts(store, &of(Field::User)), named(users), "{what}");
            assert_eq!(counts(store, &of(Field::EventType)), named(types), "{what}");
            let aggregates: u64 = counts(store, &of(Field::Aggregate))
                .iter()
                .map(|(_, events)| events)
                .sum();
            assert_eq!(
                aggregates,
                types.iter().map(|(_, events)| events).sum::<u64>(),
                "{what}"
            );
            let kinds: u64 = counts(store, &of(Field::AggregateType))
                .iter()
                .map(|(_, events)| events)
                .sum();
            assert_eq!(kinds, aggregates, "{what}");
        }
    };
    let users = [("anna", 3), ("bob", 2), ("cleo", 1), ("dora", 2)];
    let types = [("Type0", 3), ("Type1", 3), ("Type2", 2)];
    check(&store, "nothing", &users, &types);
    let first = all(&store, &of(Field::Aggregate))[0].name.clone();
    store
        .save_snapshot(&first, NewSnapshot::new(Version(1)))
        .expect("saved");
    let limits = StreamLimits::default().max_count(9);
    store.set_limits(&first, limits).expect("limited");
    check(&store, "events of the system", &users, &types);

    // The only event of `cleo`, and one of `anna`.
    let gone: Vec<_> = store.read_all().limit(2).events();
    for event in gone {
        store
            .truncate_before(event.aggregate_id(), Version(2))
            .expect("truncated");
    }
    let (users, types) = (
        [("anna", 2), ("bob", 2), ("dora", 2)],
        [("Type0", 2), ("Type1", 2), ("Type2", 2)],
    );
    check(&store, "truncated", &users, &types);
    store.compact();
    check(&store, "compacted", &users, &types);
    let last = store.read_all().backwards().limit(1).events().remove(0);
    store.tombstone(last.aggregate_id(), Expected::Any).expect("deleted");
    let after = counts(&store, &of(Field::User).order(ListOrder::LastActivity));
    store.compact();
    assert_eq!(counts(&store, &of(Field::User).order(ListOrder::LastActivity)), after);
    assert!(
        all(&store, &of(Field::Aggregate))
            .iter()
            .all(|item| item.name != *last.aggregate_id())
    );
}

#[test]
fn a_user_or_tag_that_begins_with_a_dollar_was_in_no_list() {
    let store = Store::builder()
        .indexer("letter", |event, found| found.extend(event.user_id().map(Into::into)))
        .open()
        .expect("the index is registered once");
    let event = NewEvent::new("Seen")
        .user("$service")
        .organization("$org")
        .correlation("$conversation")
        .causation("$cause")
        .tag("$tag");
    store
        .append(&stream("a-1"), Expected::Any, event)
        .expect("only types are reserved");
    let values = [
        (Field::User, "$service"),
        (Field::Organization, "$org"),
        (Field::Correlation, "$conversation"),
        (Field::Causation, "$cause"),
        (Field::Tag, "$tag"),
        (Field::Index("letter".into()), "$service"),
    ];
    let check = |when: &str| {
        for (field, value) in &values {
            assert_eq!(
                counts(&store, &of(field.clone())),
                named(&[(value, 1)]),
                "{field}, {when}"
            );
            let by_prefix = of(field.clone()).prefix("$").order(ListOrder::Events);
            assert_eq!(counts(&store, &by_prefix), named(&[(value, 1)]), "{field}, {when}");
        }
        assert_eq!(counts(&store, &of(Field::EventType)), named(&[("Seen", 1)]), "{when}");
        assert_eq!(all(&store, &of(Field::AggregateType)).len(), 1, "{when}");
    };
    check("alone");
    store.save_snapshot("a-1", NewSnapshot::new(Version(1))).expect("saved");
    check("beside a system event");
    fill(&store, "a-2", 2);
    store.delete("a-2", Expected::Any).expect("it exists");
    check("beside dropped events");
    store.compact();
    check("after compaction");
}

#[test]
fn a_budget_takes_values_off_their_lists() {
    let store = keeping(10);
    for number in 0..100 {
        let event = NewEvent::new("Seen")
            .user(format!("user-{number:02}"))
            .correlation("all");
        store
            .append(&stream(&format!("a-{number:02}")), Expected::Any, event)
            .expect("it drops others");
    }
    let kept = store.stats().events;
    for field in [Field::User, Field::Aggregate] {
        let list = all(&store, &of(field).order(ListOrder::LastActivity));
        assert_eq!(list.len() as u64, kept);
        assert!(list[0].name.ends_with("-99") && list[0].last_position.0 == 100);
    }
    assert_eq!(counts(&store, &of(Field::Correlation)), named(&[("all", kept)]));
    store.compact();
    assert_eq!(counts(&store, &of(Field::Correlation)), named(&[("all", kept)]));
}

#[test]
fn a_list_that_cannot_be_made_is_refused() {
    let store = store();
    let next = store
        .list(&of(Field::User))
        .expect("it is valid")
        .next
        .expect("there is more");
    for (query, told) in [
        (
            ListQuery::of(Field::User).limit(0),
            "the limit of a list is 0: set it from 1 to 10000",
        ),
        (ListQuery::of(Field::User).limit(10_001), "the limit of a list is 10001"),
        (
            of(Field::User).order(ListOrder::Events).cursor(next),
            "belongs to a list in another order",
        ),
        (of(Field::Index("no".into())), "no index 'no' is registered"),
    ] {
        let refused = store.list(&query).expect_err("it is invalid");
        assert!(
            matches!(&refused, Error::Invalid { message: text } if text.contains(told)),
            "{refused}"
        );
    }
}

#[test]
fn the_terms_of_an_unregistered_index_were_the_aggregates() {
    let store = store();
    assert_eq!(store.terms(&Field::Index("no".into())), []);
    assert_eq!(
        store.terms(&Field::Aggregate).len(),
        all(&store, &of(Field::Aggregate)).len()
    );
}

#[test]
fn a_list_names_no_value_whose_events_are_being_dropped() {
    let store = Store::in_memory();
    fill(&store, "kept", 5);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                let id = format!("gone-{round}");
                fill(&store, &id, 3);
                store.delete(&id, Expected::Any).expect("it exists");
                if round % 50 == 0 {
                    store.compact();
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for field in [Field::Aggregate, Field::EventType] {
                for item in all(&store, &of(field).order(ListOrder::Events)) {
                    assert!(item.events > 0 && item.last_position.0 > 0, "{item:?}");
                }
            }
        }
    });
    assert_eq!(counts(&store, &of(Field::Aggregate)), named(&[("kept", 5)]));
}
