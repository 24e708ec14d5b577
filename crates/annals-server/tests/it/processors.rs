//! The processors of a mounted program, and their dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::cqrs::{Aggregates, Delivered, HandlerError, OnFailure, Processors, Subscription};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use annals_server::{Program, Role, Server, Token};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::states::Order;
use crate::support::Running;

const SOON: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed,
}

/// A program whose handler fails until it is healed, and parks what it fails at.
pub(crate) struct Mailer {
    store: Store,
    processors: Processors,
    subscription: Subscription<OrderEvent>,
    is_healed: Arc<AtomicBool>,
    /// A handler waits for it.
    gate: Arc<Mutex<()>>,
    /// The orders whose events were handled.
    orders: Arc<Mutex<Vec<u64>>>,
}

fn place(store: &Store, id: &str) {
    let event = NewEvent::new("Placed").data("null");
    store.append(&StreamId::new("Order", id), Expected::Any, event).unwrap();
}

fn ordinal(record: &Event) -> u64 {
    record.aggregate_id().strip_prefix("order-").unwrap().parse().unwrap()
}

impl Mailer {
    pub(crate) fn new(on_failure: OnFailure) -> Self {
        let (store, is_healed) = (Store::in_memory(), Arc::<AtomicBool>::default());
        let (gate, orders) = (Arc::<Mutex<()>>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let processors = Processors::new(&store);
        let (healed, waits, done) = (Arc::clone(&is_healed), Arc::clone(&gate), Arc::clone(&orders));
        let handler = move |delivered: Delivered<'_, OrderEvent>| {
            drop(waits.lock());
            if !healed.load(Ordering::SeqCst) {
                return Err(HandlerError::permanent("no \"server\" for mail\n"));
            }
            done.lock().push(ordinal(delivered.record));
            Ok(())
        };
        let subscription = processors
            .subscribe("mailer", handler)
            .on_failure(on_failure)
            .start()
            .unwrap();
        Self {
            store,
            processors,
            subscription,
            is_healed,
            gate,
            orders,
        }
    }

    /// The program with a letter for an event of each of these aggregates.
    pub(crate) fn with_letters(ids: &[&str]) -> Self {
        let mailer = Self::new(OnFailure::park());
        for id in ids {
            place(&mailer.store, id);
        }
        mailer.processors.when_caught_up(SOON).unwrap();
        mailer
    }

    fn program(&self) -> Program {
        self.added_to(Program::new())
    }

    fn added_to(&self, program: Program) -> Program {
        let program = program.states(&Aggregates::<Order>::new(&self.store));
        program.processors(&self.processors).subscription(&self.subscription)
    }

    /// Lets the handler succeed.
    pub(crate) fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
    }

    /// Appends an event that the handler gets.
    pub(crate) fn place(&self, id: &str) {
        place(&self.store, id);
    }

    pub(crate) fn server(&self) -> Running {
        self.server_with(Program::new())
    }

    /// The server of a program that has this too.
    pub(crate) fn server_with(&self, program: Program) -> Running {
        Running::built(
            Server::builder(self.store.clone()).program(self.added_to(program)),
            SOON,
        )
    }
}

fn positions(page: &Value) -> Vec<u64> {
    let letters = page["deadLetters"].as_array().unwrap().iter();
    letters.map(|letter| letter["position"].as_u64().unwrap()).collect()
}

#[test]
fn a_processor_tells_its_place_and_its_last_failure() {
    let mailer = Mailer::new(OnFailure::stop());
    let server = mailer.server();
    place(&mailer.store, "order-1");
    assert!(mailer.subscription.when_caught_up(SOON).is_err());
    let told = server.get("/v1/processors/mailer").ok(200);
    assert_eq!(told["state"], "stopped", "{told}");
    assert!(
        told["stopReason"].as_str().unwrap().contains("no \"server\" for mail"),
        "{told}"
    );
    assert_eq!(told["lastError"]["aggregateId"], "order-1");
    assert_eq!(told["lastError"]["reason"], "no \"server\" for mail\n");
    let event = mailer.store.read_stream("order-1").events().remove(0);
    assert_eq!(told["lastError"]["position"], event.position().0);
    assert_eq!(
        told["lagEvents"],
        mailer.store.visible().0 - told["position"].as_u64().unwrap()
    );
    assert!(
        told["lagEvents"].as_u64().unwrap() >= 1 && told["lagSeconds"].as_f64().unwrap() >= 0.0,
        "{told}"
    );
    assert_eq!((&told["handled"], &told["deadLetters"]), (&json!(0), &json!(0)));
    // What stopped it is fixed: it goes on after its checkpoint.
    mailer.heal();
    server.send("POST", "/v1/processors/mailer/resume", &[], b"").ok(200);
    mailer.processors.when_idle(SOON).unwrap();
    let told = server.get("/v1/processors/mailer").ok(200);
    assert_eq!(
        (&told["state"], &told["handled"], &told["lagEvents"]),
        (&json!("caughtUp"), &json!(1), &json!(0))
    );
    let all = server.get("/v1/processors").ok(200);
    assert_eq!(all["processors"], json!([told]));
}

