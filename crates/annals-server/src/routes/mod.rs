//! The routes, and their shared parts.

mod append;
mod archives;
mod changes;
mod gate;
mod groups;
mod idempotency;
mod incoming;
mod letters;
mod messages;
mod page;
mod pages;
mod processors;
mod query;
mod sagas;
mod sent;
mod service;
mod several;
mod snapshots;
mod socket;
mod states;
mod streams;
mod summaries;
mod tail;
mod test_api;
mod test_faults;
mod test_layer;
mod test_timeline;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use annals::{Position, Store};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use serde::Serialize;
use tokio::time::timeout;

use self::gate::{Gates, Routes};
use crate::call::Call;
use crate::guard::guard;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;
use crate::tokens::Role;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Room for the headers of an answer: they are added one by one.
const HEADERS: usize = 12;

/// Every route, behind every check.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut gates = Gates::new(shared)
        .whole(Some(Role::Read), service::private_routes())
        .whole(None, service::public_routes())
        .whole(None, pages::routes());
    gates = of_stores(gates);
    if shared.parts().has_program {
        gates = of_programs(gates);
    }
    if shared.namespaces.has_test_api() {
        gates = of_tests(gates);
    }
    gates
        .into_router()
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(shared))
}

fn of_stores(gates: Gates<'_>) -> Gates<'_> {
    gates
        .of_stores(Role::Read, reads())
        .of_stores(Role::Read, groups::reads())
        .of_stores(Role::Write, appends())
        .of_stores(Role::Write, groups::consumption())
        .of_stores(Role::Admin, aggregate_changes())
        .of_stores(Role::Admin, groups::controls())
}

fn of_programs(gates: Gates<'_>) -> Gates<'_> {
    gates
        .of_namespaces(Role::Read, processors::reads())
        .of_namespaces(Role::Read, waits::routes())
        .of_namespaces(Role::Read, messages::reads())
        .of_namespaces(Role::Read, sagas::reads())
        .of_namespaces(Role::Read, states::reads())
        .of_namespaces(Role::Write, messages::writes())
        .of_namespaces(Role::Admin, sagas::controls())
        .of_namespaces(Role::Admin, processors::controls())
}

fn of_tests(gates: Gates<'_>) -> Gates<'_> {
    gates
        .of_namespaces(Role::Admin, test_api::routes())
        .of_namespaces(Role::Admin, test_faults::routes())
        .of_namespaces(Role::Admin, test_timeline::routes())
        .of_namespaces(Role::Admin, waits::test_routes())
}

fn reads() -> Routes {
    vec![
        ("/v1/streams/{aggregateId}", get(streams::info)),
        ("/v1/streams/{aggregateId}/events", get(streams::events)),
        ("/v1/streams/{aggregateId}/snapshot", get(snapshots::latest)),
        ("/v1/events", get(query::events)),
        ("/v1/events/{event}", get(streams::event)),
        ("/v1/query", post(query::query)),
        ("/v1/count", get(query::count)),
        ("/v1/explain", get(query::explain)),
        ("/v1/lists/{field}", get(summaries::list)),
        ("/v1/statistics", get(summaries::statistics)),
        ("/v1/trend", get(summaries::trend)),
        ("/v1/heatmap", get(summaries::heatmap)),
        ("/v1/traces/{correlationId}", get(summaries::trace)),
        ("/v1/tail", get(tail::tail)),
        ("/v1/socket", get(socket::socket)),
        ("/v1/store", get(service::store)),
        ("/v1/archives", get(archives::archives)),
    ]
}

fn appends() -> Routes {
    vec![
        ("/v1/streams/{aggregateId}/events", post(append::append)),
        ("/v1/streams/{aggregateId}/snapshot", put(snapshots::save)),
        ("/v1/appends", post(several::append)),
        ("/v1/events", post(several::append_events)),
    ]
}

fn aggregate_changes() -> Routes {
    vec![
        ("/v1/streams/{aggregateId}", delete(changes::delete)),
        ("/v1/streams/{aggregateId}/limits", put(changes::set_limits)),
        (
            "/v1/streams/{aggregateId}/events-before/{version}",
            delete(changes::truncate),
        ),
    ]
}

async fn not_found(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    guard(&shared, None, request, async |request: Request| {
        let path = request.uri().path();
        let detail = format!("there is nothing at {path}: /openapi.json lists what there is");
        Problem::new(Kind::NotFound, detail).into_response()
    })
    .await
}

async fn wrong_method(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    guard(&shared, None, request, async |request: Request| {
        let detail = format!("{} is no method of {}", request.method(), request.uri().path());
        Problem::new(Kind::Method, detail).into_response()
    })
    .await
}

/// An answer of one JSON value.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(typed(status, JSON, bytes))
}

/// An answer of these bytes.
pub(crate) fn typed(status: StatusCode, media: HeaderValue, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    response.headers_mut().reserve(HEADERS);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

/// Waits until the event at `position` is visible, if a read asks for that.
///
/// # Errors
///
/// [`Kind::NotVisible`] if it is not in time.
pub(crate) async fn await_visible(
    call: &Call,
    position: Option<Position>,
    wait: Option<Duration>,
) -> Result<(), Problem> {
    let Some(position) = position else {
        return Ok(());
    };
    let wait = wait.unwrap_or(call.shared.limits.wait).min(call.shared.limits.wait);
    // The end of the wait, by time or because the store was closed, is found below.
    drop(timeout(wait, call.store.when_visible(position)).await);
    let visible = call.store.visible();
    if visible >= position {
        return Ok(());
    }
    let detail = format!("position {position} is not visible: the last visible position is {visible}");
    Err(Problem::new(Kind::NotVisible, detail).with("visible", visible.0))
}

/// The handle of the store that acknowledges with the durability that a request asks for.
///
/// # Errors
///
/// A [`Problem`] if the store does not promise it.
pub(crate) fn handle(call: &mut Call) -> Result<Store, Problem> {
    let wanted = call.params.parsed("durability", "volatile, written or synced")?;
    match wanted {
        None => Ok(call.store.clone()),
        Some(durability) => Ok(call.store.with_durability(durability)?),
    }
}
