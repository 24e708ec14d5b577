//! The statements of handlers, in the transaction of their batch.

use std::fmt;

use tokio_postgres::Row;

use super::statement::ends_transaction;
use crate::journal::postgres::{Failure, Link, Parameter};

/// Why a statement of a read model failed. The text has the SQLSTATE, the message and the detail of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Failure);

impl SqlError {
    pub(super) fn refused(text: &str) -> Self {
        Self(Failure {
            code: None,
            text: text.to_owned(),
            is_of_database: false,
        })
    }

    /// The SQLSTATE, such as `23505` for a duplicate key; `None` when the server did not respond.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Whether the server or the connection failed, and not the statement: the batch is rolled back, and handled again when the database is
    /// available.
    pub fn is_of_database(&self) -> bool {
        self.0.is_of_database
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for SqlError {}

impl From<Failure> for SqlError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// The rows of a read model: executes statements in the transaction that commits them together with the checkpoint.
///
/// The calls block. Each takes one statement, with parameters `$1`, `$2` and so on. A statement that fails undoes the event: its other rows are
/// rolled back, whatever the handler returns. Statements that begin or end transactions are refused.
pub struct Rows<'a> {
    link: &'a mut Link,
    pending: &'a mut Option<&'static str>,
    /// Whether the savepoint of the event is set on the server.
    is_set: &'a mut bool,
    failed: Option<SqlError>,
    is_rebuild: bool,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    /// `pending` is sent ahead of the first statement, and sets the savepoint.
    pub(super) fn new(link: &'a mut Link, pending: &'a mut Option<&'static str>, is_set: &'a mut bool) -> Self {
        Self {
            link,
            pending,
            is_set,
            failed: None,
            is_rebuild: false,
        }
    }

    pub(super) fn of_rebuild(mut self, is_rebuild: bool) -> Self {
        self.is_rebuild = is_rebuild;
        self
    }

    /// Whether these are the rows of a [rebuild](super::SqlProjected::rebuild), which handles events that were handled before: leave effects on anything but
    /// rows out then, such as mails and messages.
    pub fn is_rebuild(&self) -> bool {
        self.is_rebuild
    }

    /// Executes a statement. Returns the number of rows that it inserted, updated or deleted.
    ///
    /// # Errors
    ///
    /// [`SqlError`] from the server, or when an earlier statement of the event failed.
    pub fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, SqlError> {
        self.run(sql, |link, before| link.execute(before, sql, parameters))
    }

    /// Executes a query. Returns all its rows.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn query(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, SqlError> {
        self.run(sql, |link, before| link.query(before, sql, parameters))
    }

    fn run<T>(
        &mut self,
        sql: &str,
        call: impl FnOnce(&mut Link, Option<&'static str>) -> Result<T, Failure>,
    ) -> Result<T, SqlError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let done = if ends_transaction(sql) {
            Err(SqlError::refused(
                "a handler cannot begin or end a transaction, or set savepoints: its rows are committed together with the checkpoint",
            ))
        } else {
            // Set, whether the statement itself succeeds or not.
            *self.is_set = true;
            call(self.link, self.pending.take()).map_err(SqlError::from)
        };
        if let Err(error) = &done {
            self.failed = Some(error.clone());
        }
        done
    }

    /// The first statement that failed.
    pub(super) fn into_failed(self) -> Option<SqlError> {
        self.failed
    }
}
