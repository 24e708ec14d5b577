//! What a migration did.

use std::fmt;

use serde::Serialize;

use crate::{Error, Position};

/// The number of refused rows that a report lists.
const REFUSED_MAX: usize = 1_000;

/// What a migration did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MigrationReport {
    /// The number of rows that were read.
    pub read: u64,
    /// The number of rows that became events now.
    pub migrated: u64,
    /// The number of rows that had become events before.
    pub already: u64,
    /// The number of rows that could not become events.
    pub refused_count: u64,
    /// The first 1,000 of these, with the reasons; ascending within a batch of 256 rows.
    pub refused: Vec<RefusedRow>,
    /// The position of the last event.
    pub last_position: Option<Position>,
}

/// A row that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRow {
    /// Its number, counted from 1.
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
            already,
            refused_count,
            ..
        } = self;
        write!(
            f,
            "{read} rows read: {migrated} migrated, {already} there already, {refused_count} refused"
        )
    }
}

/// Why a migration ended before the last row. What has been migrated stays: run it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The source cannot be read on.
    #[error("the rows cannot be read on: {reason}; so far, {report}")]
    Source {
        /// The reason.
        reason: String,
        /// What has been done.
        report: Box<MigrationReport>,
    },
    /// The store cannot store.
    #[error("{error}; so far, {report}")]
    Store {
        /// The error of the store.
        error: Error,
        /// What has been done.
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
