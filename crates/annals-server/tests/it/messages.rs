//! Commands and queries for the buses of a mounted program.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::cqrs::middleware::{authorize, validate};
use annals::cqrs::{
    Aggregate, Aggregates, CommandBus, CommandError, Context, Executed, LoadError, Message, QueryBus, Retry,
};
use annals::{Expected, NewEvent, Store, StreamId};
use annals_server::{Failure, Limits, Program, Role, Server, Token, ToolkitMetrics};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Answer;
use crate::support::{JSON, Running};

const SOON: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Serialize)]
enum AccountCommand {
    Deposit(u64),
    Withdraw(u64),
}

struct Account(u64);

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self(0)
    }

    fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, String> {
        match *command {
            AccountCommand::Deposit(amount) => Ok(vec![AccountEvent::Deposited { amount }]),
            AccountCommand::Withdraw(amount) if amount > self.0 => Err(format!("the balance is {}", self.0)),
            AccountCommand::Withdraw(amount) => Ok(vec![AccountEvent::Withdrawn { amount }]),
        }
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Deposited { amount } => self.0 += amount,
            AccountEvent::Withdrawn { amount } => self.0 -= amount,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deposit {
    account: String,
    amount: u64,
    #[serde(skip)]
    id: Option<Uuid>,
}

impl Message for Deposit {
    type Bus = CommandBus;
    type Reply = Executed;
    type Error = CommandError<String>;
    const NAME: &'static str = "Deposit";
}

#[derive(Deserialize)]
struct Withdraw {
    account: String,
    amount: u64,
}

impl Message for Withdraw {
    type Bus = CommandBus;
    type Reply = ();
    type Error = CommandError<String>;
    const NAME: &'static str = "Withdraw";
}

/// A command that does what it says.
#[derive(Deserialize)]
enum Misbehave {
    Panic,
    Conflict,
    NotFound,
    Unavailable,
    Refuse,
}

impl Message for Misbehave {
    type Bus = CommandBus;
    type Reply = f64;
    type Error = Fault;
    const NAME: &'static str = "Misbehave";
}

struct Fault(Misbehave);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault")
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault.0 {
            Misbehave::Conflict => Failure::conflict("changed meanwhile"),
            Misbehave::NotFound => Failure::not_found("no such seat"),
            Misbehave::Unavailable => Failure::unavailable("the mail server is away"),
            Misbehave::Panic | Misbehave::Refuse => Failure::refused("not on Sundays"),
        }
    }
}

#[derive(Deserialize)]
struct Balance {
    account: String,
}

impl Message for Balance {
    type Bus = QueryBus;
    type Reply = u64;
    type Error = LoadError;
    const NAME: &'static str = "Balance";
}

/// A query without fields, for the context of the dispatch.
#[derive(Deserialize)]
struct WhoAmI {}

impl Message for WhoAmI {
    type Bus = QueryBus;
    type Reply = Vec<Option<String>>;
    type Error = String;
    const NAME: &'static str = "WhoAmI";
}

/// A query that waits.
#[derive(Deserialize)]
struct Wait {}

impl Message for Wait {
    type Bus = QueryBus;
    type Reply = ();
    type Error = String;
    const NAME: &'static str = "Wait";
}

/// What handlers of `Wait` wait for.
#[derive(Default)]
struct Gate {
    closed: Mutex<()>,
    arrived: AtomicUsize,
}

fn command_bus(store: &Store, metrics: &ToolkitMetrics) -> CommandBus {
    let accounts = Aggregates::<Account>::new(store).retry(Retry::never());
    let deposits = accounts.clone();
    let bus = CommandBus::builder()
        .layer(metrics.commands())
        .layer(authorize(|_, context| match context.user.as_deref() {
            Some("mallory") => Err("mallory may not".to_owned()),
            _ => Ok(()),
        }))
        .layer(validate(|deposit: &Deposit| match deposit.amount {
            0 => Err("the amount is 0".to_owned()),
            _ => Ok(()),
        }))
        .handle(move |deposit: &Deposit, context| {
            let accounts = deposits.with_context(context.clone());
            let command = AccountCommand::Deposit(deposit.amount);
            match deposit.id {
                Some(id) => accounts.execute_once(id, &deposit.account, &command),
                None => accounts.execute(&deposit.account, &command),
            }
        })
        .handle(move |withdraw: &Withdraw, _: &Context| {
            accounts
                .execute(&withdraw.account, &AccountCommand::Withdraw(withdraw.amount))
                .map(drop)
        })
        .handle(|misbehave: &Misbehave, _: &Context| match misbehave {
            Misbehave::Panic => panic!("the secret is 4711"),
            Misbehave::Conflict => Err(Fault(Misbehave::Conflict)),
            Misbehave::NotFound => Err(Fault(Misbehave::NotFound)),
            Misbehave::Unavailable => Err(Fault(Misbehave::Unavailable)),
            Misbehave::Refuse => Err(Fault(Misbehave::Refuse)),
        });
    bus.build().unwrap()
}

