//! Pages of events: bounded in number and in bytes, as one document or as lines.

use annals::{Event, Gap, Position};
use axum::http::header::LINK;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};

use super::{JSON, NDJSON, typed};
use crate::call::{Accepted, Call};
use crate::limits::Limits;
use crate::problem::Problem;
use crate::wire::cloud;
use crate::wire::event::to_line;

/// Events of a page, if the request names no number.
const EVENTS: usize = 100;
/// Events that are copied from the store at once: what a page of great events takes beyond its bytes.
pub(super) const STEP: usize = 100;

const CLOUD_EVENTS: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");
/// The position as of which a page is complete.
const AS_OF: HeaderName = HeaderName::from_static("annals-as-of");
/// Events that were dropped from the range of a page.
const MISSING: HeaderName = HeaderName::from_static("annals-missing-events");

/// The format of the events of a page.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Own,
    /// As `CloudEvents` of this source.
    Cloud(String),
}

impl Form {
    /// The form that the client accepts.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it accepts none.
    pub(super) fn of(call: &Call) -> Result<Self, Problem> {
        Ok(match call.accepted()? {
            Accepted::CloudEvents => Self::Cloud(call.base.clone()),
            Accepted::Json | Accepted::Lines => Self::Own,
        })
    }

    fn line(&self, event: &Event) -> Vec<u8> {
        match self {
            Self::Own => to_line(event),
            Self::Cloud(source) => cloud::to_line(event, source),
        }
    }
}

/// A page, as lines of JSON.
#[derive(Debug)]
pub(super) struct Page {
    form: Form,
    pub(super) lines: Vec<Vec<u8>>,
    payload_bytes: usize,
    pub(super) next: Option<String>,
    pub(super) gaps: Vec<Gap>,
    pub(super) as_of: Position,
    /// Members of the document beside the events.
    pub(super) members: Map<String, Value>,
}

/// The number of events that a request asks for.
///
/// # Errors
///
/// A [`Problem`] if it is 0 or too large.
pub(super) fn limit(asked: Option<usize>, limits: &Limits) -> Result<usize, Problem> {
    let most = limits.page_events;
    let limit = asked.unwrap_or(EVENTS.min(most));
    if limit == 0 || limit > most {
        return Err(Problem::invalid(format!("limit is {limit}, but must be 1 to {most}")));
    }
    Ok(limit)
}

impl Page {
    /// An empty page of the log up to `as_of`.
    pub(super) fn new(form: Form, as_of: Position) -> Self {
        Self {
            form,
            lines: Vec::new(),
            payload_bytes: 0,
            next: None,
            gaps: Vec::new(),
            as_of,
            members: Map::new(),
        }
    }

    /// Adds events until the page has `bytes` of data and metadata. Returns how many were added; a page has one at least.
    pub(super) fn fill(&mut self, events: &[Event], bytes: usize) -> usize {
        let mut added = 0;
        for event in events {
            let own = event.data().len() + event.metadata().len();
            if !self.lines.is_empty() && self.payload_bytes + own > bytes {
                break;
            }
            self.payload_bytes += own;
            self.lines.push(self.form.line(event));
            added += 1;
        }
        added
    }

    /// The answer in the representation that the client accepts; `Link` names the next page.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the page cannot be written, or the client accepts no representation.
    pub(super) fn into_response(self, call: &Call, has_link: bool) -> Result<Response, Problem> {
        let link = self
            .next
            .as_deref()
            .filter(|_| has_link)
            .map(|cursor| call.link(cursor));
        let missing: u64 = self.gaps.iter().map(|gap| gap.count).sum();
        let as_of = self.as_of;
        let mut response = match call.accepted()? {
            Accepted::Json => typed(StatusCode::OK, JSON, self.document()),
            Accepted::Lines => typed(StatusCode::OK, NDJSON, self.text()),
            Accepted::CloudEvents => typed(StatusCode::OK, CLOUD_EVENTS, self.list()),
        };
        let headers = response.headers_mut();
        headers.insert(AS_OF, HeaderValue::from(as_of.0));
        if missing > 0 {
            headers.insert(MISSING, HeaderValue::from(missing));
        }
        if let Some(link) = link {
            let link = HeaderValue::try_from(format!("<{link}>; rel=\"next\""));
            headers.insert(
                LINK,
                link.map_err(|_| Problem::invalid("the address has bytes that no link can have"))?,
            );
        }
        Ok(response)
    }

    fn text(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.iter().copied().chain([b'\n']))
            .collect()
    }

    fn list(&self) -> Vec<u8> {
        [b"[", &*self.lines.join(&b","[..]), b"]"].concat()
    }

    fn document(mut self) -> Vec<u8> {
        let lines = self.lines.join(&b","[..]);
        self.members.insert("next".to_owned(), self.next.into());
        self.members.insert("asOf".to_owned(), self.as_of.0.into());
        let gaps = serde_json::to_value(&self.gaps).unwrap_or_default();
        self.members.insert("gaps".to_owned(), gaps);
        let members = Value::from(self.members).to_string();
        let mut document = b"{\"events\":[".to_vec();
        document.extend(lines);
        document.extend(b"],");
        // The members without their first brace.
        document.extend(&members.as_bytes()[1..]);
        document
    }
}
