//! With the feature `otlp`: finished spans wait in a bounded queue, and a thread sends them in batches. A span that finds the queue full, or whose
//! batch is not taken in time, is lost and counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_server::Builder;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, Key, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter as Exporter, SpanProcessor,
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use ureq::http::{HeaderMap, Uri};

use super::BoxedLayer;
use super::client::Client;
use crate::exit::{Failure, Outcome};

/// How long a receiver may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the program waits for the last batch.
const END_MAX: Duration = Duration::from_secs(2);
/// The path at a receiver.
const SPANS: &str = "/v1/traces";
/// A failure is logged once in this many failures in a row.
const LOGGED_EACH: u64 = 64;

/// The export of spans, from [`start`] on.
#[must_use = "`end` sends the last spans"]
pub(crate) struct Spans {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    sent: AtomicU64,
    failures_in_a_row: AtomicU64,
}

impl Counts {
    fn lost(&self) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed).saturating_sub(sent)
    }

    /// Counts a batch that was sent, or logs why it was not. Spans that a receiver rejects from a batch that it takes count as sent.
    fn exported(&self, spans: u64, result: &OTelSdkResult) {
        let Err(error) = result else {
            self.sent.fetch_add(spans, Ordering::Relaxed);
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            return;
        };
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        if failures.is_multiple_of(LOGGED_EACH) {
            tracing::warn!(target: "annals_server", spans, %error, "spans are lost: the receiver of --otlp did not take them");
        }
    }
}

/// Starts the thread that sends spans to a receiver. The receiver may be absent.
///
/// # Errors
///
/// [`Failure::Usage`] if `url` is none of a receiver.
pub(crate) fn start(url: &str) -> Outcome<Spans> {
    let (endpoint, has_tls) = endpoint(url)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(TIMEOUT)
        .with_http_client(Client::new(TIMEOUT, has_tls))
        .build()
        .map_err(|error| Failure::Usage(format!("cannot send spans to {url}: {error}")))?;
    let counts = Arc::new(Counts::default());
    let exporter = Counted {
        inner: exporter,
        counts: Arc::clone(&counts),
    };
    let processor = Requests {
        inner: BatchSpanProcessor::builder(exporter).build(),
        counts: Arc::clone(&counts),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(processor)
        .build();
    Ok(Spans { provider, counts })
}

/// The URL that spans are sent to, and whether it has TLS.
fn endpoint(url: &str) -> Outcome<(String, bool)> {
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        uri.query().is_none() && !url.contains('#') && !authority.is_empty() && !authority.contains('@')
    });
    let has_tls = match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http") => false,
        Some("https") => true,
        _ => {
            return Err(Failure::Usage(
                "the URL of --otlp has the form http://HOST:PORT or https://HOST:PORT, without a user and parameters"
                    .to_owned(),
            ));
        }
    };
    let base = url.trim_end_matches('/');
    // The URL of a receiver is often given with the path of spans.
    let base = base.strip_suffix(SPANS).unwrap_or(base);
    Ok((format!("{base}{SPANS}"), has_tls))
}

/// What the environment says of this process, by the variables of OpenTelemetry; its name is `annals` unless they have one.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = found.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder();
    if is_named {
        builder
    } else {
        builder.with_service_name("annals")
    }
    .build()
}

impl Spans {
    /// The layer that makes spans of those of the library and the server.
    pub(crate) fn layer(&self) -> BoxedLayer {
        let targets = Targets::new()
            .with_target("annals", LevelFilter::TRACE)
            .with_target("annals_server", LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("annals"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(targets)
            .boxed()
    }

    /// Makes requests part of the traces that they name, if anything of them is sent.
    pub(crate) fn join_traces(server: Builder) -> Builder {
        server.on_request(|span, headers| {
            let parent = TraceContextPropagator::new().extract(&Parent(headers));
            if parent.has_active_span() {
                // A span that is filtered out has no parent.
                drop(span.set_parent(parent));
            }
        })
    }

    /// Sends the last spans, for 2 seconds at most. Returns how many spans were lost.
    pub(crate) fn end(self) -> u64 {
        // A receiver that is too slow is in the count.
        drop(self.provider.shutdown_with_timeout(END_MAX));
        self.counts.lost()
    }
}

/// The header of W3C Trace Context that names the span of the caller. `tracestate`, which is text of the caller, is left out.
struct Parent<'a>(&'a HeaderMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let is_parent = key == "traceparent";
        is_parent.then(|| self.0.get(key)?.to_str().ok()).flatten()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Counts the spans that are sent.
#[derive(Debug)]
struct Counted {
    inner: SpanExporter,
    counts: Arc<Counts>,
}

impl Exporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        self.counts.exported(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts the spans that have ended, and names those of requests by method and route.
struct Requests<P> {
    inner: P,
    counts: Arc<Counts>,
}

impl<P> fmt::Debug for Requests<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

impl<P: SpanProcessor> SpanProcessor for Requests<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if span.name == "request" {
            describe(&mut span);
        }
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

fn describe(span: &mut SpanData) {
    let value = |name: &str| {
        let mut attributes = span.attributes.iter();
        attributes
            .find(|attribute| attribute.key.as_str() == name)
            .map(|attribute| &attribute.value)
    };
    let method = value("method").map(Value::as_str).unwrap_or_default().to_uppercase();
    let name = match value("route") {
        Some(route) => format!("{method} {}", route.as_str()),
        None => method,
    };
    let is_failure = matches!(value("status"), Some(Value::I64(500..)));
    span.name = name.into();
    span.span_kind = SpanKind::Server;
    if is_failure {
        span.status = Status::error("");
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::{SpanContext, SpanId};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn request(status: i64) -> SpanData {
        let mut span = SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "request".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: vec![KeyValue::new("method", "get"), KeyValue::new("status", status)],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        };
        describe(&mut span);
        span
    }

    #[test]
    fn a_failure_of_the_server_was_no_error_or_that_of_a_client_was() {
        let failed = request(503);
        assert_eq!((&*failed.name, failed.status), ("GET", Status::error("")));
        assert_eq!(request(409).status, Status::Unset);
        assert_eq!(request(200).span_kind, SpanKind::Server);
    }

    #[test]
    fn a_path_of_a_receiver_was_lost() {
        let of = |url| endpoint(url).ok();
        let sent = |url: &str, has_tls| Some((url.to_owned(), has_tls));
        assert_eq!(
            of("http://127.0.0.1:4318"),
            sent("http://127.0.0.1:4318/v1/traces", false)
        );
        assert_eq!(
            of("https://x.example/otlp/"),
            sent("https://x.example/otlp/v1/traces", true)
        );
        assert_eq!(of("https://user@x.example"), None);
    }
}
