//! Live tails over WebSocket: the client subscribes by a message, and gets as many events as it grants credit for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use annals::{Delivery, Position, TailStream};
use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{Sink, SinkExt as _, Stream as _};
use serde::Deserialize;
use serde_json::{Value, json as value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::sent::Sent;
use super::tail::{After, CHUNK_BYTES, Start, followed, start};
use crate::call::Call;
use crate::connection::Connected;
use crate::problem::{Kind, Problem};
use crate::shared::Stage;
use crate::wire::event::to_line;
use crate::wire::query::WireQuery;

/// The protocol that a client may offer; one that offers others too, such as its token, must offer it.
const PROTOCOL: &str = "annals.tail.v1";
/// Bytes of a message of a client, at most.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Events that a client can be sent without granting credit again, at most.
const CREDIT_MAX: u64 = 1_000_000;
/// The time limit for the client at the end of a socket.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Said {
    subscribe: Option<Subscription>,
    /// The number of further events that the client accepts.
    credit: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Subscription {
    query: WireQuery,
    after: Option<From>,
    /// The position that the client has reached before.
    last_position: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a position, or \"now\"")]
enum From {
    Position(u64),
    Word(Now),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Now {
    Now,
}

/// `GET /socket`
pub(super) async fn socket(
    call: Call,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    connected: Option<Extension<Connected>>,
) -> Result<Response, Problem> {
    call.params.finish()?;
    let upgrade = upgrade.map_err(|_| Problem::invalid("the request is no handshake of a WebSocket over HTTP/1.1"))?;
    let place = Arc::clone(&call.shared.tails).try_acquire_owned();
    let place = place.map_err(|_| Problem::new(Kind::Busy, "all live tails of the server are in use"))?;
    let mut session = Session::new(&call, place, connected.map(|Extension(connected)| connected));
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .protocols([PROTOCOL]);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let ended = session.shared.reached(Stage::Ended);
        let serving = std::pin::pin!(session.serve(&mut socket));
        select(serving, std::pin::pin!(ended)).await;
    }))
}

/// A socket that is open.
struct Session {
    shared: Arc<crate::shared::Shared>,
    store: annals::Store,
    tail: Option<Pin<Box<TailStream>>>,
    credit: u64,
    sent: Sent,
    /// Whether the connection has taken everything.
    is_flushed: bool,
    /// Whether it has made the session wait for that.
    is_blocked: bool,
    heartbeat: Pin<Box<Sleep>>,
    pause: Duration,
    /// When the client must have subscribed; after that, when it must have sent something: at least the answers to pings.
    deadline: Pin<Box<Sleep>>,
    stopping: BoxFuture<'static, ()>,
    _place: OwnedSemaphorePermit,
    /// Holds the place of the connection, so that the end of the server waits for it.
    _connected: Option<Connected>,
}

/// The next step of a socket.
enum Step {
    Read(Message),
    Send(Vec<Delivery>),
    Beat,
    /// The client has closed the connection.
    Gone,
    Close(u16, &'static str),
}

impl Session {
    fn new(call: &Call, place: OwnedSemaphorePermit, connected: Option<Connected>) -> Self {
        let pause = call.shared.limits.heartbeat;
        Self {
            sent: Sent::new(call),
            store: call.store.clone(),
            tail: None,
            credit: 0,
            is_flushed: true,
            is_blocked: false,
            heartbeat: Box::pin(sleep(pause)),
            pause,
            deadline: Box::pin(sleep(call.shared.limits.body_time)),
            stopping: Box::pin(call.shared.reached(Stage::Draining)),
            shared: Arc::clone(&call.shared),
            _place: place,
            _connected: connected,
        }
    }

    async fn serve(&mut self, socket: &mut WebSocket) {
        loop {
            let step = std::future::poll_fn(|context| self.poll_step(socket, context)).await;
            let done = match step {
                Step::Read(message) => self.read(socket, &message).await,
                Step::Send(deliveries) => self.send(socket, &deliveries).await,
                Step::Beat => self.beat(socket).await,
                Step::Gone => return,
                Step::Close(code, reason) => Err(Some((code, reason))),
            };
            match done {
                Ok(()) => {}
                Err(Some((code, reason))) => return close(socket, code, reason).await,
                Err(None) => return,
            }
        }
    }

