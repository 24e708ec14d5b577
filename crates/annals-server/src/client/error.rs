//! Errors of the client: those of the store again, where the server named one.

use std::fmt;

use annals::{Conflict, Error, Expected, Position, StreamId, Version};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::wire::expected;

/// The error of a call to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The store refused the call, as it refuses the same call in its own process.
    Store(Error),
    /// The server refused the call otherwise, for example for want of a token.
    Refused(Box<Refusal>),
    /// The server did not answer. Whether an append was stored is unknown.
    Unreachable {
        /// The URL of the server.
        url: String,
        /// The failed operation.
        reason: String,
    },
    /// The response is not one of a server of this version. Whether an append was stored is unknown.
    Answer {
        /// The URL of the server.
        url: String,
        /// The fault.
        reason: String,
    },
}

/// A refusal of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The type of the problem, such as `unauthorized`; empty if the answer has none.
    pub name: String,
    /// The message of the server.
    pub detail: String,
}

impl ClientError {
    /// The conflict, if the error is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        if let Self::Store(error) = self {
            error.conflict()
        } else {
            None
        }
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Refused(refusal) => write!(f, "the server refused with {}: {}", refusal.status, refusal.detail),
            Self::Unreachable { url, reason } => write!(f, "{url} does not answer: {reason}"),
            Self::Answer { url, reason } => write!(f, "the answer of {url} is invalid: {reason}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A problem document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: Option<String>,
    detail: Option<String>,
    aggregate_id: Option<String>,
    expected_version: Option<Value>,
    actual_version: Option<u64>,
    position: Option<u64>,
    event_id: Option<Uuid>,
    version: Option<u64>,
}

/// The error that an answer with this status and body is. `streams` are those of the request.
pub(super) fn of_answer(status: u16, body: &[u8], streams: &[&StreamId]) -> ClientError {
    let document: Document = serde_json::from_slice(body).unwrap_or_default();
    let name = document.kind.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(error) = document.store_error(&name, streams) {
        return error.into();
    }
    let detail = document.detail.or(document.title);
    ClientError::Refused(Box::new(Refusal {
        status,
        name,
        detail: detail.unwrap_or_else(|| "the answer is no problem document".to_owned()),
    }))
}

/// `None` if the server reports that the item does not exist.
pub(super) fn found<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Err(ClientError::Refused(refusal)) if refusal.name == "not-found" => Ok(None),
        other => other.map(Some),
    }
}

impl Document {
    fn store_error(&self, name: &str, streams: &[&StreamId]) -> Option<Error> {
        let detail = self.detail.as_deref().unwrap_or_default();
        // The message of the error has this beginning itself.
        let without = |beginning: &str| detail.strip_prefix(beginning).map(Into::into);
        match name {
            "version-conflict" | "precondition-failed" | "condition-failed" | "event-known" => {
                self.conflict(name, streams).map(Into::into)
            }
            "invalid-request" => Some(Error::Invalid { message: detail.into() }),
            "aggregate-deleted" => Some(Error::Deleted {
                aggregate_id: only(streams)?.aggregate_id.clone(),
            }),
            "store-full" => Some(Error::Full {
                message: without("the store is full: ").unwrap_or_else(|| detail.into()),
            }),
            "backlog-full" => Some(Error::Backlog {
                reason: without("the backlog of the journal is full: ").unwrap_or_else(|| detail.into()),
            }),
            "not-supported" => Some(Error::Unsupported {
                message: without("this store cannot ")?,
            }),
            "read-only" => Some(Error::ReadOnly {
                reason: "the server has opened it so",
            }),
            _ => None,
        }
    }

    fn conflict(&self, name: &str, streams: &[&StreamId]) -> Option<Conflict> {
        let position = Position(self.position?);
        match name {
            "condition-failed" => Some(Conflict::Condition { position }),
            "event-known" => Some(Conflict::EventKnown {
                stream: self.stream(streams)?,
                id: self.event_id?,
                version: Version(self.version?),
                position,
            }),
            _ => Some(Conflict::Version {
                stream: self.stream(streams)?,
                expected: self.expected()?,
                actual: Version(self.actual_version?),
                position,
            }),
        }
    }

    fn stream(&self, streams: &[&StreamId]) -> Option<StreamId> {
        let id = self.aggregate_id.as_deref()?;
        let stream = streams.iter().find(|stream| stream.aggregate_id.as_str() == id);
        stream.copied().cloned()
    }

    fn expected(&self) -> Option<Expected> {
        let value = self.expected_version.as_ref()?;
        let version = value.as_u64().map(Expected::exactly);
        version.or_else(|| expected::parse(value.as_str()?))
    }
}

fn only<'a>(streams: &[&'a StreamId]) -> Option<&'a StreamId> {
    match streams {
        [stream] => Some(stream),
        _ => None,
    }
}
