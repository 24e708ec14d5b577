//! Snapshots of aggregates.

use annals::{ContentType, NewSnapshot, Position, Timestamp, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{self, ClientError};
use super::http::{add_query, segment};
use super::{Client, write};
use crate::wire::new_event::payload;

/// A saved snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSnapshot {
    /// The version of the last event that the state includes.
    pub version: Version,
    /// Number of events after the snapshot that were dropped.
    pub missing: u64,
    /// The version of the state's schema.
    pub schema_version: u32,
    /// When it was saved.
    pub taken_at: Timestamp,
    /// The position of its system event in the log.
    pub position: Position,
    /// The content type of `data`.
    pub data_type: ContentType,
    /// The saved bytes.
    pub data: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSnapshot<'a> {
    version: Version,
    missing: u64,
    schema_version: u32,
    taken_at: Timestamp,
    position: Position,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_hex: Option<String>,
    data_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Saved {
    position: Position,
}

fn parse(bytes: &[u8]) -> Result<SavedSnapshot, String> {
    let wire: WireSnapshot<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(SavedSnapshot {
        version: wire.version,
        missing: wire.missing,
        schema_version: wire.schema_version,
        taken_at: wire.taken_at,
        position: wire.position,
        data_type: wire.data_type.as_deref().map_or(ContentType::Json, ContentType::from),
        data: payload("data", wire.data, wire.data_hex)?,
    })
}

impl Client {
    /// The last snapshot of an aggregate up to a version; `None` if it has none.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn snapshot_until(&self, aggregate_id: &str, version: Version) -> Result<Option<SavedSnapshot>, ClientError> {
        let mut target = format!("/streams/{}/snapshot", segment(aggregate_id));
        add_query(&mut target, [("version", version.to_string())]);
        let bytes = error::found(self.http.get_bytes(&target))?;
        let snapshot = bytes.map(|bytes| parse(&bytes));
        snapshot.transpose().map_err(|reason| self.http.bad_answer(reason))
    }

    /// Saves a snapshot of an aggregate, and returns the position of its system event.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if the aggregate has never existed.
    pub fn save_snapshot(&self, aggregate_id: &str, snapshot: &NewSnapshot) -> Result<Position, ClientError> {
        let target = format!("/streams/{}/snapshot", segment(aggregate_id));
        let saved: Saved = self.http.put(&target, write::snapshot(snapshot)?)?;
        Ok(saved.position)
    }
}
