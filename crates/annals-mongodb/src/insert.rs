//! Inserting the documents of a batch after the head, and finding out what a duplicate key means.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use annals::journal::{JournalError, JournalErrorKind as Kind};
use mongodb::Collection;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ReadConcern;
use tokio::time::sleep;

use crate::document::{self, Encoded, Origin, key};
use crate::errors::duplicate_at;
use crate::purged::{self, bucket};
use crate::server::Data;

/// Documents and bytes of one insert. A message has at most 48 MB and 100,000 documents.
const DOCUMENTS: usize = 500;
const BYTES: usize = 8 << 20;
/// Tries in a row without a new document, each after a pause.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A batch as documents.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    pub(crate) all: Arc<Vec<Encoded>>,
    pub(crate) origin: Origin,
    /// The position of the head.
    pub(crate) head: u64,
}

/// What a duplicate key was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Documents of this batch: an earlier attempt has stored them, up to this position.
    Own(u64),
    /// A leftover of an earlier writer, which is removed.
    Leftover,
    /// Nothing any more.
    Gone,
}

impl Documents {
    /// The next documents of one insert.
    pub(crate) fn chunk(&self, from: usize) -> Range<usize> {
        let mut bytes = 0;
        let fits = |encoded: &&Encoded| {
            bytes += encoded.bytes();
            bytes <= BYTES
        };
        let count = self.all[from..].iter().take(DOCUMENTS).take_while(fits).count();
        from..from + count.max(1)
    }

