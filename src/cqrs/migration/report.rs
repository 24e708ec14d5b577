//! The report of a migration.

use std::fmt;

use serde::Serialize;

use crate::{Error, Position};

/// The number of refused rows that a report lists.
const REFUSED_MAX: usize = 1_000;

/// The report of a migration. After a complete run, `read` is the sum of `migrated`, `already_migrated` and `refused_count`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MigrationReport {
    /// The number of rows that were read.
    pub read: u64,
    /// The number of rows that became events in this run.
    pub migrated: u64,
    /// The number of rows that had become events in an earlier run.
    pub already_migrated: u64,
    /// The number of rows that could not become events.
    pub refused_count: u64,
    /// The first 1,000 refused rows with the reasons, ascending within a batch of 256 rows.
    pub refused: Vec<RefusedRow>,
    /// The position of the last event of this run; `None` if no row became an event.
    pub last_position: Option<Position>,
}

/// A row that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The number of the row in the source, counted from 1.
    pub row: u64,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for RefusedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}", self.row, self.reason)
    }
}

impl MigrationReport {
    pub(super) fn refuse(&mut self, row: u64, reason: String) {
        self.refused_count += 1;
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(RefusedRow { row, reason });
        }
    }
}

impl fmt::Display for MigrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            read,
            migrated,
            already_migrated,
            refused_count,
            ..
        } = self;
        write!(
            f,
            "{read} rows read: {migrated} migrated, {already_migrated} already migrated, {refused_count} refused"
        )
    }
}

/// Why a migration ended before the last row. Rows that were migrated stay migrated: fix the cause, and run it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The source of the rows failed.
    #[error("cannot read the rows: {reason}; until then, {report}; run the migration again to continue")]
    Source {
        /// The reason.
        reason: String,
        /// The report up to the failure.
        report: Box<MigrationReport>,
    },
    /// The store failed.
    #[error("cannot append the rows: {error}; until then, {report}; run the migration again to continue")]
    Store {
        /// The error of the store, which the message contains. It is no [source](std::error::Error::source).
        error: Error,
        /// The report up to the failure.
        report: Box<MigrationReport>,
    },
}

impl MigrationError {
    pub(super) fn source(reason: String, report: MigrationReport) -> Self {
        let report = Box::new(report);
        Self::Source { reason, report }
    }

    pub(super) fn store(error: Error, report: MigrationReport) -> Self {
        let report = Box::new(report);
        Self::Store { error, report }
    }
}
