//! The server itself: what it is, whether it is ready, what its store holds, and the types of its problems.

use std::sync::Arc;

use annals::Durability;
use axum::Router;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json as value};

use super::json;
use crate::call::Call;
use crate::openapi;
use crate::problem::{self, Kind, Problem};
use crate::shared::{DEFAULT, Shared, Stage, is_ephemeral};
use crate::work;

/// The routes outside of namespaces.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(document))
        .route("/problems", get(problems))
        .route("/problems/{name}", get(problem))
}

async fn home(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let namespaces: Vec<&String> = shared.namespaces.keys().collect();
    json(
        StatusCode::OK,
        &value!({
            "name": "annals",
            "version": env!("CARGO_PKG_VERSION"),
            "ephemeral": shared.is_ephemeral,
            "api": "/v1",
            "openapi": "/openapi.json",
            "problems": "/problems",
            "namespaces": namespaces,
            "defaultNamespace": DEFAULT,
        }),
    )
}

/// The process answers.
async fn healthy() -> Result<Response, Problem> {
    json(StatusCode::OK, &value!({ "status": "ok" }))
}

/// Every store takes appends, and the server takes connections.
async fn ready(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    if *shared.stage.borrow() > Stage::Running {
        return Err(Problem::new(Kind::Unavailable, "the server is stopping"));
    }
    let faults = shared
        .namespaces
        .iter()
        .filter_map(|(name, store)| Some((name, store.fault()?)));
    let faults: Vec<String> = faults.map(|(name, fault)| format!("{name}: {fault}")).collect();
    if faults.is_empty() {
        return json(StatusCode::OK, &value!({ "status": "ready" }));
    }
    Err(Problem::new(Kind::Unavailable, faults.join("; ")))
}

async fn document() -> Result<Response, Problem> {
    json(StatusCode::OK, &openapi::document())
}

async fn problems() -> Result<Response, Problem> {
    json(StatusCode::OK, &value!({ "problems": problem::catalogue() }))
}

async fn problem(params: RawPathParams) -> Result<Response, Problem> {
    let name = params.iter().map(|(_, value)| value).next().unwrap_or_default();
    let missing = || Problem::new(Kind::NotFound, format!("there is no type of problem '{name}'"));
    let kind = Kind::ALL.iter().find(|kind| kind.name() == name).ok_or_else(missing)?;
    json(StatusCode::OK, &problem::describe(*kind))
}

/// `GET /store`
pub(super) async fn store(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let store = call.store.clone();
    let described = work::run(&call.shared, move || {
        let has_journal = !is_ephemeral(&store);
        let reached = |durability| has_journal.then(|| store.reached(durability).0);
        value!({
            "ephemeral": !has_journal,
            "visible": store.visible().0,
            "written": reached(Durability::Written),
            "synced": reached(Durability::Synced),
            "fault": store.fault().map(|fault| fault.to_string()),
            "stats": serde_json::to_value(store.stats()).unwrap_or(Value::Null),
        })
    });
    json(StatusCode::OK, &described.await?)
}