#[test]
fn a_pause_held_a_thread_of_the_server_while_a_handler_worked() {
    let mailer = Mailer::new(OnFailure::stop());
    mailer.heal();
    let server = mailer.server();
    let held = mailer.gate.lock();
    place(&mailer.store, "order-1");
    // More than the server has threads for.
    for _ in 0..40 {
        let told = server.send("POST", "/v1/processors/mailer/pause?timeoutSeconds=0", &[], b"");
        assert!([200, 202].contains(&told.status), "{}", told.text());
    }
    server.add("other", "Other");
    drop(held);
    let told = server
        .send("POST", "/v1/processors/mailer/pause?timeoutSeconds=30", &[], b"")
        .ok(200);
    assert_eq!(told["state"], "paused");
    place(&mailer.store, "order-2");
    assert!(mailer.subscription.when_caught_up(SOON).is_err());
    server.send("POST", "/v1/processors/mailer/resume", &[], b"").ok(200);
    mailer.subscription.when_caught_up(SOON).unwrap();
    assert_eq!(*mailer.orders.lock(), [1, 2]);
}

#[test]
fn dead_letters_come_in_pages_and_keep_their_order() {
    let mailer = Mailer::with_letters(&["order-1", "order-2", "order-1", "order-3"]);
    let server = mailer.server();
    let all = server.get("/v1/processors/mailer/dead-letters").ok(200);
    assert_eq!(
        (&all["total"], &all["next"], &all["lostRecords"]),
        (&json!(4), &Value::Null, &json!(0))
    );
    let wanted = positions(&all);
    let (mut found, mut target) = (Vec::new(), "/v1/processors/mailer/dead-letters?limit=3".to_owned());
    loop {
        let page = server.get(&target).ok(200);
        found.extend(positions(&page));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/processors/mailer/dead-letters?limit=3&cursor={next}");
    }
    assert_eq!(found, wanted);
    let behind = &all["deadLetters"][2];
    assert_eq!(
        behind["reason"], "an earlier event of its aggregate is parked",
        "{behind}"
    );
    // A retry that fails keeps the letters of the aggregate, and says why.
    let target = |position: u64, what: &str| format!("/v1/processors/mailer/dead-letters/{position}/{what}");
    let failed = server.send("POST", &target(wanted[2], "retry"), &[], b"").ok(200);
    assert_eq!((&failed["handled"], &failed["left"]), (&json!(0), &json!(2)));
    assert_eq!(
        (&failed["next"]["position"], &failed["next"]["attempts"]),
        (&json!(wanted[0]), &json!(2))
    );
    mailer.heal();
    // The second letter of an aggregate is not handled before the first.
    let retried = server.send("POST", &target(wanted[2], "retry"), &[], b"").ok(200);
    assert_eq!(retried, json!({ "handled": 2, "left": 0, "next": null }));
    assert_eq!(*mailer.orders.lock(), [1, 1]);
    server
        .send("POST", &target(wanted[2], "retry"), &[], b"")
        .refused(404, "not-found");
    server.send("POST", &target(wanted[1], "discard"), &[], b"").ok(200);
    server
        .send("POST", &target(wanted[1], "discard"), &[], b"")
        .refused(404, "not-found");
    let rest = server
        .send("POST", "/v1/processors/mailer/dead-letters/retry", &[], b"")
        .ok(200);
    assert_eq!(rest, json!({ "handled": 1, "left": 0, "next": null }));
    assert_eq!(*mailer.orders.lock(), [1, 1, 3]);
    // The checkpoint has not moved by any of this but over the letters' own records.
    mailer.processors.when_caught_up(SOON).unwrap();
    assert_eq!(mailer.subscription.status().handled, 0);
}

