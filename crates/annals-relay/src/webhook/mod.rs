//! HTTP webhooks: each event is the body of a POST request, which is signed.
//!
//! Requests follow the [Standard Webhooks](https://www.standardwebhooks.com): `webhook-id` is the id of the event in every attempt, `webhook-timestamp` the time of the attempt in seconds, and
//! `webhook-signature` the HMAC-SHA256 of `ID.TIMESTAMP.BODY` as `v1,` and base64. Every attempt is signed anew over the same bytes. While a secret changes, there
//! are two signatures, separated by a space.
//!
//! | answer | the event |
//! |---|---|
//! | 2xx | is delivered |
//! | 3xx, 410 | stays; the relay stops until it is resumed. Redirects are not followed |
//! | 401, 403, 404, 405, 407, 429, 502, 503, 504, or no connection | is sent again, without a limit; all wait for `Retry-After`, at most an hour |
//! | 408, 425, other 5xx | is sent again, at most as often as [`RelayBuilder::retry`](crate::RelayBuilder::retry) says |
//! | no answer within the deadline | is sent again, without a limit: the endpoint may have it |
//! | other 4xx | is a dead letter |
//!
//! A consumer checks the signature and that the time is at most minutes old, recognizes a repeated event by `webhook-id`, and answers only when it has stored the event.

mod answer;
mod sign;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::{Clock, SystemClock};
use ureq::Agent;
use ureq::http::header::{CONTENT_TYPE, USER_AGENT};
use ureq::http::{HeaderName, HeaderValue, Request, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use self::sign::Secret;
use crate::{Capacity, Message, Outcome, RelayError, Target};

/// Bytes of the headers of an answer, at most.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Bytes of the body of an answer that are read, so that the connection can be used again.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const DEADLINE: Duration = Duration::from_secs(10);
/// Headers that a program adds, at most.
const HEADERS_MAX: usize = 32;

/// An endpoint that gets each event as an HTTP request.
#[derive(Clone)]
pub struct Webhook {
    agent: Agent,
    url: String,
    /// Without the user, the path and the query, which may have secrets.
    host: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    secrets: Vec<Secret>,
    clock: Arc<dyn Clock>,
    requests: usize,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.host)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
    }
}

/// The settings of a webhook. See [`Webhook::builder`].
#[derive(Clone)]
#[must_use = "a webhook is made by `build`"]
pub struct WebhookBuilder {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    secrets: Vec<Secret>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    requests: usize,
}

impl fmt::Debug for WebhookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder")
            .field("deadline", &self.deadline)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl WebhookBuilder {
    /// Adds a secret: 24 to 256 bytes as text, or `whsec_` and base64. At most two: while a secret changes, the requests have a signature of the new one and of the old one.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for a secret that is too short or too long, and for a third one.
    pub fn secret(mut self, secret: &str) -> Result<Self, RelayError> {
        if self.secrets.len() == 2 {
            return Err(RelayError::invalid(
                "a webhook has at most two secrets, the new one and the old one",
            ));
        }
        self.secrets.push(Secret::parse(secret)?);
        Ok(self)
    }

    /// Adds a header to every request, such as `authorization`.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid name or value, for a header that the relay sets, and for more than 32 headers. The error does not have the value.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, RelayError> {
        let refused =
            |why: &str| RelayError::invalid(format!("the header '{}' of a webhook {why}", name.escape_debug()));
        let parsed = HeaderName::try_from(name).map_err(|_| refused("has no valid name"))?;
        let is_own = [
            "content-type",
            "content-length",
            "host",
            "transfer-encoding",
            "connection",
        ]
        .contains(&parsed.as_str());
        if is_own || parsed.as_str().starts_with("webhook-") || parsed.as_str().starts_with("ce-") {
            return Err(refused("is set by the relay"));
        }
        if self.headers.len() == HEADERS_MAX {
            return Err(refused("is one too many: there are at most 32"));
        }
        let mut value = HeaderValue::try_from(value).map_err(|_| refused("has no valid value"))?;
        value.set_sensitive(true);
        self.headers.push((parsed, value));
        Ok(self)
    }

    /// Sets how long a request may take, with the connection and the answer. 10 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many requests may be under way at once, for different aggregates: 1 to 64, by default 4.
    pub fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    /// Sets the clock of the signatures. By default, that of the system.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks the URL.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for a URL that is none of `http` or `https`, or that has a user: give a token with [`header`](Self::header).
    pub fn build(self) -> Result<Webhook, RelayError> {
        let refused = || RelayError::invalid("the URL of a webhook has the form https://HOST/PATH, without a user");
        let uri: Uri = self.url.parse().map_err(|_| refused())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(refused)?.as_str().to_owned();
        let has_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(refused()),
        };
        Ok(Webhook {
            agent: agent(self.deadline, has_tls),
            url: self.url,
            host: authority,
            headers: self.headers,
            secrets: self.secrets,
            clock: self.clock,
            requests: self.requests,
        })
    }
}

