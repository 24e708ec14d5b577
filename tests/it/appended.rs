//! Recorded expectations find what was appended, and say what differs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals::assert_appended;
use annals::testing::{Recorder, event};
use annals::{Expected, NewEvent, Store, StreamId};
use serde_json::json;

fn store() -> (Store, Recorder) {
    let store = Store::in_memory();
    let order = StreamId::new("Order", "order-1");
    store
        .append(
            &order,
            Expected::Any,
            vec![NewEvent::new("OrderPlaced").data(r#"{"cents": 1}"#)],
        )
        .expect("appended");
    let recorder = Recorder::of(&store);
    let placed = NewEvent::new("OrderPlaced").data(r#"{"cents": 5, "to": {"city": "Ulm", "zip": "89073"}}"#);
    let placed = placed.correlation("checkout-7").user("anna").tag("vip").tag("new");
    store
        .append(&StreamId::new("Order", "order-2"), Expected::NoStream, vec![placed])
        .expect("appended");
    let cause = store.read_stream("order-2").events()[0].id().to_string();
    let paid = NewEvent::new("OrderPaid")
        .causation(cause)
        .correlation("checkout-7")
        .data("no JSON");
    store
        .append(&StreamId::new("Order", "order-2"), Expected::Any, vec![paid])
        .expect("appended");
    store
        .append(
            &StreamId::new("annals.Processor", "annals.processor/x"),
            Expected::Any,
            vec![NewEvent::new("annals.Started")],
        )
        .expect("appended");
    (store, recorder)
}

fn told(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it does not hold");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn what_was_appended_is_found() {
    let (_, recorder) = store();
    assert_appended!(recorder, event("OrderPlaced"), event("OrderPaid").once());
    assert_appended!(
        recorder,
        event("OrderPlaced")
            .in_stream("order-2")
            .correlation("checkout-7")
            .user("anna")
            .tag("vip")
            .once(),
        event("OrderPlaced").with_data(json!({"to": {"city": "Ulm"}})),
        event("OrderLost").times(0),
    );
    recorder.assert_exactly([event("OrderPlaced"), event("OrderPaid").in_stream("order-2")]);
    assert_eq!(
        recorder.appended().len(),
        2,
        "neither what was there before, nor what processors keep"
    );
}

#[test]
fn what_differs_is_told_by_field() {
    let (store, recorder) = store();
    let message = told(|| {
        let expected = event("OrderPlaced")
            .user("bert")
            .tag("old")
            .with_data(json!({"cents": 6, "to": {"zip": 1}, "none": 2}));
        assert_appended!(recorder, expected);
    });
    for line in [
        r#"user: expected "bert", is "anna""#,
        r#"tag: expected "old", is none"#,
        "data.cents: expected 6, is 5",
        r#"data.to.zip: expected 1, is "89073""#,
        "data.none: expected 2, is missing",
        "the nearest is at position 2",
        "appended since position 1:",
    ] {
        assert!(message.contains(line), "{line} is not in\n{message}");
    }
    // What it caused stands below an event.
    assert!(
        message.contains("2 OrderPlaced order-2") && message.contains("3   OrderPaid order-2"),
        "{message}"
    );
    assert_eq!(store.causation_text("checkout-7").expect("a name").lines().count(), 2);
}

#[test]
fn counts_and_order_are_checked() {
    let (store, recorder) = store();
    for (assertion, line) in [
        (
            event("OrderPlaced").times(2),
            "expected 2 x OrderPlaced; matching events appended: 1",
        ),
        (
            event("OrderPaid").times(0),
            "expected no event OrderPaid; matching events appended: 1",
        ),
        (
            event("OrderLost"),
            "expected an event OrderLost; matching events appended: 0",
        ),
        (event("OrderPaid").with_data(json!(1)), "data: expected 1, is not JSON"),
    ] {
        let message = told(|| recorder.assert_appended([assertion]));
        assert!(message.contains(line), "{line} is not in\n{message}");
    }
    let message = told(|| recorder.assert_exactly([event("OrderPaid"), event("OrderPlaced")]));
    assert!(message.contains("event 1 is not an event OrderPaid"), "{message}");
    let message = told(|| recorder.assert_exactly([event("OrderPlaced")]));
    assert!(
        message.contains("event 2 is not expected: OrderPaid at position 3"),
        "{message}"
    );
    assert!(told(|| recorder.assert_nothing_appended()).contains("event 1 is not expected: OrderPlaced at position 2"));
    Recorder::of(&store).assert_nothing_appended();
    assert_eq!(Recorder::of(&store).tree(), "(no event)\n");
}

#[test]
fn a_count_in_an_exact_list_was_ignored() {
    let store = Store::in_memory();
    let recorder = Recorder::of(&store);
    let order = StreamId::new("Order", "order-1");
    let events = vec!["Placed", "Reminded", "Reminded", "Paid"];
    let events: Vec<_> = events.into_iter().map(NewEvent::new).collect();
    store.append(&order, Expected::NoStream, events).expect("new");

    let exactly = |reminders: usize| {
        let list = [
            event("Placed"),
            event("Reminded").times(reminders),
            event("Paid").once(),
        ];
        recorder.assert_exactly(list);
    };
    exactly(2);
    for (reminders, line) in [
        (0, "event 2 is not 1 x Paid"),
        (1, "event 3 is not 1 x Paid"),
        (3, "event 4 is not 3 x Reminded"),
        (usize::MAX, "event 4 is not"),
    ] {
        let message = told(|| exactly(reminders));
        assert!(message.contains(line), "{line} is not in\n{message}");
    }
    let message =
        told(|| recorder.assert_exactly([event("Placed"), event("Reminded").times(2), event("Paid").times(9)]));
    assert!(message.contains("event 5 is missing: expected 9 x Paid"), "{message}");
}

#[test]
fn a_field_that_is_missing_was_taken_for_null() {
    let store = Store::in_memory();
    let recorder = Recorder::of(&store);
    let new = NewEvent::new("OrderPlaced").data(r#"{"cents": 5, "note": null, "to": {"zip": null}}"#);
    store
        .append(&StreamId::new("Order", "order-1"), Expected::Any, vec![new])
        .expect("appended");
    for held in [
        json!({"note": null}),
        json!({"to": {"zip": null}}),
        json!({"to": {}}),
        json!({}),
    ] {
        assert_appended!(recorder, event("OrderPlaced").with_data(held).once());
    }
    for (missing, line) in [
        (json!({"coupon": null}), "data.coupon: expected null, is missing"),
        (json!({"to": {"city": null}}), "data.to.city: expected null, is missing"),
        (json!({"coupon": "x"}), r#"data.coupon: expected "x", is missing"#),
        (json!({"cents": null}), "data.cents: expected null, is 5"),
    ] {
        assert_appended!(recorder, event("OrderPlaced").with_data(missing.clone()).times(0));
        let told = told(|| recorder.assert_exactly([event("OrderPlaced").with_data(missing)]));
        assert!(told.contains(line), "{told}");
    }
}
