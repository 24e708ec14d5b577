//! `postgres://…`: Annals in PostgreSQL, in a separate schema that is dropped afterwards.

use std::sync::Arc;

use annals::{Store, StoreUrl};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls};

use super::annals_store::{AnnalsStore, of_store};
use super::remote::{ANSWER, CONNECT, OrFailed as _, answered, described, runtime};
use crate::crash::owner;
use crate::store::{Backend, Description, DurabilityClass, EventStore, Place, Result, StoreError};

/// The beginning of the URLs of this backend.
pub(super) const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Annals in a database.
#[derive(Debug)]
pub struct Postgres {
    config: Config,
    /// As it was given.
    name: String,
    url: StoreUrl,
    schema: String,
    server: Server,
}

/// The settings of a server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) version: String,
    pub(super) settings: String,
    pub(super) durability: DurabilityClass,
}

/// The configuration that `url` is, with the password of the environment, and what its server says of itself.
///
/// # Errors
///
/// [`StoreError::Failed`] if the URL has a password, or a schema, or the server cannot be reached without TLS.
pub(super) fn config_of(url: &str) -> Result<(Config, Server)> {
    let refused = |reason: &str| StoreError::Failed(format!("cannot measure in PostgreSQL: {reason}"));
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
    let (runtime, client) = client(&config)?;
    let show = |name: &str| -> Result<String> {
        let show = format!("SHOW {name}");
        let row = answered(&runtime, CONNECT, client.query_one(&show, &[]))?;
        row.and_then(|row| row.try_get(0)).or_failed()
    };
    let (fsync, commit) = (show("fsync")?, show("synchronous_commit")?);
    let server = Server {
        version: show("server_version")?,
        // `local` waits for the disk of the server too; `remote_write` does as well.
        durability: if fsync == "on" && commit != "off" {
            DurabilityClass::PowerSafe
        } else {
            DurabilityClass::ProcessCrashSafe
        },
        settings: format!("fsync={fsync}, synchronous_commit={commit}"),
    };
    Ok((config, server))
}

/// A connection, and the runtime that it lives on.
pub(super) fn client(config: &Config) -> Result<(Runtime, Client)> {
    let runtime = runtime(1)?;
    let (client, connection) = answered(&runtime, CONNECT, config.connect(NoTls))?.or_failed()?;
    runtime.spawn(connection);
    Ok((runtime, client))
}

/// Drops a schema, whose name consists of letters, digits and underscores.
pub(super) fn drop_schema(config: &Config, schema: &str) -> Result<()> {
    let (runtime, client) = client(config)?;
    let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    answered(&runtime, ANSWER, client.batch_execute(&drop))?.or_failed()
}

/// The message of the server for a failed call.
pub(super) fn told(error: &tokio_postgres::Error) -> StoreError {
    let text = error
        .as_db_error()
        .map_or_else(|| error.to_string(), ToString::to_string);
    StoreError::Failed(text)
}

impl Postgres {
    /// Connects to the server at `url`, and asks for the settings that durability depends on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or a schema, or the server cannot be reached without TLS.
    pub fn connect(url: &str) -> Result<Self> {
        let (config, server) = config_of(url)?;
        let schema = format!("annals_bench_{}", owner());
        let separator = if url.contains('?') { '&' } else { '?' };
        let store = format!("{url}{separator}schema={schema}&durability=synced");
        Ok(Self {
            config,
            name: url.to_owned(),
            url: store.parse().or_failed()?,
            schema,
            server,
        })
    }
}

impl Backend for Postgres {
    fn description(&self) -> Description {
        let (version, server) = (env!("CARGO_PKG_VERSION"), &self.server);
        let software = format!("annals {version}, PostgreSQL {}", server.version);
        let settings = format!("durability=synced, {}", server.settings);
        described("postgres", software, settings, server.durability)
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let store = self.url.open(Store::builder()).map_err(|error| of_store(&error))?;
        Ok(Arc::new(AnnalsStore {
            store,
            folder: None,
            has_journal: true,
        }))
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.name))
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }

    fn open_shared(&self) -> Result<Arc<dyn EventStore>> {
        // A store that follows appends in the database, without the lease of a writer.
        let store = self.url.follow(Store::builder()).map_err(|error| of_store(&error))?;
        Ok(Arc::new(AnnalsStore {
            store,
            folder: None,
            has_journal: true,
        }))
    }

    fn wipe(&self) -> Result<()> {
        drop_schema(&self.config, &self.schema)
    }
}
