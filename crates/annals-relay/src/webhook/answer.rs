//! What the answer of an endpoint means for a message.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::StatusCode;
use ureq::http::header::RETRY_AFTER;
use ureq::http::response::Response;
use ureq::{Body, Error, Timeout};

use crate::Outcome;

/// The longest time that an endpoint can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// The outcome of an answer.
pub(super) fn outcome(answer: &Response<Body>) -> Outcome {
    let status = answer.status();
    let reason = format!("the endpoint answers {status}");
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        // The body and the signature must not go elsewhere.
        300..=399 => Outcome::Stop {
            reason: format!(
                "{reason}: redirects are not followed; set the URL to that of the endpoint, and resume the relay"
            ),
        },
        410 => Outcome::Stop {
            reason: format!("{reason}: it wants no more events; remove the relay, or resume it"),
        },
        // Of the endpoint, and not of the message.
        401 | 403 | 404 | 405 | 407 | 429 | 502..=504 => Outcome::Unavailable {
            reason,
            after: retry_after(answer, status),
        },
        408 | 425 | 500..=599 => Outcome::Retry { reason },
        _ => Outcome::Refused { reason },
    }
}

/// The seconds of the header. A date is left out: the pause of the relay holds.
fn retry_after(answer: &Response<Body>, status: StatusCode) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The outcome of a request without an answer. What failed before the request was sent has not arrived.
pub(super) fn failure(error: &Error, host: &str) -> Outcome {
    let is_before = matches!(
        error,
        Error::HostNotFound
            | Error::ConnectionFailed
            | Error::Tls(_)
            | Error::Rustls(_)
            | Error::Timeout(Timeout::Resolve | Timeout::Connect)
    );
    let is_refused = matches!(error, Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused);
    if is_before || is_refused {
        return Outcome::unavailable(format!("cannot reach {host}: {error}"));
    }
    Outcome::unknown(format!("{host} does not answer: {error}"))
}
