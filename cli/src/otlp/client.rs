//! The HTTP client of the exporter: that of `annals_server::Client`, which blocks its thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::crypto::ring;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the headers of an answer, at most.
const HEADER_BYTES_MAX: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Client(Agent);

impl Client {
    /// A client whose requests take at most `timeout`. It follows no redirects, uses no proxy, and trusts the authorities of the system.
    pub(super) fn new(timeout: Duration, has_tls: bool) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES_MAX)
            .proxy(None)
            .timeout_global(Some(timeout));
        Self(if has_tls {
            config.tls_config(trusting_the_system()).build().into()
        } else {
            config.build().into()
        })
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
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

#[async_trait]
impl HttpClient for Client {
    // Blocks: the exporter has a thread of its own.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(head, &body[..]))?;
        let (head, mut body) = response.into_parts();
        let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}
