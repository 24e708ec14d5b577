//! What the tests share: a schema of its own for each, and SQL behind the journal's back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals::journal::postgres::{Partition, PostgresJournal, PostgresSettings};
use annals::journal::{Batch, Journal, JournalError, JournalErrorKind, Record, Recover};
use annals::testing::conformance::Storage;
use annals::{Event, EventRef, Position, Timestamp, Version};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::cluster;

/// A schema of its own in a server; it is dropped at the end.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) partition: Partition,
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
        Self {
            url,
            name,
            partition: Partition::AsItIs,
        }
    }

    /// In the server that tests share, with a table that is partitioned.
    pub(crate) fn partitioned() -> Self {
        let mut schema = Self::new();
        schema.partition = Partition::ByMonth;
        schema
    }

    /// The URL with an option more.
    pub(crate) fn url_with(&self, option: &str) -> String {
        let sign = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{sign}{option}", self.url)
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings::default()
            .schema(self.name.clone())
            .timeout(Duration::from_secs(20))
            .partition(self.partition)
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

/// A schema with the tables of an empty store.
pub(crate) fn prepared() -> Schema {
    let schema = Schema::new();
    drop(schema.journal().expect("the tables are made"));
    schema
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

/// A batch of `count` events from position `first` on, of one aggregate; the data says which they are.
pub(crate) fn batch(first: u64, count: u64) -> Batch {
    let mut batch = Batch::new();
    for position in first..first + count {
        let data = format!("\"position {position} of {count}\"");
        let mut record = Record::new(Position(position), Version(position), Uuid::from_u64_pair(1, position));
        record.timestamp = Timestamp::from_micros(position.cast_signed());
        record.aggregate_id = "order-1";
        record.aggregate_type = "Order";
        record.event_type = "OrderPlaced";
        record.data = data.as_bytes();
        batch.push(&record);
    }
    batch
}

/// Takes everything down that a journal hands back.
#[derive(Default)]
pub(crate) struct Taker(pub(crate) Vec<Event>);

impl Recover for Taker {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.0.extend(batch.events().map(EventRef::to_event));
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
}

/// How many events of [`batch`] the journal has: they are numbered without a gap.
pub(crate) fn recovered(journal: &mut dyn Journal) -> u64 {
    let mut taker = Taker::default();
    journal.recover(&mut taker).expect("it can be read");
    for (position, event) in (1..).zip(&taker.0) {
        assert_eq!(event.position(), Position(position));
        let data = String::from_utf8_lossy(event.data());
        assert!(data.starts_with(&format!("\"position {position} of ")), "{data}");
    }
    taker.0.len() as u64
}

/// What a write that may be tried again comes to in the end.
pub(crate) fn last_error(journal: &mut PostgresJournal, batch: &Batch) -> JournalError {
    loop {
        let error = journal.write(batch).expect_err("it is refused");
        if error.kind() != JournalErrorKind::Retry {
            return error;
        }
    }
}