fn query_bus(store: &Store, metrics: &ToolkitMetrics, gate: &Arc<Gate>) -> QueryBus {
    let (accounts, gate) = (Aggregates::<Account>::new(store), Arc::clone(gate));
    let bus = QueryBus::builder()
        .layer(metrics.queries())
        .handle(move |query: &Balance, _: &Context| accounts.load(&query.account).map(|loaded| loaded.state.0))
        .handle(|_: &WhoAmI, context: &Context| {
            let ids = [&context.user, &context.correlation, &context.causation];
            Ok(ids.iter().map(|id| id.as_ref().map(ToString::to_string)).collect())
        })
        .handle(move |_: &Wait, _: &Context| {
            gate.arrived.fetch_add(1, Ordering::SeqCst);
            drop(gate.closed.lock());
            Ok(())
        });
    bus.build().unwrap()
}

/// A server of a program with both buses.
pub(crate) struct Bank {
    pub(crate) program: Program,
    store: Store,
    metrics: ToolkitMetrics,
    gate: Arc<Gate>,
}

impl Bank {
    pub(crate) fn new(store: &Store) -> Self {
        let (metrics, gate) = (ToolkitMetrics::new(), Arc::default());
        let (commands, queries) = (command_bus(store, &metrics), query_bus(store, &metrics, &gate));
        let program = Program::new()
            .command_once::<Deposit>(&commands, |deposit, id| deposit.id = Some(id))
            .and_then(|program| program.command::<Withdraw>(&commands))
            .and_then(|program| program.command::<Misbehave>(&commands))
            .and_then(|program| program.query::<Balance>(&queries))
            .and_then(|program| program.query::<WhoAmI>(&queries))
            .and_then(|program| program.query::<Wait>(&queries))
            .unwrap();
        Self {
            program,
            store: store.clone(),
            metrics,
            gate,
        }
    }

    fn builder(&self) -> annals_server::Builder {
        let builder = Server::builder(self.store.clone()).toolkit(&self.metrics);
        builder.program(self.program.clone().context(|headers, context| {
            let user = headers.get("x-user").map(|user| user.to_str().unwrap().to_owned());
            match user.as_deref() {
                Some("stranger") => Err(Failure::forbidden("the user is unknown")),
                Some(user) => Ok(context.user(user)),
                None => Ok(context),
            }
        }))
    }

    fn server(&self) -> Running {
        Running::built(self.builder(), SOON)
    }
}

fn deposit(server: &Running, amount: u64, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "account": "account-1", "amount": amount }).to_string();
    let headers = [&[JSON], headers].concat();
    server.send("POST", "/v1/commands/Deposit", &headers, body.as_bytes())
}

fn balance(server: &Running) -> Value {
    server
        .post("/v1/queries/Balance", &json!({ "account": "account-1" }))
        .ok(200)
}

#[test]
fn commands_and_queries_reach_their_handlers() {
    let bank = Bank::new(&Store::in_memory());
    let server = bank.server();
    let headers = [
        ("X-Correlation-Id", "checkout-9"),
        ("X-Causation-Id", "event-7"),
        ("X-User", "anna"),
    ];
    let done = deposit(&server, 250, &headers).ok(200);
    assert_eq!((&done["version"], &done["attempts"]), (&json!(1), &json!(1)));
    assert_eq!(done["appended"]["lastPosition"], bank.store.visible().0);
    let event = bank.store.read_stream("account-1").events().remove(0);
    let ids = [event.correlation_id(), event.causation_id(), event.user_id()];
    assert_eq!(ids, [Some("checkout-9"), Some("event-7"), Some("anna")]);
    assert_eq!(balance(&server), 250);
    let withdrawn = server.post(
        "/v1/commands/Withdraw",
        &json!({ "account": "account-1", "amount": 50 }),
    );
    assert_eq!(withdrawn.ok(200), Value::Null);
    assert_eq!(balance(&server), 200);
    let asked = server
        .send("POST", "/v1/queries/WhoAmI", &[&[JSON], &headers[..]].concat(), b"{}")
        .ok(200);
    assert_eq!(asked, json!(["anna", "checkout-9", "event-7"]));
    let names = server.get("/v1/commands").ok(200);
    assert_eq!(
        names["commands"][0],
        json!({ "name": "Deposit", "takesIdempotencyKey": true })
    );
    assert_eq!(
        server.get("/v1/queries").ok(200)["queries"].as_array().unwrap().len(),
        3
    );
    let metrics = server.get("/metrics");
    for line in [
        "command_executions_total{command=\"Deposit\",outcome=\"success\"} 1",
        "query_executions_total{query=\"Balance\",outcome=\"success\"} 2",
    ] {
        assert!(
            metrics.text().lines().any(|own| own == line),
            "{line}\n{}",
            metrics.text()
        );
    }
}

