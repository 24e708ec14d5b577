//! One operation, and what is common to several.

use crate::problem::Kind;

/// The parameters by which reads wait for a position.
pub(super) const WAITS: &[&str] = &["minPosition", "timeoutSeconds"];

/// The body of an operation's request.
pub(super) enum Body {
    /// JSON of this schema.
    Json(&'static str),
    /// An event, a list, or NDJSON.
    Events,
}

/// The body of an operation's response.
pub(super) enum Reply {
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or NDJSON of events.
    Page(&'static str),
    /// JSON of this schema, or NDJSON of the other.
    Lines(&'static str, &'static str),
    /// Server-sent events.
    EventStream,
    /// A WebSocket.
    Socket,
    /// Metrics in one of two formats.
    Metrics,
}

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// Names of parameters.
    pub(super) parameters: Vec<&'static str>,
    pub(super) body: Option<Body>,
    pub(super) replies: &'static [(u16, &'static str, Reply)],
    /// The types of problems beside those of all operations.
    pub(super) problems: &'static [Kind],
}

/// Problems of every operation.
pub(super) const ALWAYS: &[Kind] = &[
    Kind::Invalid,
    Kind::Unauthorized,
    Kind::Forbidden,
    Kind::CrossOrigin,
    Kind::Misdirected,
    Kind::Internal,
    Kind::Busy,
];
/// Problems of every operation in a namespace.
pub(super) const IN_NAMESPACE: &[Kind] = &[Kind::NoNamespace];
/// Problems of every operation with a body.
pub(super) const WITH_BODY: &[Kind] = &[Kind::BodyTimeout, Kind::TooLarge, Kind::MediaType];

pub(super) fn with(lists: &[&[&'static str]]) -> Vec<&'static str> {
    lists.concat()
}

pub(super) fn get(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        id,
        tag,
        summary,
        parameters: Vec::new(),
        body: None,
        replies: &[],
        problems: &[],
    }
}

pub(super) fn of(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Operation {
    Operation {
        method,
        ..get(path, id, tag, summary)
    }
}
