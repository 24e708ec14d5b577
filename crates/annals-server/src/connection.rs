//! Connections: accepted up to a limit, bounded in headers and time, and drained at the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use futures_util::future::{Either, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tower_service::Service as _;

use crate::guard::Unread;
use crate::limits::Limits;
use crate::shared::{Shared, Stage};
use crate::tls::Tls;

/// Headers of a request, at most.
const HEADERS_MAX: usize = 100;
/// Bytes that the buffer of a connection has beside those of the headers. A head that exceeds its limit by less is read as a whole, and its client gets an
/// answer; a longer one breaks the connection.
const BUFFER_SLACK: usize = 16 << 10;
/// The pause after the operating system could not accept a connection, for example because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The limits of time and bytes for input that a connection discards after a refusal.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 64 << 20;
/// The answer to a client that speaks plain HTTP where TLS is needed.
const NO_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 50\r\n\r\n\
    this port has TLS alone: use https://, not http://";

/// The place of a connection. A connection that becomes a WebSocket has it for longer than its last request.
#[derive(Clone, Debug)]
pub(crate) struct Connected(#[expect(dead_code, reason = "held, and never looked at")] Arc<OwnedSemaphorePermit>);

/// Accepts connections until `stop`, then drains them for at most `grace`. Returns how many were cut off.
pub(crate) async fn accept(
    shared: &Arc<Shared>,
    router: Router,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
    grace: Duration,
) -> usize {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    {
        let accepting = std::pin::pin!(accept_all(shared, &router, listener, &places));
        select(accepting, std::pin::pin!(stop)).await;
        // The listener is dropped here: clients that connect from now on are refused, and do not wait for an answer.
    }
    tracing::info!(
        open = shared.limits.connections - places.available_permits(),
        "draining"
    );
    shared.stage.send_replace(Stage::Draining);
    let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
    let drained = timeout(grace, places.acquire_many(all)).await.is_ok();
    let open = shared.limits.connections - places.available_permits();
    shared.stage.send_replace(Stage::Ended);
    if !drained {
        tracing::warn!(
            open,
            "connections are cut off: their requests took longer than the grace"
        );
    }
    if drained { 0 } else { open }
}

async fn accept_all(shared: &Arc<Shared>, router: &Router, listener: TcpListener, places: &Arc<Semaphore>) {
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(begin(Arc::clone(shared), router.clone(), stream, place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn begin(shared: Arc<Shared>, router: Router, stream: TcpStream, place: OwnedSemaphorePermit) {
    // Small answers must not wait for others; where that is impossible, they are only slower.
    drop(stream.set_nodelay(true));
    match &shared.tls {
        None => serve_one(&shared, router, stream, place).await,
        Some(tls) => begin_tls(&shared, tls, router, stream, place).await,
    }
}

/// Has the place of the connection during the handshake too. A stop does not wait for handshakes.
async fn begin_tls(shared: &Arc<Shared>, tls: &Tls, router: Router, stream: TcpStream, place: OwnedSemaphorePermit) {
    let handshake = std::pin::pin!(timeout(shared.limits.handshake_time, tls.accept(stream)));
    match select(handshake, std::pin::pin!(shared.reached(Stage::Draining))).await {
        Either::Left((Ok(Ok(Ok(stream))), _)) => serve_one(shared, router, stream, place).await,
        Either::Left((Ok(Ok(Err(stream))), _)) => refuse(shared, stream).await,
        Either::Left((Ok(Err(error)), _)) => tracing::debug!(%error, "a handshake has failed"),
        Either::Left((Err(_), _)) => tracing::debug!("a handshake took too long"),
        Either::Right(_) => {}
    }
}

/// Tells a client without TLS that it needs it.
async fn refuse(shared: &Shared, stream: TcpStream) {
    let unread = Unread::default();
    unread.0.store(true, Ordering::Relaxed);
    let mut wire = Wire::new(stream, unread, shared.limits.write_time);
    // An error is the client's: it went away.
    if wire.write_all(NO_TLS).await.is_ok() {
        drop(wire.shutdown().await);
    }
}

async fn serve_one<S>(shared: &Arc<Shared>, router: Router, stream: S, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = Unread::default();
    let wire = TokioIo::new(Wire::new(stream, unread.clone(), shared.limits.write_time));
    let connected = Connected(Arc::new(place));
    let given = connected.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(unread.clone());
        request.extensions_mut().insert(given.clone());
        router.clone().call(request)
    });
    let connection = http1_of(&shared.limits).serve_connection(wire, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let draining = std::pin::pin!(shared.reached(Stage::Draining));
    // An error of a connection is the client's: it went away, or sent something else than HTTP.
    if let Either::Right(_) = select(connection.as_mut(), draining).await {
        connection.as_mut().graceful_shutdown();
        drop(select(connection, std::pin::pin!(shared.reached(Stage::Ended))).await);
    }
    drop(connected);
}

fn http1_of(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes.saturating_add(BUFFER_SLACK))
        .max_headers(HEADERS_MAX);
    builder
}

/// A connection that fails when its client does not read for too long, and that discards the input of a refused client.
struct Wire<S> {
    stream: S,
    unread: Unread,
    write_time: Duration,
    /// Set while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set when the answers are all sent, and the client may still send.
    lingering: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    fn new(stream: S, unread: Unread, write_time: Duration) -> Self {
        Self {
            stream,
            unread,
            write_time,
            stalled: None,
            lingering: None,
        }
    }

    /// The result of a write: an error once writes have waited for too long.
    fn watched<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.write_time)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Discards what the client sends, until it ends, its time is over, or it was too much. A connection that is closed with unread bytes is
    /// reset, and the client may lose the answer.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((time, bytes)) = &mut self.lingering else {
            return Poll::Ready(Ok(()));
        };
        let mut scratch = [0; 8 << 10];
        while *bytes > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return time.as_mut().poll(context).map(Ok),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *bytes = bytes.saturating_sub(buffer.filled().len() as u64);
                }
                // The client has closed the connection.
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watched(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.unread.0.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.lingering = Some((Box::pin(sleep(LINGER_TIME)), LINGER_BYTES));
        }
        self.poll_linger(context)
    }
}
