//! The parts of every request before its body: namespace, path, parameters and headers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use annals::Store;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::params::Params;
use crate::problem::{Kind, Problem};
use crate::shared::{DEFAULT, Shared};
use crate::tokens::Role;

/// The characters that are percent-encoded in a segment of a path or a parameter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What the handler of a request gets from the checks around it.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    /// The role that the route needs.
    pub(crate) role: Option<Role>,
    /// Whether the body was read to its end. The rest would be parsed as the next request of the connection.
    pub(crate) is_body_read: Arc<AtomicBool>,
}

/// The role of the route that answers a request.
pub(crate) fn role_of(extensions: &Extensions) -> Option<Role> {
    extensions.get::<Passage>()?.role
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    /// The name of the namespace.
    pub(crate) namespace: String,
    /// `/v1`, or `/v1/ns/NAME`.
    pub(crate) base: String,
    path: Vec<(String, String)>,
    uri: Uri,
}

impl FromRequestParts<Arc<Shared>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let path = match RawPathParams::from_request_parts(parts, shared).await {
            Ok(params) => params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            Err(axum::extract::rejection::RawPathParamsRejection::MissingPathParams(_)) => Vec::new(),
            Err(_) => {
                return Err(Problem::invalid(
                    "the path has percent-encoded bytes that are not UTF-8",
                ));
            }
        };
        let namespace = find(&path, "namespace");
        let name = namespace.unwrap_or(DEFAULT);
        // Only an append makes a namespace, and only for tests.
        let is_append = role_of(&parts.extensions) == Some(Role::Write);
        let store = if is_append {
            shared.namespaces.get_or_make(name)?
        } else {
            shared.namespaces.get(name)
        };
        let missing = || Problem::new(Kind::NoNamespace, format!("the server has no namespace '{name}'"));
        let store = store.ok_or_else(missing)?;
        Ok(Self {
            base: namespace.map_or_else(|| "/v1".to_owned(), |name| format!("/v1/ns/{}", encode(name))),
            namespace: name.to_owned(),
            params: Params::parse(parts.uri.query())?,
            headers: parts.headers.clone(),
            shared: Arc::clone(shared),
            store,
            path,
            uri: parts.uri.clone(),
        })
    }
}

fn find<'a>(path: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = path.iter().filter(|(own, _)| own == name);
    found.next().map(|(_, value)| value.as_str())
}

/// A text as a segment of a path, or as the value of a parameter.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A representation that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Json,
    Lines,
    CloudEvents,
}

impl Call {
    /// The decoded segment of the path that is called `name`; empty if the route has none.
    pub(crate) fn segment(&self, name: &str) -> &str {
        find(&self.path, name).unwrap_or_default()
    }

    /// The header of this name as text.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it is there twice, or is not visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(Problem::invalid(format!(
                "the header {name} is there twice: leave one out"
            )));
        }
        let text = first.map(|value| value.to_str());
        text.transpose()
            .map_err(|_| Problem::invalid(format!("the header {name} is not visible ASCII")))
    }

    /// Whether the client wants a list of events as one document, or as lines.
    ///
    /// # Errors
    ///
    /// [`Kind::NotAcceptable`] if it wants neither.
    pub(crate) fn accepted(&self) -> Result<Accepted, Problem> {
        let mut texts = Vec::new();
        for value in self.headers.get_all(ACCEPT) {
            texts.push(value.to_str().unwrap_or_default());
        }
        if texts.is_empty() {
            return Ok(Accepted::Json);
        }
        let names = texts.iter().flat_map(|text| text.split(','));
        for name in names.map(|name| name.split(';').next().unwrap_or_default().trim()) {
            match name.to_ascii_lowercase().as_str() {
                "application/x-ndjson" | "application/jsonl" => return Ok(Accepted::Lines),
                "application/cloudevents-batch+json" => return Ok(Accepted::CloudEvents),
                "application/json" | "application/*" | "*/*" => return Ok(Accepted::Json),
                _ => {}
            }
        }
        let detail = "events are application/json, application/x-ndjson or application/cloudevents-batch+json";
        Err(Problem::new(Kind::NotAcceptable, detail))
    }

    /// The address of the same request with another cursor, as a client can send it.
    pub(crate) fn link(&self, cursor: &str) -> String {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        // The cursor replaces `from`, the start of the first page.
        let is_other = |pair: &&str| !matches!(pair.split('=').next(), None | Some("" | "cursor" | "from"));
        let mut query: Vec<&str> = pairs.filter(is_other).collect();
        let cursor = format!("cursor={}", encode(cursor));
        query.push(&cursor);
        format!("{}?{}", self.uri.path(), query.join("&"))
    }
}
