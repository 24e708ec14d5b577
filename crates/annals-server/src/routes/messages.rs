//! Commands and queries for the buses of a mounted program.

use annals::cqrs::Context;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json as value};
use uuid::Uuid;

use super::gate::Routes;
use super::idempotency::Key;
use super::processors::program;
use super::{JSON, json, typed};
use crate::body::Content;
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::program::Route;
use crate::work;

/// The headers of the conversation and of the cause of a message.
const CORRELATION: &str = "x-correlation-id";
const CAUSATION: &str = "x-causation-id";

pub(super) fn reads() -> Routes {
    vec![
        ("/v1/commands", get(commands)),
        ("/v1/queries", get(queries)),
        ("/v1/queries/{query}", post(query)),
    ]
}

pub(super) fn writes() -> Routes {
    vec![("/v1/commands/{command}", post(command))]
}

/// `GET /commands`
async fn commands(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let commands = program(&call)?.commands().iter();
    let all: Vec<Value> = commands
        .map(|(name, route)| value!({ "name": name, "takesIdempotencyKey": route.takes_id }))
        .collect();
    json(StatusCode::OK, &value!({ "commands": all }))
}

/// `GET /queries`
async fn queries(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let all: Vec<Value> = program(&call)?
        .queries()
        .keys()
        .map(|name| value!({ "name": name }))
        .collect();
    json(StatusCode::OK, &value!({ "queries": all }))
}

/// `POST /commands/{command}`
async fn command(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    content.expect_json()?;
    let name = call.segment("command");
    let route = program(&call)?
        .commands()
        .get(name)
        .ok_or_else(|| missing("command", name))?;
    let (id, cause) = (id_of(&call, name, route)?, context(&call)?);
    let route = route.clone();
    let reply = work::write(&call.shared, move || route.send(&content.bytes, id, &cause));
    Ok(typed(StatusCode::OK, JSON, reply.await??))
}

/// `POST /queries/{query}`
async fn query(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    content.expect_json()?;
    let name = call.segment("query");
    let route = program(&call)?
        .queries()
        .get(name)
        .ok_or_else(|| missing("query", name))?;
    let (route, cause) = (route.clone(), context(&call)?);
    let reply = work::run(&call.shared, move || route.send(&content.bytes, None, &cause));
    Ok(typed(StatusCode::OK, JSON, reply.await??))
}

fn missing(kind: &str, name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("the program has no {kind} '{name}'"))
}

/// The id that the command gets by its `Idempotency-Key`.
fn id_of(call: &Call, name: &str, route: &Route) -> Result<Option<Uuid>, Problem> {
    match Key::of(call)? {
        Some(_) if !route.takes_id => Err(Problem::invalid(format!(
            "the command '{name}' takes no Idempotency-Key: a repetition of it would be another command"
        ))),
        key => Ok(key.map(|key| key.message_id(name))),
    }
}

/// The context of the message from its headers, completed by the program.
fn context(call: &Call) -> Result<Context, Problem> {
    let mut context = Context::new();
    if let Some(id) = call.header(CORRELATION)? {
        context = context.correlation(id);
    }
    if let Some(id) = call.header(CAUSATION)? {
        context = context.causation(id);
    }
    program(call)?.complete(&call.headers, context)
}