#[test]
fn what_the_program_does_not_have_is_a_problem() {
    let mailer = Mailer::with_letters(&["order-1"]);
    let plain = mailer.processors.project("a/b ü", Nothing).start().unwrap();
    let server = Running::built(
        Server::builder(mailer.store.clone())
            .namespace("tenant", Store::in_memory())
            .program(mailer.program()),
        SOON,
    );
    for (method, target) in [
        ("GET", "/v1/processors/none"),
        ("POST", "/v1/processors/none/pause"),
        ("POST", "/v1/processors/none/resume"),
        ("GET", "/v1/processors/none/dead-letters"),
        ("POST", "/v1/processors/mailer/dead-letters/9999/retry"),
        ("POST", "/v1/processors/mailer/dead-letters/9999/discard"),
        // A processor without letters, and a namespace without a program.
        ("GET", "/v1/processors/a%2Fb%20%C3%BC/dead-letters"),
        ("GET", "/v1/ns/tenant/processors"),
        ("POST", "/v1/ns/tenant/processors/mailer/pause"),
    ] {
        server.send(method, target, &[], b"").refused(404, "not-found");
    }
    let told = server.get("/v1/processors/a%2Fb%20%C3%BC").ok(200);
    assert_eq!((&told["name"], &told["deadLetters"]), (&json!("a/b ü"), &Value::Null));
    for target in [
        "/v1/processors/mailer/dead-letters?limit=0",
        "/v1/processors/mailer/dead-letters?limit=1001",
        "/v1/processors/mailer/dead-letters?cursor=x",
    ] {
        server.get(target).refused(400, "invalid-request");
    }
    let wrong = server.send("POST", "/v1/processors/mailer/dead-letters/x/retry", &[], b"");
    wrong.refused(400, "invalid-request");
    server
        .send("DELETE", "/v1/processors/mailer", &[], b"")
        .refused(405, "method-not-allowed");
    plain.end();
    let ended = server.send("POST", "/v1/processors/a%2Fb%20%C3%BC/resume", &[], b"");
    ended.refused(409, "processor-ended");
    // A server without a program has none of this, and says so.
    let bare = Running::new();
    bare.get("/v1/processors").refused(404, "not-found");
    assert_eq!(bare.get("/").ok(200)["capabilities"], json!(["groups"]));
    assert_eq!(
        server.get("/").ok(200)["capabilities"],
        json!(["groups", "processors", "states"])
    );
}

/// A projection of nothing.
struct Nothing;

impl annals::cqrs::Projection for Nothing {
    type Event = OrderEvent;

    fn apply(&mut self, _: OrderEvent, _: &Event) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[test]
fn only_an_administrator_controls_a_processor() {
    const SECRETS: [&str; 4] = [
        "reader-0123456789",
        "writer-0123456789",
        "admin-0123456789",
        "tenant-0123456789",
    ];
    let mailer = Mailer::with_letters(&["order-1"]);
    let roles = [Role::Read, Role::Write, Role::Admin, Role::Admin];
    let tokens = roles
        .iter()
        .zip(SECRETS)
        .map(|(role, secret)| Token::new(*role, secret).unwrap());
    let mut tokens: Vec<Token> = tokens.collect();
    tokens[3] = tokens[3].clone().in_namespace("tenant");
    let builder = Server::builder(mailer.store.clone()).namespace("tenant", Store::in_memory());
    let server = Running::built(builder.program(mailer.program()).tokens(tokens), SOON);
    let position = positions(&server_letters(&server, SECRETS[0]))[0];
    for (secret, reads, controls) in [
        (SECRETS[0], 200, 403),
        (SECRETS[1], 200, 403),
        (SECRETS[3], 403, 403),
        (SECRETS[2], 200, 200),
    ] {
        let bearer = format!("Bearer {secret}");
        let send = |method: &str, target: &str| server.send(method, target, &[("Authorization", &bearer)], b"").status;
        for target in [
            "/v1/processors",
            "/v1/processors/mailer",
            "/v1/processors/mailer/dead-letters",
        ] {
            assert_eq!(send("GET", target), reads, "{secret} {target}");
        }
        for what in ["pause", "resume", "dead-letters/retry"] {
            assert_eq!(
                send("POST", &format!("/v1/processors/mailer/{what}")),
                controls,
                "{secret} {what}"
            );
        }
        for what in ["retry", "discard"] {
            let target = format!("/v1/processors/mailer/dead-letters/{position}/{what}");
            assert_eq!(send("POST", &target), controls, "{secret} {what}");
        }
    }
    server.get("/v1/processors").refused(401, "unauthorized");
}

fn server_letters(server: &Running, secret: &str) -> Value {
    let bearer = format!("Bearer {secret}");
    server
        .send(
            "GET",
            "/v1/processors/mailer/dead-letters",
            &[("Authorization", &bearer)],
            b"",
        )
        .ok(200)
}

#[test]
fn a_program_was_mounted_where_it_does_not_belong() {
    let mailer = Mailer::new(OnFailure::stop());
    let builder = || Server::builder(mailer.store.clone());
    assert!(builder().program_in("none", mailer.program()).build().is_err());
    assert!(
        builder()
            .program(mailer.program())
            .program(Program::new())
            .build()
            .is_err()
    );
    assert!(builder().program(mailer.program()).test_api().build().is_err());
    let other = builder().namespace("other", Store::in_memory());
    assert!(
        other
            .program(mailer.program())
            .program_in("other", Program::new())
            .build()
            .is_ok()
    );
}
