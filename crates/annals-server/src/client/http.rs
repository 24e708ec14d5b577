//! Requests and answers. Both are bounded in size and time.

use std::path::Path;
use std::time::{Duration, Instant};

use annals::{Error, StreamId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use ureq::tls::TlsConfig;

use super::error::{self, ClientError};
use super::room::{Room, retry_after};
use super::tls;

/// Bytes of an answer, at most: the pages of a server have fewer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the headers of an answer, at most.
const HEADER_BYTES_MAX: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(60);
/// The characters that are not percent-encoded in a segment of a path or a parameter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A server, and the namespace on it.
#[derive(Clone, Debug)]
pub(super) struct Http {
    agent: Agent,
    /// For answers without an end.
    follower: Agent,
    url: String,
    base: String,
    timeout: Duration,
    /// For a server with `https`.
    tls: Option<TlsConfig>,
    /// Marked as sensitive, so that `Debug` does not show it.
    token: Option<HeaderValue>,
    room: Option<Room>,
}

/// A segment of a path. Dots alone would name another path.
pub(super) fn segment(text: &str) -> String {
    let encoded = utf8_percent_encode(text, ENCODED).to_string();
    match text {
        "." | ".." => encoded.replace('.', "%2E"),
        _ => encoded,
    }
}

/// Adds parameters to a target that has none.
pub(super) fn add_query<N: AsRef<str>>(target: &mut String, parameters: impl IntoIterator<Item = (N, String)>) {
    for (place, (name, value)) in parameters.into_iter().enumerate() {
        target.push(if place == 0 { '?' } else { '&' });
        target.extend(utf8_percent_encode(name.as_ref(), ENCODED));
        target.push('=');
        target.extend(utf8_percent_encode(&value, ENCODED));
    }
}

fn invalid(message: impl Into<Box<str>>) -> ClientError {
    Error::Invalid {
        message: message.into(),
    }
    .into()
}

fn agent(timeout: Duration, tls: Option<&TlsConfig>, has_end: bool) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER_BYTES_MAX)
        .proxy(None)
        .timeout_connect(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_global(has_end.then_some(timeout));
    match tls {
        Some(tls) => config.tls_config(tls.clone()).build().into(),
        None => config.build().into(),
    }
}

