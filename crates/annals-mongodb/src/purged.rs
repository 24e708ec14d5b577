//! What is left of purged events: a document in `head` for each bucket of positions.
//!
//! It is written before the events are deleted, and read after them. So a position without an event is in it, or lost.

use annals::Gap;
use annals::journal::{JournalError, Mark};
use mongodb::bson::{Bson, Document, deserialize_from_document, doc, serialize_to_document};
use serde::{Deserialize, Serialize};

use crate::errors::is_duplicate;
use crate::server::Data;

/// Positions of a bucket.
pub(crate) const BUCKET: u64 = 2048;

/// The purged positions of a bucket, and what is left of their events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Purged {
    #[serde(rename = "_id")]
    id: String,
    revision: i64,
    /// Ascending, first and last positions.
    ranges: Vec<(u64, u64)>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) marks: Vec<Mark>,
}

/// The number of the bucket that has a position.
pub(crate) fn bucket(position: u64) -> u64 {
    (position - 1) / BUCKET
}

/// The last position of the bucket that has a position.
pub(crate) fn bucket_end(position: u64) -> u64 {
    (bucket(position) + 1) * BUCKET
}

impl Purged {
    pub(crate) fn contains(&self, position: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= position);
        after > 0 && self.ranges[after - 1].1 >= position
    }

    /// Adds ascending positions, and replaces the gaps and marks that end in the range from `first` to `last`.
    fn add(&mut self, addition: &Addition) {
        let (first, last) = addition.range;
        let is_outside = |position: u64| position < first || position > last;
        self.gaps.retain(|gap| is_outside(gap.last.0));
        self.gaps.extend(addition.gaps.iter().cloned());
        self.marks.retain(|mark| is_outside(mark.position.0));
        self.marks.extend(addition.marks.iter().cloned());
        self.marks.sort_by_key(|mark| mark.position);
        let all = self
            .ranges
            .drain(..)
            .chain(addition.positions.iter().map(|position| (*position, *position)));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        for (first, last) in all {
            match self.ranges.last_mut() {
                Some(before) if before.1 + 1 >= first => before.1 = before.1.max(last),
                _ => self.ranges.push((first, last)),
            }
        }
    }
}

/// What one step of a compaction purges.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) range: (u64, u64),
    pub(crate) positions: Vec<u64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) marks: Vec<Mark>,
}

fn id(bucket: u64) -> String {
    format!("purged-{bucket}")
}

pub(crate) async fn read(data: &Data, bucket: u64) -> Result<Purged, JournalError> {
    let found = data.head.find_one(doc! { "_id": id(bucket) }).await;
    let found = found.map_err(|error| data.error("read the purged positions of", &error))?;
    let Some(document) = found else {
        return Ok(Purged {
            id: id(bucket),
            ..Purged::default()
        });
    };
    deserialize_from_document(document).map_err(|error| {
        let message = format!(
            "the document {} in head of {} is damaged: {error}",
            id(bucket),
            data.address
        );
        JournalError::corrupt(message)
    })
}

/// Adds to a bucket as it was read with the events that are purged.
///
/// # Errors
///
/// [`Retry`](annals::journal::JournalErrorKind::Retry) when another process has changed it since: what is left of the events may be another.
pub(crate) async fn add(data: &Data, mut purged: Purged, addition: &Addition) -> Result<(), JournalError> {
    let revision = purged.revision;
    purged.add(addition);
    purged.revision += 1;
    if store(data, &purged, revision).await? {
        return Ok(());
    }
    let message = format!("cannot compact {}: another process compacts it", data.address);
    Err(JournalError::new(annals::journal::JournalErrorKind::Retry, message))
}

/// Stores a document in place of the one with this revision. Returns whether it was still there.
async fn store(data: &Data, purged: &Purged, revision: i64) -> Result<bool, JournalError> {
    let encoded: Document = serialize_to_document(purged).map_err(|error| JournalError::failed(error.to_string()))?;
    let failed = |error: &mongodb::error::Error| data.error("store the purged positions of", error);
    if revision == 0 {
        return match data.head.insert_one(encoded).await {
            Ok(_) => Ok(true),
            Err(error) if is_duplicate(&error) => Ok(false),
            Err(error) => Err(failed(&error)),
        };
    }
    let unchanged = doc! { "_id": &purged.id, "revision": Bson::Int64(revision) };
    let replaced = data
        .head
        .replace_one(unchanged, encoded)
        .await
        .map_err(|error| failed(&error))?;
    Ok(replaced.matched_count == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addition(range: (u64, u64), positions: &[u64]) -> Addition {
        let positions = positions.to_vec();
        Addition {
            range,
            positions,
            gaps: Vec::new(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_purged_position_was_missing() {
        let mut purged = Purged::default();
        purged.add(&addition((1, 10), &[1, 2, 3, 7]));
        purged.add(&addition((5, 12), &[4, 8, 12]));
        assert_eq!(purged.ranges, [(1, 4), (7, 8), (12, 12)]);
        let found: Vec<_> = (1..=13).filter(|position| purged.contains(*position)).collect();
        assert_eq!(found, [1, 2, 3, 4, 7, 8, 12]);
    }

    #[test]
    fn buckets_share_no_position() {
        let ends = [1, BUCKET, BUCKET + 1].map(|position| (bucket(position), bucket_end(position)));
        assert_eq!(ends, [(0, BUCKET), (0, BUCKET), (1, 2 * BUCKET)]);
    }
}
