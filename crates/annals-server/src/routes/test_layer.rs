//! With the test API, the layer around every operation on a namespace: requests meet the faults that rules cause, and what is refused or changed is
//! added to the timeline. Appends add themselves.

use std::sync::Arc;

use annals::{Appended, Expected, Store};
use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _, RawPathParams, Request};
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::sleep;

use super::incoming;
use crate::body::Content;
use crate::call::{Call, role_of};
use crate::guard::method_name;
use crate::params::Params;
use crate::problem::{Detail, Kind, Problem};
use crate::shared::{DEFAULT, Shared};
use crate::test_state::{Effect, Happening, Strike, Subject, Target, TestState};
use crate::tokens::Role;
use crate::wire::expected;
use crate::work;

/// The fault of an answer, and the rule that caused it.
const FAULT: HeaderName = HeaderName::from_static("annals-fault");
/// The operations that append events.
const APPENDS: [&str; 3] = ["append", "appendAll", "appendEvents"];
/// Operations that change what is read without an append.
const CHANGES: [&str; 4] = ["delete", "truncateBefore", "setLimits", "saveSnapshot"];
/// Types of the events of an append that its entry names, at most.
const TYPES_MAX: usize = 10;
/// Bytes of a text of an entry, at most.
const TEXT_BYTES_MAX: usize = 1_024;

/// A request for an operation, before its body is read.
struct Seen {
    namespace: String,
    subject: Subject,
    /// The version that the aggregate of an append is to have, and whether a header says so.
    expected: Expected,
    is_precondition: bool,
}

/// Runs a request as the rules of its namespace say, and records the outcome.
pub(super) async fn run(shared: &Arc<Shared>, path: &'static str, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let request = Request::from_parts(parts, body);
    let Some(seen) = Seen::of(shared, path, params.ok().as_ref(), &request) else {
        return next.run(request).await;
    };
    let (strike, response) = match strike(shared, &seen, request).await {
        Ok((None, request)) => (None, next.run(request).await),
        Ok((Some(strike), request)) => (Some(strike), seen.fail(shared, strike, request, next).await),
        Err(problem) => (None, problem.into_response()),
    };
    seen.record(shared, strike, &response);
    response
}

impl Seen {
    fn of(shared: &Shared, path: &'static str, params: Option<&RawPathParams>, request: &Request) -> Option<Self> {
        let operation = shared.metrics.operations.of(method_name(request.method()), path)?;
        let segment = |name: &str| {
            let mut found = params.into_iter().flatten().filter(|(own, _)| *own == name);
            found.next().map(|(_, value)| value.to_owned())
        };
        let target = segment("aggregateId").map(|id| Target { id, kind: None });
        // An invalid one is refused later.
        let by_header = expected::of_headers(request.headers()).unwrap_or_default();
        let by_parameter = || expected::parse(&parameter(request.uri(), "expectedVersion")?);
        Some(Self {
            namespace: segment("namespace").unwrap_or_else(|| DEFAULT.to_owned()),
            subject: Subject {
                operation: operation.id,
                is_append: APPENDS.contains(&operation.id),
                is_read: role_of(request.extensions()) == Some(Role::Read),
                aggregates: target.into_iter().collect(),
                event_types: Vec::new(),
            },
            expected: by_header.or_else(by_parameter).unwrap_or_default(),
            is_precondition: by_header.is_some(),
        })
    }

    fn aggregate_id(&self) -> Option<&str> {
        let first = self.subject.aggregates.first();
        first.map(|target| cut(&target.id))
    }

    /// The answer to a request that a rule strikes.
    async fn fail(&self, shared: &Shared, strike: Strike, request: Request, next: Next) -> Response {
        shared.namespaces.record(&self.namespace, &self.fault(strike));
        sleep(strike.delay).await;
        let mut response = match strike.effect {
            Effect::Delay => next.run(request).await,
            Effect::LostAnswer => {
                drop(next.run(request).await);
                Problem::new(
                    Kind::Busy,
                    told(strike, "the answer is lost, and the request may have been carried out"),
                )
                .into_response()
            }
            effect @ (Effect::Conflict | Effect::Unavailable | Effect::Overload | Effect::Timeout) => {
                self.problem(shared, strike, effect).into_response()
            }
        };
        if let Ok(value) = HeaderValue::try_from(format!("{}; rule={}", name(strike.effect), strike.rule)) {
            response.headers_mut().insert(FAULT, value);
        }
        response
    }

