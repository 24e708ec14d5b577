//! The server: its router, and its life from the first connection to the final report.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use annals::{Durability, Error, Store};
use axum::Router;
use socket2::SockRef;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::report::{NamespaceReport, Report};
use crate::shared::{Shared, Stage, is_ephemeral};
use crate::{connection, logs, openapi, routes};

/// Connections that may wait to be accepted, at least.
const WAITING_MIN: i32 = 128;

/// Serves one store or several.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
}

/// Tells a server to stop, from any thread. [`stop_signal`] makes it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

/// The signal that stops a server. [`stop_signal`] makes it.
#[derive(Clone, Debug)]
pub struct Stopped(watch::Receiver<bool>);

/// Makes a [`Stop`], and the signal that a server waits for.
pub fn stop_signal() -> (Stop, Stopped) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopped(receiver))
}

impl Stop {
    /// Tells the server to stop. Never waits.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    /// Waits for [`Stop::stop`]; for ever, if every `Stop` is dropped without it.
    pub async fn wait(mut self) {
        if self.0.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Server {
    /// All routes with their checks and limits, to be mounted in another server. Limits of connections are that server's.
    ///
    /// The paths begin with `/v1`, and some have links to others: mount it at the root.
    pub fn router(&self) -> Router {
        routes::router(&self.shared)
    }

    /// Serves until `stop`, then drains: stops accepting, lets requests finish, ends live tails, and closes the stores, which writes and syncs
    /// their events. Connections that take longer than `grace` are cut off. The stores stay closed.
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        stop: impl Future<Output = ()> + Send,
        grace: Duration,
    ) -> Report {
        let cut_off = connection::accept(&self.shared, self.router(), listener, stop, grace).await;
        let namespaces = Arc::clone(&self.shared.namespaces);
        let closing = tokio::task::spawn_blocking(move || {
            namespaces.save_groups();
            let reports = namespaces.stores().into_iter().map(close);
            reports
                .filter(|report| namespaces.is_configured(&report.name))
                .collect()
        });
        // A journal that does not finish within the time is reported in its present state.
        let namespaces = match timeout(grace, closing).await {
            Ok(Ok(namespaces)) => namespaces,
            Ok(Err(_)) | Err(_) => self
                .shared
                .namespaces
                .configured()
                .into_iter()
                .map(unfinished)
                .collect(),
        };
        let namespaces: Vec<NamespaceReport> = namespaces;
        namespaces.iter().for_each(logs::closed);
        Report { cut_off, namespaces }
    }

    /// [`serve`](Self::serve) on a separate runtime. Blocks the thread until the server has ended.
    ///
    /// # Errors
    ///
    /// The error of the operating system if threads cannot be started, or the listener cannot be used.
    pub fn run(&self, listener: std::net::TcpListener, stop: Stopped, grace: Duration) -> io::Result<Report> {
        listener.set_nonblocking(true)?;
        widen(&listener, self.shared.limits.connections)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("annals-server")
            .max_blocking_threads(self.shared.limits.workers + self.shared.limits.writers + 1)
            .enable_io()
            .enable_time()
            .build()?;
        let report = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            io::Result::Ok(self.serve(listener, stop.wait(), grace).await)
        });
        // Work that did not end in time must not hold the program.
        runtime.shutdown_background();
        report
    }

    /// The `OpenAPI` 3.1 document of the API, as JSON. The server answers with it at `/openapi.json`.
    pub fn openapi(&self) -> String {
        openapi::document(self.shared.parts()).to_string()
    }

    /// Tells live tails and connections to end, as [`serve`](Self::serve) does when it stops: for a program that has mounted the
    /// [router](Self::router). Never waits.
    pub fn end(&self) {
        self.shared.stage.send_replace(Stage::Draining);
    }
}

/// Lets as many connections wait to be accepted as the server serves at once. The standard library lets 128 wait; the system may reset what comes beyond.
fn widen(listener: &std::net::TcpListener, connections: usize) -> io::Result<()> {
    let waiting = i32::try_from(connections).unwrap_or(i32::MAX).max(WAITING_MIN);
    SockRef::from(listener).listen(waiting)
}

fn close((name, store): (String, Store)) -> NamespaceReport {
    let error = store.close().err();
    report(name, &store, error)
}

/// The report of a store that is not closed yet.
fn unfinished((name, store): (String, Store)) -> NamespaceReport {
    let error = Error::Unavailable {
        cause: annals::JournalError::new(
            annals::journal::JournalErrorKind::Retry,
            "it did not end its work in time",
        ),
    };
    report(name, &store, Some(error))
}

fn report(name: String, store: &Store, error: Option<Error>) -> NamespaceReport {
    let visible = store.visible();
    let synced = (!is_ephemeral(store)).then(|| store.reached(Durability::Synced));
    let is_safe = synced.is_none_or(|synced| synced >= visible);
    NamespaceReport {
        name,
        visible,
        synced,
        error: error.filter(|_| !is_safe),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_burst_of_connections_was_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        widen(&listener, 1000).unwrap();
        let address = listener.local_addr().unwrap();
        let burst: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
        listener.set_nonblocking(true).unwrap();
        let accepted: Vec<_> = std::iter::from_fn(|| listener.accept().ok()).collect();
        assert_eq!(accepted.len(), burst.len());
    }
}
