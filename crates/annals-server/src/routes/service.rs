//! The server itself: its description, its readiness, the contents of its store, and the types of its problems.

use std::sync::Arc;

use annals::Durability;
use axum::extract::{RawPathParams, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json as value};

use super::gate::Routes;
use super::{json, pages, typed};
use crate::call::Call;
use crate::openapi;
use crate::problem::{self, Kind, Problem};
use crate::program::Program;
use crate::shared::{DEFAULT, Shared, Stage, is_ephemeral};
use crate::work;

/// The routes outside of namespaces that say something of all stores.
pub(super) fn private_routes() -> Routes {
    vec![("/", get(home)), ("/metrics", get(metrics))]
}

/// The routes that return no data of a store, except whether it works.
pub(super) fn public_routes() -> Routes {
    vec![
        ("/healthz", get(healthy)),
        ("/readyz", get(ready)),
        ("/openapi.json", get(document)),
        ("/problems", get(problems)),
        ("/problems/{name}", get(problem)),
    ]
}

/// The description of the server; a browser is redirected to the pages.
async fn home(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
    if headers.get_all(ACCEPT).iter().any(accepts) {
        return Ok(pages::lead());
    }
    let namespaces = shared.namespaces.names();
    json(
        StatusCode::OK,
        &value!({
            "name": "annals",
            "version": env!("CARGO_PKG_VERSION"),
            "ephemeral": shared.is_ephemeral,
            "api": "/v1",
            "openapi": "/openapi.json",
            "problems": "/problems",
            "metrics": "/metrics",
            "namespaces": namespaces,
            "defaultNamespace": DEFAULT,
            "capabilities": capabilities(&shared),
        }),
    )
}

/// The optional parts of the API that this server has, beside those that every server has.
fn capabilities(shared: &Shared) -> Vec<&'static str> {
    let any = |has: fn(&Program) -> bool| shared.programs.values().any(has);
    let all = [
        ("groups", true),
        ("commands", any(|program| !program.commands().is_empty())),
        ("processors", any(Program::has_processors)),
        ("queries", any(|program| !program.queries().is_empty())),
        ("sagas", any(|program| !program.sagas().is_empty())),
        ("states", any(Program::has_states)),
        ("testApi", shared.namespaces.has_test_api()),
    ];
    let there = all.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(name, _)| name).collect()
}

/// The process answers.
async fn healthy() -> Result<Response, Problem> {
    json(StatusCode::OK, &value!({ "status": "ok" }))
}

/// Whether every store accepts appends, and the server accepts connections.
async fn ready(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    if *shared.stage.borrow() > Stage::Running {
        return Err(Problem::new(Kind::Unavailable, "the server is stopping"));
    }
    let faults = shared
        .namespaces
        .configured()
        .into_iter()
        .filter_map(|(name, store)| Some((name, store.fault()?)));
    let faults: Vec<String> = faults.map(|(name, fault)| format!("{name}: {fault}")).collect();
    if faults.is_empty() {
        return json(StatusCode::OK, &value!({ "status": "ready" }));
    }
    Err(Problem::new(Kind::Unavailable, faults.join("; ")))
}

async fn document(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    json(StatusCode::OK, &openapi::document(shared.parts()))
}

/// The metrics: as `OpenMetrics` where the client accepts that, otherwise as the text format before it, which the same lines are too.
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_open = accepted
        .into_iter()
        .any(|value| value.contains("application/openmetrics-text"));
    let scraped = Arc::clone(&shared);
    let text = work::run(&shared, move || scraped.metrics.text()).await?;
    let text = text.map_err(|_| Problem::new(Kind::Internal, "the metrics cannot be written"))?;
    let media = if is_open {
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")
    };
    Ok(typed(StatusCode::OK, media, text))
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
