//! Connections: the client, the stream and its settings.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use annals::journal::{JournalError, JournalErrorKind};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::rustls::Error as TlsError;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::address::Address;
use crate::reader;
use crate::shared::Shared;
use crate::subject;
use crate::tls;

/// How long connecting and opening may take. A server that has just started answers later.
const OPEN: Duration = Duration::from_secs(10);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// The client looks for another server of the cluster after three of these without an answer.
const PING: Duration = Duration::from_secs(2);
/// The first version whose streams with replicas are stores: the one with which races were tried, each of which had one winner.
const REPLICAS_SINCE: (i64, i64, i64) = (2, 15, 0);
/// The first version whose batches are used. They exist since 2.12, but up to 2.14.3 a server may mix up the expected sequences within a batch.
const BATCHES_SINCE: (i64, i64, i64) = (2, 15, 0);

/// A runtime. When it is dropped, its tasks end.
#[derive(Debug)]
struct Tasks(Option<Runtime>);

/// A connection to a stream.
#[derive(Debug)]
pub(crate) struct Connection {
    tasks: Tasks,
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) stream: Stream,
    pub(crate) address: Address,
    /// The most bytes of a message that the stream takes, if it has a limit of its own.
    pub(crate) message_bytes_max: Option<usize>,
    /// Why the stream takes no batches, if it takes none.
    pub(crate) no_batches: Option<String>,
}

/// Whether there is such a stream. Creates none.
///
/// # Errors
///
/// [`Retry`](JournalErrorKind::Retry) when the server cannot be reached, or does not tell.
pub(crate) fn exists(address: &Address) -> Result<bool, JournalError> {
    run(address, has_stream(address.clone())).map(|(_, exists)| exists)
}

/// Runs a request on a runtime of its own, and returns both.
fn run<T: Send + 'static>(
    address: &Address,
    request: impl Future<Output = Result<T, JournalError>> + Send + 'static,
) -> Result<(Tasks, T), JournalError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("annals-jetstream")
        .enable_all()
        .build()
        .map_err(|error| JournalError::new(JournalErrorKind::Retry, "cannot start threads").caused_by(error))?;
    let tasks = Tasks(Some(runtime));
    let result = tasks.wait(request, OPEN).unwrap_or_else(|| Err(unreachable(address)))?;
    Ok((tasks, result))
}

impl Connection {
    /// Connects to a stream, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// [`Retry`](JournalErrorKind::Retry) when the server cannot be reached; [`Unsupported`](JournalErrorKind::Unsupported) when it refuses, or the stream
    /// is not one for a store.
    pub(crate) fn open(address: &Address) -> Result<Self, JournalError> {
        let (tasks, (client, context, stream)) = run(address, open(address.clone()))?;
        Ok(Self {
            tasks,
            no_batches: no_batches(&client, stream.cached_info()),
            client,
            context,
            message_bytes_max: usize::try_from(stream.cached_info().config.max_message_size)
                .ok()
                .filter(|max| *max > 0),
            stream,
            address: address.clone(),
        })
    }

    /// Waits for a request, from a thread of the store. `None` after the time of a request.
    pub(crate) fn wait<T: Send + 'static>(&self, request: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.tasks.wait(request, REQUEST)
    }

    /// Starts to read the stream behind the message `sequence`, whose last event is at `position`.
    pub(crate) fn start_reader(&self, shared: &Arc<Shared>, sequence: u64, position: u64) -> Option<AbortHandle> {
        let number = shared.begin(sequence, position);
        let task = reader::read(self.stream.clone(), Arc::clone(shared), number);
        Some(self.tasks.0.as_ref()?.spawn(task).abort_handle())
    }

    /// The sequence of the last message, as the server tells it.
    ///
    /// # Errors
    ///
    /// [`Retry`](JournalErrorKind::Retry) when it does not; [`Unsupported`](JournalErrorKind::Unsupported) when the stream has got settings that lose
    /// events; [`Corrupt`](JournalErrorKind::Corrupt) when it is another one of the same name.
    pub(crate) fn end(&self) -> Result<u64, JournalError> {
        let stream = self.stream.clone();
        let info = self.wait(async move { stream.get_info().await });
        let error = JournalError::new(JournalErrorKind::Retry, format!("{} does not answer", self.address));
        match info {
            Some(Ok(info)) => {
                check(&self.address, &info)?;
                self.check_same(&info)?;
                Ok(info.state.last_sequence)
            }
            Some(Err(cause)) => Err(error.caused_by(cause)),
            None => Err(error),
        }
    }

    fn check_same(&self, info: &Info) -> Result<(), JournalError> {
        if info.created == self.stream.cached_info().created {
            return Ok(());
        }
        let message = format!(
            "{} was deleted, and created again: open the store again, to read the new one",
            self.address
        );
        Err(JournalError::corrupt(message))
    }
}

