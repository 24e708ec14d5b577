//! The log of the server, by `tracing`: a span for each request, and events for its response, for failures, and for the end of the server.
//!
//! What a client sends never enters a log, but for the id that it gives its request: no token, other header, parameter, segment of a path, or body.
//! The fields of a request are its id, method and route, the namespace, and the status, the type of problem and the duration of its answer. The
//! details of problems are left out: they repeat values of requests.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tracing::{Level, Span, field};

use crate::metrics::Answered;
use crate::names::check_name;
use crate::namespaces::Namespaces;
use crate::problem::Kind;
use crate::report::NamespaceReport;

/// The span of a request. [`found`] adds its route.
pub(crate) fn request(id: &HeaderValue, method: &'static str) -> Span {
    tracing::info_span!(
        "request",
        id = text(id),
        method,
        route = field::Empty,
        namespace = field::Empty,
        status = field::Empty,
        problem = field::Empty
    )
}

type Hook = dyn Fn(&Span, &HeaderMap) + Send + Sync;

/// What a program does with the span of a request and the headers of the request.
#[derive(Clone, Default)]
pub(crate) struct OnRequest(Option<Arc<Hook>>);

impl OnRequest {
    pub(crate) fn new(hook: impl Fn(&Span, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn call(&self, span: &Span, headers: &HeaderMap) {
        if let Some(hook) = &self.0 {
            hook(span, headers);
        }
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnRequest").field(&self.0.is_some()).finish()
    }
}

/// Ids of requests are visible ASCII.
fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// A name that a client gives is logged if it can be that of a namespace.
fn known(namespace: Option<&str>) -> Option<&str> {
    namespace.filter(|name| check_name(name).is_ok())
}

/// Adds the route, and the namespace that the path names, to the span of the request.
pub(crate) fn found(span: &Span, route: &str, namespace: Option<&str>) {
    span.record("route", route);
    if let Some(namespace) = known(namespace) {
        span.record("namespace", namespace);
    }
}

/// Adds the status and the problem of the answer to the span of the request.
pub(crate) fn ended(span: &Span, answered: &Answered) {
    // Signed: what exports spans keeps it a number.
    span.record("status", i64::from(answered.status.as_u16()));
    if let Some(problem) = answered.problem {
        span.record("problem", problem.name());
    }
}

/// Logs an answer: at `INFO`, and failures of the server above it. The event has all fields itself, so that it is whole without the span, which
/// a filter for warnings leaves out.
pub(crate) fn answered(id: &HeaderValue, answered: &Answered, namespace: Option<&str>) {
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                parent: None,
                $level,
                id = text(id),
                method = answered.method,
                route = answered.route,
                namespace = known(namespace),
                status = answered.status.as_u16(),
                problem = answered.problem.map(Kind::name),
                duration_us = u64::try_from(answered.took.as_micros()).unwrap_or(u64::MAX),
                "answered"
            )
        };
    }
    match answered.problem {
        Some(Kind::Internal | Kind::JournalFailed) => log!(Level::ERROR),
        Some(Kind::Busy | Kind::Unavailable | Kind::NotDurable) => log!(Level::WARN),
        _ => log!(Level::INFO),
    }
}

/// Logs why journals have failed, each once: they stay failed until their stores are opened again. `logged` are the namespaces that were logged.
pub(crate) fn journals_failed(namespaces: &Namespaces, logged: &Mutex<HashSet<String>>) {
    for (namespace, store) in namespaces.configured() {
        if let Some(fault) = store.fault()
            && logged.lock().insert(namespace.clone())
        {
            tracing::error!(namespace, %fault, "the journal has failed");
        }
    }
}

/// Logs the final state of a namespace.
pub(crate) fn closed(report: &NamespaceReport) {
    let (namespace, visible) = (report.name.as_str(), report.visible.0);
    let synced = report.synced.map(|position| position.0);
    if let Some(error) = &report.error {
        tracing::error!(namespace, visible, synced, %error, "the journal did not sync every event");
    } else {
        tracing::info!(namespace, visible, synced, "closed");
    }
}
