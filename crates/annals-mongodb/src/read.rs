//! Reading events up to the head, in pages that never cross a bucket.

use std::collections::HashSet;

use annals::Position;
use annals::journal::{Batch, JournalError, Part, Recover};
use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{RawDocument, RawDocumentBuf, doc};

use crate::address::Address;
use crate::document::{self, key};
use crate::purged::{self, Purged};
use crate::server::{Data, Server};

/// Bytes of the documents of a page, unless one has more.
const PAGE_BYTES: usize = 8 << 20;
const BATCH_SIZE: u32 = 512;

/// The documents from one position to another.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) events: Vec<RawDocumentBuf>,
    snapshots: Vec<RawDocumentBuf>,
    pub(crate) purged: Purged,
}

impl Page {
    /// Reads from `first`, which must exist, at most to `last`.
    pub(crate) fn read(server: &Server, first: u64, last: u64) -> Result<Self, JournalError> {
        server.run("read", |data| async move {
            read(&data, first, last.min(purged::bucket_end(first))).await
        })
    }

    /// The events, and what is left of the purged ones.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](annals::journal::JournalErrorKind::Corrupt) when a document is missing or damaged.
    pub(crate) fn batch(&self, address: &Address) -> Result<Batch, JournalError> {
        let (mut batch, mut next) = (Batch::new(), self.first);
        for event in &self.events {
            let Some(position) = document::position(event).filter(|position| *position >= next) else {
                return Err(damaged(address, next, "_id is no position"));
            };
            self.skip(address, &mut batch, next, position)?;
            next = position + 1;
            // A compaction has not deleted it yet, or an insert was late.
            if self.purged.contains(position) {
                batch.skip(Position(position), Position(position));
            } else {
                let pushed = document::push(&mut batch, event, self.snapshot(address, event, position)?);
                pushed.map_err(|reason| damaged(address, position, &reason))?;
            }
        }
        self.skip(address, &mut batch, next, self.last + 1)?;
        let is_here = |position: Position| (self.first..=self.last).contains(&position.0);
        for gap in self.purged.gaps.iter().filter(|gap| is_here(gap.last)) {
            batch.push_gap(gap.clone());
        }
        for mark in self.purged.marks.iter().filter(|mark| is_here(mark.position)) {
            batch.push_mark(mark.clone());
        }
        Ok(batch)
    }

    /// Skips the positions from `next` to the one before `to`.
    fn skip(&self, address: &Address, batch: &mut Batch, next: u64, to: u64) -> Result<(), JournalError> {
        let lost = (next..to).find(|position| !self.purged.contains(*position));
        match lost {
            Some(lost) => Err(damaged(address, lost, "it is missing")),
            None if next < to => {
                batch.skip(Position(next), Position(to - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The document with the data of an event that is a snapshot. A document of another batch is not the one.
    fn snapshot(
        &self,
        address: &Address,
        event: &RawDocument,
        position: u64,
    ) -> Result<Option<&RawDocument>, JournalError> {
        if !document::is_snapshot(event) {
            return Ok(None);
        }
        let at = |snapshot: &&RawDocumentBuf| document::position(snapshot) == Some(position);
        let found = self.snapshots.iter().find(at);
        let found = found.filter(|snapshot| document::origin(snapshot) == document::origin(event));
        let found = found.ok_or_else(|| damaged(address, position, "its document in snapshots is missing"))?;
        Ok(Some(&**found))
    }

    /// Positions that are purged, and whose events are still there.
    pub(crate) fn undeleted(&self) -> Vec<u64> {
        let positions = self.events.iter().filter_map(|event| document::position(event));
        positions.filter(|position| self.purged.contains(*position)).collect()
    }

    pub(crate) fn has_snapshots(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// The bytes of the documents with these positions.
    pub(crate) fn bytes_of(&self, positions: &HashSet<u64>) -> u64 {
        let all = self.events.iter().chain(&self.snapshots);
        let these = all.filter(|document| document::position(document).is_some_and(|at| positions.contains(&at)));
        these.map(|document| document.as_bytes().len() as u64).sum()
    }

    /// The bytes of its documents.
    pub(crate) fn bytes(&self) -> u64 {
        let all = self.events.iter().chain(&self.snapshots);
        all.map(|document| document.as_bytes().len() as u64).sum()
    }
}

/// Passes on the events after a position up to the head, and returns them as parts.
///
/// # Errors
///
/// Those of the server and of `into`; [`Corrupt`](annals::journal::JournalErrorKind::Corrupt) for damage.
pub(crate) fn pass(server: &Server, after: u64, head: u64, into: &mut dyn Recover) -> Result<Vec<Part>, JournalError> {
    let (mut parts, mut next) = (Vec::new(), after + 1);
    while next <= head {
        let page = Page::read(server, next, head)?;
        let batch = page.batch(server.address())?;
        parts.push(Part::of(&batch, page.bytes()));
        into.batch(batch)?;
        into.progress(page.last, head);
        next = page.last + 1;
    }
    Ok(parts)
}

/// The purged positions are read last: see [`purged`].
async fn read(data: &Data, first: u64, last: u64) -> Result<Page, JournalError> {
    let (mut events, last) = range(data, &data.events, first, last).await?;
    let (mut snapshots, mut end) = (Vec::new(), last);
    if events.iter().any(|event| document::is_snapshot(event)) {
        (snapshots, end) = range(data, &data.snapshots, first, last).await?;
        events.retain(|event| document::position(event).is_none_or(|position| position <= end));
    }
    let purged = purged::read(data, purged::bucket(first)).await?;
    Ok(Page {
        first,
        last: end,
        events,
        snapshots,
        purged,
    })
}

/// The documents with these positions, and the position up to which these are all.
async fn range(
    data: &Data,
    collection: &Collection<RawDocumentBuf>,
    first: u64,
    last: u64,
) -> Result<(Vec<RawDocumentBuf>, u64), JournalError> {
    let failed = |error: mongodb::error::Error| data.error("read the events of", &error);
    let positions = doc! { "_id": { "$gte": key(first), "$lte": key(last) } };
    let found = collection
        .find(positions)
        .sort(doc! { "_id": 1 })
        .batch_size(BATCH_SIZE);
    let mut cursor = found.await.map_err(failed)?;
    let (mut documents, mut bytes) = (Vec::new(), 0);
    while let Some(document) = cursor.try_next().await.map_err(failed)? {
        bytes += document.as_bytes().len();
        let end = document::position(&document);
        documents.push(document);
        if let Some(end) = end.filter(|_| bytes > PAGE_BYTES) {
            return Ok((documents, end));
        }
    }
    Ok((documents, last))
}

fn damaged(address: &Address, position: u64, reason: &str) -> JournalError {
    JournalError::corrupt(format!(
        "the event at position {position} of {address} cannot be read: {reason}; restore the database from a backup"
    ))
}