    fn fault(&self, strike: Strike) -> Happening<'_> {
        Happening::Fault {
            rule: strike.rule,
            fault: strike.effect,
            operation: self.subject.operation,
            aggregate_id: self.aggregate_id(),
        }
    }

    /// The refusal of a request that is not carried out.
    fn problem(&self, shared: &Shared, strike: Strike, effect: Effect) -> Problem {
        let (kind, detail) = match effect {
            Effect::Conflict => return self.conflict(shared, strike),
            Effect::Unavailable => (Kind::Unavailable, "the store cannot be reached"),
            Effect::Overload if self.subject.is_read => (Kind::Busy, "every worker of the server is in use"),
            Effect::Overload => (Kind::Backlog, "the backlog of the journal is full"),
            Effect::Timeout | Effect::LostAnswer | Effect::Delay => (Kind::Busy, "the request took too long"),
        };
        Problem::new(kind, told(strike, detail))
    }

    /// What an append is told to which another writer has come first.
    fn conflict(&self, shared: &Shared, strike: Strike) -> Problem {
        let id = self.subject.aggregates.first().map_or("", |target| target.id.as_str());
        let store = shared.namespaces.get(&self.namespace);
        let version = store
            .as_ref()
            .and_then(|store| store.stream_info(id))
            .map_or(0, |info| info.version.0);
        let problem = Problem::new(Kind::VersionConflict, told(strike, "another writer came first"))
            .with("aggregateId", id)
            .with("expectedVersion", expected::to_json(self.expected))
            .with("actualVersion", version)
            .with("position", store.map_or(0, |store| store.visible().0));
        if self.is_precondition {
            problem.of_precondition()
        } else {
            problem
        }
    }

    /// Adds what came of the request to the timeline, unless a rule caused it.
    fn record(&self, shared: &Shared, strike: Option<Strike>, response: &Response) {
        let operation = self.subject.operation;
        let refusal = response.extensions().get::<Kind>();
        let is_own = strike.is_none_or(|strike| strike.effect == Effect::Delay);
        match refusal {
            Some(kind) if is_own && !self.subject.is_read => {
                let detail = response.extensions().get::<Detail>();
                let refused = Happening::Refused {
                    operation,
                    aggregate_id: self.aggregate_id(),
                    status: response.status().as_u16(),
                    problem: kind.name(),
                    detail: detail.map_or("", |detail| cut(&detail.0)),
                };
                shared.namespaces.record(&self.namespace, &refused);
            }
            None if CHANGES.contains(&operation) => {
                let aggregate_id = self.aggregate_id();
                shared.namespaces.record(
                    &self.namespace,
                    &Happening::Changed {
                        operation,
                        aggregate_id,
                    },
                );
            }
            _ => {}
        }
    }
}

/// The text up to the bytes that an entry has.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn told(strike: Strike, detail: &str) -> String {
    format!("{detail}: rule {} of the test API causes this fault", strike.rule)
}

fn name(effect: Effect) -> &'static str {
    match effect {
        Effect::Conflict => "conflict",
        Effect::Unavailable => "unavailable",
        Effect::Overload => "overload",
        Effect::Timeout => "timeout",
        Effect::LostAnswer => "lostAnswer",
        Effect::Delay => "delay",
    }
}

/// The fault that is due, and the request as it was.
///
/// # Errors
///
/// A [`Problem`] if the body had to be read and cannot be.
async fn strike(shared: &Arc<Shared>, seen: &Seen, request: Request) -> Result<(Option<Strike>, Request), Problem> {
    let state = shared.namespaces.test_state(&seen.namespace);
    let Some(state) = state.filter(|state| !state.with_faults(|faults| faults.is_empty())) else {
        return Ok((None, request));
    };
    let (subject, request) = completed(shared, seen, &state, request).await?;
    Ok((state.with_faults(|faults| faults.strike(&subject)), request))
}

