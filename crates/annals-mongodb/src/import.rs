//! Events of another program, in a collection with the same field names, as the first events of aggregates.

use std::collections::HashMap;

use annals::{Expected, NewEvent, Result, Store, StreamId, Timestamp};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use uuid::Uuid;

use crate::address::{Address, invalid};
use crate::json;
use crate::of_reader;
use crate::server::Server;

/// Names of a collection have at most this many bytes.
const NAME_BYTES_MAX: usize = 120;

/// What an [import](import_collection) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Events that were appended.
    pub events: u64,
    /// Events that an earlier import had appended.
    pub repeated: u64,
    /// Aggregates of both.
    pub aggregates: u64,
}

/// An event of the other program.
#[derive(Debug)]
struct Foreign {
    stream: StreamId,
    sequence: i64,
    time: i64,
    event: NewEvent<'static>,
}

/// Appends the events of a collection of another program to a store: of `collection` in the database of a URL like that of [`open`](crate::open).
///
/// A document has the fields `aggregateId`, `aggregateType`, `eventType`, `sequenceNumber` and `timestamp`, and may have `eventId` (a UUID),
/// `eventVersion`, `eventData`, and `metadata` with `correlationId`, `causationId` and `userId`. Other fields of `metadata` become the metadata.
/// `eventData` becomes JSON: dates, ids and decimal numbers become strings.
///
/// The events of an aggregate keep the order of `sequenceNumber`, which begins with 0 or 1 and has no gap. Aggregates are merged by `timestamp`. The
/// collection is read into memory, and checked as a whole before the first append. An import that was interrupted can be repeated: an event that is
/// stored already is counted, and not appended again.
///
/// # Errors
///
/// [`Error::Invalid`](annals::Error::Invalid) for a document that lacks a field, and an aggregate that lacks a number, before anything is appended; those of appending and of
/// [`open`](crate::open).
pub fn import_collection(url: &str, collection: &str, store: &Store) -> Result<Imported> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if collection.is_empty() || collection.len() > NAME_BYTES_MAX || !collection.bytes().all(is_allowed) {
        return Err(invalid(format!(
            "the name of a collection has 1 to {NAME_BYTES_MAX} letters, digits, '_', '-' and '.'"
        )));
    }
    let events = ordered(read(url, collection)?)?;
    let mut done = Imported::default();
    for event in events {
        done.aggregates += u64::from(event.sequence == 1);
        let expected = match event.sequence {
            1 => Expected::NoStream,
            next => Expected::exactly(next.unsigned_abs() - 1),
        };
        let appended = store.append(&event.stream, expected, vec![event.event])?;
        done.repeated += u64::from(appended.repeated);
        done.events += u64::from(!appended.repeated);
    }
    Ok(done)
}

fn read(url: &str, collection: &str) -> Result<Vec<Foreign>> {
    let server = Server::connect(&Address::parse(url)?).map_err(of_reader)?;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (name, from) = (collection.to_owned(), after.take());
        let page = server.run("read a collection of", move |data| async move {
            let failed = |error| data.error("read a collection of", &error);
            let rest = from.map_or_else(|| doc! {}, |id: Bson| doc! { "_id": { "$gt": id } });
            let collection = data.foreign(&name);
            let found = collection.find(rest).sort(doc! { "_id": 1 }).limit(PAGE);
            found
                .await
                .map_err(failed)?
                .try_collect::<Vec<Document>>()
                .await
                .map_err(failed)
        });
        let page = page.map_err(of_reader)?;
        let Some(last) = page.last() else {
            check_count(&server, collection, all.len())?;
            return Ok(all);
        };
        after = last.get("_id").cloned();
        for document in &page {
            all.push(decode(document).map_err(|reason| {
                let id = document.get("_id").map_or_else(String::new, json::text);
                invalid(format!(
                    "the document {id} of {collection} is no event: {reason}; correct or remove it"
                ))
            })?);
        }
    }
}

/// A page begins behind an `_id`, and the server compares only ids of one type.
fn check_count(server: &Server, collection: &str, read: usize) -> Result<()> {
    let name = collection.to_owned();
    let counted = server.run("count a collection of", move |data| async move {
        let collection = data.foreign(&name);
        let counted = collection.count_documents(doc! {}).await;
        counted.map_err(|error| data.error("count a collection of", &error))
    });
    let counted = counted.map_err(of_reader)?;
    if counted == read as u64 {
        return Ok(());
    }
    Err(invalid(format!(
        "{collection} has {counted} documents, and {read} could be read: give their _id one type, and let no program write to it meanwhile; \
         nothing was imported"
    )))
}

/// Documents that are read at once.
const PAGE: i64 = 1000;

