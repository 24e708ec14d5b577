//! Read models in PostgreSQL: rows and checkpoint commit together, whatever happens in between.

mod away;
mod contents;
mod example;
mod hostile;
mod owners;
mod poison;
mod rebuild;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use annals::cqrs::{
    HandlerError, OnFailure, Processors, Rows, SqlProjected, SqlProjection, SqlProjectionBuilder, StopReason, WaitError,
};
use annals::{Event, Expected, Gap, NewEvent, Position, Store, StreamId};

use crate::follow::url_at;
use crate::support::Schema;

pub(crate) const SOON: Duration = Duration::from_secs(60);

#[derive(serde::Deserialize)]
pub(crate) enum AccountEvent {
    Deposited { amount: i64 },
}

type Hook = dyn Fn(i64, &Event, &mut Rows<'_>) -> Result<(), HandlerError> + Send + Sync;

/// Keeps a row for each application of an event, so that one that is applied twice is seen; and the balance of each account.
#[derive(Clone)]
pub(crate) struct Ledger {
    /// Runs after the rows of an event were written.
    hook: Arc<Hook>,
    takes_gaps: bool,
    more_tables: &'static [&'static str],
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self::with(|_, _, _| Ok(()))
    }

    pub(crate) fn with(
        hook: impl Fn(i64, &Event, &mut Rows<'_>) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            hook: Arc::new(hook),
            takes_gaps: false,
            more_tables: &[],
        }
    }
}

impl SqlProjection for Ledger {
    type Event = AccountEvent;

    fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        rows.execute(
            "CREATE TABLE IF NOT EXISTS applied (position bigint NOT NULL, amount bigint NOT NULL)",
            &[],
        )?;
        rows.execute(
            "CREATE TABLE IF NOT EXISTS balances (id text PRIMARY KEY, balance bigint NOT NULL)",
            &[],
        )?;
        for table in self.more_tables {
            rows.execute(table, &[])?;
        }
        Ok(())
    }

    fn apply(&self, event: AccountEvent, record: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event;
        let position = record.position().0.cast_signed();
        rows.execute("INSERT INTO applied VALUES ($1, $2)", &[&position, &amount])?;
        let add = "INSERT INTO balances VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET balance = balances.balance + $2";
        rows.execute(add, &[&record.aggregate_id().replace('\0', "?"), &amount])?;
        (self.hook)(amount, record, rows)
    }

    fn gap(&self, gap: &Gap, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        if !self.takes_gaps {
            return Err(HandlerError::permanent("every event is needed"));
        }
        let position = gap.first.0.cast_signed();
        rows.execute("INSERT INTO applied VALUES ($1, -1)", &[&position])?;
        Ok(())
    }
}

/// A store in memory, and a schema for read models.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) schema: Schema,
    pub(crate) processors: Processors,
    /// The URL of the schema.
    pub(crate) url: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let schema = Schema::new();
        let store = Store::in_memory();
        Self {
            processors: Processors::new(&store),
            url: url_at(&schema.url, &schema),
            schema,
            store,
        }
    }

    /// The URL of the schema on another way to the server.
    pub(crate) fn url_on(&self, way: &str) -> String {
        url_at(way, &self.schema)
    }

    pub(crate) fn deposit(&self, account: &str, amount: i64) -> Position {
        deposit(&self.store, account, amount)
    }

    pub(crate) fn project(&self, ledger: &Ledger) -> SqlProjectionBuilder<Ledger> {
        self.processors
            .project_to_postgres("ledger", self.url.as_str(), ledger.clone())
            .on_failure(OnFailure::stop())
    }

    pub(crate) fn start(&self, ledger: &Ledger) -> SqlProjected<Ledger> {
        self.project(ledger).start().expect("it starts")
    }

    /// The amounts that were applied, in the order of the log.
    pub(crate) fn amounts(&self) -> Vec<i64> {
        let rows = self.schema.sql("SELECT amount FROM applied ORDER BY position, amount");
        let amount = |row: &Vec<Option<String>>| row[0].as_ref()?.parse().ok();
        rows.iter().filter_map(amount).collect()
    }

    /// The checkpoint; 0 before there is a table of it.
    pub(crate) fn checkpoint_or_zero(&self) -> u64 {
        let rows = self
            .schema
            .try_sql("SELECT position FROM annals_checkpoints")
            .unwrap_or_default();
        let position = rows.first().and_then(|row| row[0].as_ref()?.parse().ok());
        position.unwrap_or(0)
    }

    pub(crate) fn checkpoint(&self) -> u64 {
        let position = self.schema.value("SELECT position FROM annals_checkpoints");
        position.parse().expect("a number")
    }
}

pub(crate) fn deposit(store: &Store, account: &str, amount: i64) -> Position {
    let deposited = NewEvent::new("Deposited").data(format!(r#"{{"amount":{amount}}}"#));
    let appended = store.append(&StreamId::new("Account", account), Expected::Any, deposited);
    appended.expect("a deposit").last_position
}

/// Why a processor does not run.
pub(crate) fn stopped(projected: &SqlProjected<Ledger>) -> String {
    let error = projected
        .when_processed(Position(u64::MAX), SOON)
        .expect_err("it stops");
    assert!(matches!(error, WaitError::NotRunning { .. }), "{error}");
    error.to_string()
}

pub(crate) fn is_superseded(projected: &SqlProjected<Ledger>) -> bool {
    stopped(projected);
    matches!(
        projected.status().state,
        annals::cqrs::ProcessorState::Stopped(StopReason::Superseded { .. })
    )
}

/// Waits until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