impl Tasks {
    /// Runs `request`, and waits for it on this thread, which may be one of another runtime. `None` if it takes longer than `time`.
    fn wait<T: Send + 'static>(&self, request: impl Future<Output = T> + Send + 'static, time: Duration) -> Option<T> {
        let (done, result) = mpsc::sync_channel(1);
        let runtime = self.0.as_ref()?;
        let task = runtime.spawn(async move { done.send(request.await).is_ok() });
        let result = result.recv_timeout(time);
        if result.is_err() {
            task.abort();
        }
        result.ok()
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

fn unreachable(address: &Address) -> JournalError {
    let message = format!(
        "cannot reach {address} within {} s: is a server with JetStream running there?",
        OPEN.as_secs()
    );
    JournalError::new(JournalErrorKind::Retry, message)
}

async fn open(address: Address) -> Result<(Client, Context, Stream), JournalError> {
    let client = client(&address).await?;
    check_version(&address, &client, address.replicas)?;
    let context = jetstream::new(client.clone());
    let stream = get_or_create(&context, &address, has_batches(&client)).await?;
    check(&address, stream.cached_info())?;
    check_version(&address, &client, stream.cached_info().config.num_replicas)?;
    Ok((client, context, stream))
}

/// Refuses a stream with replicas on a server whose expected sequences do not hold there: 2.9.10 took two messages at once behind the same one.
fn check_version(address: &Address, client: &Client, replicas: usize) -> Result<(), JournalError> {
    let (major, minor, patch) = REPLICAS_SINCE;
    if replicas <= 1 || client.is_server_compatible(major, minor, patch) {
        return Ok(());
    }
    let message = format!(
        "{address} has {replicas} replicas, and NATS {} may take two appends at once to one aggregate there: use {major}.{minor} or later, or one \
         replica",
        client.server_info().version
    );
    Err(JournalError::new(JournalErrorKind::Unsupported, message))
}

/// Why the stream takes no batches, if it takes none.
fn no_batches(client: &Client, info: &Info) -> Option<String> {
    let (major, minor, _) = BATCHES_SINCE;
    if !has_batches(client) {
        return Some(format!(
            "the server is NATS {}, and atomic batches need {major}.{minor} or later",
            client.server_info().version
        ));
    }
    let reason =
        "the stream does not allow atomic batches: set allow_atomic in its configuration, and open the store again";
    (!info.config.allow_atomic_publish).then(|| reason.to_owned())
}

fn has_batches(client: &Client) -> bool {
    let (major, minor, patch) = BATCHES_SINCE;
    client.is_server_compatible(major, minor, patch)
}

async fn has_stream(address: Address) -> Result<bool, JournalError> {
    let context = jetstream::new(client(&address).await?);
    let Err(error) = context.get_stream(&address.stream).await else {
        return Ok(true);
    };
    if let GetStreamErrorKind::JetStream(refusal) = error.kind()
        && refusal.error_code() == ErrorCode::STREAM_NOT_FOUND
    {
        return Ok(false);
    }
    Err(unreachable(&address).caused_by(error))
}

async fn client(address: &Address) -> Result<Client, JournalError> {
    let mut options = ConnectOptions::new()
        .name("annals")
        .connection_timeout(REQUEST)
        .ping_interval(PING)
        .request_timeout(Some(REQUEST));
    if let Some((user, password)) = address.login.clone() {
        options = options.user_and_password(user, password);
    }
    let options = options
        .require_tls(address.tls.is_required)
        .tls_client_config(tls::config(&address.tls)?);
    let connected = options.connect(address.server()).await;
    connected.map_err(|error| match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            let message = format!("{} refuses the user and the password of the URL", address.server());
            JournalError::new(JournalErrorKind::Unsupported, message).caused_by(error)
        }
        _ if is_of_tls(&error) => {
            let message = format!(
                "cannot agree with {} on TLS: check the certificate of the server, and the parameters ca, cert and key of the URL",
                address.server()
            );
            JournalError::new(JournalErrorKind::Unsupported, message).caused_by(error)
        }
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => unreachable(address).caused_by(error),
    })
}