fn decode(document: &Document) -> std::result::Result<Foreign, String> {
    let missing = |name: &str| format!("the field {name} is missing or invalid");
    let text = |name: &str| document.get_str(name).map_err(|_| missing(name));
    let integer = |name: &str| {
        let value = document.get(name)?;
        value
            .as_i64()
            .or_else(|| value.as_i32().map(i64::from))
            .or_else(|| value.as_f64().map(|float| float as i64))
    };
    let time = document.get_datetime("timestamp").map_err(|_| missing("timestamp"))?;
    let time = time.timestamp_millis().saturating_mul(1000);
    let id = document.get("_id").ok_or_else(|| missing("_id"))?;
    let mut event = NewEvent::new(text("eventType")?.to_owned())
        .id(event_id(document, id))
        .timestamp(Timestamp::from_micros(time));
    if let Some(version) = integer("eventVersion").and_then(|version| u32::try_from(version).ok()) {
        event = event.schema_version(version);
    }
    if let Some(data) = document.get("eventData") {
        event = event.data(json::text(data).into_bytes());
    }
    if let Ok(metadata) = document.get_document("metadata") {
        event = add_metadata(event, metadata.clone());
    }
    Ok(Foreign {
        stream: StreamId::new(text("aggregateType")?, text("aggregateId")?),
        sequence: integer("sequenceNumber")
            .filter(|number| *number >= 0)
            .ok_or_else(|| missing("sequenceNumber"))?,
        time,
        event,
    })
}

fn add_metadata(mut event: NewEvent<'static>, mut metadata: Document) -> NewEvent<'static> {
    let mut take = |name: &str| match metadata.get(name) {
        Some(Bson::String(text)) if !text.is_empty() => {
            let text = text.clone();
            metadata.remove(name);
            Some(text)
        }
        _ => None,
    };
    let names = ["correlationId", "causationId", "userId"].map(&mut take);
    let [correlation, causation, user] = names;
    if let Some(id) = correlation {
        event = event.correlation(id);
    }
    if let Some(id) = causation {
        event = event.causation(id);
    }
    if let Some(id) = user {
        event = event.user(id);
    }
    if metadata.is_empty() {
        return event;
    }
    event.metadata(json::text(&Bson::Document(metadata)).into_bytes())
}

/// The same for each import, so that a repeated one appends nothing.
fn event_id(document: &Document, id: &Bson) -> Uuid {
    let stored = match document.get("eventId") {
        Some(Bson::String(text)) => Uuid::parse_str(text).ok(),
        Some(Bson::Binary(binary)) => Uuid::from_slice(&binary.bytes).ok(),
        _ => None,
    };
    stored.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, json::text(id).as_bytes()))
}

/// Numbers the events of each aggregate from 1, and merges the aggregates by time.
fn ordered(mut all: Vec<Foreign>) -> Result<Vec<Foreign>> {
    all.sort_by(|one, other| {
        (&*one.stream.aggregate_id, one.sequence).cmp(&(&*other.stream.aggregate_id, other.sequence))
    });
    let mut last: HashMap<String, (i64, i64, i64)> = HashMap::new();
    for event in &mut all {
        let id = event.stream.aggregate_id.to_string();
        let (first, before, time) = last
            .get(&id)
            .copied()
            .unwrap_or((event.sequence, event.sequence - 1, i64::MIN));
        if first > 1 || event.sequence != before + 1 {
            return Err(invalid(format!(
                "aggregate '{id}' has the sequenceNumber {} after {}: it must begin with 0 or 1, without a gap; nothing was imported",
                event.sequence,
                if before < first {
                    "none".to_owned()
                } else {
                    before.to_string()
                }
            )));
        }
        last.insert(id, (first, event.sequence, time.max(event.time)));
        event.sequence += 1 - first;
        event.time = time.max(event.time);
    }
    // Stable: the order within an aggregate stays.
    all.sort_by_key(|event| event.time);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(id: &str, sequence: i64, time: i64) -> Foreign {
        Foreign {
            stream: StreamId::new("Order", id),
            sequence,
            time,
            event: NewEvent::new("Placed"),
        }
    }

    #[test]
    fn a_clock_that_went_back_turned_the_events_of_an_aggregate_around() {
        let all = vec![
            foreign("b", 1, 5),
            foreign("a", 1, 3),
            foreign("a", 0, 9),
            foreign("b", 2, 6),
        ];
        let ordered = ordered(all).unwrap();
        let found: Vec<_> = ordered
            .iter()
            .map(|event| (&*event.stream.aggregate_id, event.sequence))
            .collect();
        assert_eq!(found, [("b", 1), ("b", 2), ("a", 1), ("a", 2)]);
    }

    #[test]
    fn an_aggregate_that_lacks_an_event_was_imported() {
        for all in [
            vec![foreign("a", 2, 1)],
            vec![foreign("a", 1, 1), foreign("a", 3, 2)],
            vec![foreign("a", 1, 1), foreign("a", 1, 2)],
        ] {
            assert!(ordered(all).is_err());
        }
    }
}
