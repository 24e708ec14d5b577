//! What the tests share: a schema of its own for each, and SQL behind the journal's back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals::journal::postgres::{PostgresJournal, PostgresSettings};
use annals::journal::{Journal, JournalError};
use annals::testing::conformance::Storage;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::cluster;

/// A schema that nobody else uses, in some server; it is dropped at the end.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// In the server that tests share.
    pub(crate) fn new() -> Self {
        Self::on(cluster::url())
    }

    pub(crate) fn on(url: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test \"{}\" {number}", std::process::id());
        Self { url, name }
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            schema: self.name.clone(),
            timeout: Duration::from_secs(20),
            ..PostgresSettings::default()
        }
    }

    pub(crate) fn journal(&self) -> Result<PostgresJournal, JournalError> {
        PostgresJournal::open_with(&self.url, self.settings())
    }

    /// What `text` answers, as texts; within the schema.
    pub(crate) fn sql(&self, text: &str) -> Vec<Vec<Option<String>>> {
        self.try_sql(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    pub(crate) fn try_sql(&self, text: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let path = self.name.replace('"', "\"\"");
        sql(&self.url, &format!("SET search_path TO \"{path}\"; {text}"))
    }

    /// The one value that `text` answers.
    pub(crate) fn value(&self, text: &str) -> String {
        let rows = self.sql(text);
        rows[0][0].clone().unwrap_or_default()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let path = self.name.replace('"', "\"\"");
        drop(self.try_sql(&format!("DROP SCHEMA IF EXISTS \"{path}\" CASCADE")));
    }
}

impl Storage for Schema {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(self.journal()?))
    }
}

/// What the server at `url` answers to `text`.
pub(crate) fn sql(url: &str, text: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(text).await?;
        drop(client);
        drop(connection.await);
        Ok(messages.iter().filter_map(row).collect())
    })
}

fn row(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    let SimpleQueryMessage::Row(row) = message else {
        return None;
    };
    Some(
        (0..row.len())
            .map(|column| row.get(column).map(str::to_owned))
            .collect(),
    )
}
