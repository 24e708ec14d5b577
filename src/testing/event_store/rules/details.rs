//! Rules about payloads, names that look alike, large reads, and every part of a request.

use super::{SOON, append, append_any, assert_refused, event, log, next, part, stream, types};
use crate::testing::event_store::{Capability, EventStore, Range};
use crate::{
    Append, Condition, ContentType, Error, Event, Expected, NewEvent, Position, Query, Result, StreamId, Timestamp,
    Version,
};

/// The number of events of [`many_events_are_read_whole`], and of one append of it.
const MANY: usize = 1_200;
const BATCH: usize = 300;

/// Payloads of every content type are read byte for byte. A field that was not set stays unset.
pub fn payloads_of_every_kind_are_read_as_they_were_appended(store: &dyn EventStore) {
    let bytes: Vec<u8> = (0..=255).collect();
    let payloads = [
        NewEvent::new("Empty"),
        NewEvent::new("Bytes")
            .data(bytes.clone())
            .content_type(ContentType::Bytes),
        NewEvent::new("Text")
            .data("a\0b\r\n\u{10ffff}")
            .content_type(ContentType::from("text/plain")),
        NewEvent::new("Long")
            .data(bytes.repeat(800))
            .content_type(ContentType::Bytes),
        NewEvent::new("NoJson").data("{"),
    ];
    let order = StreamId::new("Order", "order-1");
    let appended = store.append(&[Append::new(order, Expected::Any, payloads.to_vec())]);
    if !store.capabilities().has(Capability::Fields) {
        assert_refused(Capability::Fields, appended);
        assert!(log(store).is_empty(), "what is refused is not stored");
        return;
    }
    appended.expect("the events are appended");
    let events = stream(store, "order-1");
    assert_eq!(events, log(store));
    assert_eq!(events.len(), payloads.len());
    for (event, new) in events.iter().zip(payloads) {
        let read = event.to_new();
        // The store sets an id and a time.
        let new = NewEvent {
            id: read.id,
            timestamp: read.timestamp,
            ..new
        };
        assert!(
            read == new,
            "{} is read otherwise than it was appended",
            event.event_type()
        );
    }
}

/// Names are compared byte for byte: without a collation, without patterns, and with the spaces around them.
pub fn names_that_look_alike_are_different(store: &dyn EventStore) {
    let ids = [
        "order-a",
        "Order-a",
        "order-a ",
        " order-a",
        "order-_",
        "order-%",
        "order-é",
        "order-e\u{301}",
        "order-ß",
        "order-ss",
        "order-'\"\\",
        "order-*",
    ];
    for id in ids {
        append(store, id, Expected::NoStream, &["OrderPlaced"]).unwrap_or_else(|error| panic!("{id:?}: {error}"));
    }
    assert_eq!(log(store).len(), ids.len());
    for id in ids {
        let events = stream(store, id);
        let read: Vec<_> = events.iter().map(Event::aggregate_id).collect();
        assert_eq!(read, [id]);
        if store.capabilities().has(Capability::Query) {
            let found = store.query(&Query::all().aggregate(id)).expect("the query is answered");
            assert_eq!(found, events, "{id:?}");
        }
    }
}

/// A large append, and reads of more events than a page of a medium has, are whole.
pub fn many_events_are_read_whole(store: &dyn EventStore) {
    for at in 0..MANY / BATCH {
        let events: Vec<_> = (0..BATCH)
            .map(|number| event("OrderPaid").user((at * BATCH + number).to_string()))
            .collect();
        let id = if at % 2 == 0 { "order-1" } else { "order-2" };
        let appended = store.append(&[Append::new(StreamId::new("Order", id), Expected::Any, events)]);
        let appended = appended.expect("the events are appended")[0];
        assert_eq!(appended.last_version.0 - appended.first_version.0 + 1, BATCH as u64);
    }
    let all = log(store);
    let users: Vec<_> = all.iter().filter_map(Event::user_id).map(str::to_owned).collect();
    let expected: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    assert!(users == expected, "the log has {} events, or another order", all.len());
    let versions: Vec<_> = stream(store, "order-1").iter().map(|event| event.version().0).collect();
    assert!(
        versions == (1..=MANY as u64 / 2).collect::<Vec<_>>(),
        "{} versions",
        versions.len()
    );
    if store.capabilities().has(Capability::Query) {
        let found = store
            .query(&Query::all().event_type("OrderPaid"))
            .expect("the query is answered");
        assert!(found == all, "the query found {} events", found.len());
    }
    if store.capabilities().has(Capability::Backwards) {
        let mut backwards = store.read_all(Range::all().backwards()).expect("the log is read");
        backwards.reverse();
        assert!(backwards == all, "{} events backwards", backwards.len());
    }
    if store.capabilities().has(Capability::Tail) {
        let mut tail = store.tail(&Query::all(), Position(0)).expect("it is followed");
        for event in &all {
            assert_eq!(
                next(&mut *tail, SOON).map(|event| event.position()),
                Some(event.position())
            );
        }
    }
}

