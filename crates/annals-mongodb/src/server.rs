//! Connections: the client and its runtime, and the collections.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use annals::journal::{JournalError, JournalErrorKind as Kind};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{
    ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database};
use tokio::runtime::{Builder, Runtime};

use crate::address::Address;
use crate::document::SNAPSHOTS;
use crate::errors;

/// How long the client looks for a server that can execute a request.
const SELECTION: Duration = Duration::from_secs(5);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
const EVENTS: &str = "events";
const HEAD: &str = "head";
const ARCHIVE: &str = "events_archive";
/// The most bytes of a document, unless the server has a lower limit.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// A runtime. When it is dropped, its tasks end.
#[derive(Debug)]
struct Tasks(Option<Runtime>);

/// A connection to a database.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: Tasks,
    pub(crate) data: Arc<Data>,
}

/// The collections of a store.
pub(crate) struct Data {
    pub(crate) address: Address,
    database: Database,
    pub(crate) events: Collection<RawDocumentBuf>,
    pub(crate) snapshots: Collection<RawDocumentBuf>,
    pub(crate) archive: Collection<RawDocumentBuf>,
    /// The head, and a document for each bucket of positions with purged events.
    pub(crate) head: Collection<Document>,
    pub(crate) document_bytes_max: usize,
}

impl Server {
    /// Connects, and creates nothing.
    ///
    /// # Errors
    ///
    /// [`Retry`](Kind::Retry) when the server cannot be reached; [`Unsupported`](Kind::Unsupported) when it refuses the login, or loses what it acknowledges.
    pub(crate) fn connect(address: &Address) -> Result<Self, JournalError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("annals-mongodb")
            .enable_all()
            .build()
            .map_err(|error| JournalError::new(Kind::Retry, "cannot start a thread").caused_by(error))?;
        let tasks = Tasks(Some(runtime));
        let data = tasks.wait(connect(address.clone()), address, "connect to")?;
        Ok(Self {
            tasks,
            data: Arc::new(data),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.data.address
    }

    /// Executes a request on the thread of the client, and waits for its result on this one, which may be one of another runtime.
    ///
    /// # Errors
    ///
    /// That of the request; [`Retry`](Kind::Retry) when it takes longer than 30 seconds.
    pub(crate) fn run<T, F>(&self, what: &str, request: impl FnOnce(Arc<Data>) -> F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, JournalError>> + Send + 'static,
    {
        let request = request(Arc::clone(&self.data));
        self.tasks.wait(request, self.address(), what)
    }

    /// Starts a task that ends with this connection.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.tasks.0 {
            drop(runtime.spawn(task));
        }
    }
}

/// Without the options of the client, which contain a password.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.address, f)
    }
}

impl Data {
    /// A collection of another program.
    pub(crate) fn foreign(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    pub(crate) fn error(&self, what: &str, error: &mongodb::error::Error) -> JournalError {
        errors::of_client(&self.address, what, error)
    }
}

impl Tasks {
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, JournalError>> + Send + 'static,
        address: &Address,
        what: &str,
    ) -> Result<T, JournalError> {
        let late = || {
            let seconds = REQUEST.as_secs();
            JournalError::new(
                Kind::Retry,
                format!("cannot {what} {address}: no answer within {seconds} s"),
            )
        };
        let (done, result) = mpsc::sync_channel(1);
        let runtime = self.0.as_ref().ok_or_else(late)?;
        let task = runtime.spawn(async move { done.send(request.await).is_ok() });
        let result = result.recv_timeout(REQUEST);
        if result.is_err() {
            task.abort();
        }
        result.unwrap_or_else(|_| Err(late()))
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // A thread of another runtime may drop it, where waiting is forbidden.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connect(address: Address) -> Result<Data, JournalError> {
    let failed = |error: &mongodb::error::Error| errors::of_client(&address, "connect to", error);
    let mut options = ClientOptions::parse(&address.client_url)
        .await
        .map_err(|error| failed(&error))?;
    options.server_selection_timeout = Some(SELECTION);
    options.app_name.get_or_insert_with(|| "annals".to_owned());
    let client = Client::with_options(options).map_err(|error| failed(&error))?;
    let database = client.database(&address.database);
    let hello = database
        .run_command(doc! { "hello": 1 })
        .await
        .map_err(|error| failed(&error))?;
    check_storage(&address, &client).await?;
    let of = settings(hello.contains_key("setName"));
    let limit = hello
        .get_i32("maxBsonObjectSize")
        .ok()
        .and_then(|limit| usize::try_from(limit).ok());
    Ok(Data {
        events: database.collection_with_options(EVENTS, of.clone()),
        snapshots: database.collection_with_options(SNAPSHOTS, of.clone()),
        archive: database.collection_with_options(ARCHIVE, of.clone()),
        head: database.collection_with_options(HEAD, of),
        document_bytes_max: limit.unwrap_or(DOCUMENT_BYTES_MAX).min(DOCUMENT_BYTES_MAX),
        database,
        address,
    })
}

/// Writes are acknowledged by a majority whose journals have them. Reads of a replica set return only what a majority has.
fn settings(is_replica_set: bool) -> CollectionOptions {
    let writes = WriteConcern::builder()
        .w(mongodb::options::Acknowledgment::Majority)
        .journal(true)
        .build();
    let reads = is_replica_set.then(ReadConcern::majority);
    CollectionOptions::builder()
        .write_concern(writes)
        .read_concern(reads)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

/// Refuses a server whose storage engine keeps documents in memory alone. A server may not tell.
async fn check_storage(address: &Address, client: &Client) -> Result<(), JournalError> {
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await;
    let engine = status
        .ok()
        .and_then(|status| status.get_document("storageEngine").cloned().ok());
    let is_volatile =
        engine.is_some_and(|engine| engine.get_bool("persistent").is_ok_and(|is_persistent| !is_persistent));
    if !is_volatile {
        return Ok(());
    }
    Err(JournalError::new(
        Kind::Unsupported,
        format!(
            "{address} cannot be a store, because the storage engine of the server is not persistent: use WiredTiger"
        ),
    ))
}