    /// The read half is always polled: it answers pings, and finds the end. Nothing is read of the log before the connection has taken all.
    fn poll_step(&mut self, socket: &mut WebSocket, context: &mut Context<'_>) -> Poll<Step> {
        match Pin::new(&mut *socket).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Step::Read(message)),
            Poll::Ready(Some(Err(_))) => {
                return Poll::Ready(Step::Close(close_code::PROTOCOL, "the frame is invalid or too large"));
            }
            Poll::Ready(None) => return Poll::Ready(Step::Gone),
            Poll::Pending => {}
        }
        if self.stopping.as_mut().poll(context).is_ready() {
            return Poll::Ready(Step::Close(close_code::AWAY, "the server is stopping"));
        }
        if !self.is_flushed && ready!(self.poll_flush(socket, context)).is_err() {
            return Poll::Ready(Step::Gone);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Step::Close(close_code::POLICY, "the client sent nothing in time"));
        }
        // Before the tail: a client that is sent events without end is asked too whether it is there.
        if self.heartbeat.as_mut().poll(context).is_ready() {
            return Poll::Ready(Step::Beat);
        }
        self.poll_tail(context)
    }

    /// Waits until the connection has taken everything; its own limit of time ends that.
    fn poll_flush(&mut self, socket: &mut WebSocket, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let polled = Pin::new(socket).poll_flush(context);
        if polled.is_pending() {
            self.is_blocked = true;
            return Poll::Pending;
        }
        self.is_flushed = true;
        if std::mem::take(&mut self.is_blocked) && self.tail.is_some() {
            // It could not be asked meanwhile, and has shown that it reads.
            self.await_more();
        }
        self.sent.taken();
        polled
    }

    /// The next events for the client, up to its credit and the size of a batch.
    fn poll_tail(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        let Some(tail) = &mut self.tail else {
            return Poll::Pending;
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while self.credit > 0 && bytes < CHUNK_BYTES {
            match tail.as_mut().poll_next(context) {
                Poll::Ready(Some(delivery)) => {
                    if let Delivery::Event(event) = &delivery {
                        self.credit -= 1;
                        bytes += event.data().len();
                    }
                    bytes += 1 << 8;
                    batch.push(delivery);
                }
                Poll::Ready(None) if batch.is_empty() => {
                    return Poll::Ready(Step::Close(close_code::AWAY, "the log has ended"));
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if batch.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Step::Send(batch))
    }

    async fn read(&mut self, socket: &mut WebSocket, message: &Message) -> Done {
        // After its subscription a client that is alive answers at least every second ping.
        if self.tail.is_some() {
            self.await_more();
        }
        let refused = match message {
            Message::Text(text) => match self.obey(text) {
                Ok(None) => return Ok(()),
                Ok(Some(reset)) => return self.feed(socket, reset).await,
                Err(problem) => problem,
            },
            Message::Binary(_) => Problem::invalid("a message is JSON in a frame of text"),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        self.feed(socket, value!({ "problem": refused.document() })).await?;
        Err(Some((close_code::POLICY, "the message is refused")))
    }

    fn await_more(&mut self) {
        let time = (self.pause * 2).max(self.shared.limits.write_time);
        self.deadline.as_mut().reset(Instant::now() + time);
    }

    /// Does what a message says. Returns what the client is told first, if its log is gone.
    fn obey(&mut self, text: &str) -> Result<Option<Value>, Problem> {
        let said: Said = serde_json::from_str(text).map_err(|error| Problem::invalid(error.to_string()))?;
        let mut reset = None;
        match (said.subscribe, &self.tail) {
            (Some(_), Some(_)) => return Err(Problem::invalid("the socket has a subscription: open another socket")),
            (Some(subscription), None) => reset = self.subscribe(subscription)?,
            (None, None) => return Err(Problem::invalid("the first message must have the member subscribe")),
            (None, Some(_)) => {}
        }
        let credit = said.credit.unwrap_or(0);
        self.credit = self.credit.saturating_add(credit).min(CREDIT_MAX);
        Ok(reset)
    }

    fn subscribe(&mut self, subscription: Subscription) -> Result<Option<Value>, Problem> {
        let query = followed(subscription.query.into_asked()?)?;
        let after = match subscription.after {
            Some(From::Word(Now::Now)) => After::Now,
            Some(From::Position(position)) => After::Position(Position(position)),
            None => After::Position(Position(0)),
        };
        let visible = self.store.visible();
        let Start { after, reset_from } = start(visible, after, subscription.last_position.map(Position));
        self.tail = Some(Box::pin(self.store.tail(query, after)?.into_stream()));
        self.await_more();
        Ok(reset_from.map(|last| value!({ "reset": { "lastPosition": last.0, "visible": visible.0 } })))
    }

    async fn send(&mut self, socket: &mut WebSocket, deliveries: &[Delivery]) -> Done {
        for delivery in deliveries {
            self.sent.add(delivery);
            let text = match delivery {
                Delivery::Event(event) => [b"{\"event\":", &*to_line(event), b"}"].concat(),
                Delivery::Gap(gap) => value!({ "gap": gap }).to_string().into_bytes(),
            };
            self.feed_text(socket, text).await?;
        }
        self.sent.count();
        Ok(())
    }

    /// Sends the reached position and a ping.
    async fn beat(&mut self, socket: &mut WebSocket) -> Done {
        self.heartbeat.as_mut().reset(Instant::now() + self.pause);
        let position = self.tail.as_ref().map(|tail| tail.position().0);
        self.feed(socket, value!({ "heartbeat": { "position": position } }))
            .await?;
        socket.feed(Message::Ping(Bytes::new())).await.map_err(|_| None)
    }

    async fn feed(&mut self, socket: &mut WebSocket, message: Value) -> Done {
        self.feed_text(socket, message.to_string().into_bytes()).await
    }

    /// Gives a message to the socket, which has taken the ones before it.
    async fn feed_text(&mut self, socket: &mut WebSocket, text: Vec<u8>) -> Done {
        self.is_flushed = false;
        let text = String::from_utf8(text).map_err(|_| None)?;
        let fed = socket.feed(Message::Text(text.into()));
        // A client that does not read must not delay the end of the server.
        match select(fed, &mut self.stopping).await {
            Either::Left((fed, _)) => fed.map_err(|_| None),
            Either::Right(_) => Err(Some((close_code::AWAY, "the server is stopping"))),
        }
    }
}

/// An error ends the socket, with a code and a reason unless the client has closed it.
type Done = Result<(), Option<(u16, &'static str)>>;

/// Sends what was fed and the reason of the end, and waits a moment for the client to take it.
async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A client that does not read misses the reason.
    drop(timeout(CLOSE_TIME, closing).await);
}
