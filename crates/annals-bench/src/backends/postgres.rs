//! `postgres://…`: Annals in PostgreSQL, in a schema of its own, which is dropped afterwards.

use std::sync::Arc;

use annals::{Store, StoreUrl};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls};

use super::annals::{AnnalsStore, failed, of_store};
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Result, StoreError,
};

/// How the URLs of this backend begin.
pub(super) const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Annals in a database.
#[derive(Debug)]
pub struct Postgres {
    config: Config,
    url: StoreUrl,
    schema: String,
    software: String,
    settings: String,
    is_synced: bool,
}

impl Postgres {
    /// Connects to the server at `url`, and asks for the settings that durability depends on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or a schema, or the server cannot be reached without TLS.
    pub fn connect(url: &str) -> Result<Self> {
        let refused = |reason: &str| StoreError::Failed(format!("cannot measure in PostgreSQL: {reason}"));
        let schema = format!("annals_bench_{}", std::process::id());
        if url.contains("schema=") {
            return Err(refused("a benchmark has a schema of its own: name the database alone"));
        }
        let mut config: Config = url.parse().map_err(|_| refused("the URL is invalid"))?;
        if config.get_password().is_some() {
            return Err(refused("a result would hold the password: set PGPASSWORD instead"));
        }
        if let Ok(password) = std::env::var("PGPASSWORD") {
            config.password(password);
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}schema={schema}&durability=synced");
        let mut backend = Self {
            config,
            url: url.parse().map_err(|error: annals::Error| failed(&error))?,
            schema,
            software: String::new(),
            settings: String::new(),
            is_synced: false,
        };
        backend.ask()?;
        Ok(backend)
    }

    /// Asks for the version and the settings.
    fn ask(&mut self) -> Result<()> {
        let (runtime, client) = self.client()?;
        let show = |name: &str| -> Result<String> {
            let row = runtime.block_on(client.query_one(&format!("SHOW {name}"), &[]));
            row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))
        };
        let (fsync, commit) = (show("fsync")?, show("synchronous_commit")?);
        self.software = format!(
            "annals {}, PostgreSQL {}",
            env!("CARGO_PKG_VERSION"),
            show("server_version")?
        );
        // `local` waits for the disk of the server too; `remote_write` does as well.
        self.is_synced = fsync == "on" && commit != "off";
        self.settings = format!("durability=synced, fsync={fsync}, synchronous_commit={commit}");
        Ok(())
    }

    fn client(&self) -> Result<(Runtime, Client)> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let (client, connection) = runtime
            .block_on(self.config.connect(NoTls))
            .map_err(|error| failed(&error))?;
        runtime.spawn(connection);
        Ok((runtime, client))
    }
}

impl Backend for Postgres {
    fn description(&self) -> Description {
        Description {
            name: "postgres".to_owned(),
            software: self.software.clone(),
            settings: self.settings.clone(),
            durability: if self.is_synced {
                DurabilityClass::PowerSafe
            } else {
                DurabilityClass::ProcessCrashSafe
            },
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::StreamVersion,
            keeps_events: true,
            has_log: true,
            has_queries: true,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let store = self.url.open(Store::builder()).map_err(|error| of_store(&error))?;
        Ok(Arc::new(AnnalsStore {
            store,
            folder: None,
            has_journal: true,
        }))
    }

    fn wipe(&self) -> Result<()> {
        let (runtime, client) = self.client()?;
        // The name is made of letters, digits and underscores.
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        runtime
            .block_on(client.batch_execute(&drop))
            .map_err(|error| failed(&error))
    }
}
