//! Live tails: the events after a position, as server-sent events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annals::{Delivery, Gap, Position, Query, TailStream};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use serde_json::json as value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::sent::Sent;
use crate::call::Call;
use crate::params::invalid;
use crate::problem::{Kind, Problem};
use crate::shared::Stage;
use crate::wire::event::to_line;
use crate::wire::query::{Asked, from_params};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Told to proxies: buffered frames arrive in lumps, and a compressor waits for more.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);
/// The pause after which a client connects again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";
/// Bytes of frames that are made before the client must take some.
pub(super) const CHUNK_BYTES: usize = 32 << 10;

/// The start of a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) after: Position,
    /// The position that the client had reached, if the log is shorter than that: the store was replaced.
    pub(super) reset_from: Option<Position>,
}

/// `GET /tail`
pub(super) async fn tail(mut call: Call) -> Result<Response, Problem> {
    let after = call.params.parsed("after", "a position, or now")?;
    let after = after.unwrap_or(After::Position(Position(0)));
    let asked = from_params(&mut call.params)?;
    call.params.finish()?;
    let query = followed(asked)?;
    let start = start(call.store.visible(), after, last_id(&call)?);
    let place = Arc::clone(&call.shared.tails).try_acquire_owned();
    let place = place.map_err(|_| Problem::new(Kind::Busy, "all live tails of the server are in use"))?;
    let frames = Frames::new(&call, query, start, place)?;
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(UNBUFFERED.0, UNBUFFERED.1);
    Ok(response)
}

/// The query of a tail.
///
/// # Errors
///
/// A [`Problem`] if it has what only a page has, or an end.
pub(super) fn followed(asked: Asked) -> Result<Query, Problem> {
    let asked = asked.without_page()?;
    if asked.as_of.is_some() || asked.min_position.is_some() {
        return Err(Problem::invalid(
            "a tail follows the log: it has no asOf and no minPosition",
        ));
    }
    Ok(asked.query)
}

/// The parameter `after`.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Position(Position),
    Now,
}

impl std::str::FromStr for After {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => Ok(Self::Now),
            number => number.parse().map(Position).map(Self::Position),
        }
    }
}

/// `Last-Event-ID`.
fn last_id(call: &Call) -> Result<Option<Position>, Problem> {
    let last = call.header("last-event-id")?.filter(|id| !id.is_empty());
    let last = last.map(|text| text.parse().map_err(|_| invalid("Last-Event-ID", text, "a position")));
    Ok(last.transpose()?.map(Position))
}

/// The position that a client has reached counts before `after`, which is still that of its first request.
pub(super) fn start(visible: Position, after: After, last: Option<Position>) -> Start {
    let Some(last) = last else {
        let after = match after {
            After::Now => visible,
            After::Position(after) => after,
        };
        return Start {
            after,
            reset_from: None,
        };
    };
    // The events of this log that have the positions which the client has passed are others: it gets all of them.
    let is_ahead = last > visible;
    Start {
        after: if is_ahead { Position(0) } else { last },
        reset_from: is_ahead.then_some(last),
    }
}

/// The frames of a tail. It holds only the events of the next chunk.
struct Frames {
    tail: Pin<Box<TailStream>>,
    /// Completes when the server stops.
    stopping: BoxFuture<'static, ()>,
    heartbeat: Pin<Box<Sleep>>,
    pause: Duration,
    first: Option<Bytes>,
    is_ended: bool,
    sent: Sent,
    _place: OwnedSemaphorePermit,
}

impl Frames {
    fn new(call: &Call, query: Query, start: Start, place: OwnedSemaphorePermit) -> Result<Self, Problem> {
        let tail = call.store.tail(query, start.after)?;
        let mut first = BytesMut::from(RETRY);
        if let Some(last) = start.reset_from {
            let data = value!({ "lastEventId": last.0, "visible": call.store.visible().0 });
            frame(&mut first, "reset", Position(0), data.to_string().as_bytes());
        }
        let pause = call.shared.limits.heartbeat;
        Ok(Self {
            tail: Box::pin(tail.into_stream()),
            stopping: Box::pin(call.shared.reached(Stage::Draining)),
            heartbeat: Box::pin(sleep(pause)),
            pause,
            first: Some(first.freeze()),
            is_ended: false,
            sent: Sent::new(call),
            _place: place,
        })
    }

    /// Frames of the available deliveries, up to the size of a chunk.
    fn gather(&mut self, context: &mut Context<'_>) -> BytesMut {
        let mut frames = BytesMut::new();
        while frames.len() < CHUNK_BYTES {
            match self.tail.as_mut().poll_next(context) {
                Poll::Ready(Some(delivery)) => {
                    self.sent.add(&delivery);
                    add(&mut frames, &delivery);
                }
                Poll::Ready(None) => {
                    self.is_ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        frames
    }

    /// A comment that keeps the connection open, with the position that was reached: a client that connects again continues there, though
    /// no event matched.
    fn beat(&mut self) -> Bytes {
        self.heartbeat.as_mut().reset(Instant::now() + self.pause);
        Bytes::from(format!(": heartbeat\nid: {}\n\n", self.tail.position()))
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.sent.taken();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if this.is_ended || this.stopping.as_mut().poll(context).is_ready() {
            this.is_ended = true;
            return Poll::Ready(None);
        }
        let frames = this.gather(context);
        if !frames.is_empty() {
            this.heartbeat.as_mut().reset(Instant::now() + this.pause);
            this.sent.count();
            return Poll::Ready(Some(Ok(frames.freeze())));
        }
        if this.is_ended {
            return Poll::Ready(None);
        }
        if this.heartbeat.as_mut().poll(context).is_ready() {
            let beat = this.beat();
            // The new time must be polled, or nothing wakes this task for it.
            context.waker().wake_by_ref();
            return Poll::Ready(Some(Ok(beat)));
        }
        Poll::Pending
    }
}

fn add(frames: &mut BytesMut, delivery: &Delivery) {
    match delivery {
        Delivery::Event(event) => frame(frames, "event", event.position(), &to_line(event)),
        Delivery::Gap(gap) => frame(frames, "gap", gap.last, &describe(gap)),
    }
}

fn describe(gap: &Gap) -> Vec<u8> {
    // Numbers and texts are always serialized.
    serde_json::to_vec(gap).unwrap_or_default()
}

/// A frame of one line of data. Names are constant and data are JSON on one line, so that no stored text can end a frame.
fn frame(frames: &mut BytesMut, name: &'static str, id: Position, data: &[u8]) {
    frames.extend_from_slice(format!("event: {name}\nid: {id}\ndata: ").as_bytes());
    frames.extend_from_slice(data);
    frames.extend_from_slice(b"\n\n");
}
