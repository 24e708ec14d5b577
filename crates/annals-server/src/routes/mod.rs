//! The routes, and their shared parts.

mod append;
mod archives;
mod changes;
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
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use serde::Serialize;
use tokio::time::timeout;

use crate::call::Call;
use crate::gate::{self, Gate};
use crate::guard;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;
use crate::tokens::Role;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Every route, behind every check.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let namespace = namespace_routes(shared);
    Router::new()
        .nest("/v1/ns/{namespace}", namespace.clone())
        .nest("/v1", namespace)
        .merge(gated(shared, Some(Role::Read), service::private_routes()))
        .merge(gated(shared, None, service::public_routes()))
        .merge(gated(shared, None, pages::routes()))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(shared), guard::guard))
        .with_state(Arc::clone(shared))
}

/// Routes that need a token of `role`, if the server has tokens; of none, they are public.
fn gated(shared: &Arc<Shared>, role: Option<Role>, routes: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    let shared = Arc::clone(shared);
    routes.route_layer(axum::middleware::from_fn_with_state(Gate { shared, role }, gate::gate))
}

/// The routes of one namespace.
fn namespace_routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let has_test_api = shared.namespaces.has_test_api();
    let of_stores = |role, routes: Router<Arc<Shared>>| {
        let routes = if has_test_api {
            let layer = axum::middleware::from_fn_with_state(Arc::clone(shared), test_layer::layer);
            routes.route_layer(layer)
        } else {
            routes
        };
        gated(shared, Some(role), routes)
    };
    let mut routes = of_stores(Role::Read, reads().merge(groups::reads()))
        .merge(of_stores(Role::Write, appends().merge(groups::consumption())))
        .merge(of_stores(Role::Admin, aggregate_changes().merge(groups::controls())));
    if shared.parts().has_program {
        routes = routes
            .merge(gated(
                shared,
                Some(Role::Read),
                processors::reads().merge(waits::routes()),
            ))
            .merge(gated(shared, Some(Role::Read), messages::reads()))
            .merge(gated(shared, Some(Role::Write), messages::writes()))
            .merge(gated(shared, Some(Role::Read), sagas::reads().merge(states::reads())))
            .merge(gated(
                shared,
                Some(Role::Admin),
                sagas::controls().merge(processors::controls()),
            ));
    }
    if has_test_api {
        let of_tests = test_api::routes()
            .merge(test_faults::routes())
            .merge(test_timeline::routes())
            .merge(waits::test_routes());
        return routes.merge(gated(shared, Some(Role::Admin), of_tests));
    }
    routes
}

fn reads() -> Router<Arc<Shared>> {
    Router::new()
        .route("/streams/{aggregateId}", get(streams::info))
        .route("/streams/{aggregateId}/events", get(streams::events))
        .route("/streams/{aggregateId}/snapshot", get(snapshots::latest))
        .route("/events", get(query::events))
        .route("/events/{event}", get(streams::event))
        .route("/query", post(query::query))
        .route("/count", get(query::count))
        .route("/explain", get(query::explain))
        .route("/lists/{field}", get(summaries::list))
        .route("/statistics", get(summaries::statistics))
        .route("/trend", get(summaries::trend))
        .route("/heatmap", get(summaries::heatmap))
        .route("/traces/{correlationId}", get(summaries::trace))
        .route("/tail", get(tail::tail))
        .route("/socket", get(socket::socket))
        .route("/store", get(service::store))
        .route("/archives", get(archives::archives))
}

fn appends() -> Router<Arc<Shared>> {
    Router::new()
        .route("/streams/{aggregateId}/events", post(append::append))
        .route("/streams/{aggregateId}/snapshot", put(snapshots::save))
        .route("/appends", post(several::append))
        .route("/events", post(several::append_events))
}

fn aggregate_changes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/streams/{aggregateId}", delete(changes::delete))
        .route("/streams/{aggregateId}/limits", put(changes::set_limits))
        .route(
            "/streams/{aggregateId}/events-before/{version}",
            delete(changes::truncate),
        )
}

async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    Problem::new(
        Kind::NotFound,
        format!("there is nothing at {path}: /openapi.json lists what there is"),
    )
    .into_response()
}

async fn wrong_method(request: Request) -> Response {
    let detail = format!("{} is no method of {}", request.method(), request.uri().path());
    Problem::new(Kind::Method, detail).into_response()
}

/// An answer of one JSON value.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(typed(status, JSON, bytes))
}

/// An answer of these bytes.
pub(crate) fn typed(status: StatusCode, media: HeaderValue, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
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
