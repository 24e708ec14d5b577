//! The head: the one document whose compare-and-set orders all writes, and decides who writes.

use std::time::Duration;

use annals::journal::{JournalError, JournalErrorKind as Kind};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::document::number;
use crate::server::Data;

const ID: &str = "head";
/// The layout of the collections. A later one is refused.
const FORMAT: i64 = 1;
/// How often an opening process looks whether the writer is alive, in a lease.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_secs(1);
/// How often a writer shows that it is alive, in a lease.
const BEATS: u32 = 4;
/// Bounds of a lease that another process has chosen.
const LEASE_MILLIS: [i64; 2] = [200, 3_600_000];

/// The head as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The id of the store.
    pub(crate) store: String,
    /// The last position that exists: whatever is behind it was never acknowledged.
    pub(crate) position: u64,
    /// Increases with each writer.
    pub(crate) epoch: i64,
    /// Changes with each write to the head.
    beat: i64,
    writer: Option<String>,
    holder: String,
    lease: Duration,
}

/// The head's last change that an opening process has seen, since when, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    beat: i64,
    since: Instant,
    looks: u32,
}

/// The right to write: the writer's unique name, and its epoch.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) writer: String,
    pub(crate) epoch: i64,
}

/// The head of an empty store.
pub(crate) fn first(store: Uuid) -> Document {
    doc! {
        "_id": ID,
        "format": FORMAT,
        "store": store.to_string(),
        "position": 0_i64,
        "epoch": 0_i64,
        "beat": 0_i64,
        "writer": Bson::Null,
        "holder": "",
        "leaseMillis": 0_i64,
    }
}

/// The head; `None` when there is no store.
///
/// # Errors
///
/// [`Corrupt`](Kind::Corrupt) when it is damaged, or of a later version.
pub(crate) async fn read(data: &Data) -> Result<Option<Head>, JournalError> {
    let found = data.head.find_one(doc! { "_id": ID }).await;
    let found = found.map_err(|error| data.error("read the head of", &error))?;
    found.map(|document| decode(data, &document)).transpose()
}

fn decode(data: &Data, document: &Document) -> Result<Head, JournalError> {
    let integer = |name: &str| {
        let value = document.get(name);
        let value = value.and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)));
        value.ok_or_else(|| damaged(data, name))
    };
    if integer("format")? > FORMAT {
        let message = format!(
            "{} was written by a later version of Annals: use that version",
            data.address
        );
        return Err(JournalError::new(Kind::Unsupported, message));
    }
    let [least, most] = LEASE_MILLIS;
    let millis = integer("leaseMillis")?.clamp(least, most);
    let text = |name: &str| {
        document
            .get_str(name)
            .map_err(|_| damaged(data, name))
            .map(str::to_owned)
    };
    Ok(Head {
        store: text("store")?,
        position: u64::try_from(integer("position")?).map_err(|_| damaged(data, "position"))?,
        epoch: integer("epoch")?,
        beat: integer("beat")?,
        writer: document.get_str("writer").ok().map(str::to_owned),
        holder: text("holder")?,
        lease: Duration::from_millis(millis.unsigned_abs()),
    })
}

fn damaged(data: &Data, name: &str) -> JournalError {
    let message = format!(
        "the head of {} is damaged, in its field {name}: restore the database from a backup",
        data.address
    );
    JournalError::corrupt(message)
}

/// Makes this process the writer, if the head has no writer, or one that has not moved it for its lease.
///
/// # Errors
///
/// [`Locked`](Kind::Locked) when another writer is alive.
pub(crate) async fn take(data: &Data, watch: &mut Option<Watch>) -> Result<Option<(Head, Fence)>, JournalError> {
    let seen = existing(data).await?;
    let first = watch.get_or_insert_with(|| Watch {
        beat: seen.beat,
        since: Instant::now(),
        looks: 0,
    });
    first.looks += 1;
    if seen.writer.is_some() && first.beat != seen.beat {
        return Err(locked(data, &seen));
    }
    // Time alone does not do: a server that was busy for that long shows no change either.
    if seen.writer.is_some() && (first.since.elapsed() < seen.lease || first.looks <= LOOKS) {
        sleep((seen.lease / LOOKS).min(LOOK)).await;
        return Ok(None);
    }
    let Some(taken) = swap(data, &seen).await? else {
        return Err(locked(data, &existing(data).await?));
    };
    Ok(Some(taken))
}

