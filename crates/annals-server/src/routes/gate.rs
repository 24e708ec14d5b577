//! The gate of every route: the checks of every request, the token, and the faults of tests.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use percent_encoding::percent_decode_str;

use super::test_layer;
use crate::guard::{Found, guard};
use crate::shared::{DEFAULT, Shared};
use crate::tokens::{Role, permit};

/// Paths with their methods.
pub(super) type Routes = Vec<(&'static str, MethodRouter<Arc<Shared>>)>;

/// How the paths of namespaces begin.
const IN_NAMESPACE: &str = "/v1/ns/";

/// Where the namespace of a request is named.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The route is of the whole server.
    Nowhere,
    /// The path names none: it is the default.
    Default,
    Path,
}

/// A route, and the rights that it needs.
#[derive(Debug)]
struct Gate {
    shared: Arc<Shared>,
    path: &'static str,
    place: Place,
    /// `None` for routes that return no data of a store.
    role: Option<Role>,
    /// Whether rules of the test API make its requests fail.
    has_faults: bool,
}

/// The routes, each behind its gate. One layer does all: a layer of axum costs an allocation for the service, and one for the answer.
#[derive(Debug)]
pub(super) struct Gates<'a> {
    shared: &'a Arc<Shared>,
    router: Router<Arc<Shared>>,
}

impl<'a> Gates<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        Self {
            shared,
            router: Router::new(),
        }
    }

    /// Adds routes of the whole server.
    pub(super) fn whole(self, role: Option<Role>, routes: Routes) -> Self {
        routes.into_iter().fold(self, |gates, (path, methods)| {
            let gate = gates.gate(path, Place::Nowhere, role);
            gates.add(path, gate, methods)
        })
    }

    /// Adds routes of namespaces: at `/v1/PATH` for the default one, and at `/v1/ns/NAME/PATH`.
    pub(super) fn of_namespaces(self, role: Role, routes: Routes) -> Self {
        self.in_both_places(role, false, routes)
    }

    /// Adds routes of namespaces whose requests meet the faults of the test API, if the server has it.
    pub(super) fn of_stores(self, role: Role, routes: Routes) -> Self {
        let has_faults = self.shared.namespaces.has_test_api();
        self.in_both_places(role, has_faults, routes)
    }

    fn in_both_places(self, role: Role, has_faults: bool, routes: Routes) -> Self {
        routes.into_iter().fold(self, |gates, (path, methods)| {
            let gate = |place| Gate {
                has_faults,
                ..gates.gate(path, place, Some(role))
            };
            let (default, named) = (gate(Place::Default), gate(Place::Path));
            let rest = path.strip_prefix("/v1/").unwrap_or(path);
            gates.add(path, default, methods.clone()).add(
                &format!("{IN_NAMESPACE}{{namespace}}/{rest}"),
                named,
                methods,
            )
        })
    }

    fn gate(&self, path: &'static str, place: Place, role: Option<Role>) -> Gate {
        Gate {
            shared: Arc::clone(self.shared),
            path,
            place,
            role,
            has_faults: false,
        }
    }

    fn add(mut self, path: &str, gate: Gate, methods: MethodRouter<Arc<Shared>>) -> Self {
        let layer = from_fn_with_state(Arc::new(gate), enter);
        self.router = self.router.route(path, methods.route_layer(layer));
        self
    }

    pub(super) fn into_router(self) -> Router<Arc<Shared>> {
        self.router
    }
}

impl Gate {
    fn found(&self, request: &Request) -> Found {
        let namespace = match self.place {
            Place::Nowhere => None,
            Place::Default => Some(Cow::Borrowed(DEFAULT)),
            Place::Path => namespace_of(request.uri().path()).map(Cow::Owned),
        };
        Found {
            path: self.path,
            role: self.role,
            namespace,
        }
    }
}

/// The namespace that a path names, which may be anything; `None` if it is not UTF-8.
fn namespace_of(path: &str) -> Option<String> {
    let name = path.strip_prefix(IN_NAMESPACE)?.split('/').next()?;
    let decoded = percent_decode_str(name).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Runs a request within all checks.
async fn enter(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let found = gate.found(&request);
    guard(&gate.shared, Some(&found), request, |request| {
        pass(&gate, &found, request, next)
    })
    .await
}

async fn pass(gate: &Gate, found: &Found, request: Request, next: Next) -> Response {
    let namespace = found.namespace.as_deref();
    if let Some(role) = found.role
        && let Err(problem) = permit(&gate.shared.tokens, request.headers(), role, namespace)
    {
        return problem.into_response();
    }
    if gate.has_faults {
        test_layer::run(&gate.shared, gate.path, request, next).await
    } else {
        next.run(request).await
    }
}
