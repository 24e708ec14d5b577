//! Requests to compact the journal, and the answer to the latest.

use serde::Serialize;

use crate::Result;
use crate::store::sync::{AtomicU64, Mutex};

/// The result of [`Store::compact_journal`](crate::Store::compact_journal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JournalCompaction {
    /// Parts of the journal that were rewritten: segments of a journal in files, 4,096 positions each of one in PostgreSQL.
    pub parts: u64,
    /// Bytes of all parts before the compaction.
    pub bytes_before: u64,
    /// Bytes of all parts after the compaction.
    pub bytes_after: u64,
}

/// Compaction requests, shared by callers and the journal's thread.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Number of requests, and number of answered ones.
    pub(super) asked: AtomicU64,
    pub(super) answered: AtomicU64,
    /// The position of the last event at the latest request.
    pub(super) asked_at: AtomicU64,
    pub(super) answer: Mutex<Option<Result<JournalCompaction>>>,
}
