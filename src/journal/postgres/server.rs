//! The servers of an address, and what connections to them have in common.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Address, PostgresSettings, password};
use crate::journal::JournalError;

/// The address of a store, and how to connect to it. `Debug` shows no password.
pub(super) struct Server {
    pub(super) hosts: Vec<Host>,
    /// The kind of server to read from.
    pub(super) to_read: TargetSessionAttrs,
    pub(super) is_shuffled: bool,
    pub(super) connector: MakeRustlsConnect,
    pub(super) settings: PostgresSettings,
    /// The schema that sessions use; `None` for the `search_path` of the role.
    pub(super) schema: Option<String>,
    place: String,
    pub(super) application: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.place)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One of the servers of an address: at most one of them is the primary, the others are its replicas.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) config: Config,
}

impl Server {
    pub(super) fn new(address: &Address, settings: PostgresSettings) -> Result<Self, JournalError> {
        let schema = settings.schema.clone();
        Self::with_schema(address, settings, Some(schema))
    }

    /// Like `new`, with another schema than that of the settings, or that of the role.
    pub(super) fn with_schema(
        address: &Address,
        settings: PostgresSettings,
        schema: Option<String>,
    ) -> Result<Self, JournalError> {
        settings.check()?;
        let hosts = address.hosts().into_iter().map(|(name, mut config)| {
            password::find(&mut config)?;
            // Every session is checked when it is set up.
            config.target_session_attrs(TargetSessionAttrs::Any);
            Ok(Host { name, config })
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, JournalError>>()?,
            to_read: address.config.get_target_session_attrs(),
            is_shuffled: address.config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            connector: address.tls.connector()?,
            place: match &schema {
                Some(schema) => format!("{address}, schema {schema}"),
                None => address.to_string(),
            },
            schema,
            application: address.config.get_application_name().unwrap_or_default().to_owned(),
            settings,
        })
    }

    /// The name of the store in messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The schema that sessions use; `None` for the `search_path` of the role.
    #[cfg(feature = "cqrs")]
    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The timeout of a call.
    pub(super) fn patience(&self) -> Duration {
        self.settings.timeout
    }

    /// The application name.
    pub(super) fn application(&self) -> &str {
        &self.application
    }
}
