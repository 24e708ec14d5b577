//! States of aggregates that a mounted program folds from their events.

use std::collections::BTreeMap;
use std::time::Duration;

use annals::cqrs::{Aggregate, Aggregates};
use annals::{Expected, NewEvent, Store, StreamId, Version};
use annals_server::{Limits, Program, Server};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::Running;

const SOON: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    Placed,
    Packed { parcel: String },
}

/// An order that counts its placings, and its parcels by name.
#[derive(Serialize)]
pub(crate) struct Order {
    placings: u64,
    parcels: BTreeMap<String, u64>,
    /// No JSON as soon as it has an entry: its keys are no texts.
    pairs: BTreeMap<(u8, u8), u8>,
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Event = OrderEvent;
    type Command = ();
    type Rejection = ();

    fn initial() -> Self {
        Self {
            placings: 0,
            parcels: BTreeMap::new(),
            pairs: BTreeMap::new(),
        }
    }

    fn decide(&self, (): &()) -> Result<Vec<OrderEvent>, ()> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Placed => self.placings += 1,
            OrderEvent::Packed { parcel } if parcel == "a pair" => drop(self.pairs.insert((1, 2), 3)),
            OrderEvent::Packed { parcel } => *self.parcels.entry(parcel).or_default() += 1,
        }
    }
}

/// A store whose orders a program folds, and which has a customer too.
fn store() -> Store {
    let store = Store::in_memory();
    append(&store, "order-1", "Placed", "null");
    append(&store, "order-1", "Packed", r#"{"parcel":"<b>book</b>"}"#);
    append(&store, "order-1", "Packed", r#"{"parcel":"lamp"}"#);
    let customer = StreamId::new("Customer", "customer-1");
    store
        .append(&customer, Expected::Any, NewEvent::new("Registered"))
        .unwrap();
    store
}

fn append(store: &Store, id: &str, event_type: &str, data: &str) {
    let event = NewEvent::new(event_type).data(data);
    store.append(&StreamId::new("Order", id), Expected::Any, event).unwrap();
}

fn serve(store: &Store, limits: Limits) -> Running {
    let program = Program::new().states(&Aggregates::<Order>::new(store));
    Running::built(Server::builder(store.clone()).limits(limits).program(program), SOON)
}

#[test]
fn a_state_was_seen_by_its_program_alone() {
    let server = serve(&store(), Limits::default());
    let at = |version: u64| {
        let answer = server
            .get(&format!("/v1/streams/order-1/state?version={version}"))
            .ok(200);
        assert_eq!(answer["version"], version);
        answer["state"].clone()
    };
    assert_eq!(at(0), json!({ "placings": 0, "parcels": {}, "pairs": {} }));
    assert_eq!(
        at(2),
        json!({ "placings": 1, "parcels": { "<b>book</b>": 1 }, "pairs": {} })
    );
    let last = server.get("/v1/streams/order-1/state?minPosition=4").ok(200);
    let expected = json!({
        "aggregateId": "order-1", "aggregateType": "Order", "version": 3,
        "state": { "placings": 1, "parcels": { "<b>book</b>": 1, "lamp": 1 }, "pairs": {} },
    });
    assert_eq!(last, expected);
    let capabilities = server.get("/").ok(200)["capabilities"].clone();
    assert!(
        capabilities.as_array().unwrap().contains(&json!("states")),
        "{capabilities}"
    );
}

#[test]
fn a_state_that_does_not_exist_was_shown() {
    let server = serve(&store(), Limits::default());
    for (target, told) in [
        ("order-1/state?version=4", "has no version 4: its last version is 3"),
        ("order-9/state", "there is no aggregate 'order-9'"),
        ("customer-1/state", "folds no aggregates of type 'Customer'"),
    ] {
        let refused = server.get(&format!("/v1/streams/{target}")).refused(404, "not-found");
        assert!(refused.to_string().contains(told), "{refused}");
    }
    server
        .get("/v1/streams/order-1/state?version=last")
        .refused(400, "invalid-request");
    let alone = Running::built(Server::builder(store()), SOON);
    alone.get("/v1/streams/order-1/state").refused(404, "not-found");
}

#[test]
fn a_state_without_all_of_its_events_was_shown() {
    let store = store();
    for (id, event_type, data) in [
        ("order-2", "Unheard", "null"),
        ("order-3", "Packed", r#"{"parcel":"a pair"}"#),
        ("order-4", "Placed", "null"),
        ("order-4", "Placed", "null"),
        ("order-5", "Placed", "null"),
    ] {
        append(&store, id, event_type, data);
    }
    store.truncate_before("order-4", Version(2)).unwrap();
    store.tombstone("order-5", Expected::Any).unwrap();
    let server = serve(&store, Limits::default());
    for (id, told) in [
        ("order-2", "Unheard"),
        ("order-3", "not written as JSON"),
        ("order-4", "events from version 1 to version 1 are gone"),
    ] {
        let refused = server.get(&format!("/v1/streams/{id}/state")).refused(409, "no-state");
        assert!(refused.to_string().contains(told), "{refused}");
    }
    server
        .get("/v1/streams/order-5/state")
        .refused(410, "aggregate-deleted");
}

#[test]
fn a_state_larger_than_a_page_was_shown() {
    let store = store();
    let parcel = json!({ "parcel": "x".repeat(2_000) }).to_string();
    append(&store, "order-6", "Packed", &parcel);
    let server = serve(&store, Limits::default().page_bytes(1_024));
    server.get("/v1/streams/order-1/state").ok(200);
    let refused = server.get("/v1/streams/order-6/state").refused(409, "no-state");
    assert!(
        refused.to_string().contains("more than the 1024 bytes of a page"),
        "{refused}"
    );
}
