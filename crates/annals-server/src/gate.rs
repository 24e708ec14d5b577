//! The gate of every route: checks the token, and counts the response under the name of the route.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::logs;
use crate::shared::{DEFAULT, Shared};
use crate::tokens::{Role, permit};

/// The route that answered.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Its path in the router, one of a closed set.
    pub(crate) path: String,
    /// The namespace that the address names, which may be anything.
    pub(crate) namespace: Option<String>,
}

/// The rights that a route needs.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    /// `None` for routes that return no data of a store.
    pub(crate) role: Option<Role>,
}

/// Checks the token of a request, and names the route in its answer.
pub(crate) async fn gate(
    State(gate): State<Gate>,
    path: MatchedPath,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_in_namespace = path.as_str().starts_with("/v1/");
    let named = params.as_ref().ok().and_then(|params| {
        let mut found = params.iter().filter(|(name, _)| *name == "namespace");
        found.next().map(|(_, value)| value)
    });
    let namespace = named.or(is_in_namespace.then_some(DEFAULT));
    let route = Route {
        path: path.as_str().replacen("/v1/ns/{namespace}/", "/v1/", 1),
        namespace: namespace.map(str::to_owned),
    };
    logs::found(&route.path, namespace);
    let permitted = gate.role.map_or(Ok(()), |role| {
        permit(&gate.shared.tokens, request.headers(), role, namespace)
    });
    if let Some(role) = gate.role {
        request.extensions_mut().insert(role);
    }
    let mut response = match permitted {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(route);
    response
}