/// Replaces the writer of a head that has not changed.
async fn swap(data: &Data, seen: &Head) -> Result<Option<(Head, Fence)>, JournalError> {
    let writer = Uuid::new_v4().to_string();
    let update = doc! {
        "$set": {
            "writer": &writer,
            "holder": format!("process {}", std::process::id()),
            "leaseMillis": i64::try_from(data.address.lease.as_millis()).unwrap_or(i64::MAX),
        },
        "$inc": { "epoch": 1_i64, "beat": 1_i64 },
    };
    let unchanged = doc! { "_id": ID, "store": &seen.store, "epoch": seen.epoch, "beat": seen.beat };
    let updated = data
        .head
        .find_one_and_update(unchanged, update)
        .return_document(ReturnDocument::After);
    let taken = updated.await.map_err(|error| data.error("take the head of", &error))?;
    let Some(taken) = taken else { return Ok(None) };
    let head = decode(data, &taken)?;
    let epoch = head.epoch;
    Ok(Some((head, Fence { writer, epoch })))
}

async fn existing(data: &Data) -> Result<Head, JournalError> {
    let missing = || JournalError::failed(format!("the head of {} was deleted", data.address));
    read(data).await?.ok_or_else(missing)
}

fn locked(data: &Data, head: &Head) -> JournalError {
    let message = format!(
        "cannot write to {}: another writer ({}) has it open; stop it, or follow the store",
        data.address, head.holder
    );
    JournalError::new(Kind::Locked, message)
}

/// Moves the head of this writer over a batch. A repeated call finds out that an earlier one did so.
///
/// # Errors
///
/// [`Failed`](Kind::Failed) when another writer has taken over.
pub(crate) async fn advance(data: &Data, fence: &Fence, from: u64, to: u64) -> Result<(), JournalError> {
    let own = |position: u64| doc! { "_id": ID, "writer": &fence.writer, "position": number(position) };
    let moved = doc! { "$set": { "position": number(to) }, "$inc": { "beat": 1_i64 } };
    if update(data, own(from), moved).await? {
        return Ok(());
    }
    // An update and not a read: a majority has acknowledged what came before it.
    if update(data, own(to), doc! { "$inc": { "beat": 1_i64 } }).await? {
        return Ok(());
    }
    let reason = match read(data).await? {
        None => "its head was deleted".to_owned(),
        Some(head) if head.writer.as_ref() == Some(&fence.writer) => format!(
            "its head is at position {}, and not at {from}: the server has lost acknowledged events, or a backup was restored",
            head.position
        ),
        Some(head) => taken_over(&head),
    };
    Err(JournalError::failed(format!(
        "cannot append to {}: {reason}",
        data.address
    )))
}

fn taken_over(head: &Head) -> String {
    if head.writer.is_none() {
        return "another writer has had the store since: open it again".to_owned();
    }
    format!("another writer ({}) has taken over the store", head.holder)
}

/// Shows that this writer is alive. Returns whether it is still the writer.
pub(crate) async fn beat(data: &Data, fence: &Fence) -> Result<bool, JournalError> {
    let own = doc! { "_id": ID, "writer": &fence.writer };
    update(data, own, doc! { "$inc": { "beat": 1_i64 } }).await
}

/// Ends the right to write, if this writer has it.
pub(crate) async fn release(data: &Data, fence: &Fence) -> Result<bool, JournalError> {
    let own = doc! { "_id": ID, "writer": &fence.writer };
    let free = doc! { "$set": { "writer": Bson::Null, "holder": "" }, "$inc": { "beat": 1_i64 } };
    update(data, own, free).await
}

async fn update(data: &Data, filter: Document, update: Document) -> Result<bool, JournalError> {
    let updated = data.head.update_one(filter, update).await;
    let updated = updated.map_err(|error| data.error("update the head of", &error))?;
    Ok(updated.matched_count == 1)
}

/// Shows that this writer is alive, until another has taken over. A server that does not answer is asked again.
pub(crate) async fn keep(data: &Data, fence: &Fence) {
    loop {
        let pause = data.address.lease / BEATS;
        sleep(pause).await;
        // A connection that is half open would hold it for minutes.
        if matches!(timeout(pause, beat(data, fence)).await, Ok(Ok(false))) {
            return;
        }
    }
}
