//! The layer around every request and response.

use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, HOST, ORIGIN, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::call::Passage;
use crate::logs;
use crate::metrics::Answered;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;
use crate::tokens::Role;

/// The id of a request, which the answer repeats.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of servers whose stores do not survive the process.
const EPHEMERAL: HeaderName = HeaderName::from_static("annals-ephemeral");
/// Whether the request is from a page of another site, according to the browser.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Bytes of the id of a request, at most; a longer one is replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The time for which a browser uses only TLS for a name: a year.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether a connection has bytes of a body that no handler read: it lingers then, so that the answer arrives before the connection breaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(pub(crate) Arc<AtomicBool>);

/// The route that answers.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path, without a namespace: one of a closed set.
    pub(crate) path: &'static str,
    /// The role that it needs; `None` for routes that return no data of a store.
    pub(crate) role: Option<Role>,
    /// The namespace that the address names, which may be anything.
    pub(crate) namespace: Option<Cow<'static, str>>,
}

/// Checks a request, runs it within its time, and completes its answer.
pub(crate) async fn guard<F>(
    shared: &Shared,
    found: Option<&Found>,
    mut request: Request,
    run: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = method_name(request.method());
    let span = logs::request(&id, method);
    shared.on_request.call(&span, request.headers());
    if let Some(found) = found {
        logs::found(&span, found.path, found.namespace.as_deref());
    }
    let unread = request.extensions().get::<Unread>().cloned();
    let passage = Passage {
        role: found.and_then(|found| found.role),
        is_body_read: Arc::default(),
    };
    let has_body = !request.body().is_end_stream();
    let is_tls_only = is_tls_only(shared, &request);
    request.extensions_mut().insert(passage.clone());
    let mut response = match check(shared, &request) {
        // As the answer to a request whose head does not fit into the buffer of its connection.
        _ if head_bytes(&request) > shared.limits.header_bytes => {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
        }
        Ok(()) => answer(shared, run(request)).instrument(span.clone()).await,
        Err(problem) => problem.into_response(),
    };
    if has_body && !passage.is_body_read.load(Ordering::Relaxed) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(unread) = unread {
            unread.0.store(true, Ordering::Relaxed);
        }
    }
    let answered = Answered {
        method,
        route: found.map(|found| found.path),
        status: response.status(),
        problem: response.extensions().get().copied(),
        took: began.elapsed(),
    };
    shared.metrics.answered(&answered);
    logs::ended(&span, &answered);
    let namespace = found.and_then(|found| found.namespace.as_deref());
    logs::answered(&id, &answered, namespace);
    if answered.problem == Some(Kind::JournalFailed) {
        logs::journals_failed(&shared.namespaces, &shared.faults_logged);
    }
    if is_tls_only {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    complete(response, shared, id)
}

/// Bytes of the request line and the headers. The buffer of a connection bounds them only roughly: it is read in large pieces.
fn head_bytes(request: &Request) -> usize {
    let (uri, target) = (request.uri(), request.uri().path_and_query());
    let authority = uri
        .scheme()
        .and(uri.authority())
        .map_or(0, |authority| authority.as_str().len());
    let line = request.method().as_str().len() + authority + target.map_or(0, |target| target.as_str().len());
    // Each line has a separator and an end; the request line has its version too.
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + "  HTTP/1.1\r\n\r\n".len() + headers.sum::<usize>()
}

/// Whether the client may reach the name that it has used by TLS alone. `localhost` is of other programs too.
fn is_tls_only(shared: &Shared, request: &Request) -> bool {
    let named = |host: Authority| shared.hosts.iter().any(|known| known == host.host());
    shared.tls.is_some() && host_of(request).is_ok_and(named)
}

/// The method in lower case; one of a closed set.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "post",
        "PUT" => "put",
        "DELETE" => "delete",
        _ => "other",
    }
}

/// The answer of the routes, in time, and without a panic.
async fn answer(shared: &Shared, running: impl Future<Output = Response>) -> Response {
    let time = shared.limits.request_time + shared.limits.body_time;
    let running = AssertUnwindSafe(running).catch_unwind();
    match timeout(time, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::new(Kind::Internal, "the request failed within the server").into_response(),
        Err(_) => Problem::new(Kind::Busy, "the request took too long").into_response(),
    }
}

fn complete(mut response: Response, shared: &Shared, id: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if shared.is_ephemeral {
        headers.insert(EPHEMERAL, HeaderValue::from_static("true"));
    }
    response
}

/// The id that the client gave, if it is short and visible; otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let id = Uuid::from_bytes(next_id());
        // Hexadecimal digits and hyphens.
        HeaderValue::try_from(id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// A number that this process gives out once, behind one that other processes do not have.
pub(crate) fn next_id() -> [u8; 16] {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::atomic::AtomicU64;

    static PROCESS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Seeded by the operating system.
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(0_u8));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    (u128::from(*process) << 64 | u128::from(number)).to_be_bytes()
}

fn check(shared: &Shared, request: &Request) -> Result<(), Problem> {
    let host = host_of(request)?;
    check_host(shared, &host)?;
    check_origin(request.method(), request.headers(), &host, shared.tls.is_some())
}

/// The host and the port that the client names, in lower case.
fn host_of(request: &Request) -> Result<Authority, Problem> {
    let missing = || Problem::invalid("the header Host is missing or invalid");
    let mut given = request.headers().get_all(HOST).iter();
    let text = match (request.uri().authority(), given.next(), given.next()) {
        (_, Some(_), Some(_)) => return Err(missing()),
        (Some(authority), _, _) => authority.as_str(),
        (None, given, _) => given.and_then(|given| given.to_str().ok()).ok_or_else(missing)?,
    };
    let host: Authority = text.to_ascii_lowercase().parse().map_err(|_| missing())?;
    // An authority may have a user, which no host has.
    if text.contains('@') { Err(missing()) } else { Ok(host) }
}

/// A name that an attacker resolves to this server is not among the known names. An address cannot be resolved to another server.
fn check_host(shared: &Shared, host: &Authority) -> Result<(), Problem> {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_known = name == "localhost"
        || name.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok()
        || shared.hosts.iter().any(|known| known == name);
    if is_known {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Misdirected,
        format!("the server does not know the host '{name}': start it with --host {name} to permit it"),
    ))
}

/// A page of another origin must neither write nor read. Without TLS here, a proxy before the server may have it.
fn check_origin(method: &Method, headers: &HeaderMap, host: &Authority, has_tls: bool) -> Result<(), Problem> {
    let refuse = |what: &str| {
        Err(Problem::new(
            Kind::CrossOrigin,
            format!("{what}: pages of other origins have no access"),
        ))
    };
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_own = origin == format!("https://{host}") || !has_tls && origin == format!("http://{host}");
        if !is_own {
            return refuse(&format!("Origin is '{origin}'"));
        }
    }
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    // A form of another site navigates too, and may change something.
    let is_link = method.is_safe() && headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate");
    match site {
        Some(b"cross-site" | b"same-site") if !is_link => refuse("Sec-Fetch-Site names another site"),
        _ => Ok(()),
    }
}