/// Follows no redirects and uses no proxy.
fn agent(deadline: Duration, has_tls: bool) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER_BYTES_MAX)
        .proxy(None)
        .timeout_global(Some(deadline));
    if has_tls {
        config.tls_config(trusting_the_system()).build().into()
    } else {
        config.build().into()
    }
}

fn trusting_the_system() -> TlsConfig {
    let authorities = rustls_native_certs::load_native_certs().certs;
    let certificates = authorities
        .iter()
        .map(|authority| Certificate::from_der(authority).to_owned());
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

impl Webhook {
    /// An endpoint at `https://HOST/PATH` or `http://HOST/PATH`.
    pub fn builder(url: impl Into<String>) -> WebhookBuilder {
        WebhookBuilder {
            url: url.into(),
            headers: Vec::new(),
            secrets: Vec::new(),
            deadline: DEADLINE,
            clock: Arc::new(SystemClock),
            requests: 4,
        }
    }

    fn request<'a>(&self, message: &'a Message) -> Result<Request<&'a [u8]>, ureq::http::Error> {
        let (id, seconds) = (message.id(), sign::seconds(self.clock.now()));
        let mut request = Request::post(&self.url)
            .header(USER_AGENT, concat!("annals-relay/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, &message.content_type)
            .header("webhook-id", id.to_string())
            .header("webhook-timestamp", seconds);
        if !self.secrets.is_empty() {
            let signatures = sign::header(&self.secrets, id, seconds, &message.body);
            request = request.header("webhook-signature", signatures);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in message.headers() {
            request = request.header(name, value);
        }
        request.body(&message.body[..])
    }

    fn send(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(error) => return Outcome::refused(format!("it cannot be written as a request: {error}")),
        };
        match self.agent.run(request) {
            Ok(mut answer) => {
                let outcome = answer::outcome(&answer);
                // The rest of the answer is of no interest.
                drop(answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec());
                outcome
            }
            Err(error) => answer::failure(&error, &self.host),
        }
    }
}

impl Target for Webhook {
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome> {
        messages.iter().map(|message| self.send(message)).collect()
    }

    fn capacity(&self) -> Capacity {
        Capacity::new(1, self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_or_a_header_with_a_secret_was_shown() {
        assert!(Webhook::builder("https://anna:secret@host/hook").build().is_err());
        assert!(Webhook::builder("ftp://host/hook").build().is_err());
        let builder = Webhook::builder("https://host/secret-path")
            .header("authorization", "Bearer secret")
            .unwrap();
        assert!(!format!("{builder:?}").contains("secret"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("secret-path"));
        let error = Webhook::builder("https://host")
            .header("authorization", "secret\n")
            .unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(Webhook::builder("https://host").header("Webhook-Id", "1").is_err());
    }
}
