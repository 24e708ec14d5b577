//! Problem documents (RFC 9457): every refusal of the server is one, and every type of them is described at its own address.

use std::time::Duration;

use annals::cqrs::{SagaError, StopReason};
use annals::{Conflict, Error};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The media type of a problem document.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// The `Retry-After` of a request for which the server had no room.
const RETRY: Duration = Duration::from_secs(1);

macro_rules! kinds {
    ($($variant:ident, $name:literal, $status:ident, $title:literal, $meaning:literal;)*) => {
        /// A type of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $(#[doc = $title] $variant,)* }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The last part of the address in `type`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The fault, and what the client can do.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

kinds! {
    Invalid, "invalid-request", BAD_REQUEST, "The request is invalid",
        "A path, a parameter, a header or the body is invalid. Nothing was written. `detail` says what; `line` is the line of an NDJSON body.";
    Unauthorized, "unauthorized", UNAUTHORIZED, "A token is required",
        "The server has tokens, and the request has none or an unknown one. Send `Authorization: Bearer TOKEN`.";
    Forbidden, "forbidden", FORBIDDEN, "The token does not permit this",
        "The role or the namespace of the token does not suffice. Nothing was done. Use another token.";
    CrossOrigin, "cross-origin", FORBIDDEN, "A page of another origin sent the request",
        "`Origin` or `Sec-Fetch-Site` shows that a web page of another origin sent the request. Nothing was done.";
    ReadOnly, "read-only", FORBIDDEN, "The store is read-only",
        "The store was opened read-only. Nothing was written.";
    NoNamespace, "unknown-namespace", FORBIDDEN, "The namespace is unknown",
        "The server has no namespace of this name. Reading never creates one.";
    NotFound, "not-found", NOT_FOUND, "There is no such resource",
        "The path is unknown, or there is no such event, aggregate, conversation, processor, dead letter, saga, command, query or group.";
    Method, "method-not-allowed", METHOD_NOT_ALLOWED, "The resource has no such method",
        "The path exists, but not with this method. `Allow` lists the methods.";
    NotAcceptable, "not-acceptable", NOT_ACCEPTABLE, "The resource has no such representation",
        "`Accept` excludes every media type that the resource has.";
    BodyTimeout, "body-timeout", REQUEST_TIMEOUT, "The body took too long",
        "The client did not send the whole body in time. Nothing was written.";
    NotReached, "not-reached", REQUEST_TIMEOUT, "What was waited for did not come in time",
        "The position is not visible, or a group or processor has not handled its events. `detail` says which, and `visible`, `groups` or \
         `processor` how far it is. Nothing was changed.";
    VersionConflict, "version-conflict", CONFLICT, "The aggregate has another version",
        "`expectedVersion` does not match. Nothing was written. `actualVersion` is the version of the last event: read the stream again with \
         `minPosition` at `position`, and decide again.";
    ConditionFailed, "condition-failed", CONFLICT, "The condition does not hold",
        "An event matches the query of the condition; `position` is the first. Nothing was written. Read with `minPosition`, and decide again.";
    EventKnown, "event-known", CONFLICT, "Some events are stored already",
        "The aggregate has an event with one of the ids, and the append is not a repetition of the one that stored it. Append the new events alone.";
    NotVisible, "position-not-visible", CONFLICT, "The position is not visible yet",
        "No event at `minPosition` became visible in time; `visible` is the last visible position. Repeat the request.";
    GroupStopped, "group-stopped", CONFLICT, "The group has stopped",
        "Events were dropped before a consumer had them, another process has taken the group over, or its place cannot be stored. `detail` says \
         which. Resume the group; of dropped events, define it with `skipGaps` before.";
    MessageConflict, "message-conflict", CONFLICT, "The command conflicts with what has happened",
        "The program refused the command or query because of the present state. Read again, and decide again.";
    ProcessorEnded, "processor-ended", CONFLICT, "The processor has ended",
        "The program has ended the processor, or its store was closed. Only the program can start it again.";
    SagaNotRunning, "saga-not-running", CONFLICT, "The saga does not run",
        "The processor of the saga is paused, has stopped or has ended. Nothing was changed. `detail` says which. Resume it, and repeat the request.";
    NoState, "no-state", CONFLICT, "The state cannot be shown",
        "An event does not decode, events that the state depends on are gone, or the state is too large or no JSON. `detail` says which.";
    Gone, "aggregate-deleted", GONE, "The aggregate was deleted for ever",
        "The aggregate has a tombstone. Nothing was written. Use another id.";
    Precondition, "precondition-failed", PRECONDITION_FAILED, "The precondition failed",
        "`If-Match` or `If-None-Match` does not match the version of the aggregate. Nothing was written. `actualVersion` is the version.";
    TooLarge, "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The body exceeds `limitBytes`. Nothing was written. Send several smaller requests.";
    MediaType, "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported",
        "The body must be application/json, or application/x-ndjson where the operation says so, and not compressed. Nothing was written.";
    Misdirected, "unknown-host", MISDIRECTED_REQUEST, "The server does not answer to this host name",
        "`Host` is not an address, `localhost` or a name that the server was given. This keeps web pages from reaching a local server by a name of \
         their own. Start the server with `--host NAME`.";
    KeyReused, "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key belongs to something else",
        "An earlier append or command with this `Idempotency-Key` stored other events. Nothing was written. Use a new key.";
    MessageRefused, "message-refused", UNPROCESSABLE_ENTITY, "The program refused the command or query",
        "The body was read, and a rule of the program forbids what it asks for. Nothing was done. `detail` is the program's reason.";
    Backlog, "backlog-full", TOO_MANY_REQUESTS, "The journal has no room",
        "The journal does not keep up with the appends. Nothing was written. Repeat the request after `Retry-After`.";
    Internal, "internal-error", INTERNAL_SERVER_ERROR, "The server failed",
        "A fault of the server. Whether an append was stored is unknown; with event ids or an `Idempotency-Key` it can be repeated safely.";
    JournalFailed, "journal-failed", INTERNAL_SERVER_ERROR, "The journal has failed",
        "The journal failed, and the store takes no appends until it is opened again. Whether the events of this request survive is unknown.";
    Unsupported, "not-supported", NOT_IMPLEMENTED, "The store cannot do this",
        "The kind of store does not have the operation. Nothing was written.";
    Busy, "busy", SERVICE_UNAVAILABLE, "The server is busy",
        "All workers or live tails are in use, or the request took too long. A read can be repeated; an append as after `internal-error`.";
    Unavailable, "store-unavailable", SERVICE_UNAVAILABLE, "The store is unavailable",
        "The store is closed, or its journal cannot be reached now. `detail` says whether events may be stored.";
    NotDurable, "not-durable-yet", GATEWAY_TIMEOUT, "The events are not durable yet",
        "The events are in the store, at the versions and positions of `appended`, but did not reach the requested durability in time. Do not \
         append them again.";
    Full, "store-full", INSUFFICIENT_STORAGE, "The store has no room",
        "The budget of the store is full, and it drops no events by itself. Nothing was written. Truncate, delete or archive aggregates, or raise the \
         budget: repeating the request alone does not help.";
}

/// The detail of a problem, for the timeline of the test API.
#[derive(Clone, Debug)]
pub(crate) struct Detail(pub(crate) String);

/// The answer to a request that is refused.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let is_retried = matches!(kind, Kind::Backlog | Kind::Busy | Kind::Unavailable);
        Self {
            kind,
            detail: detail.into(),
            members: Map::new(),
            retry_after: is_retried.then_some(RETRY),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail)
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A failed version check is a failed precondition, if a header asked for it.
    pub(crate) fn of_precondition(mut self) -> Self {
        if self.kind == Kind::VersionConflict {
            self.kind = Kind::Precondition;
        }
        self
    }

    fn of_conflict(conflict: &Conflict) -> Self {
        let detail = conflict.to_string();
        match conflict {
            Conflict::Version {
                stream,
                expected,
                actual,
                position,
            } => Self::new(Kind::VersionConflict, detail)
                .with("aggregateId", stream.aggregate_id.as_str())
                .with("expectedVersion", crate::wire::expected::to_json(*expected))
                .with("actualVersion", actual.0)
                .with("position", position.0),
            Conflict::Condition { position } => Self::new(Kind::ConditionFailed, detail).with("position", position.0),
            Conflict::EventKnown {
                stream,
                id,
                version,
                position,
            } => Self::new(Kind::EventKnown, detail)
                .with("aggregateId", stream.aggregate_id.as_str())
                .with("eventId", id.to_string())
                .with("version", version.0)
                .with("position", position.0),
            _ => Self::new(Kind::VersionConflict, detail),
        }
    }

    pub(crate) fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("type".to_owned(), format!("/problems/{}", self.kind.name()).into());
        document.insert("title".to_owned(), self.kind.title().into());
        document.insert("status".to_owned(), self.kind.status().as_u16().into());
        document.insert("detail".to_owned(), self.detail.clone().into());
        document.extend(self.members.clone());
        document.into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Some(conflict) = error.conflict() {
            return Self::of_conflict(conflict);
        }
        let kind = match &error {
            Error::Invalid { .. } => Kind::Invalid,
            Error::Deleted { .. } => Kind::Gone,
            Error::Full { .. } => Kind::Full,
            Error::Backlog { .. } => Kind::Backlog,
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::ReadOnly { .. } => Kind::ReadOnly,
            Error::Closed | Error::Unavailable { .. } => Kind::Unavailable,
            Error::Failed { .. } => Kind::JournalFailed,
            Error::Conflict(_) | Error::Unreadable { .. } | Error::Corrupt { .. } | _ => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// The dead letters of a processor, or its place, cannot be read or written.
impl From<StopReason> for Problem {
    fn from(reason: StopReason) -> Self {
        Self::new(Kind::Unavailable, reason.to_string())
    }
}

/// An instance of a saga cannot be read or changed.
impl From<SagaError> for Problem {
    fn from(error: SagaError) -> Self {
        let kind = match &error {
            SagaError::NotRunning { .. } => Kind::SagaNotRunning,
            SagaError::Unreadable { .. } => Kind::Unavailable,
            SagaError::OwnHandler { .. } | _ => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document().to_string()));
        *response.status_mut() = self.kind.status();
        // For the metrics.
        response.extensions_mut().insert(self.kind);
        response.extensions_mut().insert(Detail(self.detail));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

/// Every type, as `/problems` lists them.
pub(crate) fn catalogue() -> Value {
    Kind::ALL.iter().map(|kind| describe(*kind)).collect()
}

/// The description of a type, at its own address.
pub(crate) fn describe(kind: Kind) -> Value {
    json!({
        "type": format!("/problems/{}", kind.name()),
        "status": kind.status().as_u16(),
        "title": kind.title(),
        "meaning": kind.meaning(),
    })
}
