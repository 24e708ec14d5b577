//! The job of a child process, and what it says of it.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::store::Place;
use crate::workload::Workload;

/// The first word of a line, which is its kind.
pub(crate) const READY: &str = "ready";
pub(crate) const FAILED: &str = "failed";

/// The job of a child process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) place: Place,
    pub(crate) workload: Workload,
    pub(crate) seed: u64,
    /// Its part of a load that several processes share; without it, it appends until it is killed.
    pub(crate) share: Option<Share>,
}

/// The part of a load that a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) index: u32,
    pub(crate) of: u32,
}

/// The reason why a child process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChildError(String);

pub(crate) fn wrong(error: &dyn fmt::Display) -> ChildError {
    ChildError(error.to_string())
}

pub(crate) type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// Writes a line at once. A process that does not read any more is about to kill this one.
pub(crate) fn report_line(output: &Output, line: &str) {
    let mut output = output.lock();
    drop(
        output
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| output.flush()),
    );
}
