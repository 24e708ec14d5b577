//! The sagas of a mounted program: a person finds the stuck instances, and retries or abandons them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::cqrs::{Action, HandlerError, Processors, Retry, Route, Saga, Sagas, SendError};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use annals_server::{Program, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{JSON, Running};

const SOON: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    Placed,
}

/// Sends a mail for each order, and completes.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Mail;

impl Saga for Mail {
    const TYPE: &'static str = "Mail";
    type Event = OrderEvent;
    type Command = String;

    fn route(_: &OrderEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, _: OrderEvent) -> Vec<Action<String>> {
        vec![Action::send("receipt".to_owned()), Action::Complete]
    }
}

/// A program whose mails fail until the server for them is healed.
pub(crate) struct Shop {
    store: Store,
    processors: Processors,
    pub(crate) sagas: Sagas<Mail>,
    is_healed: Arc<AtomicBool>,
}

impl Shop {
    pub(crate) fn with_orders(ids: &[&str]) -> Self {
        let (store, is_healed) = (Store::in_memory(), Arc::<AtomicBool>::default());
        let (processors, healed) = (Processors::new(&store), Arc::clone(&is_healed));
        let retry = Retry::default()
            .attempts(1)
            .first_pause(Duration::ZERO)
            .longest_pause(Duration::ZERO);
        let sagas = processors.saga::<Mail>(move |_, _| {
            let failure = SendError::Failed(HandlerError::permanent("no <b>server</b>"));
            healed.load(Ordering::SeqCst).then_some(()).ok_or(failure)
        });
        let sagas = sagas.retry(retry).start().unwrap();
        for id in ids {
            let event = NewEvent::new("Placed").data("null");
            store
                .append(&StreamId::new("Order", *id), Expected::Any, event)
                .unwrap();
        }
        processors.when_caught_up(SOON).unwrap();
        Self {
            store,
            processors,
            sagas,
            is_healed,
        }
    }

    pub(crate) fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
        self.processors.when_idle(SOON).unwrap();
    }

    pub(crate) fn server(&self) -> Running {
        let program = Program::new().processors(&self.processors).saga(&self.sagas);
        Running::built(Server::builder(self.store.clone()).program(program), SOON)
    }
}

fn keys(page: &Value) -> Vec<&str> {
    let instances = page["instances"].as_array().unwrap().iter();
    instances.map(|one| one["key"].as_str().unwrap()).collect()
}

#[test]
fn a_stuck_saga_was_seen_by_its_program_alone() {
    let shop = Shop::with_orders(&["order-1", "order-2", "order-3"]);
    let server = shop.server();
    let all = server.get("/v1/sagas").ok(200);
    assert_eq!(all, json!({ "sagas": [{ "name": "Mail", "active": 3, "stuck": 3 }] }));
    let first = server.get("/v1/sagas/Mail/instances?stuck&limit=2").ok(200);
    assert_eq!((keys(&first), &first["total"]), (vec!["order-1", "order-2"], &json!(3)));
    let last = server
        .get("/v1/sagas/Mail/instances?stuck&limit=2&cursor=order-2")
        .ok(200);
    assert_eq!((keys(&last), &last["next"]), (vec!["order-3"], &Value::Null));
    let one = server.get("/v1/sagas/Mail/instances/order-1").ok(200);
    assert_eq!(
        (&one["phase"], &one["stuck"]),
        (&json!("running"), &json!("no <b>server</b>")),
        "{one}"
    );
    server.get("/v1/sagas/Mail/instances/order-9").refused(404, "not-found");
    server.get("/v1/sagas/None/instances").refused(404, "not-found");
    server
        .get("/v1/sagas/Mail/instances?limit=0")
        .refused(400, "invalid-request");
    let home = server.get("/").ok(200);
    assert!(
        home["capabilities"].as_array().unwrap().contains(&json!("sagas")),
        "{home}"
    );
    Running::new().get("/v1/sagas").refused(404, "not-found");
}

#[test]
fn a_stuck_saga_could_not_be_retried_or_abandoned() {
    let shop = Shop::with_orders(&["order-1", "order-2"]);
    let server = shop.server();
    let post = |target: &str| server.send("POST", target, &[], b"");
    // It fails again: it was stuck, and is.
    let again = post("/v1/sagas/Mail/instances/order-1/retry").ok(200);
    assert_eq!(again["changed"], true, "{again}");
    shop.heal();
    post("/v1/sagas/Mail/instances/order-1/retry").ok(200);
    shop.processors.when_idle(SOON).unwrap();
    let done = server.get("/v1/sagas/Mail/instances/order-1").ok(200);
    assert_eq!(
        (&done["phase"], &done["stuck"]),
        (&json!("completed"), &Value::Null),
        "{done}"
    );
    assert_eq!(post("/v1/sagas/Mail/instances/order-1/retry").ok(200)["changed"], false);
    let target = "/v1/sagas/Mail/instances/order-2/abandon";
    let abandoned = server.post(target, &json!({ "reason": "paid in cash" })).ok(200);
    assert_eq!(
        (
            &abandoned["changed"],
            &abandoned["instance"]["phase"],
            &abandoned["instance"]["reason"]
        ),
        (&json!(true), &json!("abandoned"), &json!("paid in cash"))
    );
    assert_eq!(server.get("/v1/sagas").ok(200)["sagas"][0]["active"], 0);
    post("/v1/sagas/Mail/instances/order-9/retry").refused(404, "not-found");
    server.post(target, &json!({})).refused(400, "invalid-request");
    server
        .post(target, &json!({ "reason": "x".repeat(4_097) }))
        .refused(400, "invalid-request");
    server
        .send("POST", target, &[JSON, ("Origin", "http://evil.example")], b"{}")
        .refused(403, "cross-origin");
}

#[test]
fn a_retry_of_a_paused_saga_waited_for_ever() {
    let shop = Shop::with_orders(&["order-1"]);
    let server = shop.server();
    server.send("POST", "/v1/processors/Mail/pause", &[], b"").ok(200);
    let refused = server.send("POST", "/v1/sagas/Mail/instances/order-1/retry", &[], b"");
    let problem = refused.refused(409, "saga-not-running");
    assert!(
        problem["detail"].as_str().unwrap().contains("resume it first"),
        "{problem}"
    );
    assert_eq!(server.get("/v1/sagas").ok(200)["sagas"][0]["stuck"], 1);
}
