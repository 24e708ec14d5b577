//! Purging dropped events: what is left of them is stored first, then they are deleted.

use std::collections::HashSet;

use annals::GapReason;
use annals::journal::{Batch, CompactionStep, Compactor, JournalError, JournalErrorKind as Kind, Part, PurgeSet};
use mongodb::bson::{Bson, doc};

use crate::document::{self, key};
use crate::errors::is_duplicate;
use crate::head;
use crate::journal::MongoJournal;
use crate::purged::{self, Addition};
use crate::read::Page;
use crate::server::Data;

impl Compactor for MongoJournal {
    fn parts(&self) -> Vec<Part> {
        self.parts.sealed()
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        self.parts.seal();
        Ok(())
    }

    fn should_compact(&self, part: &Part, dropped: u64) -> bool {
        dropped.saturating_mul(2) >= part.events
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        let (first, last) = (part.first.0, part.last.0);
        if self.parts.find(part).is_none() {
            let message = format!("{} has no part from position {first} to {last}", self.server.address());
            return Err(JournalError::new(Kind::Unsupported, message));
        }
        self.check_writer()?;
        let next = self
            .compacting
            .take_if(|(of, _)| *of == first)
            .map_or(first, |(_, next)| next);
        let page = Page::read(&self.server, next, last)?;
        let (events, bytes) = self.purge(&page, purge)?;
        let Some(known) = self.parts.find(part) else {
            return Ok(CompactionStep::More);
        };
        known.events = known.events.saturating_sub(events);
        known.bytes = known.bytes.saturating_sub(bytes);
        if page.last < last {
            self.compacting = Some((first, page.last + 1));
            return Ok(CompactionStep::More);
        }
        Ok(CompactionStep::Done { bytes: known.bytes })
    }
}

impl MongoJournal {
    /// # Errors
    ///
    /// [`Failed`](Kind::Failed) when another writer has taken over.
    fn check_writer(&self) -> Result<(), JournalError> {
        let fence = self.fence.clone();
        if self
            .server
            .run("compact", move |data| async move { head::beat(&data, &fence).await })?
        {
            return Ok(());
        }
        Err(JournalError::failed(format!(
            "cannot compact {}: another writer has taken over the store",
            self.server.address()
        )))
    }

    /// Purges events of a page. Returns their number, and the bytes of what is deleted.
    fn purge(&self, page: &Page, purge: &PurgeSet) -> Result<(u64, u64), JournalError> {
        let batch = page.batch(self.server.address())?;
        let left = purge.apply(&batch);
        let kept: HashSet<_> = left.events().map(|event| event.position()).collect();
        let gone: Vec<_> = batch.events().map(|event| event.position().0).collect();
        let gone: Vec<_> = gone
            .into_iter()
            .filter(|position| !kept.contains(&annals::Position(*position)))
            .collect();
        if !gone.is_empty() {
            self.archive(page, &batch, purge)?;
            let addition = addition(page, &left, gone.clone());
            let purged = page.purged.clone();
            self.server.run("compact", move |data| async move {
                purged::add(&data, purged, &addition).await
            })?;
        }
        let count = gone.len() as u64;
        let all: HashSet<_> = gone.into_iter().chain(page.undeleted()).collect();
        let bytes = page.bytes_of(&all);
        self.delete(all, page.has_snapshots())?;
        Ok((count, bytes))
    }

    fn delete(&self, positions: HashSet<u64>, has_snapshots: bool) -> Result<(), JournalError> {
        if positions.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = positions
            .into_iter()
            .map(|position| Bson::String(key(position)))
            .collect();
        self.server.run("compact", move |data| async move {
            let failed = |error| data.error("delete purged events of", &error);
            let purged = doc! { "_id": { "$in": ids } };
            data.events.delete_many(purged.clone()).await.map_err(failed)?;
            if has_snapshots {
                data.snapshots.delete_many(purged).await.map_err(failed)?;
            }
            Ok(())
        })
    }

    /// With `archive=true`, copies purged events to `events_archive`, but not those that were deleted.
    fn archive(&self, page: &Page, batch: &Batch, purge: &PurgeSet) -> Result<(), JournalError> {
        if !self.server.address().has_archive {
            return Ok(());
        }
        let is_archived = |reason: &GapReason| !matches!(reason, GapReason::Deleted(_) | GapReason::Snapshot);
        let archived = batch
            .events()
            .filter(|event| purge.reason(*event).as_ref().is_some_and(is_archived));
        let positions: HashSet<_> = archived.map(|event| event.position().0).collect();
        let documents = page.events.iter().filter(|event| {
            let position = document::position(event);
            position.is_some_and(|position| positions.contains(&position))
        });
        let documents: Vec<_> = documents.cloned().collect();
        if documents.is_empty() {
            return Ok(());
        }
        self.server.run(
            "archive events of",
            move |data| async move { copy(&data, documents).await },
        )
    }
}

/// An earlier attempt may have copied some of them.
async fn copy(data: &Data, documents: Vec<mongodb::bson::RawDocumentBuf>) -> Result<(), JournalError> {
    match data.archive.insert_many(&documents).ordered(false).await {
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) => Err(data.error("archive events of", &error)),
        Ok(_) => Ok(()),
    }
}

/// What is left of the purged events of a page.
fn addition(page: &Page, left: &Batch, positions: Vec<u64>) -> Addition {
    Addition {
        range: (page.first, page.last),
        positions,
        gaps: left.gaps().to_vec(),
        marks: left.marks().to_vec(),
    }
}