impl Http {
    pub(super) fn new(url: &str) -> Result<Self, ClientError> {
        let parsed: Option<Uri> = url.parse().ok();
        let is_plain = |uri: &Uri| {
            let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
            uri.query().is_none() && !url.contains('#') && !authority.is_empty() && !authority.contains('@')
        };
        let uri = parsed.filter(is_plain);
        let tls = match uri.as_ref().and_then(Uri::scheme_str) {
            Some("http") => None,
            Some("https") => Some(tls::of_system()),
            _ => {
                return Err(invalid(
                    "the URL of a server has the form http://HOST:PORT or https://HOST:PORT, without a user and parameters",
                ));
            }
        };
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self {
            agent: agent(TIMEOUT, tls.as_ref(), true),
            follower: agent(TIMEOUT, tls.as_ref(), false),
            timeout: TIMEOUT,
            tls,
            base: format!("{url}/v1"),
            url,
            token: None,
            room: None,
        })
    }

    pub(super) fn set_namespace(&mut self, name: &str) {
        self.base = format!("{}/v1/ns/{}", self.url, segment(name));
    }

    pub(super) fn set_token(&mut self, token: &str) -> Result<(), ClientError> {
        let is_visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value
            .ok()
            .filter(|_| is_visible)
            .ok_or_else(|| invalid("a token has visible ASCII characters alone"))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(())
    }

    pub(super) fn set_room(&mut self, room: Room) {
        self.room = Some(room);
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.set_agents();
    }

    /// Without effect on a server without TLS.
    pub(super) fn set_authorities(&mut self, path: &Path) -> Result<(), ClientError> {
        let tls = tls::of_file(path)?;
        if self.tls.is_some() {
            self.tls = Some(tls);
            self.set_agents();
        }
        Ok(())
    }

    fn set_agents(&mut self) {
        self.agent = agent(self.timeout, self.tls.as_ref(), true);
        self.follower = agent(self.timeout, self.tls.as_ref(), false);
    }

    pub(super) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.parse(&self.get_bytes(target)?)
    }

    pub(super) fn get_bytes(&self, target: &str) -> Result<Vec<u8>, ClientError> {
        let answered = self.ask(&Method::GET, target, None, &[]);
        self.read(answered?, &[])
    }

    /// Sends a request without a body.
    pub(super) fn post_empty<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.parse(&self.post_nothing(target)?)
    }

    pub(super) fn post_nothing(&self, target: &str) -> Result<Vec<u8>, ClientError> {
        let answered = self.ask(&Method::POST, target, None, &[]);
        self.read(answered?, &[])
    }

    pub(super) fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        let answered = self.ask(&Method::DELETE, target, None, &[]);
        self.parse(&self.read(answered?, &[])?)
    }

    /// Sends a message, whose reply may be any JSON.
    pub(super) fn post_message<T: DeserializeOwned>(
        &self,
        target: &str,
        body: String,
        headers: &[(HeaderName, &str)],
    ) -> Result<T, ClientError> {
        let answered = self.ask(&Method::POST, target, Some(body), headers);
        self.parse(&self.body_of(answered?, &[])?)
    }

    /// `streams` are those of the request, which a conflict names. A refusal for want of room is repeated while the caller waits for room.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: String,
        streams: &[&StreamId],
    ) -> Result<T, ClientError> {
        let Some(room) = &self.room else {
            let answered = self.ask(&Method::POST, target, Some(body), &[]);
            return self.parse(&self.read(answered?, streams)?);
        };
        let began = Instant::now();
        loop {
            let answered = self.ask(&Method::POST, target, Some(body.clone()), &[])?;
            match retry_after(&answered) {
                Some(after) if room.is_awaited(after, began.elapsed()) => {}
                _ => return self.parse(&self.read(answered, streams)?),
            }
        }
    }

    pub(super) fn post_bytes(&self, target: &str, body: String) -> Result<Vec<u8>, ClientError> {
        let answered = self.ask(&Method::POST, target, Some(body), &[]);
        self.read(answered?, &[])
    }

    pub(super) fn put<T: DeserializeOwned>(&self, target: &str, body: String) -> Result<T, ClientError> {
        let answered = self.ask(&Method::PUT, target, Some(body), &[]);
        self.parse(&self.read(answered?, &[])?)
    }

    fn ask(
        &self,
        method: &Method,
        target: &str,
        body: Option<String>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response<ureq::Body>, ClientError> {
        let mut request = self.request(method, target, "application/json");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let answered = match body {
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json").body(body);
                self.agent.run(request.map_err(|error| invalid(error.to_string()))?)
            }
            None => self
                .agent
                .run(request.body(()).map_err(|error| self.unreachable(&error))?),
        };
        answered.map_err(|error| self.unreachable(&error))
    }

    /// Opens an answer without an end.
    pub(super) fn follow(&self, target: &str) -> Result<ureq::Body, ClientError> {
        let request = self.request(&Method::GET, target, "text/event-stream").body(());
        let request = request.map_err(|error| self.unreachable(&error))?;
        let answered = self.follower.run(request);
        let answer = answered.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        Err(match self.read(answer, &[]) {
            Ok(_) => self.bad_answer("it is no stream of events"),
            Err(error) => error,
        })
    }

    fn request(&self, method: &Method, target: &str, accepted: &'static str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{target}", self.base));
        let request = request.header(ACCEPT, accepted);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    /// The body of an answer that succeeded, which is a JSON object.
    fn read(&self, answer: Response<ureq::Body>, streams: &[&StreamId]) -> Result<Vec<u8>, ClientError> {
        let body = self.body_of(answer, streams)?;
        // A list would be taken for the members of an object in their order.
        match body.trim_ascii_start() {
            [b'{', ..] => Ok(body),
            _ => Err(self.bad_answer("it is no JSON object")),
        }
    }

    fn body_of(&self, answer: Response<ureq::Body>, streams: &[&StreamId]) -> Result<Vec<u8>, ClientError> {
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX);
        let body = body.read_to_vec().map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(error::of_answer(status.as_u16(), &body, streams))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.bad_answer(error.to_string()))
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Answer {
            url: self.url.clone(),
            reason: reason.into(),
        }
    }

    pub(super) fn unreachable(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Unreachable {
            url: self.url.clone(),
            reason: error.to_string(),
        }
    }
}
