//! `annals+nats://…`: Annals over a stream of NATS `JetStream`, which is deleted afterwards.

use std::sync::Arc;

use async_nats::jetstream::{self, Context};
use tokio::runtime::Runtime;

use super::annals_store::{AnnalsStore, of_store};
use super::nats::delete;
use super::remote::{OrFailed as _, described, runtime, without_password};
use crate::crash::owner;
use crate::store::{Backend, Description, DurabilityClass, EventStore, Place, Result};

/// The beginning of the URLs of this backend, before the address of the server.
pub(super) const PREFIX: &str = "annals+";

/// Stores of Annals over a stream on a server.
#[derive(Debug)]
pub struct JetStream {
    runtime: Runtime,
    context: Context,
    /// As it was given.
    name: String,
    /// That of the stream.
    url: String,
    stream: String,
    software: String,
    settings: String,
}

impl JetStream {
    /// Connects to the server at `url`. A stream with replicas has `?replicas=N` at its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`](crate::StoreError::Failed) if the URL has a password, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        without_password(url)?;
        let of_stream = url.strip_prefix(PREFIX).unwrap_or(url);
        let (server, parameters) = of_stream.split_once('?').unwrap_or((of_stream, "replicas=1"));
        let server = server.trim_end_matches('/');
        let runtime = runtime(1)?;
        let client = runtime.block_on(async_nats::connect(server)).or_failed()?;
        // Its context starts a task.
        let inside = runtime.enter();
        let context = jetstream::new(client.clone());
        drop(inside);
        let stream = format!("annals-bench-{}", owner());
        let version = env!("CARGO_PKG_VERSION");
        Ok(Self {
            context,
            name: url.to_owned(),
            url: format!("{server}/{stream}?{parameters}"),
            software: format!("annals {version}, JetStream of NATS {}", client.server_info().version),
            settings: format!("{parameters}, the server's own sync_interval"),
            stream,
            runtime,
        })
    }
}

impl Backend for JetStream {
    fn description(&self) -> Description {
        let (software, settings) = (self.software.clone(), self.settings.clone());
        described("jetstream", software, settings, DurabilityClass::ProcessCrashSafe)
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let store = annals_jetstream::open(&self.url).map_err(|error| of_store(&error))?;
        Ok(Arc::new(AnnalsStore {
            store,
            folder: None,
            has_journal: true,
        }))
    }

    fn wipe(&self) -> Result<()> {
        self.runtime.block_on(delete(&self.context, &self.stream))
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.name))
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }
}