/// Of an append to several aggregates, the expected version of each is checked, and so is that of an append on a condition.
pub fn every_expected_version_of_an_append_is_checked(store: &dyn EventStore) {
    append_any(store, "order-1", &["OrderPlaced"]);
    let several = |first: Expected, last: Expected| {
        store.append(&[
            part("order-1", first, &["OrderPaid"]),
            part("order-2", Expected::Any, &["OrderPlaced"]),
            part("order-3", last, &["OrderPlaced"]),
        ])
    };
    let lost = Condition::none(Query::all().event_type("OrderLost"));
    let conditional = |expected| store.append_if(&lost, &[part("order-1", expected, &["OrderPaid"])]);
    let (stale, fresh) = (Expected::NoStream, Expected::Exactly(Version(1)));
    if store.capabilities().has(Capability::AppendAll) {
        for (first, last) in [(stale, Expected::Any), (fresh, fresh), (fresh, Expected::StreamExists)] {
            let error = several(first, last).expect_err("an expected version does not match");
            assert!(error.conflict().is_some(), "{error}");
        }
    } else {
        assert_refused(Capability::AppendAll, several(fresh, stale));
    }
    if store.capabilities().has(Capability::AppendIf) {
        let error = conditional(stale).expect_err("the expected version does not match");
        assert!(error.conflict().is_some(), "{error}");
        assert_eq!(log(store).len(), 1);
        conditional(fresh).expect("the version matches");
    } else {
        assert_refused(Capability::AppendIf, conditional(fresh));
    }
}

/// A condition is held against the events of other aggregates, with all of its filters, and with its position exactly.
pub fn a_condition_has_every_filter_of_its_query(store: &dyn EventStore) {
    let paid = Query::all().event_type("OrderPaid");
    let append_if =
        |condition: Condition| store.append_if(&condition, &[part("order-9", Expected::Any, &["OrderSeen"])]);
    if !store.capabilities().has(Capability::AppendIf) {
        assert_refused(Capability::AppendIf, append_if(Condition::none(paid)));
        return;
    }
    let new = event("OrderPaid").tag("red").user("anna");
    let new = Append::new(StreamId::new("Order", "order-1"), Expected::Any, vec![new]);
    let at = store.append(&[new]).expect("the event is appended")[0].last_position;
    for (query, is_met) in [
        (paid.clone(), false),
        (paid.clone().tag("red"), false),
        (paid.clone().tag("blue"), true),
        (paid.clone().tag("red").tag("blue"), true),
        (paid.clone().user("anna"), false),
        (paid.clone().user("bert"), true),
        (paid.clone().aggregate("order-1"), false),
        (paid.clone().aggregate("order-2"), true),
        (paid.clone().aggregate_type("Invoice"), true),
        (Query::all().event_type("OrderPlaced"), true),
    ] {
        let appended = append_if(Condition::none(query.clone()));
        assert_eq!(appended.is_ok(), is_met, "{query:?}: {appended:?}");
    }
    append_if(Condition::none_after(paid.clone(), at)).expect("none was paid after that one");
    append_if(Condition::none_after(paid, Position(at.0 - 1))).expect_err("one was paid after the position before");
}

/// Each filter of a query selects by itself.
pub fn each_filter_of_a_query_selects(store: &dyn EventStore) {
    if !store.capabilities().has(Capability::Query) {
        assert_refused(Capability::Query, store.query(&Query::all().user("anna")));
        return;
    }
    let at = |second: i64| Timestamp::from_micros(1_769_860_800_000_000 + second * 1_000_000);
    for (aggregate_type, id, event_type, name, second) in [
        ("Order", "order-1", "Placed", "a", 2),
        ("Invoice", "invoice-1", "Issued", "b", 1),
    ] {
        let new = event(event_type)
            .user(name)
            .organization(name)
            .correlation(name)
            .causation(name);
        let new = new.tag(name).tag("both").timestamp(at(second));
        let new = Append::new(StreamId::new(aggregate_type, id), Expected::Any, vec![new]);
        store.append(&[new]).expect("the event is appended");
    }
    let found = |query: &Query| -> Result<Vec<String>> {
        let events = store.query(query)?;
        Ok(events.iter().map(|event| event.event_type().to_owned()).collect())
    };
    let all = Query::all;
    for (query, expected) in [
        (all().event_type("Issued"), &["Issued"][..]),
        (all().aggregate_type("Invoice"), &["Issued"]),
        (all().aggregate("invoice-1"), &["Issued"]),
        (all().user("b"), &["Issued"]),
        (all().organization("b"), &["Issued"]),
        (all().correlation("b"), &["Issued"]),
        (all().tag("b"), &["Issued"]),
        (all().tag("both"), &["Placed", "Issued"]),
        (all().tag("both").tag("a"), &["Placed"]),
        (all().tag("a").tag("b"), &[]),
        (all().user("a").organization("b"), &[]),
        (all().users(["a", "b"]), &["Placed", "Issued"]),
        (all().user("B"), &[]),
        (all().since(at(2)), &["Placed"]),
        (all().before(at(2)), &["Issued"]),
        (all().order(crate::Order::Time), &["Issued", "Placed"]),
        (all().order(crate::Order::PositionDescending), &["Issued", "Placed"]),
        (all().limit(0), &[]),
        (all().after(Position(u64::MAX)), &[]),
    ] {
        let found = found(&query).unwrap_or_else(|error: Error| panic!("{query:?}: {error}"));
        assert_eq!(found, expected, "{query:?}");
    }
    assert_eq!(types(&log(store)), ["Placed", "Issued"]);
}