/// Whether an error is one of TLS. The kind of the client's error says so only if the handshake could not begin.
fn is_of_tls(error: &ConnectError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let inner = source.and_then(std::io::Error::get_ref);
    error.kind() == ConnectErrorKind::Tls || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsError>)
}

/// A server that has just started does not find its streams at once.
async fn get_or_create(context: &Context, address: &Address, has_batches: bool) -> Result<Stream, JournalError> {
    let deadline = Instant::now() + REQUEST;
    loop {
        match context.get_or_create_stream(config(address, has_batches)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let refused = is_refused(&error);
                if refused || Instant::now() >= deadline {
                    let kind = if refused {
                        JournalErrorKind::Unsupported
                    } else {
                        JournalErrorKind::Retry
                    };
                    return Err(JournalError::new(kind, format!("cannot open {address}")).caused_by(error));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the server refuses to create this stream, so that a retry does not help. While it is unavailable it answers with 503.
fn is_refused(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(refusal) if refusal.code() != 503)
}

/// The settings of a new stream.
fn config(address: &Address, has_batches: bool) -> Config {
    Config {
        name: address.stream.clone(),
        subjects: vec![subject::all(&address.stream)],
        description: Some("a store of Annals".to_owned()),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: address.replicas,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        allow_atomic_publish: has_batches,
        ..Config::default()
    }
}

/// Refuses a stream that another program made, or whose settings lose events: what is in force counts, not what was asked for.
fn check(address: &Address, info: &Info) -> Result<(), JournalError> {
    let config = &info.config;
    let faults = [
        (config.subjects != [subject::all(&address.stream)], "has other subjects"),
        (
            config.retention != RetentionPolicy::Limits,
            "drops messages that were read",
        ),
        (config.max_messages > 0, "has a limit of messages (max_msgs)"),
        (
            config.max_messages_per_subject > 0,
            "has a limit of messages per subject (max_msgs_per_subject)",
        ),
        (!config.max_age.is_zero(), "drops old messages (max_age)"),
        (
            config.max_bytes > 0 && config.discard != DiscardPolicy::New,
            "drops old messages when it is full (discard)",
        ),
        (config.allow_rollup, "lets a message replace others (allow_rollup_hdrs)"),
        (
            !config.deny_delete || !config.deny_purge,
            "lets messages be deleted (deny_delete, deny_purge)",
        ),
        (config.storage != StorageType::File, "is kept in memory (storage)"),
        (config.sealed, "takes no more messages (sealed)"),
        (
            config.subject_transform.is_some(),
            "changes subjects (subject_transform)",
        ),
        (
            config.mirror.is_some() || config.sources.is_some(),
            "copies another stream",
        ),
        (config.no_ack, "does not acknowledge messages (no_ack)"),
        (info.state.messages != info.state.last_sequence, "has lost messages"),
    ];
    let Some((_, fault)) = faults.into_iter().find(|(is_so, _)| *is_so) else {
        return Ok(());
    };
    Err(JournalError::new(
        JournalErrorKind::Unsupported,
        format!(
            "{address} cannot be a store, because the stream {fault}: name a stream that does not exist yet, so that it is created"
        ),
    ))
}