    /// Whether a majority has every document.
    pub(crate) async fn are_stored(&self, data: &Data) -> Result<bool, JournalError> {
        let snapshots = self.all.iter().filter(|encoded| encoded.snapshot.is_some()).count();
        for (collection, count) in [(&data.events, self.all.len()), (&data.snapshots, snapshots)] {
            let after = doc! { "$gt": key(self.head) };
            let own = doc! { "_id": after, "epoch": self.origin.epoch, "batch": document::id(self.origin.batch) };
            let counted = collection.count_documents(own).await;
            let counted = counted.map_err(|error| data.error("count the events of", &error))?;
            if counted != count as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores some documents, those of snapshots first. Returns whether an error of the server was settled by what is there: a primary that is
    /// deposed may lose that again.
    pub(crate) async fn insert(&self, data: &Data, range: Range<usize>) -> Result<bool, JournalError> {
        let documents = &self.all[range];
        let snapshots: Vec<_> = documents
            .iter()
            .filter_map(|encoded| Some((encoded.position, encoded.snapshot.as_ref()?)))
            .collect();
        let of_snapshots = self.insert_all(data, &data.snapshots, &snapshots).await?;
        let events: Vec<_> = documents
            .iter()
            .map(|encoded| (encoded.position, &encoded.event))
            .collect();
        Ok(self.insert_all(data, &data.events, &events).await? || of_snapshots)
    }

    async fn insert_all(
        &self,
        data: &Data,
        collection: &Collection<RawDocumentBuf>,
        documents: &[(u64, &RawDocumentBuf)],
    ) -> Result<bool, JournalError> {
        let (mut next, mut attempts, mut is_settled) = (0, 0, false);
        while next < documents.len() {
            let rest = documents[next..].iter().map(|(_, document)| *document);
            let inserted = collection.insert_many(rest).ordered(true).await;
            let Err(error) = inserted else {
                return Ok(is_settled);
            };
            is_settled = true;
            let stored = duplicate_at(&error).ok_or_else(|| data.error("insert the events of", &error))?;
            let before = next;
            next += stored;
            let Some((position, document)) = documents.get(next) else {
                return Err(data.error("insert the events of", &error));
            };
            match self.find(data, collection, *position, document).await? {
                Found::Own(last) => next = documents.partition_point(|(position, _)| *position <= last),
                Found::Leftover => {}
                Found::Gone => sleep(PAUSE).await,
            }
            attempts = if next == before { attempts + 1 } else { 0 };
            if attempts > ATTEMPTS {
                let message = format!(
                    "cannot append to {}: another program inserts at the same positions",
                    data.address
                );
                return Err(JournalError::new(Kind::Retry, message));
            }
        }
        Ok(is_settled)
    }

    /// Finds the document whose key a new one has, first by its position, and then by its aggregate and version.
    ///
    /// # Errors
    ///
    /// [`Failed`](Kind::Failed) when it is in the way for good.
    async fn find(
        &self,
        data: &Data,
        collection: &Collection<RawDocumentBuf>,
        position: u64,
        document: &RawDocumentBuf,
    ) -> Result<Found, JournalError> {
        if let Some(found) = find_one(data, collection, doc! { "_id": key(position) }).await? {
            let origin = document::origin(&found);
            if origin == Some(self.origin) {
                return self.own(data, collection, position).await;
            }
            return self.remove(data, collection, &found, position).await;
        }
        let (Ok(id), Some(version)) = (
            document.get_str("aggregateId"),
            document::integer(document, "sequenceNumber"),
        ) else {
            return Ok(Found::Gone);
        };
        match find_one(data, collection, doc! { "aggregateId": id, "sequenceNumber": version }).await? {
            Some(found) => self.remove(data, collection, &found, position).await,
            None => Ok(Found::Gone),
        }
    }

    /// Inserts are ordered, so the last document of this batch shows which ones are there.
    async fn own(
        &self,
        data: &Data,
        collection: &Collection<RawDocumentBuf>,
        position: u64,
    ) -> Result<Found, JournalError> {
        let own = doc! { "_id": { "$gte": key(position) }, "epoch": self.origin.epoch };
        let last = collection
            .find_one(own)
            .sort(doc! { "_id": -1 })
            .read_concern(ReadConcern::local())
            .await
            .map_err(|error| data.error("read the events of", &error))?;
        let last = last.filter(|last| document::origin(last) == Some(self.origin));
        let last = last.and_then(|last| document::position(&last));
        Ok(Found::Own(last.unwrap_or(position)))
    }

    /// Removes a document of an earlier writer after the head.
    ///
    /// # Errors
    ///
    /// [`Failed`](Kind::Failed) for any other document.
    async fn remove(
        &self,
        data: &Data,
        collection: &Collection<RawDocumentBuf>,
        found: &RawDocumentBuf,
        wanted: u64,
    ) -> Result<Found, JournalError> {
        let (position, origin) = (document::position(found), document::origin(found));
        let place = position.map_or_else(
            || "without a position".to_owned(),
            |position| format!("at position {position}"),
        );
        let failed = |reason: &str| {
            let name = collection.name();
            Err(JournalError::failed(format!(
                "cannot append position {wanted} to {}: the collection {name} has a document {place} {reason}",
                data.address
            )))
        };
        let (Some(position), Some(origin)) = (position, origin) else {
            return failed(
                "of another program with the same aggregate and version: remove it, and open the store again",
            );
        };
        if origin.epoch > self.origin.epoch {
            return failed("of a later writer, which has taken over the store: open the store again");
        }
        let is_late = position <= self.head
            && origin.epoch < self.origin.epoch
            && purged::read(data, bucket(position)).await?.contains(position);
        if !is_late && (position <= self.head || origin.epoch == self.origin.epoch) {
            return failed("with the same aggregate and version: restore the database from a backup");
        }
        let leftover = doc! { "_id": key(position), "epoch": origin.epoch };
        let deleted = collection.delete_one(leftover).await;
        deleted.map_err(|error| data.error("remove a leftover from", &error))?;
        Ok(Found::Leftover)
    }
}

/// As the primary has it now: a duplicate key may be one that no majority has yet.
async fn find_one(
    data: &Data,
    collection: &Collection<RawDocumentBuf>,
    filter: Document,
) -> Result<Option<RawDocumentBuf>, JournalError> {
    let found = collection.find_one(filter).read_concern(ReadConcern::local()).await;
    found.map_err(|error| data.error("read the events of", &error))
}

/// Removes what earlier writers left after the head. A later writer's documents stay, in case this one is not the writer any more.
pub(crate) async fn remove_leftovers(data: &Data, epoch: i64, head: u64) -> Result<(), JournalError> {
    for collection in [&data.events, &data.snapshots] {
        let leftovers = doc! { "_id": { "$gt": key(head) }, "epoch": { "$lt": epoch } };
        let deleted = collection.delete_many(leftovers).await;
        deleted.map_err(|error| data.error("remove leftovers from", &error))?;
    }
    Ok(())
}