#[test]
fn a_repeated_command_had_another_effect() {
    let store = Store::in_memory();
    let key = [("Idempotency-Key", "order-7")];
    let first = {
        let server = Bank::new(&store).server();
        let first = deposit(&server, 250, &key).ok(200);
        assert_eq!(deposit(&server, 250, &key).ok(200)["appended"]["repeated"], true);
        // Another command with this key is none of this one.
        deposit(&server, 300, &key).refused(422, "idempotency-key-reused");
        deposit(&server, 250, &[("Idempotency-Key", "order-8")]).ok(200);
        assert_eq!(balance(&server), 500);
        first
    };
    assert_eq!(first["appended"]["repeated"], false);
    // A server of another process, with the same events.
    let server = Running::built(
        Server::builder(store.fork()).program(Bank::new(&store.fork()).program),
        SOON,
    );
    let body = json!({ "account": "account-1", "amount": 1 });
    let refused = server.send(
        "POST",
        "/v1/commands/Withdraw",
        &[JSON, ("Idempotency-Key", "x")],
        body.to_string().as_bytes(),
    );
    refused.refused(400, "invalid-request");
    let again = Bank::new(&store.fork());
    let repeated = deposit(&again.server(), 250, &key).ok(200);
    assert_eq!(repeated["appended"]["repeated"], true);
    assert_eq!(
        repeated["appended"]["firstPosition"],
        first["appended"]["firstPosition"]
    );
}

