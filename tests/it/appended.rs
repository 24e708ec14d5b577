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
        "data.none: expected 2, is null",
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
            "2 x OrderPlaced was expected, and 1 were appended",
        ),
        (
            event("OrderPaid").times(0),
            "no event OrderPaid was expected, and 1 were appended",
        ),
        (
            event("OrderLost"),
            "an event OrderLost was expected, and 0 were appended",
        ),
        (event("OrderPaid").with_data(json!(1)), "data: expected 1, is no JSON"),
    ] {
        let message = told(|| recorder.assert_appended([assertion]));
        assert!(message.contains(line), "{line} is not in\n{message}");
    }
    let message = told(|| recorder.assert_exactly([event("OrderPaid"), event("OrderPlaced")]));
    assert!(message.contains("event 1 is not an event OrderPaid"), "{message}");
    let message = told(|| recorder.assert_exactly([event("OrderPlaced")]));
    assert!(message.contains("1 events were expected, and 2 appended"), "{message}");
    assert!(told(|| recorder.assert_nothing_appended()).contains("0 events were expected, and 2 appended"));
    Recorder::of(&store).assert_nothing_appended();
    assert_eq!(Recorder::of(&store).tree(), "(no event)\n");
}