/// The subject with the aggregates and types of events that rules ask for.
async fn completed(
    shared: &Arc<Shared>,
    seen: &Seen,
    state: &TestState,
    request: Request,
) -> Result<(Subject, Request), Problem> {
    let mut subject = seen.subject.clone();
    if !state.with_faults(|faults| faults.needs_body()) {
        return Ok((subject, request));
    }
    let (mut subject, request) = if subject.is_append {
        let (parts, body) = request.into_parts();
        let content = Content::from_request(Request::from_parts(parts.clone(), body), shared).await?;
        let bytes = content.bytes.clone();
        let given = parameter(&parts.uri, "aggregateType");
        let looking = work::run(shared, move || {
            look_into(&mut subject, &content, given);
            subject
        });
        (looking.await?, Request::from_parts(parts, Body::from(bytes)))
    } else {
        (subject, request)
    };
    if let Some(store) = shared.namespaces.get(&seen.namespace) {
        for target in subject.aggregates.iter_mut().filter(|target| target.kind.is_none()) {
            target.kind = store
                .stream_info(&target.id)
                .map(|info| info.stream.aggregate_type.to_string());
        }
    }
    Ok((subject, request))
}

fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut params = Params::parse(uri.query()).ok()?;
    params.one(name).ok()?
}

/// The parts of `POST /appends` that rules ask for. The operation itself checks the others.
#[derive(Deserialize)]
struct LooseAppends {
    appends: Vec<LooseAppend>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseAppend {
    aggregate_id: String,
    aggregate_type: Option<String>,
    events: Vec<LooseEvent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseEvent {
    event_type: String,
}

/// Adds what the body of an append names. Of an invalid body, which is refused later, it adds nothing.
fn look_into(subject: &mut Subject, content: &Content, given: Option<String>) {
    if subject.operation == "appendAll" {
        let Ok(body) = serde_json::from_slice::<LooseAppends>(&content.bytes) else {
            return;
        };
        for append in body.appends {
            let (id, kind) = (append.aggregate_id, append.aggregate_type);
            subject.aggregates.push(Target { id, kind });
            subject
                .event_types
                .extend(append.events.into_iter().map(|event| event.event_type));
        }
        return;
    }
    let Ok(events) = incoming::read(content) else {
        return;
    };
    let has_path = !subject.aggregates.is_empty();
    for event in events {
        subject.event_types.push(event.event.event_type.into_owned());
        match event.aggregate_id.filter(|_| !has_path) {
            Some(id) => subject.aggregates.push(Target {
                id,
                kind: event.aggregate_type,
            }),
            None => name_type(subject, event.aggregate_type),
        }
    }
    name_type(subject, given);
}

/// The type of the aggregate that the path names.
fn name_type(subject: &mut Subject, kind: Option<String>) {
    if let (Some(target), Some(kind)) = (subject.aggregates.first_mut(), kind) {
        target.kind.get_or_insert(kind);
    }
}

/// Adds an append to the timeline of its namespace, if it has one.
pub(super) fn appended(call: &Call, aggregate_id: &str, appended: &Appended) {
    let Some(state) = call.shared.namespaces.test_state(&call.namespace) else {
        return;
    };
    let (aggregate_type, event_types) = names_of(&call.store, aggregate_id, appended);
    let happening = Happening::Appended {
        aggregate_id: cut(aggregate_id),
        aggregate_type,
        first_version: appended.first_version.0,
        last_version: appended.last_version.0,
        first_position: appended.first_position.0,
        last_position: appended.last_position.0,
        event_types,
        repeated: appended.repeated,
    };
    state.record(call.store.now(), &happening);
}

/// The type of an aggregate, and the types of the first events of an append. Those that were dropped since are missing.
fn names_of(store: &Store, aggregate_id: &str, appended: &Appended) -> (String, Vec<String>) {
    let info = store.stream_info(aggregate_id);
    let aggregate_type = info.map_or_else(String::new, |info| cut(&info.stream.aggregate_type).to_owned());
    let count = appended.last_version.0 + 1 - appended.first_version.0;
    let limit = usize::try_from(count).unwrap_or(TYPES_MAX).min(TYPES_MAX);
    let read = store
        .read_stream(aggregate_id)
        .from(appended.first_version)
        .limit(limit);
    let events = read.events();
    let types = events.iter().filter(|event| event.version() <= appended.last_version);
    let types = types.map(|event| cut(event.event_type()).to_owned());
    (aggregate_type, types.collect())
}
