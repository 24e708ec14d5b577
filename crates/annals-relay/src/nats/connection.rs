//! The connection to a server, and what is in force on the stream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, ServerAddr};

use crate::{Outcome, RelayError};

/// The client looks for the server again after three of these without an answer.
const PING: Duration = Duration::from_secs(2);

pub(super) struct Settings {
    pub(super) address: ServerAddr,
    pub(super) stream: String,
    pub(super) subjects: String,
    pub(super) creates: bool,
    pub(super) deadline: Duration,
}

impl Settings {
    /// The server, without the user and the password.
    pub(super) fn server(&self) -> String {
        format!("NATS at {}:{}", self.address.host(), self.address.port())
    }
}

/// Reads the URL.
///
/// # Errors
///
/// [`RelayError::Invalid`] without the URL, which may have a password.
pub(super) fn parse(url: &str) -> Result<ServerAddr, RelayError> {
    let refused =
        || RelayError::invalid("the URL of a NATS server has the form nats://[USER:PASSWORD@]HOST[:PORT], or tls://");
    let has_scheme = ["nats://", "tls://"].iter().any(|scheme| url.starts_with(scheme));
    let address: Option<ServerAddr> = url.parse().ok();
    address
        .filter(|address| has_scheme && !address.host().is_empty())
        .ok_or_else(refused)
}

pub(super) struct Connection {
    client: Client,
    pub(super) context: Context,
    /// The most bytes of a message that the stream takes, if it has a limit of its own.
    stream_bytes_max: Option<usize>,
}

impl Connection {
    pub(super) fn is_alive(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The most bytes of a message with its headers.
    pub(super) fn bytes_max(&self) -> usize {
        let of_server = self.client.max_payload();
        self.stream_bytes_max.map_or(of_server, |max| max.min(of_server))
    }
}

/// Connects, and looks for the stream.
pub(super) async fn open(settings: Arc<Settings>) -> Result<Connection, Outcome> {
    let server = settings.server();
    let options = ConnectOptions::new()
        .name("annals-relay")
        .connection_timeout(settings.deadline)
        .request_timeout(Some(settings.deadline))
        .ping_interval(PING);
    let connected = options.connect(settings.address.clone()).await;
    let client = connected.map_err(|error| Outcome::unavailable(format!("cannot connect to {server}: {error}")))?;
    let mut context = jetstream::new(client.clone());
    context.set_timeout(settings.deadline);
    let stream = find(&context, &settings).await?;
    let config = &stream.cached_info().config;
    check(&settings.stream, config)?;
    Ok(Connection {
        stream_bytes_max: usize::try_from(config.max_message_size).ok().filter(|max| *max > 0),
        client,
        context,
    })
}

async fn find(context: &Context, settings: &Settings) -> Result<Stream, Outcome> {
    let name = &settings.stream;
    let error = match context.get_stream(name).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    let is_missing = matches!(error.kind(), GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND);
    if !is_missing || !settings.creates {
        return Err(Outcome::unavailable(format!(
            "{} has no stream '{name}': {error}",
            settings.server()
        )));
    }
    let config = Config {
        name: name.clone(),
        subjects: vec![settings.subjects.clone()],
        description: Some("events of a store of Annals".to_owned()),
        ..Config::default()
    };
    let created = context.get_or_create_stream(config).await;
    created.map_err(|error| Outcome::unavailable(format!("cannot create the stream '{name}': {error}")))
}

/// Refuses a stream that cannot acknowledge: what is in force counts.
fn check(name: &str, config: &Config) -> Result<(), Outcome> {
    let fault = if config.no_ack {
        "does not acknowledge messages (no_ack)"
    } else if config.sealed {
        "takes no more messages (sealed)"
    } else {
        return Ok(());
    };
    Err(Outcome::Stop {
        reason: format!("the stream '{name}' {fault}: name another one, or change it, and resume the relay"),
    })
}