#[test]
fn failures_of_handlers_are_problems() {
    let bank = Bank::new(&Store::in_memory());
    let server = bank.server();
    let poor = server.post("/v1/commands/Withdraw", &json!({ "account": "account-1", "amount": 1 }));
    assert_eq!(poor.refused(422, "message-refused")["detail"], "the balance is 0");
    assert_eq!(
        deposit(&server, 0, &[]).refused(422, "message-refused")["detail"],
        "the amount is 0"
    );
    assert_eq!(
        deposit(&server, 1, &[("X-User", "mallory")]).refused(403, "forbidden")["detail"],
        "mallory may not"
    );
    deposit(&server, 1, &[("X-User", "stranger")]).refused(403, "forbidden");
    for (how, status, name) in [
        ("Conflict", 409, "message-conflict"),
        ("NotFound", 404, "not-found"),
        ("Unavailable", 503, "store-unavailable"),
        ("Refuse", 422, "message-refused"),
        ("Panic", 500, "internal-error"),
    ] {
        let answer = server.post("/v1/commands/Misbehave", &json!(how));
        let problem = answer.refused(status, name);
        assert!(!problem.to_string().contains("4711"), "{problem}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    // What panicked is the only thing that failed.
    deposit(&server, 250, &[]).ok(200);
    assert_eq!(balance(&server), 250);
    // An id of another type, a correlation that no event can have, and a tombstone.
    bank.store
        .append(
            &StreamId::new("Order", "order-1"),
            Expected::Any,
            NewEvent::new("Placed"),
        )
        .unwrap();
    let other = server.post("/v1/queries/Balance", &json!({ "account": "order-1" }));
    other.refused(409, "message-conflict");
    deposit(&server, 1, &[("X-Correlation-Id", &"x".repeat(60_000))]).refused(400, "invalid-request");
    let deleted = server.send("DELETE", "/v1/streams/account-1?tombstone=true", &[], b"");
    deleted.ok(200);
    deposit(&server, 1, &[]).refused(410, "aggregate-deleted");
}

#[test]
fn a_message_that_is_none_is_refused() {
    let bank = Bank::new(&Store::in_memory());
    let limits = Limits::default().body_bytes(2_000);
    let builder = bank.builder().namespace("tenant", Store::in_memory()).limits(limits);
    let server = Running::built(builder, SOON);
    let body = json!({ "account": "account-1", "amount": 1 });
    for target in [
        "/v1/commands/None",
        "/v1/commands/deposit",
        "/v1/commands/Balance",
        "/v1/queries/Deposit",
    ] {
        server.post(target, &body).refused(404, "not-found");
    }
    for target in ["/v1/ns/tenant/commands/Deposit", "/v1/ns/tenant/queries/Balance"] {
        server.post(target, &body).refused(404, "not-found");
    }
    for wrong in [
        "",
        "{",
        "[]",
        "{\"account\":\"a\"}",
        "{\"account\":\"a\",\"amount\":-1}",
        "{\"account\":\"a\",\"amount\":1,\"more\":1}",
        "{\"account\":\"a\",\"amount\":1} {}",
    ] {
        let answer = server.send("POST", "/v1/commands/Deposit", &[JSON], wrong.as_bytes());
        answer.refused(400, "invalid-request");
    }
    let deep = "[".repeat(1_500);
    server
        .send("POST", "/v1/commands/Deposit", &[JSON], deep.as_bytes())
        .refused(400, "invalid-request");
    let invalid = server.send(
        "POST",
        "/v1/commands/Deposit",
        &[JSON],
        b"{\"account\":\"\xff\",\"amount\":1}",
    );
    invalid.refused(400, "invalid-request");
    let large = format!("{{\"account\":\"{}\",\"amount\":1}}", "x".repeat(3_000));
    server
        .send("POST", "/v1/commands/Deposit", &[JSON], large.as_bytes())
        .refused(413, "body-too-large");
    let text = server.send("POST", "/v1/commands/Deposit", &[("Content-Type", "text/plain")], b"{}");
    text.refused(415, "unsupported-media-type");
    server
        .send("GET", "/v1/commands/Deposit", &[], b"")
        .refused(405, "method-not-allowed");
    let twice = [("X-Correlation-Id", "a"), ("X-Correlation-Id", "b")];
    deposit(&server, 1, &twice).refused(400, "invalid-request");
    assert_eq!(bank.store.visible().0, 0);
}

#[test]
fn slow_handlers_filled_the_server() {
    let bank = Bank::new(&Store::in_memory());
    let limits = Limits::default().workers(2).worker_wait(Duration::from_millis(1));
    let server = Running::built(bank.builder().limits(limits), SOON);
    let held = bank.gate.closed.lock();
    let mut waiting: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for connection in &mut waiting {
        let request = format!(
            "POST /v1/queries/Wait HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
            server.address
        );
        connection.write(request).unwrap();
    }
    while bank.gate.arrived.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let busy = server.send("POST", "/v1/queries/WhoAmI", &[JSON], b"{}");
    assert_eq!(busy.header("retry-after"), Some("1"));
    busy.refused(503, "busy");
    // Commands have threads of their own.
    deposit(&server, 1, &[]).ok(200);
    drop(held);
    for connection in &mut waiting {
        assert_eq!(connection.read(false).status, 200);
    }
    server.send("POST", "/v1/queries/WhoAmI", &[JSON], b"{}").ok(200);
}

#[test]
fn a_reader_sent_a_command() {
    const READER: &str = "reader-0123456789";
    const WRITER: &str = "writer-0123456789";
    let bank = Bank::new(&Store::in_memory());
    let tokens = [
        Token::new(Role::Read, READER).unwrap(),
        Token::new(Role::Write, WRITER).unwrap(),
    ];
    let server = Running::built(bank.builder().tokens(tokens), SOON);
    for (token, status) in [(READER, 403), (WRITER, 200)] {
        let bearer = format!("Bearer {token}");
        assert_eq!(deposit(&server, 1, &[("Authorization", &bearer)]).status, status);
        let headers = [JSON, ("Authorization", &bearer)];
        server.send("POST", "/v1/queries/WhoAmI", &headers, b"{}").ok(200);
    }
    deposit(&server, 1, &[]).refused(401, "unauthorized");
}

#[test]
fn a_command_without_a_handler_was_mounted() {
    let bus = CommandBus::builder().build().unwrap();
    let error = Program::new().command::<Withdraw>(&bus).unwrap_err();
    assert_eq!(error.unhandled, ["Withdraw"]);
}
