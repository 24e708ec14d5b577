//! Waiting for a server that has no room for an append.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::Body;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{Response, StatusCode};

/// The longest time that is waited at once, whatever a server asks for.
const AFTER_MAX: Duration = Duration::from_secs(60);

type Wait = dyn Fn(Duration, Duration) -> bool + Send + Sync;

/// How a caller waits for room.
#[derive(Clone)]
pub(super) struct Room(Arc<Wait>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl Room {
    pub(super) fn new(wait: impl Fn(Duration, Duration) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wait))
    }

    /// Lets the caller wait. Returns whether the request is to be sent again.
    pub(super) fn is_awaited(&self, after: Duration, waited: Duration) -> bool {
        (self.0)(after, waited)
    }
}

/// The time after which the server takes the request again, if that is all that it lacks.
pub(super) fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let is_for_room = matches!(
        answer.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let seconds = answer.headers().get(RETRY_AFTER).filter(|_| is_for_room)?;
    let seconds = seconds.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(AFTER_MAX))
}
